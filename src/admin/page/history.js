// What was changed, when, by whom and why; and going back.

import * as api from "./api.js";
import { changeList, differences, laidOut, lines } from "./diff.js";
import { edit } from "./edit.js";
import { append, button, code, fromNow, h, theirs } from "./dom.js";
import { parse } from "./json.js";
import { undisturbed } from "./press.js";
import { redraw } from "./redraw.js";
import { fromTo, happened, moment, utc } from "./words.js";

const PAGE = 20;

/** The history of a flag; `page()` is the flag that it is of. */
export function historyOf(name, page) {
  const none = () => (page().shown.version === 0 ? "This flag was not made here: it stood in a file, or came by the store's own tools. Its history begins with the first change made here." : NOTHING);
  return timeline({ name, none, action: (entry) => page().mayEdit && entry.after !== null && entry.version !== page().shown.version
    && button(`Revert to version ${entry.version}…`, () => askRevert(page(), entry), { class: "small", "data-key": `revert-${entry.version}` }) });
}

const NOTHING = "Nothing has been changed yet.";

/**
 * A timeline that grows downwards by pages, and upwards when it is told to look again.
 *
 * - `name`: the flag that it is of, or `null` for all. `action(entry)`: what can be done with an entry.
 * - `none()`: what is said where there is nothing.
 */
export function timeline({ name = null, title = "History", action = () => null, none = () => NOTHING }) {
  const items = h("ol", { class: "timeline" });
  const more = h("div", {});
  let entries = [], next = null, turn = 0;
  const opened = new Set();
  const draw = () => {
    redraw(items, entries.map((entry) => item(entry, name === null, action(entry), opened)));
    redraw(more, entries.length === 0 && h("p", { class: "quiet" }, none()), next !== null && button("Older changes", older, { class: "small" }));
  };
  const failed = (refused) => {
    if (!(refused instanceof api.Refused)) throw refused;
    redraw(more, h("p", { class: "quiet" }, "The history cannot be read now: ", theirs(refused.message)));
  };
  async function older() {
    try {
      const found = await api.history(name, next, PAGE);
      const shown = entries.length;
      entries = [...entries, ...found.entries];
      next = found.next;
      draw();
      items.children[shown]?.querySelector("summary").focus();
    } catch (refused) {
      failed(refused);
    }
  }
  async function reload() {
    const mine = (turn += 1);
    try {
      const found = await api.history(name, undefined, Math.min(1000, Math.max(PAGE, entries.length + 1)));
      if (mine !== turn) return;
      ({ entries, next } = found);
      undisturbed(draw);
    } catch (refused) {
      failed(refused);
    }
  }
  reload();
  const element = h("section", { class: "card", "aria-label": title }, title === "History" && h("h2", {}, title), items, more);
  return { element, reload };
}

function item(entry, namesFlag, action, opened) {
  const { number, flag, version, at, actor, reason, before, after, changes, breaks } = entry;
  const done = before === null ? "made" : after === null ? "removed" : "changed";
  const what = namesFlag ? done : `${done} it`;
  const whole = h("details", { open: opened.has(number) }, h("summary", { "data-key": `details-${number}` }, "Line by line"));
  const show = () => {
    if (whole.open && !whole.querySelector("pre")) append(whole, [lines(before === null ? "" : laidOut(before), after === null ? "" : laidOut(after))]);
    whole.open ? opened.add(number) : opened.delete(number);
  };
  whole.addEventListener("toggle", show);
  if (whole.open) show();
  return h("li", { class: changes.some((change) => change.key === "enabled" && change.after === false) ? "killing" : "" },
    h("p", { class: "who-when" }, h("b", {}, theirs(actor ?? "somebody")), ` ${what} `, namesFlag && [h("a", { href: `#/flags/${encodeURIComponent(flag)}` }, code(flag)), " "],
      h("time", { datetime: at, title: utc(at) }, `${happened(at)}, ${moment(at)}`), h("span", { class: "quiet" }, ` · version ${version}`)),
    breaks.length > 0 && h("p", { class: "callout bad" }, h("b", {}, "Do not trust this entry. "), "The check of the history says: ", breaks.map(({ words }) => words).join("; "), "."),
    reason && h("blockquote", {}, theirs(reason)),
    after === null ? null : changeList(changes), whole, action);
}

function askRevert(page, entry) {
  const { shown } = page;
  let target = null;
  try {
    target = parse(entry.after);
    if (typeof target === "boolean") target = { enabled: target };
  } catch { /* What cannot be read is refused by the server, with the reason. */ }
  // A flag that is off stays off.
  const mine = ({ flag }) => target && (flag?.enabled === false ? { ...target, enabled: false } : target);
  const wanted = mine(shown), keepsOff = shown.flag?.enabled === false && target?.enabled !== false;
  edit(page, {
    title: ["Revert ", code(shown.name), ` to version ${entry.version}?`], action: `Revert to version ${entry.version}`,
    content: [
      h("p", {}, "It becomes what ", theirs(entry.actor ?? "somebody"), " left ", fromNow(entry.at), "."),
      wanted ? [changeList(differences(shown.flag, wanted)), h("p", {}, fromTo(shown.flag, wanted))] : null,
      keepsOff && h("p", { class: "callout" }, "The flag is off and stays off: reverting never switches a flag on."),
    ],
    make: (etag, reason) => api.act(shown.name, "revert", { body: { to: entry.version }, etag, reason }),
    mine: (current) => mine(current) ?? `Go back to version ${entry.version}.`,
  });
}
