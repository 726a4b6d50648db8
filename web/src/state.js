// All that a reader chose stands in the URL's hash, so that a link shows what its sender saw.

const listeners = new Set();
let chosen = new URLSearchParams(location.hash.slice(1));

export const get = (key, otherwise = "") => chosen.get(key) ?? otherwise;

export const on = (listener) => listeners.add(listener);

// Sets some keys; `null` and "" take one out.
export function set(changes) {
  put(changes);
  history.replaceState(null, "", `#${chosen}`);
  tell(new Set(Object.keys(changes)));
}

function put(changes) {
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === "") chosen.delete(key);
    else chosen.set(key, value);
  }
}

export function link(changes = {}) {
  const all = new URLSearchParams(chosen);
  for (const [key, value] of Object.entries(changes)) all.set(key, value);
  return `${location.href.split("#")[0]}#${all}`;
}

function tell(changed) {
  for (const listener of listeners) listener(changed);
}

addEventListener("hashchange", () => {
  const before = chosen;
  chosen = new URLSearchParams(location.hash.slice(1));
  tell(new Set([...before.keys(), ...chosen.keys()].filter((key) => before.get(key) !== chosen.get(key))));
});

// The same without telling anyone: what is shown has changed already.
export function quietly(changes) {
  put(changes);
  history.replaceState(null, "", `#${chosen}`);
}
