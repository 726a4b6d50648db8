// The answers and the checks: whole above the first tab, a folded strip above the others.

import { byId } from "./dom.js";
import * as state from "./state.js";

export function wireTold() {
  const told = byId("told");
  told.addEventListener("toggle", () => {
    const open = told.open ? "1" : "";
    if (folded() && open !== state.get("told", "")) state.quietly({ told: open });
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    told.open = true;
    byId("answer").focus();
  });
}

const folded = () => document.querySelector("main").classList.contains("folded");

export function fold(away) {
  document.querySelector("main").classList.toggle("folded", away);
  byId("told").open = !away || state.get("told", "") === "1";
}
