"use strict";
// The page's own script: scatter plots that open pairs, tables as files, a button that copies.
// Texts from data reach the page by textContent and setAttribute alone, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const TICKS = [[0, "0"], [0.25, "¼"], [0.5, "½"], [0.75, "¾"], [1, "1"]];
const PLOT = { width: 330, height: 310, left: 40, right: 8, top: 10, bottom: 42 };
const NEAR = 22;

function make(name, attributes = {}, ...children) {
  const isDrawn = /^(svg|g|path|circle|line|rect|use|text)$/.test(name);
  const element = isDrawn ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function number(value, signed = false) {
  const digits = Math.abs(value).toFixed(3).replace(/^0/, "");
  return (value < -0.0005 ? "−" : signed ? "+" : "") + digits;
}

// --- tables as files ---------------------------------------------------------------------------------------------

const csvCell = (value) => {
  const text = String(value ?? "");
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
};

// A spreadsheet would run a text that begins like a formula. It is escaped with a quote, and a last column names the
// escaped cells of each row, so that they can be read back; numbers are numbers and stay as they are.
function escapeCells(rows) {
  const isRun = (value) => typeof value === "string" && /^[=+\-@\t\r]/.test(value);
  if (!rows.some((row) => row.some(isRun))) return rows;
  const [header, ...rest] = rows;
  const names = (row) => row.flatMap((value, k) => (isRun(value) ? [header[k]] : []));
  const listed = (found) => (found.some((name) => name.includes(" ")) ? JSON.stringify(found) : found.join(" "));
  const escaped = (row) => row.map((value) => (isRun(value) ? "'" + value : value));
  return [[...escaped(header), "escaped_cells"], ...rest.map((row) => [...escaped(row), listed(names(row))])];
}

function tableRows(table) {
  const cells = (cell) => (cell.dataset.csv === undefined ? [cell.textContent.trim()] : JSON.parse(cell.dataset.csv));
  return [...table.rows].filter((row) => row.dataset.csv !== "skip").map((row) => [...row.cells].flatMap(cells));
}

function save(name, rows) {
  const text = escapeCells(rows).map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
  const address = URL.createObjectURL(new Blob(["\ufeff" + text], { type: "text/csv" }));
  make("a", { href: address, download: name.replace(/[^\w.-]+/g, "-") + ".csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function startDownloads() {
  for (const button of document.querySelectorAll("button.csv")) {
    button.hidden = false;
    button.addEventListener("click", () => save(button.dataset.name, tableRows(button.closest(".tabled").querySelector("table"))));
  }
}

function startCopying() {
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector(".copied");
      getSelection().selectAllChildren(text);
      // A page opened from disk may not be allowed to use the clipboard; then the selection is copied.
      const done = await navigator.clipboard?.writeText(text.textContent).then(() => true, () => false);
      button.textContent = done || document.execCommand("copy") ? "Copied" : "Selected";
    });
  }
}

// --- scatter plots -----------------------------------------------------------------------------------------------

const across = (value) => PLOT.left + 8 + value * (PLOT.width - PLOT.left - PLOT.right - 16);
const upward = (value) => PLOT.height - PLOT.bottom - value * (PLOT.height - PLOT.top - PLOT.bottom);

// The same pair is spread alike in each plot and on each visit.
const jitter = (place) => (((place * 0.618034) % 1) - 0.5) * 0.05;

class Scatter {
  constructor(explorer, model) {
    this.explorer = explorer;
    this.model = model;
    this.marks = [];
    const name = explorer.models[model];
    const label = `${name}: predicted against human preference; arrow keys move between pairs, Enter opens one`;
    this.svg = make("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "group", "aria-label": label, class: `scatter s${model % 8}` });
    this.drawAxes();
    this.hover = this.svg.appendChild(make("circle", { r: 8, class: "hover", visibility: "hidden" }));
    explorer.pairs.forEach((pair, place) => this.drawMark(pair, place));
    this.ring = this.svg.appendChild(make("circle", { r: 8, class: "ring", visibility: "hidden" }));
    this.figure = make("figure", {}, make("figcaption", { dir: "auto" }, name), this.svg);
    this.svg.addEventListener("click", (event) => this.atPointer(event, (place) => explorer.open(place, this.marks[place])));
    this.svg.addEventListener("pointermove", (event) => this.atPointer(event, (place) => explorer.point(place), true));
    this.svg.addEventListener("pointerleave", () => explorer.point(null));
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
    // Chromium makes a drawing that listens to focus a stop of the Tab key itself.
    this.figure.addEventListener("focusin", (event) => this.onFocus(event));
  }

  drawAxes() {
    const [left, right, bottom, top] = [across(-0.03), across(1.03), upward(0), upward(1)];
    const words = (text, attributes) => this.svg.append(make("text", { "aria-hidden": "true", ...attributes }, text));
    for (const [value, text] of TICKS) {
      this.svg.append(make("path", { class: "gridline", d: `M${left} ${upward(value)}H${right}M${across(value)} ${bottom}V${top}` }));
      words(text, { x: across(value), y: bottom + 16, "text-anchor": "middle" });
      words(text, { x: left - 6, y: upward(value) + 4, "text-anchor": "end" });
    }
    this.svg.append(make("path", { class: "agree", d: `M${across(0)} ${bottom}L${across(1)} ${top}` }));
    words("people that prefer response a", { x: (left + right) / 2, y: PLOT.height - 6, "text-anchor": "middle" });
    words("predicted", { x: 11, y: (top + bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 11 ${(top + bottom) / 2})` });
  }

  drawMark(pair, place) {
    const [x, y] = [across(pair.human) + jitter(place) * 250 * this.explorer.spread, upward(pair.predicted[this.model])];
    const label = `people ${number(pair.human)}, predicted ${number(pair.predicted[this.model])}: ${pair.texts[0][0].slice(0, 80)}`;
    const mark = make("path", { d: this.explorer.shape(this.model), transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, class: "mark", role: "button", tabindex: "-1", "aria-label": label });
    Object.assign(mark, { place, at: [x, y] });
    this.marks.push(this.svg.appendChild(mark));
  }

  show(isShown) {
    for (const mark of this.marks) mark.style.display = isShown(this.explorer.pairs[mark.place]) ? "" : "none";
    const shown = this.shown();
    for (const mark of this.marks) mark.setAttribute("tabindex", mark === shown[0] ? "0" : "-1");
  }

  shown() {
    return this.marks.filter((mark) => mark.style.display !== "none");
  }

  atPointer(event, act, always = false) {
    const box = this.svg.getBoundingClientRect();
    const scale = PLOT.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const far = (mark) => Math.hypot(mark.at[0] - x, mark.at[1] - y);
    const nearest = this.shown().reduce((best, mark) => (best === null || far(mark) < far(best) ? mark : best), null);
    // A screen reader's click on a mark has no place of its own.
    const chosen = event.detail === 0 && event.target.place !== undefined ? event.target : nearest;
    if (chosen && (chosen === event.target || far(chosen) <= NEAR)) act(chosen.place);
    else if (always) act(null);
  }

  onKey(event) {
    const mark = event.target;
    if (mark.place === undefined) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.explorer.open(mark.place, mark, true);
      return;
    }
    const axis = { ArrowLeft: 0, ArrowRight: 0, ArrowUp: 1, ArrowDown: 1, Home: 0, End: 0 }[event.key];
    if (axis === undefined) return;
    event.preventDefault();
    // Upwards on the screen is a smaller y.
    const order = this.shown().sort((p, q) => (axis ? q.at[1] - p.at[1] : p.at[0] - q.at[0]) || p.place - q.place);
    const now = order.indexOf(mark);
    const next = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, Home: 0, End: order.length - 1 }[event.key];
    order[Math.min(Math.max(next, 0), order.length - 1)].focus();
  }

  onFocus(event) {
    for (const mark of this.marks) mark.setAttribute("tabindex", mark === event.target ? "0" : "-1");
    this.explorer.point(event.target.place);
  }

  mark(circle, place) {
    const mark = place === null ? undefined : this.marks[place];
    const visible = mark !== undefined && mark.style.display !== "none";
    circle.setAttribute("visibility", visible ? "visible" : "hidden");
    if (visible) circle.setAttribute("transform", `translate(${mark.at[0]} ${mark.at[1]})`);
  }
}

// --- one run's pairs ---------------------------------------------------------------------------------------------

class Explorer {
  constructor(section) {
    Object.assign(this, JSON.parse(section.querySelector("script.data").textContent));
    this.section = section;
    this.panel = section.querySelector(".pair");
    this.spread = new Set(this.pairs.map((pair) => pair.human)).size <= 25 ? 1 : 0;
    this.scatters = this.models.map((_, model) => new Scatter(this, model));
    section.querySelector(".without-script").hidden = true;
    section.querySelector(".scatters").append(...this.scatters.map((scatter) => scatter.figure));
    this.startChoices();
    for (const button of section.querySelectorAll("button.open")) {
      button.addEventListener("click", () => this.open(Number(button.dataset.place), button, true));
    }
    this.panel.addEventListener("keydown", (event) => event.key === "Escape" && this.goBack());
    if (this.pairs.length) this.open(0, null);
  }

  shape(model) {
    return document.getElementById(`mark-${model % 8}`).getAttribute("d");
  }

  startChoices() {
    const form = this.section.querySelector(".choices");
    const [byModel, bySet] = [form.querySelector(".by-model"), form.querySelector(".by-set")];
    const sets = [...new Set(this.pairs.map((pair) => pair.dataset))].sort();
    form.querySelector(".sets").hidden = sets.length < 2;
    bySet.append(...sets.map((name, k) => make("option", { value: k }, name || "none")));
    const apply = () => {
      this.model = byModel.value === "" ? null : Number(byModel.value);
      this.isShown = (pair) => bySet.value === "" || pair.dataset === sets[Number(bySet.value)];
      for (const scatter of this.scatters) {
        scatter.figure.hidden = this.model !== null && this.model !== scatter.model;
        scatter.show(this.isShown);
        scatter.mark(scatter.ring, this.place ?? null);
      }
      this.section.querySelector(".scatters").classList.toggle("one", this.model !== null || this.models.length === 1);
    };
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.querySelector(".all-pairs").addEventListener("click", () => save("pairs", this.rows()));
    form.hidden = false;
    apply();
  }

  // What is chosen above: the pairs of a data set, the predictions of a model.
  rows() {
    const pairs = this.pairs.filter(this.isShown);
    const models = this.models.map((_, model) => model).filter((model) => this.model === null || model === this.model);
    const judges = [...new Set(pairs.flatMap((p) => p.judges.map((one) => one.name)))];
    const margin = (one) => (one?.margin ? one.margin[0] : "");
    const header = ["id", "dataset", "votes a", "votes b", "votes tie", "people for a", ...models.map((m) => `predicted: ${this.models[m]}`),
      ...(judges.length === 1 ? ["judge margin"] : judges.map((name) => `judge margin: ${name}`)), "prompt", "response a", "response b"];
    const line = (p) => [p.id, p.dataset, ...p.votes, p.human, ...models.map((m) => p.predicted[m]),
      ...judges.map((name) => margin(p.judges.find((one) => one.name === name))), ...p.texts.map(([text]) => text)];
    return [header, ...pairs.map(line)];
  }

  point(place) {
    for (const scatter of this.scatters) scatter.mark(scatter.hover, place);
  }

  open(place, origin, moves = false) {
    this.place = place;
    this.origin = origin;
    for (const scatter of this.scatters) {
      scatter.mark(scatter.ring, place);
      scatter.marks.forEach((mark) => mark.setAttribute("aria-pressed", mark.place === place));
    }
    this.panel.replaceChildren(...describe(this, this.pairs[place], place));
    this.panel.hidden = false;
    watchOverflow(this.panel);
    if (moves) this.panel.focus({ preventScroll: true });
    const top = this.panel.getBoundingClientRect().top;
    if (origin !== null && (top < 0 || top > innerHeight - 160)) this.panel.scrollIntoView();
  }

  goBack() {
    this.origin?.focus();
  }
}

// --- the chosen pair ---------------------------------------------------------------------------------------------

function describe(explorer, pair, place) {
  const tags = pair.tags.map((tag) => make("span", { class: "tag", dir: "auto" }, tag));
  const back = make("button", { type: "button", class: "back" }, "Back to where you were");
  back.addEventListener("click", () => explorer.goBack());
  back.hidden = explorer.origin === null;
  const [prompt, a, b] = pair.texts;
  return [
    make("div", { class: "head" }, make("h3", {}, `Pair ${place + 1} of ${explorer.pairs.length}`), make("code", { dir: "auto" }, pair.id), ...tags, back),
    make("div", { class: "said" }, people(pair), models(explorer, pair)),
    judges(pair),
    passage("Prompt", prompt),
    make("div", { class: "responses" }, passage("Response a", a), passage("Response b", b)),
  ].filter((part) => part !== null);
}

function people(pair) {
  const total = pair.votes.reduce((sum, n) => sum + n, 0);
  const names = ["a", "b", "tie"];
  const sides = [`${pair.votes[0]} for a`, ...(pair.votes[2] ? [`${pair.votes[2]} a tie`] : []), `${pair.votes[1]} for b`];
  const bar = make("svg", { class: "votes", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  let start = 0;
  for (const k of [0, 2, 1]) {
    const width = (100 * pair.votes[k]) / total;
    if (width) bar.append(make("rect", { class: `vote-${names[k]}`, x: start, y: 0, width: Math.max(0, width - 0.6), height: 6 }));
    start += width;
  }
  return make("div", {},
    make("p", {}, make("b", {}, `People: ${number(pair.human)}`), ` prefer a (${total} vote${total === 1 ? "" : "s"})`),
    bar,
    make("p", { class: "sides" }, ...sides.map((side) => make("span", {}, side))),
    pair.label ? make("p", { class: "quiet" }, `Label: ${pair.label}`) : null,
    pair.margin ? make("p", { class: "quiet" }, `Margin in training: ${marginWords(pair.margin)}`) : null);
}

function models(explorer, pair) {
  const heads = ["Model", "Predicted", "Reward a", "Reward b"].map((text) => make("th", { scope: "col" }, text));
  const lines = explorer.models.map((name, model) => {
    const written = (reward) => reward === null ? "—" : reward.toFixed(2).replace("-", "−");
    const seeds = (column) => pair.rewards[model].map((row) => written(row[column])).join(" · ") || "—";
    const mark = make("svg", { class: `mark s${model % 8}`, viewBox: "-6 -6 12 12", "aria-hidden": "true" }, make("path", { d: explorer.shape(model) }));
    return make("tr", {},
      make("th", { scope: "row" }, mark, make("bdi", {}, name)),
      make("td", {}, `${number(pair.predicted[model])} `, make("span", { class: "quiet" }, `(${number(pair.predicted[model] - pair.human, true)})`)),
      make("td", {}, seeds(1)), make("td", {}, seeds(2)));
  });
  const alone = explorer.models.filter((_, model) => pair.rewards[model].some((row) => row[1] === null));
  const note = alone.length ? make("p", { class: "quiet" }, `Without rewards, as its predictions are preferences alone: ${alone.join(", ")}`) : null;
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines));
  return make("div", { class: "scroll", role: "group", "aria-label": "Rewards by each model; several seeds stand side by side" }, table, note);
}

function judges(pair) {
  if (!pair.judges.length) return make("p", { class: "judges quiet" }, "Judges: not judged");
  return make("div", { class: "judges" }, make("h4", {}, "Judges"), ...pair.judges.map(judge));
}

function marginWords([margin, valid, none]) {
  const rest = none ? `, ${none} invalid` : "";
  return number(margin) + (valid ? ` (${valid} valid judgment${valid === 1 ? "" : "s"}${rest})` : "");
}

function judge(verdicts) {
  const shown = Object.entries(verdicts.orders).map(([order, [a, b, tie, invalid]]) =>
    `${order === "ab" ? "a" : "b"} shown first: ${a} for a, ${b} for b` + (tie ? `, ${tie} a tie` : "") + (invalid ? `, ${invalid} invalid` : ""));
  if (verdicts.probability !== null) shown.push(`probability of a ${number(verdicts.probability)}`);
  shown.push(verdicts.margin ? `margin ${marginWords(verdicts.margin)}` : verdicts.probability === null ? "no margin: no judgment is a vote" : "");
  const reply = verdicts.reply ? make("q", { dir: "auto" }, verdicts.reply + more(verdicts.left)) : null;
  return make("p", {}, make("b", {}, make("bdi", {}, verdicts.name)), ` ${shown.filter((words) => words).join("; ")} `, reply);
}

const more = (left) => (left ? ` … ${left.toLocaleString("en")} more characters` : "");

function passage(title, [text, left]) {
  const body = make("div", { class: "text", dir: "auto", role: "group", "aria-label": title }, text);
  if (left) body.append(make("span", { class: "left-out", dir: "ltr" }, more(left)));
  return make("div", {}, make("h4", {}, title), body);
}

// Only what scrolls needs a stop of its own on the way of the Tab key, and a hint where it does so sideways.
function watchOverflow(root) {
  for (const box of root.querySelectorAll(".scroll, .text, pre")) {
    box.classList.toggle("wide", box.matches(".scroll") && box.scrollWidth > box.clientWidth + 1);
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (scrolls) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
}

// The section that stands at the top of the window is marked in its list of contents.
function followContents() {
  for (const list of document.querySelectorAll("nav.contents")) {
    const links = [...list.querySelectorAll("a")];
    const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
    const mark = () => {
      const passed = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3).length;
      links.forEach((link, k) => (k === passed - 1 ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  }
}

startDownloads();
startCopying();
document.querySelectorAll(".explore").forEach((section) => new Explorer(section));
watchOverflow(document);
followContents();
addEventListener("resize", () => watchOverflow(document));
document.addEventListener("toggle", () => watchOverflow(document), true);
