// From one loss to another: a bar per data set, the gain beside it.

import { cell, tabled } from "./data.js";
import { modelColour } from "./colour.js";
import { el, short } from "./dom.js";
import { number } from "./format.js";
import { INKS, themed } from "./heat.js";
import { CanvasInk, SvgInk, svg, textWidth } from "./ink.js";

const ROW = 46, WIDTH = 760;

export class Gain {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data] });
    this.canvas = el("canvas", { role: "img" });
    this.body = el("div", { class: "sheet" }, this.canvas);
    this.render();
  }

  changed(keys) {
    if (keys.has("hide")) this.render();
  }

  lines() {
    const { frame, panel } = this;
    const hidden = this.page.hidden();
    const rows = Array.from({ length: frame.rows }, (_, row) => row).filter((row) => !hidden.has(cell(frame, "model_id", row)));
    return rows.map((row) => ({
      label: panel.label.map((key) => cell(frame, key, row)).filter((text) => text !== null).join(" on "),
      model: cell(frame, "model_id", row), before: cell(frame, panel.before, row), after: cell(frame, panel.after, row),
      error: panel.error ? cell(frame, panel.error, row) : null,
    }));
  }

  render() {
    const lines = this.lines();
    const told = lines.map((line) => `${line.label}: from ${number(line.before)} to ${number(line.after)}, gain ${number(line.before - line.after, 3)}`);
    this.canvas.setAttribute("aria-label", `Loss before and after, ${this.panel.unit}. ${told.join("; ")}`);
    const width = Math.max(300, Math.min(WIDTH, this.page.width()));
    this.paint(new CanvasInk(this.canvas, width, this.height(lines)), themed(), lines, width);
  }

  height(lines) {
    return Math.max(1, lines.length) * ROW + 30;
  }

  paint(ink, inks, lines, width) {
    const values = lines.flatMap((line) => [line.before, line.after]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const pad = (high - low || 1) * 0.15;
    const left = Math.min(200, Math.max(60, ...lines.map((line) => textWidth(short(line.label, 28), 12)))) + 20;
    const room = width - left - 150;
    const at = (value) => left + (room * (value - low + pad)) / (high - low + 2 * pad);
    lines.forEach((line, i) => {
      const y = i * ROW + 22;
      const colour = modelColour(this.page.models.indexOf(line.model));
      ink.text(left - 16, y, short(line.label, 28), { fill: inks.ink, size: 12, anchor: "end" });
      const [from, to] = [at(line.before), at(line.after)];
      ink.rect(Math.min(from, to), y - 3, Math.max(1, Math.abs(to - from)), 6, colour);
      if (line.error !== null) {
        const half = Math.abs(at(line.after + line.error) - to);
        ink.line([[to - half, y], [to + half, y]], inks.ink, 1.5);
        for (const end of [-half, half]) ink.line([[to + end, y - 4], [to + end, y + 4]], inks.ink, 1.5);
      }
      ink.dot(from, y, 5, inks.hatch);
      ink.dot(to, y, 5.5, colour);
      ink.text(from, y + 15, number(line.before, 4), { fill: inks.quiet, anchor: "middle" });
      ink.text(to, y - 14, number(line.after, 4), { fill: inks.ink, anchor: "middle", bold: true });
      const gain = line.before - line.after;
      const error = line.error === null ? "" : ` ± ${number(line.error, 2)}`;
      ink.text(width - 138, y, `${gain < 0 ? "worse by" : "gain"} ${number(Math.abs(gain), 3)}${error}`, { fill: inks.ink, size: 12 });
    });
    const y = lines.length * ROW + 8;
    const words = `loss [${this.panel.unit}]: base in grey, tuned in colour`;
    ink.text(Math.max(0, Math.min(left, width - textWidth(words, 11) - 8)), y + 8, words, { fill: inks.quiet });
  }

  locate(keys, models) {
    return !keys.size && this.lines().some((line) => models.includes(line.model)) ? this.canvas : null;
  }

  caption() {
    return this.panel.caption;
  }

  svg() {
    const lines = this.lines();
    const ink = new SvgInk(WIDTH, this.height(lines));
    this.paint(ink, INKS, lines, WIDTH);
    return svg(WIDTH, this.height(lines), ink.placed(0, 0), this.caption());
  }

  rows() {
    return tabled(this.frame);
  }
}
