// Two long answers scroll together, each by its own share of its length.
import { at } from "./view.js";

export function linkScrolling() {
  const [left, right] = [at("left"), at("right")];
  let leads = null; // the one that the reader moves; the other's own event would answer back
  const follow = (one, other) => () => {
    if (at("link").getAttribute("aria-pressed") !== "true" || (leads && leads !== one)) return;
    leads = one;
    const room = one.scrollHeight - one.clientHeight;
    if (room > 0) other.scrollTop = (one.scrollTop / room) * (other.scrollHeight - other.clientHeight);
    clearTimeout(one.rest);
    one.rest = setTimeout(() => (leads = null), 120);
  };
  left.addEventListener("scroll", follow(left, right), { passive: true });
  right.addEventListener("scroll", follow(right, left), { passive: true });
}

export function toggleLink() {
  const pressed = at("link").getAttribute("aria-pressed") === "true";
  at("link").setAttribute("aria-pressed", String(!pressed));
}
