// In tables a name or a command is not broken at its hyphens; what is longer than a column may be.
for (const code of document.querySelectorAll(".md-typeset td code")) {
  code.classList.toggle("short", code.textContent.length <= 50);
}

// A table that scrolls sideways is reached by the keyboard, too.
function reach() {
  for (const scroller of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (scroller.scrollWidth > scroller.clientWidth) scroller.tabIndex = 0;
  }
}

addEventListener("load", reach);
addEventListener("resize", reach);
