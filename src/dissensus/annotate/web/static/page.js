// What the organiser's and the adjudicator's pages share.

export const at = (id) => document.getElementById(id);

export function element(tag, words = "", classes = "") {
  const made = document.createElement(tag);
  if (words !== "") made.textContent = words;
  if (classes) made.className = classes;
  return made;
}

// Answers {status, body}; status 0 where the server was not reached.
export async function ask(method, path, body) {
  try {
    const reply = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: reply.status, body: reply.status === 204 ? null : await reply.json() };
  } catch {
    return { status: 0, body: { detail: "the server cannot be reached; try again" } };
  }
}

export const isFine = (reply) => reply.status >= 200 && reply.status < 300;

export function sentence({ body, status }) {
  const words = body?.detail ?? `the server answered ${status}`;
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}

export function ago(then, now) {
  if (then === null) return "–";
  const minutes = Math.max(0, Math.round((now - then) / 60_000));
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes / 1440)} days ago`;
}

export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const SPEAKERS = { user: "User", assistant: "Assistant", system: "System", tool: "Tool", other: "Speaker" };

export function showTurns(box, turns, spoken) {
  box.replaceChildren(...turns.map((turn) => {
    const made = element("div", "", spoken ? `turn spoken ${turn.role}` : "turn");
    made.dir = "auto";
    made.innerHTML = turn.html; // made by rendering.py on the server, which lets nothing through that runs or loads
    if (spoken) made.prepend(element("span", SPEAKERS[turn.role], "speaker"));
    return made;
  }));
}
