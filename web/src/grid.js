// Rows of a frame arranged as maps: facets, axes, and which row stands in which cell.

import { cell, levels } from "./data.js";
import { keyOf, placeOf } from "./cells.js";

let order = new Map();

export const kindPlace = (kind) => order.get(kind) ?? 1e9;

export function orderModules(names) {
  order = new Map(names.map((name, i) => [name, i]));
}

// What can be chosen of a column, kinds of weight in the order of the maps' axes.
export function optionsOf(frame, key) {
  const options = levels(frame, key);
  return key === "module_type" ? [...options].sort((a, b) => kindPlace(a) - kindPlace(b)) : options;
}

// `panel` says the axes and facets, `rows` which rows take part.
export function arranged(frame, panel, rows) {
  const facets = panel.facets.filter((key) => frame.columns[key] && (key === panel.facets[0] || levels(frame, key).length > 1));
  const columns = facets.map((key) => frame.columns[key].values);
  const groups = new Map();
  for (const row of rows) {
    const name = columns.map((values) => values[row]).join();
    if (!groups.has(name)) groups.set(name, { values: facets.map((key) => cell(frame, key, row)), facets, rows: [] });
    groups.get(name).rows.push(row);
  }
  const maps = [...groups.values()];
  const shared = axis(frame, panel.x, rows);
  for (const map of maps) place(frame, panel, map, shared);
  return maps;
}

// Numbered columns are the same in all maps of a panel; of kinds of weight, heads and rows each has what it needs.
function place(frame, panel, map, shared) {
  const own = ["step", "head"].includes(panel.x) || frame.columns[panel.x]?.type === "text";
  const across = own ? axis(frame, panel.x, map.rows) : shared;
  map.xs = across.values;
  // Steps are a measured axis: each run has its own, all on one span.
  if (panel.x === "step") {
    map.span = [shared.values[0], shared.values.at(-1)];
    map.edges = edges(map.xs, map.span);
  }
  const down = axis(frame, panel.y, map.rows);
  map.ys = down.values;
  const [x, y] = [frame.columns[panel.x]?.values, frame.columns[panel.y]?.values];
  map.cells = Array(map.xs.length * map.ys.length).fill(null);
  for (const row of map.rows) {
    const i = down.at.get(y[row]) * map.xs.length + across.at.get(x[row]);
    // Nearly always one row stands in a cell; a list of it alone would cost more than all numbers.
    if (map.cells[i] === null) map.cells[i] = row;
    else if (Array.isArray(map.cells[i])) map.cells[i].push(row);
    else map.cells[i] = [map.cells[i], row];
  }
  map.key = (i) => (typeof map.cells[i] === "number" ? keyOf(frame, map.cells[i]) : null);
  map.place = (i) => (typeof map.cells[i] === "number" ? placeOf(frame, map.cells[i]) : null);
}

// Where columns begin and end, as parts of the span: half-way between neighbours.
function edges(xs, [first, last]) {
  const span = last - first || 1;
  const middles = xs.slice(1).map((x, i) => (x + xs[i]) / 2);
  return [xs[0], ...middles, xs.at(-1)].map((x) => (x - first) / span);
}

// The values of an axis in order, and the place of each by what the column holds for it.
function axis(frame, key, rows) {
  const held = frame.columns[key]?.values ?? [];
  const first = new Map();
  for (const row of rows) if (!first.has(held[row])) first.set(held[row], row);
  const found = [...first].map(([own, row]) => [own, cell(frame, key, row)]);
  // Kinds of weight stand in one order on the whole page, which is that of the pictures.
  if (["module_type", "parameter"].includes(key)) found.sort((a, b) => (order.get(a[1]) ?? 1e9) - (order.get(b[1]) ?? 1e9));
  else if (frame.columns[key]?.type !== "text") found.sort((a, b) => (a[1] === null) - (b[1] === null) || a[1] - b[1]);
  return { values: found.map(([, value]) => value), at: new Map(found.map(([own], i) => [own, i])) };
}

export const rowsIn = (map, i) => (map.cells[i] === null ? [] : [map.cells[i]].flat());

// Mean over the rows of every cell: a number, NaN where one is not finite, null where there is no row.
export function valuesOf(frame, map, column) {
  return map.cells.map((rows) => {
    if (rows === null) return null;
    if (typeof rows === "number") return cell(frame, column, rows);
    const known = rows.map((row) => cell(frame, column, row)).filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  });
}

// `self_attn.q_proj` as `q_proj` where that is enough to tell it from the others.
export function names(values, outside) {
  const last = values.map((value) => (value === null ? outside : String(value).split(".").at(-1)));
  return values.map((value, i) => {
    if (value === null) return outside;
    return last.filter((other) => other === last[i]).length === 1 ? last[i] : String(value);
  });
}

// Which cells of a map count: those of kinds of weight of which any moved, all where none did. `sizes` are
// the columns that say how far a weight moved; what cannot be known not to have moved counts as moved.
export function counted(frame, map, sizes) {
  const known = sizes.filter((key) => frame.columns[key]);
  if (!known.length || !frame.columns.module_type) return () => true;
  const size = (row) => known.map((key) => cell(frame, key, row)).find((value) => value !== null);
  const kinds = frame.columns.module_type.values;
  const moved = new Set(map.rows.filter((row) => size(row) !== 0).map((row) => kinds[row]));
  if (!moved.size) return () => true;
  return (i) => rowsIn(map, i).some((row) => moved.has(kinds[row]));
}

// Rank by size among the finite values of the cells that count (from the smallest value on where that says the
// most), as the list of the largest has it, and the ratio to their median, where none is below zero. With `columns`
// only the cells of one column are compared.
export function standings(values, counts = () => true, smallest = false, columns = 0) {
  if (!columns) return ranked(values, counts, smallest);
  const each = Array.from({ length: columns }, (_, x) => ranked(values, (i) => i % columns === x && counts(i), smallest));
  return (value, i) => each[i % columns](value);
}

function ranked(values, counts, smallest) {
  const size = smallest ? (value) => -value : Math.abs;
  const kept = values.filter((value, i) => value !== null && Number.isFinite(value) && counts(i));
  const sorted = kept.map(size).sort((a, b) => a - b);
  const middle = sorted.length ? Math.abs(sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : 0;
  const positive = kept.every((value) => value >= 0);
  return (value) => {
    if (value === null || !Number.isFinite(value)) return null;
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const half = (low + high) >> 1;
      if (sorted[half] > size(value)) high = half;
      else low = half + 1;
    }
    return { rank: sorted.length - low + 1, of: sorted.length, equal: kept.every((other) => other === kept[0]), ratio: middle > 0 && positive ? value / middle : null };
  };
}

// Where colours end so that a few cells do not set them for all others: the limit, how many lie beyond it, up or
// down, and the furthest of them with its sign.
// A few are at most one in a hundred, or one. They are left beyond where the largest is half as large again as
// the rest, and they end at the widest gap.
const FEW = 0.01, APART = 1.5;

export function clipped(lists) {
  const found = lists.flatMap((values) => [...values].filter((value) => value !== null && Number.isFinite(value))).sort((a, b) => Math.abs(b) - Math.abs(a));
  const sizes = found.map(Math.abs);
  const most = Math.max(1, Math.floor(FEW * sizes.length));
  if (sizes.length < 8 || !(sizes[most] > 0)) return null;
  let [beyond, widest] = [0, 0];
  for (let k = 1; k <= most; k++) {
    const gap = sizes[k - 1] / sizes[k];
    if (gap > widest && sizes[0] >= APART * sizes[k]) [beyond, widest] = [k, gap];
  }
  return beyond ? { limit: sizes[beyond], beyond, largest: found[0], ...signs(found.slice(0, beyond)) } : null;
}

export function range(lists, signed, fromZero) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of lists) {
    for (const value of values) {
      if (value === null || !Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  if (signed || low < 0) {
    const top = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-top, top];
  }
  if (fromZero) low = 0;
  return high > low ? [low, high] : [low, low + (Math.abs(low) || 1)];
}

// Whether any of some values lies above zero, and any below.
export const signs = (values) => ({ up: values.some((value) => value > 0), down: values.some((value) => value < 0) });
