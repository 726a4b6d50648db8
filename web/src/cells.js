// One weight of one model has one name on the whole page: `model␟stack␟component`.

import { cell } from "./data.js";

const SEAM = "\u241f";

export const cellKey = (model, stack, component) => [model ?? "", stack ?? "", component].join(SEAM);

export function keyOf(frame, row, model = cell(frame, "model_id", row) ?? cell(frame, "model_a", row)) {
  const component = cell(frame, "component_name", row);
  return component === null ? null : cellKey(model, cell(frame, "stack", row), component);
}

export function parts(key) {
  const [model, stack, component] = key.split(SEAM);
  return { model, stack, component };
}

// Where a row stands: a weight of one model, or of one pair of models.
export function placeOf(frame, row) {
  const key = keyOf(frame, row);
  return key !== null && frame.columns.model_b ? [key, cell(frame, "model_b", row)].join(SEAM) : key;
}

// The places that a finding means: its components in its models, or pairs of them. Where what was found of each
// differs, `each` has the components of every one.
export function meant(finding, frames) {
  const keys = new Set();
  for (const frame of frames) {
    if (!frame.columns.component_name) continue;
    for (let row = 0; row < frame.rows; row++) {
      const name = cell(frame, "component_name", row);
      const own = ["model_id", "model_a", "model_b"].filter((key) => frame.columns[key]).map((key) => cell(frame, key, row));
      if (!own.length) for (const model of finding.models) if (wanted(finding, [model]).includes(name)) keys.add(keyOf(frame, row, model));
      if (own.length && wanted(finding, own).includes(name)) keys.add(placeOf(frame, row));
    }
  }
  return keys;
}

// The components that a finding means in some models.
function wanted({ models, components, each }, own) {
  if (models.length && !own.every((model) => models.includes(model))) return [];
  const told = each?.[own.join(" · ")] ?? each?.[[...own].reverse().join(" · ")];
  return told ?? (each && own.length > 1 ? [] : components);
}
