// Live progress: read again every few seconds while the page is in view.
import { ago, ask, at, element, isFine, sentence } from "./page.js";

const EVERY = 4_000;
const QUESTIONS = { correct: "Task 1: one or several correct", distinct: "Task 2: distinguishable", estimate: "Task 3: of ten, how many", choice: "Own preference" };
const MEASURES = { raw: "raw", alpha: "α", kappa: "κ", ac1: "AC1", spread: "spread" };

let asking = false; // one at a time: an older reply never comes after a newer one

async function refresh() {
  if (document.hidden || asking) return;
  asking = true;
  const reply = await ask("GET", "/api/overview");
  asking = false;
  if (!isFine(reply)) {
    at("at").textContent = sentence(reply);
    at("at").className = "bad";
    return;
  }
  const overview = reply.body;
  at("at").className = "soft";
  at("at").textContent = `As of ${new Date(overview.at).toLocaleTimeString()}`;
  showTotals(overview);
  showPairs(overview);
  showPeople(overview);
  showAgreement(overview.agreement);
}

function showTotals({ totals, annotators }) {
  const figures = [
    [`${totals.answered} of ${totals.wanted}`, "answers"],
    [`${totals.complete} of ${totals.pairs}`, `pairs with all ${annotators}`],
    [totals.leased, "held by somebody now"],
    [totals.skipped, "skipped"],
    [totals.seconds_left === null ? "–" : hours(totals.seconds_left), "of work left, for one person"],
  ];
  if (totals.surplus) figures.splice(3, 0, [totals.surplus, "beyond what is wanted"]);
  at("figures").replaceChildren(...figures.map(([value, words]) => {
    const figure = element("div", "", "figure");
    figure.append(element("b", value), element("span", words));
    return figure;
  }));
}

const hours = (seconds) => (seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

function showPairs({ pairs, annotators }) {
  at("pairs").replaceChildren(...pairs.map((pair) => {
    const cell = element("i");
    cell.dataset.share = pair.answered === 0 ? 0 : pair.answered >= annotators ? 3 : pair.answered * 2 > annotators ? 2 : 1;
    if (pair.skipped) cell.dataset.skipped = pair.skipped;
    cell.title = `Pair ${pair.number}: ${pair.answered} of ${annotators}${pair.leased ? `, ${pair.leased} held` : ""}${pair.skipped ? `, ${pair.skipped} skipped` : ""}`;
    return cell;
  }));
  at("legend").textContent = `One square is one pair, in the order of the file; full: ${annotators} answers; ringed: somebody skipped it.`;
}

function showPeople({ people, patterns, totals, at: now }) {
  const of = new Map(patterns.map((pattern) => [pattern.person_id, pattern]));
  const shown = people.filter((person) => person.role === "annotator");
  at("people").replaceChildren(...shown.map((person) => row(person, of.get(person.id), totals.pairs, now)));
  if (!shown.length) at("people").append(nobody());
  const notes = patterns.flatMap((pattern) => pattern.notes.map((words) => `${people.find((person) => person.id === pattern.person_id).name} ${words}`));
  at("notes").replaceChildren(...notes.map((words) => element("li", words)));
}

function nobody() {
  const line = element("tr");
  const cell = element("td");
  cell.colSpan = 9;
  const link = element("a", "Invite somebody");
  link.href = "/people";
  cell.append("There are no annotators yet. ", link);
  line.append(cell);
  return line;
}

function row(person, pattern, pairs, now) {
  const line = element("tr", "", person.revoked ? "revoked" : "");
  const answered = element("td", "", "number");
  const bar = element("span", "", "bar");
  const fill = element("i");
  fill.style.width = `${pairs ? (100 * person.answered) / pairs : 0}%`;
  bar.append(fill);
  answered.append(`${person.answered}`, bar);
  const seconds = person.seconds ? `${person.seconds[1].toFixed(0)} (${person.seconds[0].toFixed(0)}–${person.seconds[2].toFixed(0)})` : "–";
  const practice = person.practice_right === null ? "–" : `${Math.round(100 * person.practice_right)} % of ${3 * person.practice_done}`;
  const left = pattern?.leans ? `${percent(pattern.left_share ?? pattern.left / pattern.leans)} [${percent(pattern.left_low)}, ${percent(pattern.left_high)}]` : "–";
  line.append(element("td", person.name), answered);
  for (const value of [person.last_hour, person.skipped, person.leased, seconds, practice, left]) line.append(element("td", value, "number"));
  line.append(element("td", person.revoked ? "revoked" : ago(person.seen_at, now)));
  return line;
}

const percent = (share) => `${Math.round(100 * share)} %`;

function showAgreement(rows) {
  at("agreement").replaceChildren(...rows.map((found, n) => {
    const line = element("tr");
    line.append(element("td", rows[n - 1]?.question === found.question ? "" : QUESTIONS[found.question]), element("td", MEASURES[found.name]));
    line.append(element("td", number(found.value), "number"));
    line.append(element("td", found.low === null ? (found.value === null ? "–" : "too few pairs") : `[${number(found.low)}, ${number(found.high)}]`, "number"));
    const drawn = element("td");
    if (found.value !== null) drawn.append(draw(found));
    line.append(drawn, element("td", found.pairs, "number"), element("td", found.people, "number"));
    return line;
  }));
}

const number = (value) => (value === null ? "–" : value.toFixed(2));

// A dot with its interval: from -1 to 1, the spread from 0 to 5.
function draw({ name, value, low, high }) {
  const [least, most] = name === "spread" ? [0, 5] : [-1, 1];
  const place = (x) => 4 + (152 * (Math.min(most, Math.max(least, x)) - least)) / (most - least);
  const svg = shape("svg", { class: "interval", viewBox: "0 0 160 18", "aria-hidden": "true" });
  svg.append(shape("line", { class: "axis", x1: 4, x2: 156, y1: 9, y2: 9 }));
  if (least < 0) svg.append(shape("line", { class: "zero", x1: place(0), x2: place(0), y1: 1, y2: 17 }));
  if (low !== null) svg.append(shape("line", { class: "range", x1: place(low), x2: place(high), y1: 9, y2: 9 }));
  svg.append(shape("circle", { cx: place(value), cy: 9, r: 4 }));
  return svg;
}

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

refresh();
setInterval(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
