// Active time: while the page is in view and something was done in the last minute.
const IDLE = 60_000;

export class Clock {
  constructor() {
    this.seconds = 0;
    this.last = null;
    for (const sign of ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "touchstart"])
      document.addEventListener(sign, () => this.tick(), { passive: true, capture: true });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.tick()));
  }

  start(seconds) {
    this.seconds = seconds;
    this.last = performance.now();
  }

  tick() {
    const now = performance.now();
    if (this.last !== null) this.seconds += Math.min(now - this.last, IDLE) / 1000;
    this.last = now;
  }

  pause() {
    if (this.last !== null) this.tick();
    this.last = null;
  }

  read() {
    if (!document.hidden) this.tick();
    return Math.min(86_400, Math.round(this.seconds * 10) / 10);
  }
}
