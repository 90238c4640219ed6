// A redraw after an event waits until no button is held down.

/** The page does not always receive the release of a button. */
const HELD_AT_MOST = 2000;
const waiting = new Set();
let held = null;

/**
 * Calls `draw` once no button is held down. A click is lost if its button is drawn again, or moves, between press and
 * release.
 */
export function undisturbed(draw) {
  if (held === null) draw();
  else waiting.add(draw);
}

function hold() {
  clearTimeout(held);
  held = setTimeout(release, HELD_AT_MOST);
}

function release() {
  if (held === null) return;
  clearTimeout(held);
  held = null;
  // The click comes after the event that ends the press.
  setTimeout(() => {
    if (held !== null) return;
    const due = [...waiting];
    waiting.clear();
    due.forEach((draw) => draw());
  });
}

addEventListener("pointerdown", (event) => event.button === 0 && hold(), true);
addEventListener("keydown", (event) => event.key === " " && hold(), true);
addEventListener("keyup", (event) => event.key === " " && release(), true);
for (const name of ["pointerup", "pointercancel", "contextmenu"]) addEventListener(name, release, true);
addEventListener("blur", (event) => event.target === window && release());
