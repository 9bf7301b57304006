// The list of pairs, those on which people disagree most first.
import { ask, at, element, isFine, sentence } from "./page.js";

const MOST = 50;
const asksChoice = at("items").dataset.ownChoice === "true";
const asked = new URLSearchParams(location.search);
let start = Math.max(0, Number(asked.get("start")) || 0);
if ([...at("show").options].some((option) => option.value === asked.get("show"))) at("show").value = asked.get("show");
if ([...at("spread").options].some((option) => option.value === asked.get("spread"))) at("spread").value = asked.get("spread");

async function refresh() {
  const query = new URLSearchParams({ show: at("show").value, spread: at("spread").value, start });
  history.replaceState(null, "", `?${query}`);
  const reply = await ask("GET", `/api/items?${query}&most=${MOST}`);
  if (!isFine(reply)) {
    at("count").textContent = sentence(reply);
    return;
  }
  const { items, total } = reply.body;
  sessionStorage.setItem("adjudicate", JSON.stringify(items.map((item) => item.key)));
  at("count").textContent = total === 0 ? "No pairs" : `${start + 1} to ${start + items.length} of ${total} pairs`;
  at("earlier").disabled = start === 0;
  at("later").disabled = start + items.length >= total;
  at("items").replaceChildren(...items.map(row));
}

function row(item) {
  const line = element("tr");
  const first = element("td");
  const link = element("a", item.start);
  link.href = `/adjudicate/${item.key}`;
  link.dir = "auto";
  first.append(link);
  line.append(first, element("td", item.answers, "number"), split(item.split_correct), split(item.split_distinct));
  line.append(element("td", item.spread === null ? "–" : item.spread.toFixed(1), "number"));
  if (asksChoice) line.append(split(item.split_choice));
  line.append(element("td", item.notes || "–", "number"), element("td", item.skips || "–", "number"), element("td", item.decided ? "✓ decided" : "–"));
  return line;
}

const split = (differs) => element("td", differs ? "differ" : "–", differs ? "bad" : "");

for (const name of ["show", "spread"])
  at(name).addEventListener("change", () => {
    start = 0;
    refresh();
  });
at("earlier").addEventListener("click", () => {
  start = Math.max(0, start - MOST);
  refresh();
});
at("later").addEventListener("click", () => {
  start += MOST;
  refresh();
});
refresh();
