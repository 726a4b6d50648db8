// How many maps stand beside one another, and how large their cells are.

import { short } from "./dom.js";
import { names } from "./grid.js";
import { textWidth } from "./ink.js";

// What the numbers of an axis count; kinds of weight and parameters say it themselves.
export const axisName = (key) => (["module_type", "parameter"].includes(key) ? "" : key.replaceAll("_", " "));

// Cells as large as the room allows: as many maps beside one another as stay readable.
export function cellSize({ maps, every, panel, frame, outside }, room) {
  const longest = (axis) => maps.flatMap((map) => names(map[axis], outside)).reduce((most, name) => Math.max(most, textWidth(short(name, 22))), 0);
  const least = Math.max(18, ...[panel.x, panel.y].map((key) => textWidth(axisName(key))));
  const [down, across] = [longest("ys"), frame.columns[panel.x]?.type === "text" ? longest("xs") : 0];
  // Names below columns are turned where they are wider, and begin left of the first.
  const gutter = Math.ceil(Math.max(down, least, across * Math.SQRT1_2 - 12)) + 14;
  const nx = Math.max(1, ...maps.map((map) => map.xs.length));
  const ny = Math.max(1, ...maps.map((map) => map.ys.length));
  const beside = gutter + 48;
  const columns = Math.max(1, Math.min(inRow(maps), Math.floor(room / (beside + nx * (across ? 17 : 11)))));
  // A few small maps may be larger; those that are hidden count, so that a press on one moves no other.
  const most = every.length * nx <= 16 ? 44 : 26;
  const cellWidth = Math.max(2, Math.min(most, Math.floor(((room - 12 * (columns - 1)) / columns - beside) / nx)));
  const cellHeight = ny <= 12 ? 21 : ny <= 24 ? 15 : ny <= 48 ? 12 : Math.max(2, Math.floor(520 / ny));
  // A title that is wider than its map has some room at its right, and a second line for all but the model.
  const widest = (told) => maps.reduce((most, map) => Math.max(most, ...told(map).map((line) => textWidth(short(line, 90), 12, true))), 0);
  const twoLines = maps.every((map) => map.titles.length > 1) && widest((map) => [map.title]) > 130;
  const titles = widest((map) => (twoLines ? [map.titles[0], map.titles.slice(1).join(" · ")] : [map.title]));
  const size = { cellWidth, cellHeight, gutter, twoLines, least: Math.min(room, gutter + Math.min(150, titles) + 20) };
  return across + 6 > cellWidth ? { ...size, foot: Math.ceil(across * Math.SQRT1_2) + 20 } : size;
}

// Several maps of one model stand in a row of their own.
function inRow(maps) {
  const own = new Map();
  for (const map of maps) own.set(map.of[0], (own.get(map.of[0]) ?? 0) + 1);
  const most = Math.max(1, ...own.values());
  return most > 1 ? most : maps.length;
}

// Whether a map begins the row of another model than the one before it.
export const begins = (maps, i) => i > 0 && inRow(maps) < maps.length && maps[i].of[0] !== maps[i - 1].of[0];
