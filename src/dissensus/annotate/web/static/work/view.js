// What is on the screen.
import { at, element, showTurns } from "../page.js";

const WORDS = {
  correct: { single: "one correct answer", multiple: "several correct answers" },
  distinct: { yes: "clearly different", no: "essentially the same" },
  choice: { left: "answer A", right: "answer B", tie: "neither" },
};
export { at };

export function showTask(task) {
  at("pair").hidden = false;
  at("end").hidden = true;
  for (const part of ["prompt", "left", "right"]) {
    const spoken = task[part].length > 1 || (part !== "prompt" && task.prompt.length > 1);
    showTurns(at(part), task[part], spoken);
    at(part).scrollTop = 0;
  }
  at("practice-tag").hidden = !task.practice;
  window.scrollTo({ top: 0, behavior: "instant" }); // on a phone the next pair begins a long way up
}

export function readForm() {
  const picked = (name) => document.querySelector(`#form input[name="${name}"]:checked`)?.value ?? null;
  const left = picked("left");
  return { correct: picked("correct"), distinct: picked("distinct"), left: left === null ? null : Number(left),
    choice: picked("choice"), note: wellFormed(at("note").value) };
}

// A text that was cut within a character, as pasting into a full field does, would be refused.
export function wellFormed(text) {
  return text.toWellFormed?.() ?? text;
}

export function fillForm(answer) {
  for (const input of document.querySelectorAll("#form input[type=radio]")) {
    const value = answer?.[input.name];
    input.checked = value !== null && value !== undefined && String(value) === input.value;
  }
  at("note").value = answer?.note ?? "";
  at("lacks").textContent = "";
}

// The names of the questions that have no answer yet.
export function lacking() {
  const asked = [...document.querySelectorAll("#form fieldset")];
  return asked.filter((fieldset) => !fieldset.querySelector(":checked")).map((fieldset) => fieldset.id.replace("task-", ""));
}

export function sayLacking(names) {
  const titles = names.map((name) => at(`task-${name}`).querySelector(".task").textContent.split(":")[0].toLowerCase());
  at("lacks").textContent = `Not answered yet: ${titles.join(", ")}.`;
  at(`task-${names[0]}`).querySelector("input").focus();
}

export function showProgress(list) {
  const done = list.done(false).length;
  const left = Math.max(0, list.total - done);
  at("bar").max = Math.max(1, done + left);
  at("bar").value = done;
  at("bar").setAttribute("aria-valuetext", `${done} of ${done + left}`);
  const parts = [`${done} of ${done + left} pairs done`];
  if (list.practiceLeft() > 0) parts.unshift(`Practice: ${list.practiceLeft()} to go`);
  if (list.pace !== null && left > 0) parts.push(`about ${duration(left * list.pace)} left`);
  at("progress").textContent = parts.join(" · ");
}

function duration(seconds) {
  const minutes = Math.max(1, Math.round(seconds / 60));
  return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 30) / 2} h`;
}

export function say(words, kind = "") {
  at("saved").textContent = words;
  at("saved").className = kind;
}

export function notice(words) {
  at("notice").textContent = words;
  at("notice").hidden = !words;
}

// At the end of what is held. Nobody is thanked before the server, asked while nothing was held or on its way, said
// that nothing is left.
export function showWhatIsLeft(isSending, list) {
  if (isSending) showEnd("All that this browser holds is answered", "Your answers wait here for the network. Leave this page open.");
  else if (!list.isSettled || list.next()) showEnd("One moment", "This page asks whether there are more pairs for you.");
  else if (list.waiting > 0) {
    const n = list.waiting;
    showEnd("Nothing to do just now", `Other people still have ${n} ${n === 1 ? "pair" : "pairs"}. This page asks every few seconds and shows you any that becomes free; you may also close it and look again later.`);
  } else if (list.practiceLeft() > 0) showEnd("One moment", "More pairs are on their way.");
  else showEnd("All done", "There is nothing left for you to answer. Thank you!");
}

function showEnd(title, words) {
  at("pair").hidden = true;
  at("end").hidden = false;
  at("end-title").textContent = title;
  at("end-words").textContent = words;
}

export function describe(list, answer) {
  const rows = answer === null ? [["Answer", "none: skipped or undone"]] : [
    ["Task 1", WORDS.correct[answer.correct] ?? "–"],
    ["Task 2", WORDS.distinct[answer.distinct] ?? "–"],
    ["Task 3", answer.left === null || answer.left === undefined ? "–" : `${answer.left}A-${10 - answer.left}B`],
    ...(answer.choice ? [["Own preference", WORDS.choice[answer.choice]]] : []),
    ...(answer.note ? [["Note", answer.note]] : []),
  ];
  list.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

export function showFeedback(feedback, answer) {
  const lines = [
    [feedback.correct.right, `Task 1: you said ${WORDS.correct[answer.correct]}; expected: ${WORDS.correct[feedback.correct.expected]}`],
    [feedback.distinct.right, `Task 2: you said ${WORDS.distinct[answer.distinct]}; expected: ${WORDS.distinct[feedback.distinct.expected]}`],
    [feedback.left.right, `Task 3: you said ${answer.left} of 10 prefer A; expected: ${span(feedback.left)}`],
  ];
  at("feedback-title").textContent = lines.every(([right]) => right) ? "Practice: as expected" : "Practice: not quite as expected";
  at("feedback-list").replaceChildren(...lines.map(([right, words]) => {
    return element("li", `${right ? "✓" : "✗"} ${words}.`, right ? "good" : "bad");
  }));
  at("feedback-because").innerHTML = feedback.because; // made by markdown.py on the server
  at("feedback").showModal();
  at("feedback-on").focus();
}

function span({ least, most }) {
  return least === most ? `${least}` : `${least} to ${most}`;
}
