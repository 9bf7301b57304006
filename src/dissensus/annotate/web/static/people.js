// Inviting people, and revoking access.
import { ago, ask, at, element, isFine, sentence } from "./page.js";

const LINKS = { open: "waits to be opened", used: "opened", expired: "expired" };

async function refresh() {
  const reply = await ask("GET", "/api/people");
  if (!isFine(reply)) return say(reply);
  at("people").replaceChildren(...reply.body.map(row));
}

function row(person) {
  const line = element("tr", "", person.revoked ? "revoked" : "");
  line.append(element("td", person.is_self ? `${person.name} (you)` : person.name), element("td", person.role));
  line.append(element("td", person.revoked ? "access revoked" : LINKS[person.link] ?? "none"), element("td", person.answered, "number"));
  line.append(element("td", ago(person.seen_at, Date.now())));
  const cell = element("td");
  const acts = element("div", "", "acts");
  if (!person.revoked) acts.append(button(`New link for ${person.name}`, "New link", () => invite(person)));
  if (!person.revoked && !person.is_self) acts.append(button(`Revoke ${person.name}`, "Revoke", () => ask_first(person)));
  cell.append(acts);
  line.append(cell);
  return line;
}

function button(name, words, act) {
  const made = element("button", words);
  made.type = "button";
  made.setAttribute("aria-label", name);
  made.addEventListener("click", act);
  return made;
}

function say(reply) {
  at("said").textContent = reply ? sentence(reply) : "";
}

function show(name, link) {
  at("made").hidden = false;
  at("made-words").textContent = `The link for ${name}:`;
  at("link").value = link;
  at("copy").textContent = "Copy";
  at("link").focus();
  at("link").select();
}

async function invite(person) {
  say(null);
  const reply = await ask("POST", `/api/people/${person.id}/invite`);
  if (!isFine(reply)) return say(reply);
  show(person.name, reply.body.link);
  await refresh();
}

let leaving = null;

function ask_first(person) {
  leaving = person;
  at("sure-title").textContent = `Revoke the access of ${person.name}?`;
  at("sure").showModal();
  at("no").focus();
}

at("new").addEventListener("submit", async (event) => {
  event.preventDefault();
  say(null);
  const name = at("name").value;
  const reply = await ask("POST", "/api/people", { name, role: at("role").value });
  if (!isFine(reply)) return say(reply);
  at("name").value = "";
  show(reply.body.person.name, reply.body.link);
  await refresh();
});
at("copy").addEventListener("click", async () => {
  at("link").select();
  try {
    await navigator.clipboard.writeText(at("link").value);
    at("copy").textContent = "Copied";
  } catch {
    at("copy").textContent = "Press Ctrl+C"; // it is selected; browsers keep the clipboard to pages with TLS
  }
});
at("yes").addEventListener("click", async () => {
  at("sure").close();
  const reply = await ask("POST", `/api/people/${leaving.id}/revoke`);
  say(isFine(reply) ? null : reply);
  await refresh();
});
at("no").addEventListener("click", () => at("sure").close());
refresh();
