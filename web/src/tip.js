// The small read-out beside the pointer or the focused cell.

import { byId, el } from "./dom.js";

export function showTip([title, ...lines], x, y) {
  const tip = byId("tip");
  tip.replaceChildren(el("b", {}, title), ...lines.map((line) => el("span", {}, line)));
  tip.hidden = false;
  const room = document.documentElement.clientWidth;
  const fits = x + 14 + tip.offsetWidth + 8 <= room;
  tip.style.left = `${Math.max(6, fits ? x + 14 : x - 14 - tip.offsetWidth)}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 10 : y + 18}px`;
}

export const hideTip = () => { byId("tip").hidden = true; };
