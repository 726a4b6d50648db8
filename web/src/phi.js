// φ(i, j) of one weight of a pair as small maps, each beside its chance level, on one scale from 0 to 1.

import { cell } from "./data.js";
import { el } from "./dom.js";
import { Heat } from "./heat.js";
import { textWidth } from "./ink.js";

// The maps of all sides and factors of a pair's weight; `rows` are its rows.
export function phiHeats(frame, rows, side = 18) {
  const groups = new Map();
  for (const row of rows) {
    const title = ["of", "side"].map((key) => cell(frame, key, row)).filter(Boolean).join(", ");
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push(row);
  }
  return [...groups].flatMap(([title, own]) => [heat(frame, own, "phi", `${title} side`, side), heat(frame, own, "phi_chance", "by chance", side)]);
}

// Each map of φ stays beside its chance level.
export const besides = (heats) => heats.filter((_, i) => i % 2 === 0).map((heat, k) => el("div", { class: "two" }, heat.canvas, heats[2 * k + 1].canvas));

function heat(frame, rows, column, title, side) {
  const ranks = (key) => [...new Set(rows.map((row) => cell(frame, key, row)))].sort((a, b) => a - b);
  const [ys, xs] = [ranks("i"), ranks("j")];
  const values = Array(xs.length * ys.length).fill(null);
  for (const row of rows) values[ys.indexOf(cell(frame, "i", row)) * xs.length + xs.indexOf(cell(frame, "j", row))] = cell(frame, column, row);
  const cellSize = Math.max(5, Math.min(side, Math.floor(170 / Math.max(xs.length, ys.length))));
  const text = { title: title.replace("delta", "ΔW"), label: column === "phi" ? "φ" : "φ by chance", xs, ys, values, limits: [0, 1], palette: "dusk", margin: null, key: () => null };
  return new Heat({
    ...text, xName: "j", yName: "i",
    words: (k) => `i = ${ys[Math.floor(k / xs.length)]}, j = ${xs[k % xs.length]}`,
    standing: () => [],
  }, { cellWidth: cellSize, cellHeight: cellSize, gutter: 32, least: 32 + Math.ceil(textWidth(text.title, 12, true)) + 8 }, {});
}
