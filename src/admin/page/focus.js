// Where the focus goes when the element that has it leaves the page.

export const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

/** By open dialog: `{ element, caret }`, which get the focus when the dialog is closed. */
export const openers = new Map();

/** Where the caret is in a line or a text; `null` for other elements. */
export const caretOf = (element) => (typeof element.selectionStart === "number" ? [element.selectionStart, element.selectionEnd, element.selectionDirection] : null);

export function setCaret(element, caret) {
  if (caret && typeof element.selectionStart === "number") element.setSelectionRange(...caret);
}

const isNowhere = () => document.activeElement === null || document.activeElement === document.body;

/** Gives the focus to an element; `false` if the element does not take it. */
export function focus(element) {
  if (!element.matches(FOCUSABLE)) element.setAttribute("tabindex", "-1");
  element.focus({ preventScroll: true });
  return document.activeElement === element;
}

/** Gives the focus to the heading of the view, where reading begins. */
export function rest() {
  const main = document.getElementById("main");
  [main.querySelector("h1"), main].filter(Boolean).find(focus);
}

/** Removes an element. If the focus is in it, `next` gets the focus. */
export function remove(element, next) {
  const had = element.contains(document.activeElement);
  element.remove();
  if (had && !(next && focus(next))) rest();
}

/** Call before a dialog opens. */
export function remember(dialog) {
  const element = document.activeElement;
  if (!isNowhere()) openers.set(dialog, { element, caret: caretOf(element) });
}

/** Call after a dialog closes. The browser gives the focus only to the original opener, not to its replacement. */
export function giveBack(dialog) {
  const opener = openers.get(dialog);
  openers.delete(dialog);
  if (!opener) return;
  const { element, caret } = opener;
  // A browser that finds nothing to focus leaves the focus in the closed dialog for a moment.
  if (document.activeElement !== element && !isNowhere() && !dialog.contains(document.activeElement)) return;
  if (!element.isConnected || !focus(element)) return rest();
  // If another dialog is below, Chromium gives back the focus without the caret.
  setCaret(element, caret);
}
