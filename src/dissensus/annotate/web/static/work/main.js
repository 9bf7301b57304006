// The annotator's page: one pair at a time, nothing lost on the way.
import { Refused, Unreachable, ask } from "./api.js";
import { Clock } from "./clock.js";
import { TaskList } from "./task-list.js";
import { listen } from "./keys.js";
import { openGuide, openSkipping, skipReason } from "./dialogs.js";
import { linkScrolling, toggleLink } from "./scrolling.js";
import { Sender } from "./sender.js";
import { LocalStore } from "./local-store.js";
import { at, describe, fillForm, lacking, notice, readForm, say, sayLacking, showWhatIsLeft, showFeedback, showProgress, showTask } from "./view.js";

const DRAFT_AFTER = 1_500;
const LOOK_AGAIN = 20_000;
const LOOK_AT_THE_END = 5_000;

class Work {
  constructor() {
    const page = at("work").dataset;
    this.name = page.name;
    this.local = new LocalStore(page.project, page.person);
    this.sender = new Sender(this.local, this);
    this.list = new TaskList();
    this.clock = new Clock();
    this.current = null;
    this.done = []; // keys of what was said, in order: what undo goes back through
    this.own = new Set(); // ids of acts that were done in this window
    this.listening = null; // the practice act whose feedback is awaited
  }

  async start() {
    try {
      await this.list.open();
      for (const { act } of this.local.acts()) this.foresee(act);
      await this.list.more(this.queued());
    } catch (problem) {
      if (this.cannotGoOn(problem)) return;
      say("The server cannot be reached; trying again …", "bad");
      setTimeout(() => this.start(), 3_000);
      return;
    }
    this.sender.run();
    this.changed();
    const named = location.hash.slice(1);
    if (named && this.list.entry(named)) await this.go(named, false);
    else await this.goNext();
    this.nextConflict();
    if (this.isNew()) this.welcome();
    setInterval(() => this.lookAgain(), LOOK_AGAIN);
    setInterval(() => at("end").hidden || this.lookAgain(), LOOK_AT_THE_END);
    document.addEventListener("visibilitychange", () => this.lookAgain());
  }

  // Nothing said yet, on the server or here, and the guide not read.
  isNew() {
    return !this.local.hasRead("guide") && !this.local.acts().length && this.list.entries.every((entry) => entry.revision === 0);
  }

  welcome() {
    at("guide-close").textContent = "Start";
    this.guide();
    at("guide").addEventListener("close", () => {
      at("guide-close").textContent = "Close";
      this.local.read("guide");
      this.clock.start(0); // reading the guide is no work on the first pair
    }, { once: true });
  }

  // --- Going from pair to pair -----------------------------------------------------------------------------

  async go(key, remember = true) {
    this.keepDraft();
    clearTimeout(this.drafting);
    this.sendDraft(); // of the pair that is left, where it was edited
    this.dirty = false;
    let task;
    try {
      task = await this.list.task(key);
    } catch (problem) {
      if (!this.cannotGoOn(problem)) notice(problem instanceof Unreachable ? "That pair cannot be fetched without a network." : problem.message);
      return;
    }
    notice("");
    this.current = task;
    const kept = this.latest(task);
    showTask(task);
    fillForm(kept);
    this.clock.start(kept?.seconds ?? 0);
    if (remember && location.hash !== `#${key}`) history.pushState(null, "", `#${key}`);
    this.changed();
  }

  // What the person said last about a pair: a draft of theirs, here or on the server, or the answer.
  latest(task) {
    const here = this.local.draft(task.key);
    if (here && here.base >= task.revision) return here.body;
    if (task.draft && task.draft.base >= task.revision) return task.draft.body;
    return task.answer;
  }

  async goNext() {
    this.moving = true; // what is pressed meanwhile is not about the pair that was left
    try {
      let next = this.list.next(this.current?.number ?? 0);
      if (!next) await this.sender.pause(); // what the server does not know to be done counts as held
      if (!next && (await this.fetchMore())) next = this.list.next(this.current?.number ?? 0);
      if (next) return await this.go(next.key);
      this.current = null;
      this.end();
    } finally {
      this.moving = false;
    }
  }

  end() {
    showWhatIsLeft(this.sender.waiting() > 0, this.list);
  }

  // At the end: once what waited is saved, there may be more.
  async askAtTheEnd() {
    const isOver = this.current || at("end").hidden || this.list.isSettled;
    if (isOver || this.moving || this.sender.waiting() || this.sender.state === "stopped") return;
    await this.goNext();
  }

  async fetchMore() {
    try {
      const found = await this.list.more(this.queued());
      this.changed();
      return found;
    } catch (problem) {
      this.cannotGoOn(problem);
      return false;
    }
  }

  queued() {
    return this.local.acts().map(({ act }) => act.key);
  }

  async lookAgain() {
    if (document.hidden || this.moving || this.sender.state === "stopped") return;
    if (!this.current && at("pair").hidden) await this.goNext(); // which asks for more
    else await this.fetchMore();
  }

  async back() {
    await this.turn(-1);
  }

  async forward() {
    await this.turn(1);
  }

  async turn(step) {
    const entry = this.list.beside(this.current?.key, this.current ? step : 0);
    if (entry) await this.go(entry.key);
    else notice(step < 0 ? "This is your first pair." : "This is the last pair that you have now.");
  }

  // --- Saying something ------------------------------------------------------------------------------------

  pick(name, value) {
    const input = document.querySelector(`#form input[name="${name}"][value="${value}"]`);
    if (!input || this.moving) return Boolean(input);
    input.checked = true;
    this.edited();
    return true;
  }

  step(towardsA) {
    const { left } = readForm();
    this.pick("left", String(left === null ? 5 : Math.min(10, Math.max(0, left + towardsA))));
  }

  note() { at("note").focus(); }

  edited() {
    at("lacks").textContent = "";
    if (!this.current || this.moving) return;
    this.dirty = true;
    this.keepDraft();
    clearTimeout(this.drafting);
    this.drafting = setTimeout(() => this.sendDraft(), DRAFT_AFTER);
  }

  answer() {
    return { ...readForm(), seconds: this.clock.read() };
  }

  keepDraft() {
    if (this.current && this.dirty) this.local.keepDraft(this.current.key, { base: this.current.revision, body: this.answer() });
    if (!this.local.works) notice("This browser keeps nothing (its storage is full or off): answers are only safe once “Saved” is shown.");
  }

  async sendDraft() {
    const task = this.current;
    if (!task || !this.dirty || this.local.acts().some(({ act }) => act.key === task.key)) return;
    const body = this.answer();
    try {
      await ask("PUT", `/api/tasks/${task.key}/draft`, { base: task.revision, body });
    } catch (problem) {
      if (!(problem instanceof Refused)) return; // it is kept here
      if (problem.status === 409 && this.current === task) this.conflict({ key: task.key, body: { kind: "answer", answer: body } }, problem);
      else this.cannotGoOn(problem);
    }
  }

  save() {
    const task = this.current;
    if (!task || this.listening || this.moving) return;
    const names = lacking();
    if (names.length) return sayLacking(names);
    this.act(task, { kind: "answer", answer: this.answer(), reason: "" });
    if (!task.practice) return this.goNext();
    this.listening = task.key;
    say("Looking at your answer …");
  }

  act(task, said) {
    clearTimeout(this.drafting);
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const id = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const act = { key: task.key, body: { id, base: task.revision, ...said } };
    this.own.add(id);
    this.local.add(act);
    this.dirty = false;
    this.local.dropDraft(task.key);
    this.foresee(act);
    if (said.kind !== "withdraw") this.done.push(task.key);
    this.sender.hurry();
    this.changed();
    if (this.list.unanswered().length < this.list.project.prefetch / 2) this.fetchMore();
  }

  // How the pair will stand once an act is saved; what comes after starts from there.
  foresee({ key, body }) {
    const state = { answer: "answered", skip: "skipped", withdraw: "leased" }[body.kind];
    const answer = body.kind === "answer" ? body.answer : body.kind === "withdraw" ? (this.list.tasks.get(key)?.answer ?? null) : null;
    this.list.change(key, { state, revision: body.base + 1, answer, draft: null });
  }

  async undo() {
    const task = this.current;
    const said = task && (task.state === "answered" || task.state === "skipped");
    const key = said ? task.key : this.done.at(-1);
    if (!key) return notice("There is nothing to undo.");
    this.done = this.done.filter((other) => other !== key);
    if (key !== task?.key) await this.go(key);
    if (this.current?.key !== key || !["answered", "skipped"].includes(this.current.state)) return;
    this.act(this.current, { kind: "withdraw", answer: null, reason: "" });
    fillForm(this.current.answer);
    this.dirty = true;
    this.keepDraft();
    notice("Undone. What you had said is still filled in; change it and save again.");
  }

  skip() {
    if (!this.current || this.listening || this.moving) return;
    openSkipping();
  }

  skipped(event) {
    event.preventDefault();
    const reason = skipReason();
    if (!reason) return;
    at("skipping").close();
    this.act(this.current, { kind: "skip", answer: null, reason });
    this.goNext();
  }

  link() { toggleLink(); }

  guide() { openGuide(); }

  help() { at("keys").showModal(); }

  // --- What the sender tells -------------------------------------------------------------------------------

  saved(act, reply) {
    const later = this.local.acts().some((other) => other.act.key === act.key);
    // Windows share what waits. What another one said about the pair on this screen is told when this one saves.
    const ofAnother = act.key === this.current?.key && !this.own.has(act.body.id);
    if (!later && !ofAnother) this.list.change(act.key, { state: reply.state, revision: reply.revision });
    this.justSaved = true;
    if (this.listening === act.key) {
      if (reply.feedback) showFeedback(reply.feedback, act.body.answer);
      else this.heard();
    }
  }

  heard() {
    this.listening = null;
    const wasLast = this.list.practiceLeft() === 0;
    this.goNext().then(() => wasLast && notice("That was the practice. Now come the real pairs."));
  }

  conflict(act, refused) {
    this.local.keepConflict(act.key, act, refused.current);
    if (this.listening === act.key) this.listening = null;
    this.nextConflict();
  }

  nextConflict() {
    const [conflict] = this.local.conflicts();
    if (!conflict || at("conflict").open) return;
    const { key, act, current } = conflict;
    describe(at("mine"), act.body.answer);
    describe(at("theirs"), current.answer);
    this.list.change(key, { state: current.state === "surplus" ? "answered" : current.state, revision: current.revision, answer: current.answer, draft: null });
    at("conflict").dataset.key = key;
    at("conflict").showModal();
  }

  async settle(mine) {
    const key = at("conflict").dataset.key;
    const conflict = this.local.conflicts().find((other) => other.key === key);
    at("conflict").close();
    if (!conflict) return;
    this.dirty = false;
    this.local.dropConflict(key);
    this.local.dropDraft(key);
    const { answer } = conflict.act.body;
    const task = { key, revision: conflict.current.revision };
    if (mine && isComplete(answer, at("task-choice") !== null)) this.act(task, { kind: "answer", answer, reason: "" });
    else if (mine) this.local.keepDraft(key, { base: task.revision, body: answer });
    if (this.current?.key === key) await this.go(key, false);
    this.nextConflict();
  }

  refused(act, problem) {
    if (this.listening === act.key) this.listening = null;
    const now = problem.current;
    const there = now && { state: now.state, revision: now.revision, answer: now.answer, draft: null };
    this.list.change(act.key, there || { state: "released" }); // not as was foreseen
    const kept = now ? "" : " It is kept in this browser; tell the organiser.";
    notice(`What you did was not taken: ${problem.message}.${kept}`);
  }

  signedOut(problem) {
    const n = this.sender.waiting();
    const kept = n ? ` ${n} ${n === 1 ? "answer waits" : "answers wait"} in this browser and will be sent once you are signed in again.` : "";
    notice(`Sorry: ${problem.message}.${kept}`);
  }

  changed() {
    const waits = this.sender.waiting();
    if (this.list.total !== null) showProgress(this.list);
    if (!at("end").hidden) {
      this.end();
      this.askAtTheEnd();
    }
    if (this.sender.state === "waiting" && this.listening) this.heard(); // work goes on without the feedback
    if (this.sender.state === "stopped") say("Signed out", "bad");
    else if (this.sender.state === "waiting") say(`Waiting for the network: ${waits} ${waits === 1 ? "answer" : "answers"} kept in this browser`, "bad");
    else if (waits) say("Saving …");
    else if (this.justSaved) say("Saved", "good");
  }

  // Signed out or revoked: say so; true where nothing more can be asked.
  cannotGoOn(problem) {
    if (!(problem instanceof Refused) || ![401, 403].includes(problem.status)) return false;
    this.sender.state = "stopped";
    this.signedOut(problem);
    this.changed();
    return true;
  }
}

function isComplete(answer, asksChoice) {
  const asked = ["correct", "distinct", "left", ...(asksChoice ? ["choice"] : [])];
  return asked.every((name) => answer[name] !== null && answer[name] !== undefined);
}

const work = new Work();
listen(work);
linkScrolling();
at("form").addEventListener("input", () => work.edited());
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  work.save();
});
for (const name of ["back", "forward", "undo", "skip", "link", "help"]) at(name).addEventListener("click", () => work[name]());
at("end-back").addEventListener("click", () => work.back());
at("open-guide").addEventListener("click", () => work.guide());
at("skip-form").addEventListener("submit", (event) => work.skipped(event));
at("skip-not").addEventListener("click", () => at("skipping").close());
at("feedback-on").addEventListener("click", () => at("feedback").close());
at("feedback").addEventListener("close", () => work.heard());
at("keep-mine").addEventListener("click", () => work.settle(true));
at("keep-theirs").addEventListener("click", () => work.settle(false));
at("conflict").addEventListener("cancel", (event) => event.preventDefault()); // there is something to choose
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
window.addEventListener("popstate", () => location.hash && work.go(location.hash.slice(1), false));
window.addEventListener("pagehide", () => work.keepDraft());
window.addEventListener("beforeunload", (event) => {
  if (work.local.unsaved.size || work.local.open.size || work.local.aside.size || (work.dirty && !work.local.works)) event.preventDefault();
});
work.start();
