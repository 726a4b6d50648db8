// Values to colours: matplotlib's own tables, and the colours that tell models apart.

import { TABLES } from "./tables.js";

// The first of a kind is the default; the others resolve better or serve other eyes.
export const PALETTES = {
  change: ["YlOrRd", "viridis", "cividis"],
  importance: ["GnBu", "viridis", "cividis"],
  phi: ["dusk", "viridis", "cividis"],
  difference: ["RdBu_r"],
};

const made = new Map();

// 256 colours as [r, g, b].
export function table(palette) {
  if (!made.has(palette)) made.set(palette, Uint8Array.from(atob(TABLES[palette]), (sign) => sign.charCodeAt(0)));
  return made.get(palette);
}

export function index(value, [low, high]) {
  if (high === low) return 0;
  return Math.max(0, Math.min(255, Math.floor(((value - low) / (high - low)) * 256)));
}

export function css(palette, at) {
  const rgb = table(palette);
  return `rgb(${rgb[3 * at]} ${rgb[3 * at + 1]} ${rgb[3 * at + 2]})`;
}

// A colour of the style sheet as it stands in the present scheme.
export function token(name) {
  if (!tokens.has(name)) tokens.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return tokens.get(name);
}

// Asking for a style is slow; what was asked once is kept until the scheme changes.
const tokens = new Map();

export const forget = () => tokens.clear();

export const MODELS = 24;

export const modelColour = (place) => token(`c${place % MODELS}`);

// Where there are more models than colours, a second round is dashed and a third dotted; swatches change shape.
const DASHES = [[], [7, 4], [2, 3]];
const turn = (place) => Math.floor(Math.max(0, place) / MODELS) % DASHES.length;

export const modelDash = (place) => DASHES[turn(place)];
export const modelClass = (place) => `swatch c${place % MODELS}${turn(place) ? ` again${turn(place)}` : ""}`;
