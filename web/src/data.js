// The page's data: decompressed once, columns as typed arrays with their levels, units and meanings.

import { exact } from "./format.js";

const NULL_FLOAT = 3.4028234663852886e38;
const NULL_INT = -(2 ** 31);

export async function decoded(text) {
  const packed = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const body = bytes.subarray(4 + length);
  for (const [name, frame] of Object.entries(head.data)) {
    frame.name = name;
    for (const [key, column] of Object.entries(frame.columns)) fill(column, key, frame.rows, body);
  }
  return head;
}

// Columns are decoded when they are first asked for.
function fill(column, key, rows, body) {
  let values = null;
  column.key = key;
  Object.defineProperty(column, "values", { get: () => (values ??= unpacked(column, rows, body)) });
}

// All first bytes stand first, then all second ones; a number is put together from one of each.
function unpacked(column, rows, body) {
  const width = column.type === "text" ? column.bytes : 4;
  const planes = Array.from({ length: width }, (_, b) => body.subarray(column.at + b * rows, column.at + (b + 1) * rows));
  if (width === 1) return planes[0];
  if (width === 2) {
    const [low, high] = planes;
    const values = new Uint16Array(rows);
    for (let i = 0; i < rows; i++) values[i] = low[i] | (high[i] << 8);
    return values;
  }
  const [a, b, c, d] = planes;
  const words = new Uint32Array(rows);
  for (let i = 0; i < rows; i++) words[i] = a[i] | (b[i] << 8) | (c[i] << 16) | (d[i] << 24);
  if (column.type === "float") return new Float32Array(words.buffer);
  return column.type === "int" ? new Int32Array(words.buffer) : words;
}

// What stands in one cell: a number, a text, or null.
export function cell(frame, key, row) {
  const column = frame.columns[key];
  if (!column) return null;
  const value = column.values[row];
  if (column.type === "text") return value < column.levels.length ? column.levels[value] : null;
  if (column.type === "float") return value >= NULL_FLOAT ? null : value;
  return value === NULL_INT ? null : value;
}

// The code of a text in a column, or -1.
export const code = (frame, key, text) => frame.columns[key]?.levels?.indexOf(text) ?? -1;

// The different values of a column in the order of first appearance; numbers sorted.
export function levels(frame, key) {
  const column = frame.columns[key];
  if (!column) return [];
  if (column.type === "text") {
    return column.values.includes(column.levels.length === 0 ? -1 : nullCode(column)) ? [...column.levels, null] : column.levels;
  }
  const found = new Set();
  for (let row = 0; row < frame.rows; row++) found.add(cell(frame, key, row));
  return [...found].sort((a, b) => (a === null) - (b === null) || a - b);
}

const nullCode = (column) => 2 ** (8 * column.bytes) - 1;

// The unit of a column; where every row says its own, that of one of them.
export const unitOf = (frame, key, row) => {
  const unit = frame.columns[key]?.unit;
  return unit === "as the column unit says" && row !== undefined ? cell(frame, "unit", row) : unit;
};

export const meaning = (frame, key) => {
  const { meaning: said = "", unit = "" } = frame.columns[key] ?? {};
  return `${said}${unit.startsWith("[") ? `, in ${unit}` : unit && ` [${unit}]`}`;
};

// Rows of a frame as texts, for files and for the table behind a figure; all of them unless some are named.
export function tabled(frame, rows = Array.from({ length: frame.rows }, (_, row) => row), columns = Object.keys(frame.columns).filter((key) => rows.some((row) => cell(frame, key, row) !== null))) {
  return { columns, meanings: columns.map((key) => meaning(frame, key)), rows: rows.map((row) => columns.map((key) => {
    const value = cell(frame, key, row);
    return typeof value === "number" ? exact(value) : value ?? "";
  })) };
}

// Whether a row is of models that are shown; a pair needs both.
export const seen = (frame, row, hidden) => !hidden.size || !["model_id", "model_a", "model_b"].some((key) => frame.columns[key] && hidden.has(cell(frame, key, row)));
