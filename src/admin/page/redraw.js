// Redraws parts of the page while the user works in them.

import { fill } from "./dom.js";
import { FOCUSABLE, caretOf, focus, openers, rest, setCaret } from "./focus.js";

/** Replaces the children of a place. The focus, the caret, and open sections stay. */
export function redraw(place, ...children) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const opened = [...openers].filter(([, { element }]) => place.contains(element));
  const before = focused || opened.length ? controls(place) : [];
  const marked = focused && mark(focused, before);
  const returns = opened.map(([dialog, opener]) => [dialog, mark(opener.element, before), opener.caret]);
  const folds = foldsIn(place);

  fill(place, ...children);

  for (const [key, fold] of foldsIn(place)) fold.open = folds.get(key)?.open ?? fold.open;
  const after = focused || opened.length ? controls(place) : [];
  for (const [dialog, opener, caret] of returns) openers.set(dialog, { element: heirs(opener, after, place)[0] ?? place, caret });
  if (!marked) return;
  const heir = heirs(marked, after, place).find(focus);
  if (!heir) return rest();
  setCaret(heir, marked.caret);
}

/** The elements of a place that can have the focus; an open dialog above it does not count. */
const controls = (place) => [...place.querySelectorAll(FOCUSABLE)].filter((element) => !element.disabled && element.getClientRects().length > 0);

/** Identifies an element after its place was drawn again. */
const keyOf = (element) => element.dataset.key
  ?? `${element.tagName} ${element.getAttribute("href") ?? element.ariaLabel ?? element.labels?.[0]?.textContent ?? element.textContent}`;

function mark(element, all) {
  const key = keyOf(element);
  return {
    key,
    index: all.indexOf(element),
    // Its position among the elements with this key.
    number: all.filter((other) => keyOf(other) === key).indexOf(element),
    caret: caretOf(element),
  };
}

/** The candidates for the focus of an element, the best first: the same control, the one at its position, the heading. */
function heirs({ key, index, number }, all, place) {
  const same = all.filter((other) => keyOf(other) === key);
  return [same[number] ?? same.at(-1), all[Math.min(index, all.length - 1)], place.querySelector("h1, h2, h3")].filter(Boolean);
}

/** The sections of a place that open and close, by their summaries. */
function foldsIn(place) {
  const folds = new Map();
  for (const fold of place.querySelectorAll("details")) {
    const summary = fold.querySelector("summary");
    let key = summary ? keyOf(summary) : "";
    while (folds.has(key)) key += " again";
    folds.set(key, fold);
  }
  return folds;
}
