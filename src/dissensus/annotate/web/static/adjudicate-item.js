// One pair: its answers side by side, and the decision.
import { ask, at, element, isFine, newId, sentence, showTurns } from "./page.js";

const WORDS = {
  correct: { single: "one correct answer", multiple: "several correct answers" },
  distinct: { yes: "clearly different", no: "essentially the same" },
  choice: { a: "response a", b: "response b", tie: "neither" },
};
const TITLES = { correct: "Task 1", distinct: "Task 2", estimate: "Task 3", choice: "Own preference", note: "Note" };
const key = at("item").dataset.key;
let suggestion = null;
let base = 0;
let act = null; // {id, body}: the same id until it is acknowledged
let theirs = null;
const show = (n) => (Number.isInteger(n) ? `${n}` : n.toFixed(1));

async function load() {
  const reply = await ask("GET", `/api/items/${key}`);
  if (!isFine(reply)) return notice(sentence(reply));
  const item = reply.body;
  const spoken = item.prompt.length > 1;
  showTurns(at("prompt"), item.prompt, spoken);
  for (const name of ["response_a", "response_b"]) showTurns(at(name), item[name], spoken || item[name].length > 1);
  suggestion = item.suggestion;
  at("suggested").replaceChildren();
  describe(at("suggested"), { ...suggestion, estimate: suggestion.estimate === null ? null : show(suggestion.estimate) });
  const splits = Object.fromEntries(["correct", "distinct", "estimate", "choice"].map((name) => {
    const said = item.answers.filter((answer) => answer.state !== "skipped").map((answer) => answer[name]);
    return [name, new Set(said.filter((value) => value !== null)).size > 1];
  }));
  at("answers").replaceChildren(...item.answers.map((answer) => card(answer, splits)));
  if (item.decision) {
    base = item.decision.revision;
    fill(item.decision);
    at("decided").textContent = `decided ${new Date(item.decision.decided_at).toLocaleString()}`;
  }
}

// Majority and mean, where there are any; what was chosen about anything else stays. A mean between two steps is left
// to the adjudicator, who sees it.
function suggest() {
  if (!suggestion) return;
  for (const name of ["correct", "distinct"]) {
    const input = suggestion[name] && document.querySelector(`#form input[name="${name}"][value="${suggestion[name]}"]`);
    if (input) input.checked = true;
  }
  if (Number.isInteger(suggestion.estimate)) at("estimate").value = String(suggestion.estimate);
  else if (suggestion.estimate !== null) at("estimate").focus();
  act = null;
}

function card(answer, splits) {
  const box = element("section");
  const tag = { skipped: " skipped", surplus: " (beyond what is wanted)" }[answer.state] ?? "";
  box.append(element("h3", answer.annotator + tag));
  const list = element("dl");
  if (answer.state === "skipped") list.append(element("dt", "Reason"), element("dd", answer.reason || "–"));
  else describe(list, answer, splits);
  box.append(list);
  return box;
}

function describe(list, said, splits = {}) {
  for (const [name, title] of Object.entries(TITLES)) {
    const value = said[name];
    if (value === null || value === undefined || value === "") continue;
    const words = name === "estimate" ? `${value} of 10 prefer response a` : WORDS[name]?.[value] ?? value;
    list.append(element("dt", title), element("dd", words, splits[name] ? "split" : ""));
  }
}

function fill(said) {
  for (const name of ["correct", "distinct", "choice"]) {
    const input = document.querySelector(`#form input[name="${name}"][value="${said[name] ?? ""}"]`);
    if (input) input.checked = true;
  }
  at("estimate").value = said.estimate === null ? "" : String(said.estimate);
  at("note").value = said.note;
  act = null;
}

function read() {
  const picked = (name) => document.querySelector(`#form input[name="${name}"]:checked`)?.value || null;
  const estimate = at("estimate").value === "" ? null : Number(at("estimate").value);
  return { correct: picked("correct"), distinct: picked("distinct"), estimate, choice: picked("choice"), note: at("note").value };
}

async function decide() {
  const decision = read();
  if ([decision.correct, decision.distinct, decision.estimate, decision.choice].every((value) => value === null)) {
    at("lacks").textContent = "Settle at least one of the tasks.";
    return;
  }
  at("lacks").textContent = "";
  const body = JSON.stringify([base, decision]);
  if (act?.body !== body) act = { id: newId(), body };
  at("said").textContent = "Saving …";
  const reply = await ask("POST", `/api/items/${key}/decisions`, { id: act.id, base, decision });
  if (isFine(reply)) {
    base = reply.body.revision;
    act = null;
    at("said").textContent = "Saved";
    at("decided").textContent = "decided just now";
    return;
  }
  at("said").textContent = "";
  if (reply.status !== 409) return notice(`Not saved: ${sentence(reply)}`);
  theirs = reply.body.current;
  for (const [id, said] of [["mine", decision], ["theirs", theirs.answer ?? {}]]) {
    at(id).replaceChildren();
    describe(at(id), said);
  }
  at("conflict").showModal();
}

function settle(mine) {
  at("conflict").close();
  base = theirs.revision;
  if (mine) return decide();
  fill(theirs.answer);
  at("decided").textContent = "decided by somebody else just now";
}

function turn(step) {
  const keys = JSON.parse(sessionStorage.getItem("adjudicate") ?? "[]");
  const beside = keys.includes(key) ? keys[keys.indexOf(key) + step] : undefined;
  if (beside) location.assign(`/adjudicate/${beside}`);
  else notice(step > 0 ? "That was the last pair of the list." : "That was the first pair of the list.");
}

function notice(words) {
  at("notice").textContent = words;
  at("notice").hidden = false;
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  decide();
});
at("fill").addEventListener("click", suggest);
at("next").addEventListener("click", () => turn(1));
at("previous").addEventListener("click", () => turn(-1));
at("keep-mine").addEventListener("click", () => settle(true));
at("keep-theirs").addEventListener("click", () => settle(false));
at("conflict").addEventListener("cancel", (event) => event.preventDefault());
const PICKS = { s: ["correct", "single"], m: ["correct", "multiple"], e: ["distinct", "no"], d: ["distinct", "yes"], a: ["choice", "a"], b: ["choice", "b"], "=": ["choice", "tie"] };
document.addEventListener("keydown", (event) => {
  const free = !event.ctrlKey && !event.altKey && !event.metaKey && !event.repeat;
  if (at("conflict").open) {
    if (free && ["1", "2"].includes(event.key)) settle(event.key === "1");
    return;
  }
  if (event.target instanceof HTMLTextAreaElement || event.target instanceof HTMLSelectElement) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!free) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // whatever Caps Lock is at
  const [name, value] = PICKS[key] ?? [];
  const input = name && document.querySelector(`#form input[name="${name}"][value="${value}"]`);
  if (input) input.checked = true;
  else if (/^[0-9t]$/.test(key)) at("estimate").value = key === "t" ? "10" : key;
  else if (key === "f") suggest();
  else if (key === "n") at("note").focus();
  else if (key === "[" || key === "]") turn(key === "]" ? 1 : -1);
  else if (key === "Enter" && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement)) decide();
  else return;
  event.preventDefault();
});
load();
