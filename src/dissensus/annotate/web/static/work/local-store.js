// What this browser keeps, for one person of one project: acts that wait to be saved, and drafts.
// Each has an entry of its own, so that two windows never overwrite each other's.

const kept = storage();

// The browser's storage, or one that forgets everything: some browsers refuse it altogether.
function storage() {
  try {
    Object.keys(localStorage);
    return localStorage;
  } catch {
    const refuse = () => {
      throw new Error("this browser keeps nothing");
    };
    return Object.create({ getItem: () => null, removeItem: () => {}, setItem: refuse });
  }
}

export class LocalStore {
  constructor(project, person) {
    this.root = `dissensus/${project}/${person}`;
    this.unsaved = new Map(); // what could not be kept here
    this.open = new Map(); // conflicts of which the same is true
    this.aside = new Map(); // and acts that were refused
    this.works = true;
  }

  // Acts, in the order in which they were done.
  acts() {
    const names = Object.keys(kept).filter((name) => name.startsWith(`${this.root}/outbox/`));
    const found = names.map((name) => ({ name, act: read(name) })).filter(({ act }) => act !== null);
    const rest = [...this.unsaved].map(([name, act]) => ({ name, act }));
    return [...found, ...rest].sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  add(act) {
    const latest = this.acts().at(-1)?.name.split("/").at(-1).split("-")[0] ?? "0";
    const place = Math.max(Date.now(), Number(latest) + 1); // in order even where the clock is set back
    const name = `${this.root}/outbox/${String(place).padStart(15, "0")}-${act.body.id}`;
    if (!this.put(name, act)) this.unsaved.set(name, act);
  }

  done(name) {
    kept.removeItem(name);
    this.unsaved.delete(name);
  }

  // Acts that the server will never take; kept, for they are somebody's work.
  setAside(name, act, why) {
    if (!this.put(name.replace("/outbox/", "/refused/"), { ...act, why })) this.aside.set(name, act);
    this.done(name);
  }

  // Answers that met another one on the server, until the person has chosen.
  conflicts() {
    const names = Object.keys(kept).filter((name) => name.startsWith(`${this.root}/conflict/`));
    return [...names.map((name) => read(name)).filter((conflict) => conflict !== null), ...this.open.values()];
  }

  keepConflict(key, act, current) {
    if (!this.put(`${this.root}/conflict/${key}`, { key, act, current })) this.open.set(key, { key, act, current });
  }

  dropConflict(key) {
    kept.removeItem(`${this.root}/conflict/${key}`);
    this.open.delete(key);
  }

  draft(key) {
    return read(`${this.root}/draft/${key}`);
  }

  keepDraft(key, draft) {
    return this.put(`${this.root}/draft/${key}`, draft);
  }

  dropDraft(key) {
    kept.removeItem(`${this.root}/draft/${key}`);
  }

  // What the person has read once.
  hasRead(text) {
    return read(`${this.root}/read/${text}`) === true;
  }

  read(text) {
    this.put(`${this.root}/read/${text}`, true);
  }

  put(name, value) {
    try {
      kept.setItem(name, JSON.stringify(value));
      this.works = true;
    } catch {
      this.works = false;
    }
    return this.works;
  }
}

function read(name) {
  try {
    return JSON.parse(kept.getItem(name));
  } catch {
    return null;
  }
}
