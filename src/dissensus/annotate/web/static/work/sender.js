// Sends what waits, in order, each act until it is acknowledged, under the id that it was given when it was done.
import { Refused, Unreachable, ask } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8_000;

export class Sender {
  // on: { saved(act, reply), conflict(act, refused), refused(act, refused), signedOut(refused), changed() }
  constructor(local, on) {
    this.local = local;
    this.on = on;
    this.state = "idle"; // idle, sending, waiting (for the network or the server), stopped (signed out)
    this.wait = FIRST_WAIT;
    window.addEventListener("online", () => this.hurry());
    window.addEventListener("storage", () => this.on.changed());
  }

  waiting() {
    return this.local.acts().length;
  }

  // Until what waits is sent, or cannot be now; not for long, for the person waits too.
  async pause(longest = 3_000) {
    const end = performance.now() + longest;
    while (this.waiting() && ["idle", "sending"].includes(this.state) && performance.now() < end)
      await new Promise((go) => setTimeout(go, 20));
  }

  hurry() {
    this.wait = FIRST_WAIT;
    clearTimeout(this.timer);
    this.run();
  }

  async run() {
    if (this.running || this.state === "stopped") return;
    this.running = true;
    try {
      // One window at a time. Where there are no locks (plain http), the ids keep what is sent twice from counting twice.
      if (navigator.locks) await navigator.locks.request(`${this.local.root}/outbox`, () => this.empty());
      else await this.empty();
    } finally {
      this.running = false;
      this.on.changed();
    }
    // What was done after the last look, or was sent by another window's act, is not left lying.
    if (this.state === "idle" && this.waiting()) this.run();
  }

  async empty() {
    for (let next = this.local.acts()[0]; next; next = this.local.acts()[0]) {
      this.set("sending");
      try {
        const reply = await ask("POST", `/api/tasks/${next.act.key}/revisions`, next.act.body);
        this.local.done(next.name);
        this.wait = FIRST_WAIT;
        this.on.saved(next.act, reply);
      } catch (problem) {
        if (!(await this.settle(next, problem))) return;
      }
    }
    this.set("idle");
  }

  // Decide what a problem means; true where the next act can go.
  async settle({ name, act }, problem) {
    if (problem instanceof Unreachable || problem.status >= 500 || problem.status === 429) {
      this.set("waiting");
      this.timer = setTimeout(() => this.run(), Math.max(this.wait, (problem.wait ?? 0) * 1000));
      this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
      return false;
    }
    if (!(problem instanceof Refused)) throw problem;
    if (problem.status === 401 || problem.status === 403) {
      this.set("stopped");
      this.on.signedOut(problem);
      return false;
    }
    if (problem.status === 404 && (await this.isSomebodyElse())) {
      this.set("stopped");
      this.on.signedOut(new Error("somebody else is signed in with this browser now"));
      return false;
    }
    if (problem.status === 409) {
      // Later acts about the same pair started from what never was; the newest of them is what the person means.
      const later = this.local.acts().filter((other) => other.act.key === act.key);
      const latest = later.map((other) => other.act).findLast((other) => other.body.kind === "answer");
      for (const other of later) this.local.done(other.name);
      if (latest) this.on.conflict(latest, problem);
      else this.on.refused(act, problem);
      return true;
    }
    this.local.setAside(name, act, problem.message);
    this.on.refused(act, problem);
    return true;
  }

  // Tasks of one person are unknown to another: what waits is kept for whom it belongs to.
  async isSomebodyElse() {
    const who = await ask("GET", "/api/session").catch(() => null);
    return who === null || who.name !== this.on.name;
  }

  set(state) {
    this.state = state;
    this.on.changed();
  }
}
