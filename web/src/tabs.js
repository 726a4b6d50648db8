// Tabs by pointer and arrow keys; the one that is open stands in the address. Says when it is drawn.

import { all, byId } from "./dom.js";
import * as state from "./state.js";
import { fold } from "./told.js";

export function wireTabs(page) {
  const tabs = all('[role="tab"]');
  const first = tabs.find((tab) => !tab.classList.contains("unrun")) ?? tabs[0];
  const show = () => {
    const wanted = state.get("tab", "");
    const open = tabs.find((tab) => tab.dataset.tab === wanted) ?? first;
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === open));
      tab.tabIndex = tab === open ? 0 : -1;
      byId(`pane-${tab.dataset.tab}`).classList.toggle("closed", tab !== open);
    }
    fold(open !== first);
    // Models that a tab has nothing of keep their place, and are told apart.
    const absent = all("button[data-model]").filter((chip) => chip.classList.toggle("absent", !chip.dataset.tabs.split(" ").includes(open.dataset.tab)));
    for (const chip of all("button[data-model]")) chip.setAttribute("aria-disabled", String(absent.includes(chip)));
    byId("absent").hidden = !absent.length;
    return Promise.all([page.mount(open.dataset.tab), page.mount("trust")]);
  };
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener("click", () => {
      state.set({ tab: tab.dataset.tab, cell: "" });
      byId(`pane-${tab.dataset.tab}`).scrollIntoView({ block: "start" });
    });
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs[(to + tabs.length) % tabs.length];
      next.focus();
      state.set({ tab: next.dataset.tab, cell: "" });
    });
  }
  const drawn = show();
  state.on((keys) => (keys.has("tab") || keys.has("told")) && show());
  const at = state.get("at", "");
  if (at) drawn.then(() => byId(`panel-${at}`)?.scrollIntoView({ block: "start" }));
  return drawn;
}
