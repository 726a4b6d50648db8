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

// The keys that a finding means: its components in its models.
export function meant(finding, frames) {
  const keys = new Set();
  const wanted = new Set(finding.components);
  const models = new Set(finding.models);
  for (const frame of frames) {
    if (!frame.columns.component_name) continue;
    const single = frame.columns.model_id || frame.columns.model_a;
    for (let row = 0; row < frame.rows; row++) {
      if (!wanted.has(cell(frame, "component_name", row))) continue;
      for (const model of single ? [cell(frame, "model_id", row) ?? cell(frame, "model_a", row)] : models) {
        if (!models.size || models.has(model)) keys.add(keyOf(frame, row, model));
      }
    }
  }
  return keys;
}
