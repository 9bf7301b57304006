// One pair: what people said, side by side, and the decision.
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

async function load() {
  const reply = await ask("GET", `/api/items/${key}`);
  if (!isFine(reply)) return notice(sentence(reply));
  const item = reply.body;
  const spoken = item.prompt.length > 1;
  showTurns(at("prompt"), item.prompt, spoken);
  for (const name of ["response_a", "response_b"]) showTurns(at(name), item[name], spoken || item[name].length > 1);
  suggestion = item.suggestion;
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
  at("estimate").value = said.estimate === null || said.estimate === undefined ? "" : String(Math.round(said.estimate));
  if (said.note !== undefined) at("note").value = said.note;
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
  if (mine) decide();
  else fill(theirs.answer);
}

function next() {
  const keys = JSON.parse(sessionStorage.getItem("adjudicate") ?? "[]");
  const following = keys[keys.indexOf(key) + 1];
  if (following) location.assign(`/adjudicate/${following}`);
  else notice("That was the last pair of the list.");
}

function notice(words) {
  at("notice").textContent = words;
  at("notice").hidden = false;
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  decide();
});
at("fill").addEventListener("click", () => suggestion && fill(suggestion));
at("next").addEventListener("click", next);
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
  const [name, value] = PICKS[event.key.toLowerCase()] ?? [];
  const input = name && document.querySelector(`#form input[name="${name}"][value="${value}"]`);
  if (input) input.checked = true;
  else if (/^[0-9t]$/i.test(event.key)) at("estimate").value = event.key.toLowerCase() === "t" ? "10" : event.key;
  else if (event.key === "f") suggestion && fill(suggestion);
  else if (event.key === "n") at("note").focus();
  else if (event.key === "]") next();
  else if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement)) decide();
  else return;
  event.preventDefault();
});
load();
