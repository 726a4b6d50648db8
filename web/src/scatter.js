// One measure against another, a mark for every weight; a box drawn over marks outlines their cells in maps.

import { cell, levels, tabled } from "./data.js";
import { keyOf, parts } from "./cells.js";
import { modelColour } from "./colour.js";
import { choice, el, say, short } from "./dom.js";
import { count, measured, number, titled, within } from "./format.js";
import { INKS, themed } from "./heat.js";
import { CanvasInk, SvgInk, svg } from "./ink.js";
import { Kinds, mark } from "./marks.js";
import { axis, ticks } from "./stretch.js";
import { hideTip, showTip } from "./tip.js";

const HEIGHT = 356, LEFT = 70, FOOT = 44, TOP = 30, RIGHT = 16, NEAR = 14;

export class Scatter {
  constructor(panel, page) {
    Object.assign(this, { panel, page, frame: page.data[panel.data], at: -1, box: null });
    this.controls = el("div", { class: "controls" });
    this.canvas = el("canvas", { tabindex: 0, role: "img" });
    this.told = el("p", { class: "small told" });
    this.ranks = el("p", { class: "small" });
    this.kinds = new Kinds(this.frame);
    this.body = el("div", {}, this.controls, el("div", { class: "sheet" }, this.canvas), this.ranks, this.told);
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", (event) => this.end(event));
    this.canvas.addEventListener("pointerleave", () => hideTip());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => hideTip());
    this.render();
  }

  changed(keys) {
    if (keys.has("hide") || [...keys].some((key) => key.startsWith(`${this.panel.id}.`))) this.render();
  }

  selected(key) {
    return this.page.state.get(`${this.panel.id}.s.${key}`, String(levels(this.frame, key)[0]));
  }

  settings() {
    const chosen = this.panel.select.filter((key) => levels(this.frame, key).length > 1);
    return chosen.length ? `Shown: ${chosen.map((key) => `${key} ${this.selected(key)}`).join("; ")}.` : "";
  }

  points() {
    const { frame, panel } = this;
    const selects = panel.select.filter((key) => frame.columns[key]).map((key) => [key, this.selected(key)]);
    const points = [];
    for (let row = 0; row < frame.rows; row++) {
      const [x, y, model] = [cell(frame, panel.x.column, row), cell(frame, panel.y.column, row), cell(frame, panel.series, row)];
      if (x === null || y === null || !Number.isFinite(x) || !Number.isFinite(y)) continue;
      if (!selects.every(([key, value]) => String(cell(frame, key, row)) === value)) continue;
      points.push({ x, y, row, model, kind: this.kinds.place(row), key: keyOf(frame, row) });
    }
    return points.sort((a, b) => a.x - b.x);
  }

  render() {
    const hidden = this.page.hidden();
    this.every = this.points();
    this.all = this.every.filter((point) => !hidden.has(point.model));
    const choices = this.panel.select.filter((key) => levels(this.frame, key).length > 1);
    this.controls.replaceChildren(...choices.map((key) => choice(key, levels(this.frame, key).map((level) => [String(level), String(level)]), this.selected(key), (value) => this.page.state.set({ [`${this.panel.id}.s.${key}`]: value }))));
    this.width = Math.max(280, Math.min(760, this.page.width()));
    this.canvas.setAttribute("aria-label", `${this.panel.y.label} against ${this.panel.x.label}: ${count(this.all.length, "weight")}. Left and right arrow keys move from mark to mark, Enter opens one.`);
    this.draw();
    this.ranks.textContent = this.ranking();
  }

  // On a line of equals it is the distance from it that counts, not the order.
  ranking() {
    const { axes } = this.scales(this.width);
    const stretched = this.every.length && (axes.x.stretched || axes.y.stretched) ? "Symlog: linear around 0, logarithmic away from it. " : "";
    return stretched + (this.panel.equal ? "" : this.kinds.words(this.all));
  }

  mark() {
    this.draw();
  }

  draw() {
    this.paint(new CanvasInk(this.canvas, this.width, HEIGHT), themed(), this.width);
  }

  scales(width) {
    // Zero is a mark of the axis where the values lie on both sides of it, or near it beside their span.
    const reach = (values) => {
      let [low, high] = [Math.min(...values), Math.max(...values)];
      if (Math.min(Math.abs(low), Math.abs(high)) <= 0.35 * (high - low)) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
      if (!(high > low)) [low, high] = [low - 1, low + 1];
      return [low - 0.04 * (high - low), high + 0.04 * (high - low)];
    };
    // Models that are hidden count, so that a press on one moves no mark.
    const [xs, ys] = [this.every.map((point) => point.x), this.every.map((point) => point.y)];
    // A line of equals is straight where both axes are stretched alike.
    const axes = this.panel.equal ? [axis([...xs, ...ys]), axis([...xs, ...ys])] : [axis(xs), axis(ys)];
    const [x, y] = [reach(xs.map(axes[0].to)), reach(ys.map(axes[1].to))];
    return {
      x: (value) => LEFT + ((width - LEFT - RIGHT) * (axes[0].to(value) - x[0])) / (x[1] - x[0]),
      y: (value) => TOP + (HEIGHT - TOP - FOOT) * (1 - (axes[1].to(value) - y[0]) / (y[1] - y[0])),
      ends: { x, y },
      axes: { x: axes[0], y: axes[1] },
    };
  }

  paint(ink, inks, width) {
    if (!this.every.length) return;
    const { x, y, ends, axes } = this.scales(width);
    for (const tick of ticks(axes.y, ends.y, 5, (HEIGHT - TOP - FOOT) / 20)) {
      ink.line([[LEFT, y(tick)], [width - RIGHT, y(tick)]], tick === 0 ? inks.hatch : inks.missing);
      ink.text(LEFT - 8, y(tick), number(tick, 3), { fill: inks.quiet, anchor: "end" });
    }
    for (const tick of ticks(axes.x, ends.x, width > 500 ? 7 : 4, (width - LEFT - RIGHT) / 56)) {
      ink.line([[x(tick), HEIGHT - FOOT], [x(tick), HEIGHT - FOOT + 4]], inks.hatch);
      ink.text(x(tick), HEIGHT - FOOT + 14, number(tick, 3), { fill: inks.quiet, anchor: "middle" });
    }
    ink.line([[LEFT, HEIGHT - FOOT], [width - RIGHT, HEIGHT - FOOT]], inks.hatch);
    this.kinds.legend(ink, inks, LEFT, 10, width - LEFT - RIGHT);
    const named = ({ column, label }, { stretched }) => titled(label, this.frame.columns[column]?.unit) + (stretched ? ", symlog" : "");
    ink.text((LEFT + width - RIGHT) / 2, HEIGHT - 8, named(this.panel.x, axes.x), { fill: inks.ink, anchor: "middle", size: 12 });
    ink.text(12, (HEIGHT - FOOT) / 2, named(this.panel.y, axes.y), { fill: inks.ink, anchor: "middle", size: 12, turn: -90 });
    if (this.panel.equal) {
      const [from, to] = [Math.max(ends.x[0], ends.y[0]), Math.min(ends.x[1], ends.y[1])];
      if (to > from) ink.line([[x(axes.x.back(from)), y(axes.y.back(from))], [x(axes.x.back(to)), y(axes.y.back(to))]], inks.hatch, 1.25);
    }
    const marks = this.page.marks(this.panel);
    for (const point of this.all) {
      const outlined = marks.has(point.key);
      const shape = this.kinds.shape(point.kind);
      if (outlined) mark(ink, shape, x(point.x), y(point.y), 6, inks.edge);
      mark(ink, shape, x(point.x), y(point.y), outlined ? 4.4 : 3.6, modelColour(this.page.models.indexOf(point.model)));
    }
    const focused = this.all[this.at];
    if (focused) ink.frame(x(focused.x) - 7, y(focused.y) - 7, 14, 14, inks.edge, 2);
    if (this.box) {
      const [a, b] = this.box;
      ink.frame(Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]), inks.edge);
    }
  }

  place(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const scale = this.width / bounds.width;
    return [(event.clientX - bounds.left) * scale, (event.clientY - bounds.top) * scale];
  }

  nearest([left, top]) {
    const { x, y } = this.scales(this.width);
    let [best, at] = [NEAR, -1];
    this.all.forEach((point, i) => {
      const distance = Math.hypot(x(point.x) - left, y(point.y) - top);
      if (distance < best) [best, at] = [distance, i];
    });
    return at;
  }

  begin(event) {
    this.box = [this.place(event), this.place(event)];
    this.canvas.setPointerCapture?.(event.pointerId);
  }

  move(event) {
    if (this.box) {
      this.box[1] = this.place(event);
      return this.draw();
    }
    const at = this.nearest(this.place(event));
    if (at < 0) hideTip();
    else showTip(this.words(at), event.clientX, event.clientY);
    this.canvas.classList.toggle("over", at >= 0);
    return undefined;
  }

  end(event) {
    const box = this.box;
    this.box = null;
    if (!box) return;
    const drawn = Math.hypot(box[0][0] - box[1][0], box[0][1] - box[1][1]) > 6;
    if (drawn) return this.brushed(box);
    const at = this.nearest(this.place(event));
    if (at >= 0) this.page.open(this.all[at].key);
    else this.clear();
    return undefined;
  }

  brushed([a, b]) {
    const { x, y } = this.scales(this.width);
    const inside = (value, one, other) => value >= Math.min(one, other) && value <= Math.max(one, other);
    const chosen = this.all.filter((point) => inside(x(point.x), a[0], b[0]) && inside(y(point.y), a[1], b[1]));
    const sum = chosen.reduce((total, point) => total + point.y, 0);
    this.page.brush(new Set(chosen.map((point) => point.key)));
    this.told.replaceChildren(`${count(chosen.length, "weight")} outlined in all maps; together ${number(sum, 3)}. `, el("button", { type: "button", class: "plain", onclick: () => this.clear() }, "clear"));
    say(this.told.textContent);
  }

  clear() {
    this.told.replaceChildren();
    this.page.brush(null);
  }

  words(at) {
    const { frame, panel } = this;
    const point = this.all[at];
    const error = panel.y.error ? cell(frame, panel.y.error, point.row) : null;
    const unit = frame.columns[panel.y.column]?.unit ?? "";
    const data = panel.select.map((key) => cell(frame, key, point.row)).filter(Boolean);
    return [`${point.key ? parts(point.key).component : "a weight"} of ${short([point.model, ...data].join(" on "), 60)}`, `${panel.x.label}: ${number(point.x)}`, `${panel.y.label}: ${error === null ? measured(point.y, unit) : `${within(point.y, error)}${unit ? ` ${unit}` : ""}`}`];
  }

  key(event) {
    const to = { ArrowRight: this.at + 1, ArrowLeft: Math.max(0, this.at - 1), Home: 0, End: this.all.length - 1 }[event.key];
    if (event.key === "Enter" && this.all[this.at]) return this.page.open(this.all[this.at].key);
    if (to === undefined || !this.all[to]) return undefined;
    event.preventDefault();
    this.at = to;
    this.draw();
    const { x, y } = this.scales(this.width);
    const bounds = this.canvas.getBoundingClientRect();
    showTip(this.words(to), bounds.left + x(this.all[to].x), bounds.top + y(this.all[to].y));
    return say(this.words(to).join(", "));
  }

  caption() {
    return `${this.panel.caption} ${this.ranking()}`.trim();
  }

  svg() {
    const ink = new SvgInk(640, HEIGHT);
    this.paint(ink, INKS, 640);
    return svg(640, HEIGHT, ink.placed(0, 0), this.caption());
  }

  rows() {
    return tabled(this.frame, this.all.map(({ row }) => row));
  }
}
