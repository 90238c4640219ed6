// Edits of one flag: asked about, made onto what was looked at, and settled where somebody else was faster.

import * as api from "./api.js";
import { changeList, differences, patched, pretty } from "./diff.js";
import { confirm, conflict } from "./dialog.js";
import { code, fill, h, notice, theirs } from "./dom.js";
import { look } from "./live.js";
import { fromTo, keyName } from "./words.js";

/**
 * Asks, then makes an edit of the flag that `page` shows.
 *
 * - `make(etag, reason)`: sends it. `mine(shown)`: what is wanted of a flag that is like that, as a canonical object
 *   or a sentence; or `settle(shown)` tells all that a conflict has to know.
 * - `base`: the flag as it was looked at. `isUrgent`: goes onto whatever the flag is by now. `leaves`: there is
 *   nothing left to look at.
 */
export function edit(page, { make, mine, base = page.shown, settle = settled(mine, base), isUrgent = false, leaves = false, ...asked }) {
  const { name } = base;
  const accept = (answer) => {
    tell(name, answer);
    if (!leaves) return page.take(answer);
    page.leave();
    location.hash = "#/";
  };
  confirm({
    ...asked,
    perform: (reason) => make(isUrgent ? null : base.etag, reason).catch((refused) => {
      // Whatever became of it, the page shows what is there.
      if (refused.kind === "in-doubt") page.reload();
      throw refused;
    }),
    done: accept,
    stale: (problem, reason) => conflict({
      name, problem, settle, again: (etag, text) => make(etag, reason, text), done: accept, take: () => page.reload(true),
    }),
  });
}

/** What a conflict shows of an edit that is told by what it makes of a flag. */
const settled = (mine, base) => (current) => {
  const wanted = mine(current), theirs = differences(base.flag, current.flag);
  if (typeof wanted === "string") return { theirs, mine: wanted };
  const switchesOn = wanted.enabled !== false && current.flag?.enabled === false;
  return { theirs, mine: differences(base.flag, mine(base)), lines: [pretty(current.flag), pretty(wanted)], becomes: wanted, switchesOn };
};

/**
 * An edit of some keys. What a form makes of them (`keys` is a function) is shown below it, as far as it can be taken.
 */
export function patch(page, { keys, base = page.shown, content, check, ...asked }) {
  const isForm = typeof keys === "function";
  const wanted = () => (isForm ? keys() : keys);
  const changes = () => differences(base.flag, patched(base.flag, wanted()));
  const preview = h("div", { class: "preview" });
  const draw = () => {
    const found = check?.() ? [] : changes();
    fill(preview, found.length > 0 && [h("h3", {}, "What changes"), changeList(found), h("p", {}, fromTo(base.flag, patched(base.flag, wanted())))]);
  };
  edit(page, {
    ...asked, base, content: isForm ? [h("div", { class: "fields", on: { input: draw, change: draw, click: draw } }, content), preview] : content,
    check: () => check?.() ?? (changes().length ? null : "Nothing has been changed yet."),
    mine: (current) => patched(current.flag ?? base.flag, wanted()),
    make: (etag, reason) => api.patch(base.name, wanted(), etag, reason),
  });
}

function tell(name, answer) {
  if (answer.stored === false) {
    look();
    notice("bad", h("b", {}, "Off in this process only. "), code(name), answer.in_doubt
      ? " is off here. Nobody knows whether the store has it: look at the history once the store is back."
      : answer.missing ? " is off here. The store has lost the flag, so the kill is not written to it."
      : answer.permanent ? [" is off here, and other processes may still serve it. The store rejected the kill, and ", h("b", {}, "this does not go away by itself"), ": ", theirs(answer.error), "."]
      : " is off here, and other processes may still serve it. It is written as soon as the store can be reached.",
      answer.warning && h("p", {}, h("b", {}, "Warning: "), theirs(answer.warning), "."),
      answer.not_taken?.length > 0 && h("p", {}, "Not kept: ", theirs(answer.not_taken.map(keyName).join(", ")), "."));
    return;
  }
  if (answer.not_taken?.length > 0) {
    return notice("bad", code(name), " is off, and that is saved. ", h("b", {}, "Nothing else was taken: "), theirs(answer.not_taken.map(keyName).join(", ")),
      answer.not_taken.length === 1 ? " is as it was" : " are as they were", ", since the stored definition cannot be read. Mend it, then change them again.");
  }
  if (answer.changed === false) return notice("good", "There was nothing to change.");
  notice("good", code(name), " is saved", answer.shadowed_by && [", but ", h("b", {}, "it has no effect here: "), theirs(answer.shadowed_by), " overrules it"], ".", answer.notes?.map((note) => h("p", {}, theirs(note), ".")));
}
