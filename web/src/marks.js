// Marks of a scatter plot: a shape for every kind of weight, and the words for how kinds rank.

import { levels, cell } from "./data.js";
import { kindPlace, names } from "./grid.js";
import { textWidth } from "./ink.js";
import { spearman } from "./rank.js";

// Of more kinds the last ones share the last shape.
const SHAPES = ["dot", "square", "up", "diamond", "down", "cross"];
// Fewer marks of a kind have no order worth a number.
const FEWEST = 5;

export class Kinds {
  constructor(frame) {
    this.frame = frame;
    this.column = frame.columns.module_type ? "module_type" : null;
    const found = this.column ? levels(frame, this.column).filter((kind) => kind !== null) : [];
    this.all = [...found].sort((a, b) => kindPlace(a) - kindPlace(b));
    this.told = names(this.all, "");
  }

  place(row) {
    return this.column ? Math.max(0, this.all.indexOf(cell(this.frame, this.column, row))) : 0;
  }

  shape(place) {
    return SHAPES[Math.min(place, SHAPES.length - 1)];
  }

  // The shapes with their names, in a row above the plot where they fit.
  legend(ink, inks, left, y, width) {
    if (this.all.length < 2) return;
    let x = left;
    const last = SHAPES.length - 1;
    const shown = this.told.length > SHAPES.length ? [...this.told.slice(0, last), "other kinds"] : this.told;
    for (const [place, name] of shown.entries()) {
      const room = textWidth(name) + 30;
      if (x + room > left + width) return;
      mark(ink, this.shape(place), x + 5, y, 3.6, inks.quiet);
      ink.text(x + 13, y, name, { fill: inks.quiet });
      x += room;
    }
  }

  // How well the sizes of x and y rank alike: over all marks, and within each kind of weight.
  words(points) {
    const of = (some) => spearman(some.map(({ x }) => Math.abs(x)), some.map(({ y }) => Math.abs(y)));
    const whole = points.length >= FEWEST ? of(points) : null;
    if (whole === null) return "";
    const lead = `Spearman's rank correlation of both sizes: ${two(whole)} over ${points.length} marks`;
    if (this.all.length < 2) return `${lead}.`;
    const each = this.all.map((_, place) => points.filter((point) => point.kind === place)).map((some) => [some.length, some.length >= FEWEST ? of(some) : null]);
    const known = each.map(([count, rank], place) => (rank === null ? null : `${this.told[place]} ${two(rank)} (${count})`)).filter(Boolean);
    return known.length ? `${lead} of several kinds of weight; within a kind ${known.join(", ")}. Where the kinds differ in size, the first number holds that difference, too.` : `${lead} of several kinds of weight.`;
  }
}

const two = (value) => value.toFixed(2).replace("-", "−");

export function mark(ink, shape, x, y, r, fill) {
  if (shape === "dot") return ink.dot(x, y, r, fill);
  if (shape === "square") return ink.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r, fill);
  if (shape === "cross") {
    ink.line([[x - r, y - r], [x + r, y + r]], fill, 2);
    return ink.line([[x - r, y + r], [x + r, y - r]], fill, 2);
  }
  const turn = shape === "down" ? -1 : 1;
  const corners = shape === "diamond" ? [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]] : [[-1.15, 0.95 * turn], [1.15, 0.95 * turn], [0, -1.15 * turn]];
  return ink.shape(corners.map(([dx, dy]) => [x + r * dx, y + r * dy]), fill);
}
