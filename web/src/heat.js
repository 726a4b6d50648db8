// One heatmap: cells on a canvas, margins, a cell that the pointer or the arrow keys move.

import { css, index, table, token } from "./colour.js";
import { el, say, short } from "./dom.js";
import { measured, number } from "./format.js";
import { CanvasInk, fitted, SvgInk, textWidth } from "./ink.js";
import { outside, triangle } from "./legend.js";
import { bars, margins } from "./margins.js";
import { hideTip, showTip } from "./tip.js";

const TOP = 30, LEFT_PAD = 8, BAR = 34, FOOT = 18, LINE = 15;

// What to draw on both papers: SVG is kept on white whatever the scheme.
const INKS = { ink: "#2b2b2b", quiet: "#6b6b66", paper: "#ffffff", missing: "#f0f0ec", hatch: "#b0b0a8", edge: "#2b2b2b" };
const themed = () => Object.fromEntries(Object.keys(INKS).map((key) => [key, token(key)]));

// `map`: {title, xs, ys, values (null: no such cell), limits, palette, label, unit?, whose?, colour?, margin, ends, key(i), words(i)}
export class Heat {
  constructor(map, size, events) {
    Object.assign(this, { map, size, events });
    this.focus = -1;
    this.marks = new Set();
    this.canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": this.described() });
    this.canvas.addEventListener("mousemove", (event) => this.point(event));
    this.canvas.addEventListener("mouseleave", () => { hideTip(); this.focused(-1); });
    this.canvas.addEventListener("click", (event) => this.open(this.at(event)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => { hideTip(); this.focused(-1); });
    this.draw();
  }

  described() {
    const { title, values, xs, ys, label } = this.map;
    let [top, at] = [0, -1];
    values.forEach((value, i) => { if (value !== null && (at < 0 || Math.abs(value) > Math.abs(top))) [top, at] = [value, i]; });
    const where = at < 0 ? "no value" : `largest ${number(top)} at ${this.map.words(at)}`;
    return `${short(title, 80)}: heatmap of ${label}, ${xs.length} by ${ys.length}; ${where}. Arrow keys move from cell to cell, Enter opens one.`;
  }

  update(map) {
    this.map = map;
    this.canvas.setAttribute("aria-label", this.described());
    this.draw();
  }

  mark(keys) {
    this.marks = keys;
    this.draw();
  }

  draw() {
    const [width, height] = this.outer();
    this.paint(new CanvasInk(this.canvas, width, height), themed());
  }

  svg() {
    const [width, height] = this.outer();
    const ink = new SvgInk(width, height);
    this.paint(ink, INKS);
    return { ink, width, height };
  }

  // Where column i begins; with edges, columns are as wide as what they stand for.
  left(i) {
    const { cellWidth, gutter } = this.size;
    return gutter + (this.map.edges ? this.map.edges[i] * this.inner() : i * cellWidth);
  }

  inner() {
    const { cellWidth } = this.size;
    return this.map.edges ? Math.max(320, Math.min(900, this.map.xs.length * cellWidth)) : this.map.xs.length * cellWidth;
  }

  outer() {
    const { cellHeight, gutter } = this.size;
    const right = this.map.margin ? BAR + 8 : 10;
    return [Math.max(gutter + this.inner() + right, this.size.least ?? 0), this.top() + this.map.ys.length * cellHeight + (this.size.foot ?? FOOT)];
  }

  top() {
    return (this.map.margin ? TOP + BAR - 10 : TOP - 4) + (this.size.twoLines ? LINE : 0);
  }

  paint(ink, inks) {
    const { map } = this;
    const { cellWidth: w, cellHeight: h, gutter } = this.size;
    const [nx, ny, top] = [map.xs.length, map.ys.length, this.top()];
    const rgb = table(map.palette);
    this.paintTitle(ink, inks);
    const colour = (i) => {
      const value = map.values[i];
      if (value === null || Number.isNaN(value)) return null;
      const at = 3 * index(value, map.limits);
      return [rgb[at], rgb[at + 1], rgb[at + 2]];
    };
    if (map.edges) for (let i = 0; i < nx; i++) ink.cells(this.left(i), top, this.left(i + 1) - this.left(i), ny * h, 1, ny, (j) => colour(j * nx + i));
    else ink.cells(gutter, top, nx * w, ny * h, nx, ny, colour);
    this.paintGaps(ink, inks, top);
    this.paintBeyond(ink, inks, top);
    this.paintLabels(ink, inks, top);
    if (map.margin) this.paintMargins(ink, inks, top);
    this.paintOutlines(ink, inks, top);
  }

  paintTitle(ink, inks) {
    const { map, size: { gutter, twoLines } } = this;
    const lines = twoLines ? [map.titles[0], map.titles.slice(1).join(" · ")] : [map.title];
    const left = gutter + (map.colour ? 15 : 0);
    if (map.colour) ink.rect(gutter, 7, 9, 9, map.colour);
    lines.forEach((line, k) => ink.text(left, 12 + LINE * k, fitted(short(line, 90), this.outer()[0] - left - 1), { fill: inks.ink, size: 12, bold: k === 0 }));
  }

  // Cells without a weight stay empty; a NaN is hatched, so that it never looks like a small value.
  paintGaps(ink, inks, top) {
    const { map, size: { cellWidth: w, cellHeight: h, gutter } } = this;
    const nx = map.xs.length;
    for (let i = 0; i < map.values.length; i++) {
      if (map.values[i] !== null && !Number.isNaN(map.values[i])) continue;
      const [x, y] = [this.left(i % nx), top + Math.floor(i / nx) * h];
      if (map.values[i] === null) {
        if (w * h > 60) ink.rect(x + w / 2 - 1, y + h / 2 - 1, 2, 2, inks.missing);
        continue;
      }
      ink.rect(x, y, w, h, inks.missing);
      for (let d = 3; d < w + h; d += 4) ink.line([[x + Math.max(0, d - h), y + Math.min(h, d)], [x + Math.min(w, d), y + Math.max(0, d - w)]], inks.hatch);
    }
    if (w >= 7 && h >= 7 && !map.edges) {
      for (let i = 1; i < nx; i++) ink.rect(gutter + i * w - 0.5, top, 1, map.ys.length * h, inks.paper);
      for (let j = 1; j < map.ys.length; j++) ink.rect(gutter, top + j * h - 0.5, nx * w, 1, inks.paper);
    }
  }

  // Values that the colours do not reach have a triangle that points to where they lie.
  paintBeyond(ink, inks, top) {
    const { map, size: { cellHeight: h } } = this;
    const nx = map.xs.length;
    map.values.forEach((value, i) => {
      if (!outside(value, map.limits)) return;
      const [x, w] = [this.left(i % nx), this.left((i % nx) + 1) - this.left(i % nx)];
      const [half, at] = [Math.max(1, Math.min(w, h, 14) / 4), top + (Math.floor(i / nx) + 0.5) * h];
      triangle(ink, x + w / 2, at, half, value > 0, this.contrast(value, inks));
    });
  }

  paintLabels(ink, inks, top) {
    const { map, size: { cellWidth: w, cellHeight: h, gutter } } = this;
    const every = step(map.ys.length, 12 / h);
    map.ys.forEach((name, j) => {
      if (j % every === 0) ink.text(gutter - LEFT_PAD, top + (j + 0.5) * h, short(name, 22), { fill: inks.quiet, anchor: "end" });
    });
    const corner = { fill: inks.ink, anchor: "end" };
    if (map.yName) ink.text(gutter - LEFT_PAD, top - 8, map.yName, corner);
    if (map.xName) ink.text(gutter - LEFT_PAD, top + map.ys.length * h + 10, map.xName, corner);
    if (map.edges) return this.paintAxis(ink, inks, top);
    if (this.size.foot) return this.paintTurned(ink, inks, top);
    const skip = step(map.xs.length, (map.xs.reduce((most, x) => Math.max(most, textWidth(short(x, 14))), 0) + 6) / w);
    map.xs.forEach((name, i) => {
      if (i % skip === 0) ink.text(gutter + (i + 0.5) * w, top + map.ys.length * h + 10, short(name, 14), { fill: inks.quiet, anchor: "middle" });
    });
  }

  // Names below columns that are narrower than they.
  paintTurned(ink, inks, top) {
    const { map, size: { cellWidth: w, cellHeight: h, gutter } } = this;
    const y = top + map.ys.length * h + 8;
    map.xs.forEach((name, i) => ink.text(gutter + (i + 0.5) * w, y, short(name, 22), { fill: inks.quiet, anchor: "end", turn: -45 }));
  }

  // A measured axis: its ends and three of the columns between them, each where it lies.
  paintAxis(ink, inks, top) {
    const { map, size: { cellHeight: h, gutter } } = this;
    const [first, last] = map.span;
    const y = top + map.ys.length * h + 10;
    const text = { fill: inks.quiet };
    const at = (k) => first + ((last - first) * k) / 4;
    const nearest = (x) => map.xs.reduce((best, other) => (Math.abs(other - x) < Math.abs(best - x) ? other : best));
    const marks = new Set([first, ...[1, 2, 3].map((k) => nearest(at(k))), last].map(Number));
    for (const x of marks) {
      const anchor = x === last ? "end" : x === first ? "start" : "middle";
      ink.text(gutter + (this.inner() * (x - first)) / (last - first || 1), y, x.toLocaleString("en-US"), { ...text, anchor });
    }
  }

  paintMargins(ink, inks, top) {
    const { map, size: { cellWidth: w, cellHeight: h, gutter } } = this;
    const { columns, rows } = margins(map);
    bars(columns, map.ends.columns, BAR - 14, (i, from, size) => ink.rect(gutter + i * w + 0.5, top - 4 - from - size, Math.max(1, w - 1), Math.max(0.75, size), inks.hatch));
    bars(rows, map.ends.rows, BAR, (j, from, size) => ink.rect(gutter + map.xs.length * w + 5 + from, top + j * h + 1, Math.max(0.75, size), Math.max(1, h - 2), inks.hatch));
  }

  paintOutlines(ink, inks, top) {
    const { map, size: { cellHeight: h } } = this;
    const nx = map.xs.length;
    // On a dark cell an outline is white, whatever the paper; it lies inside, so that its neighbours hide none of it.
    const around = (i, thick) => {
      const inset = thick / 2 + 0.5;
      const width = this.left((i % nx) + 1) - this.left(i % nx);
      ink.frame(this.left(i % nx) + inset, top + Math.floor(i / nx) * h + inset, Math.max(1, width - 2 * inset), Math.max(1, h - 2 * inset), this.contrast(map.values[i], inks), thick);
    };
    if (this.marks.size) map.values.forEach((_, i) => { if (this.marked(i)) around(i, 1.75); });
    if (this.focus >= 0) around(this.focus, 2.5);
  }

  marked(i) {
    const { map } = this;
    return this.marks.has(map.key(i)) || (map.place !== undefined && this.marks.has(map.place(i)));
  }

  // Black or white, whichever is told from the colour of a value.
  contrast(value, inks) {
    if (value === null || Number.isNaN(value)) return inks.edge;
    const rgb = table(this.map.palette);
    const k = 3 * index(value, this.map.limits);
    return 0.3 * rgb[k] + 0.59 * rgb[k + 1] + 0.11 * rgb[k + 2] > 140 ? "#000" : "#fff";
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.outer()[0] / box.width;
    const x = (event.clientX - box.left) * scale;
    const i = this.map.edges ? this.map.edges.findLastIndex((_, k) => this.left(k) <= x) : Math.floor((x - this.size.gutter) / this.size.cellWidth);
    const j = Math.floor(((event.clientY - box.top) * scale - this.top()) / this.size.cellHeight);
    const inside = i >= 0 && j >= 0 && i < this.map.xs.length && j < this.map.ys.length;
    return inside ? j * this.map.xs.length + i : -1;
  }

  point(event) {
    const i = this.at(event);
    if (i < 0 || this.map.values[i] === null) hideTip();
    else showTip(this.told(i), event.clientX, event.clientY);
    this.canvas.classList.toggle("over", i >= 0 && this.map.key(i) !== null);
    this.focused(i >= 0 && this.map.values[i] !== null ? i : -1);
  }

  focused(i) {
    if (i === this.focus) return;
    this.focus = i;
    this.draw();
  }

  key(event) {
    const [nx, n] = [this.map.xs.length, this.map.values.length];
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: nx, ArrowUp: -nx }[event.key];
    if (event.key === "Enter" || event.key === " ") this.open(this.focus);
    else if (event.key === "Escape") return hideTip();
    else if (event.key === "Home") this.move(0);
    else if (event.key === "End") this.move(n - 1);
    else if (step) this.move(this.focus < 0 ? 0 : this.next(step));
    else return;
    event.preventDefault();
  }

  next(step) {
    const nx = this.map.xs.length;
    const to = this.focus + step;
    const wraps = Math.abs(step) === 1 && Math.floor(to / nx) !== Math.floor(this.focus / nx);
    return wraps || to < 0 || to >= this.map.values.length ? this.focus : to;
  }

  move(i) {
    this.focused(i);
    const told = this.told(i);
    say(told.join(", "));
    const box = this.canvas.getBoundingClientRect();
    const { cellHeight } = this.size;
    const nx = this.map.xs.length;
    showTip(told, box.left + this.left((i % nx) + 1), box.top + this.top() + Math.floor(i / nx) * cellHeight);
  }

  told(i) {
    const { map } = this;
    const place = map.whose ? `${map.words(i)} of ${short(map.whose, 60)}` : map.words(i);
    const value = map.values[i];
    if (value === null) return [place, "no such weight"];
    const said = Number.isNaN(value) ? "not a number" : measured(value, map.unit);
    return [place, `${map.label}: ${said}`, ...map.standing(i)];
  }

  open(i) {
    const key = i >= 0 ? this.map.key(i) : null;
    if (key !== null) this.events.open?.(key, i);
  }
}

const step = (count, least) => [1, 2, 5, 10, 20, 25, 50, 100, 200, 500].find((every) => every >= least) ?? count;

export { INKS, themed, css };
