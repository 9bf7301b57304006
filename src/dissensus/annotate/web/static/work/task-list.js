// The tasks that this browser holds, and the list of all that the person was ever given.
import { ask } from "./api.js";

export class TaskList {
  constructor() {
    this.entries = []; // {key, number, state, practice, revision}, by number
    this.tasks = new Map(); // key → task with its texts
    this.total = null; // of real pairs: done, held, and still to be given
    this.practice = null; // of practice pairs
    this.pace = null; // seconds per pair
    this.project = null;
    this.waiting = 0;
    this.isSettled = false; // whether the server was asked while nothing was held and nothing was on its way
  }

  async open() {
    const own = await ask("GET", "/api/tasks");
    this.entries = own.tasks;
    this.project = own.project;
  }

  // Ask for more, and keep what is held and what waits to be saved; false where there was nothing new.
  async more(queued) {
    const open = this.unanswered().map((entry) => entry.key);
    const have = [...new Set([...queued, ...open])].slice(0, 200);
    const want = Math.max(0, Math.min(50, this.project.prefetch - open.length));
    const given = await ask("POST", "/api/tasks", { have, want });
    this.isSettled = have.length === 0;
    for (const key of given.gone) if (!queued.includes(key)) this.change(key, { state: "released" });
    for (const task of given.tasks) this.take(task);
    const { answered, skipped, left, practice_left, seconds_per_item } = given.progress;
    this.total = answered + skipped + left;
    this.practice = practice_left + this.done(true).filter((entry) => !queued.includes(entry.key)).length;
    this.pace = seconds_per_item;
    this.waiting = given.waiting;
    return given.tasks.length > 0;
  }

  take(task) {
    this.tasks.set(task.key, task);
    const entry = { key: task.key, number: task.number, state: task.state, practice: task.practice, revision: task.revision };
    const place = this.entries.findIndex((other) => other.key === task.key);
    if (place >= 0) this.entries[place] = entry;
    else this.entries.push(entry);
    this.entries.sort((one, other) => one.number - other.number);
  }

  async task(key) {
    if (!this.tasks.has(key)) this.take(await ask("GET", `/api/tasks/${key}`));
    return this.tasks.get(key);
  }

  entry(key) {
    return this.entries.find((entry) => entry.key === key);
  }

  change(key, values) {
    this.isSettled = false;
    Object.assign(this.entry(key) ?? {}, values);
    Object.assign(this.tasks.get(key) ?? {}, values);
  }

  // Held and not answered, in order.
  unanswered() {
    return this.entries.filter((entry) => entry.state === "leased" && this.tasks.has(entry.key));
  }

  // Answered or skipped, saved or on the way there.
  done(practice) {
    return this.entries.filter((entry) => entry.practice === practice && ["answered", "skipped"].includes(entry.state));
  }

  practiceLeft() {
    return Math.max(0, this.practice - this.done(true).length);
  }

  // The next to answer: practice first, then the one after `number`, then the first.
  next(number = 0) {
    const open = this.unanswered();
    return open.find((entry) => entry.practice) ?? open.find((entry) => entry.number > number) ?? open[0] ?? null;
  }

  beside(key, step) {
    const shown = this.entries.filter((entry) => entry.state !== "released");
    const place = shown.findIndex((entry) => entry.key === key);
    return shown[place < 0 ? shown.length - 1 : place + step] ?? null;
  }
}
