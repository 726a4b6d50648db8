// A range input and a play button that move maps along steps.

import { cell } from "./data.js";
import { calm, el, say } from "./dom.js";

export class Slider {
  constructor(maps) {
    this.maps = maps;
    this.key = maps.panel.over;
    this.steps = [...new Set(Array.from({ length: maps.frame.rows }, (_, row) => cell(maps.frame, this.key, row)))].filter((step) => step !== null).sort((a, b) => a - b);
    this.own = rowsOf(maps.frame, this.key);
    this.input = el("input", { type: "range", min: 0, max: this.steps.length - 1, step: 1, "aria-label": "optimizer step", oninput: () => this.moved() });
    this.input.value = this.place(maps.page.state.get(`${maps.panel.id}.step`, ""));
    this.text = el("output", {});
    this.button = el("button", { type: "button", class: "play", "aria-pressed": "false", onclick: () => this.play() }, "Play");
    this.body = el("div", { class: "slider" }, this.button, this.input, this.text);
    this.told();
  }

  place(step) {
    const at = this.steps.indexOf(Number(step));
    return step === "" || at < 0 ? this.steps.length - 1 : at;
  }

  get value() {
    return this.steps[this.input.value];
  }

  // A run whose steps are others shows its last one that has been reached.
  rows() {
    return [...this.own.values()].flatMap((steps) => {
      const own = [...steps.keys()];
      const reached = own.filter((step) => step <= this.value);
      return steps.get(reached.length ? reached.at(-1) : own[0]);
    });
  }

  moved() {
    this.told();
    this.maps.step();
    clearTimeout(this.waiting);
    // The address follows when the hand rests: browsers allow only so many changes of it.
    this.waiting = setTimeout(() => this.maps.page.state.quietly({ [`${this.maps.panel.id}.step`]: String(this.value) }), 250);
  }

  told() {
    const text = `step ${this.value.toLocaleString("en-US")}`;
    this.text.textContent = `${text} · ${Number(this.input.value) + 1} of ${this.steps.length}`;
    this.input.setAttribute("aria-valuetext", text);
  }

  play() {
    const on = this.button.getAttribute("aria-pressed") === "true";
    this.button.setAttribute("aria-pressed", String(!on));
    this.button.textContent = on ? "Play" : "Pause";
    if (on) return;
    if (Number(this.input.value) === this.steps.length - 1) this.input.value = 0;
    const pause = calm() ? 1000 : Math.max(60, Math.min(400, 8000 / this.steps.length));
    let before = 0;
    const frame = (now) => {
      if (this.button.getAttribute("aria-pressed") !== "true") return;
      if (now - before >= pause) {
        before = now;
        if (Number(this.input.value) === this.steps.length - 1) {
          say(this.text.textContent);
          return this.play();
        }
        this.input.value = Number(this.input.value) + 1;
        this.moved();
      }
      requestAnimationFrame(frame);
    };
    this.moved();
    requestAnimationFrame(frame);
  }
}

// Model → step → rows, steps in order.
function rowsOf(frame, key) {
  const found = new Map();
  for (let row = 0; row < frame.rows; row++) {
    const [model, step] = [cell(frame, "model_id", row), cell(frame, key, row)];
    if (!found.has(model)) found.set(model, new Map());
    const steps = found.get(model);
    if (!steps.has(step)) steps.set(step, []);
    steps.get(step).push(row);
  }
  return new Map([...found].map(([model, steps]) => [model, new Map([...steps].sort((a, b) => a[0] - b[0]))]));
}
