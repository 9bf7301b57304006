// The keyboard. Letters mean something only where nobody is typing, and never with Ctrl, Alt or Meta.

const PICKS = { s: ["correct", "single"], m: ["correct", "multiple"], e: ["distinct", "no"], d: ["distinct", "yes"],
  a: ["choice", "left"], b: ["choice", "right"], "=": ["choice", "tie"], t: ["left", "10"] };
const ACTS = { n: "note", u: "undo", k: "skip", l: "link", g: "guide", "?": "help", "[": "back", Backspace: "back", "]": "forward" };

export function listen(work) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const at = event.target;
    const dialog = document.querySelector("dialog[open]");
    if (dialog) return inDialog(event, dialog);
    if (document.getElementById("pair").hidden) return atTheEnd(event, work);
    if (at instanceof HTMLTextAreaElement) return inNote(event, at, work);
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter") return onEnter(event, at, work);
    if (!act(event, at, work)) return;
    event.preventDefault();
  });
}

function atTheEnd(event, work) {
  const name = ACTS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (event.ctrlKey || event.altKey || event.metaKey || !["back", "undo", "guide", "help"].includes(name)) return;
  event.preventDefault();
  if (!event.repeat) work[name]();
}

function act(event, at, work) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const elsewhere = at instanceof HTMLInputElement && at.name !== "left"; // arrows move within a focused group
    if (elsewhere || at.closest?.(".text")) return false;
    work.step(key === "ArrowLeft" ? 1 : -1);
    return true;
  }
  const pick = /^[0-9]$/.test(key) ? ["left", key] : PICKS[key];
  if (pick) return work.pick(...pick);
  if (!ACTS[key] || event.repeat) return Boolean(ACTS[key]);
  work[ACTS[key]]();
  return true;
}

function onEnter(event, at, work) {
  if (at instanceof HTMLButtonElement || at instanceof HTMLAnchorElement) return; // it presses what has the focus
  event.preventDefault();
  if (!event.repeat) work.save();
}

function inNote(event, at, work) {
  if (event.key === "Escape") at.blur();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) {
    event.preventDefault();
    at.blur();
    work.save();
  }
}

// A digit presses the button or chooses the reason that shows it.
function inDialog(event, dialog) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target instanceof HTMLTextAreaElement) return;
  if (event.key === "Enter" && event.repeat) return event.preventDefault();
  if (event.key === "Enter" && event.target instanceof HTMLInputElement) {
    event.preventDefault();
    dialog.querySelector("form").requestSubmit();
    return;
  }
  const close = dialog.querySelector("[data-close]");
  if (event.key === "Enter" && close && !(event.target instanceof HTMLAnchorElement)) {
    event.preventDefault();
    close.click();
    return;
  }
  const shown = [...dialog.querySelectorAll("label kbd, button kbd")].find((kbd) => /^[0-9]$/.test(event.key) && kbd.textContent === event.key);
  if (!shown) return;
  event.preventDefault();
  shown.closest("label, button").click();
}
