// The guide, and why a pair is skipped.
import { at, wellFormed } from "./view.js";

export function openGuide() {
  at("guide").showModal();
  at("guide").scrollTop = 0; // the text has the focus, so that it scrolls by keys; its title stands above
}

export function openSkipping() {
  for (const input of document.querySelectorAll("#skip-form input")) input.checked = false;
  at("reason-words").value = "";
  at("skip-lacks").textContent = "";
  at("skipping").showModal();
  document.querySelector("#skip-form input").focus();
}

// The reason that was chosen or written; "" where there is none yet, which is said.
export function skipReason() {
  const reason = document.querySelector("#skip-form input:checked")?.value;
  const words = wellFormed(at("reason-words").value.trim());
  at("skip-lacks").textContent = reason || words ? "" : "Choose a reason, or write one.";
  return [reason, words].filter(Boolean).join(": ");
}
