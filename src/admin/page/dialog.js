// Asking before something happens, and what to do when somebody else was faster.

import * as api from "./api.js";
import { changeList, lines, pretty } from "./diff.js";
import { append, because, button, code, field, fill, fresh, fromNow, h, notice, theirs } from "./dom.js";
import { giveBack, remember } from "./focus.js";
import { fromTo, keyName, list, reachOf } from "./words.js";

/** Opens a dialog; `content` gets a function that closes it. A closed dialog leaves the page and gives the focus back. */
export function open(title, tone, content) {
  const id = fresh("dialog");
  const dialog = h("dialog", { "aria-labelledby": id, class: tone });
  const close = () => {
    dialog.close();
    giveBack(dialog);
  };
  append(dialog, [h("h2", { id }, title), content(close)]);
  // The dialog also receives this event when a choice of files inside it is cancelled.
  dialog.addEventListener("cancel", (event) => event.target === dialog && close());
  dialog.addEventListener("close", () => {
    giveBack(dialog);
    dialog.remove();
  });
  document.body.append(dialog);
  remember(dialog);
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
  return dialog;
}

/**
 * Asks before an edit is made.
 *
 * - `title`, `content`: what will happen, and to whom; `action`: the word on the button; `tone`: `grave`, or `broad`
 *   where much is to be filled in.
 * - `perform(reason)`: makes the edit. What it throws is shown, and the dialog stays.
 * - `done(answer)`: after it was made. `stale(problem, reason)`: somebody else was faster.
 * - `check()`: why the fields cannot be taken, if so.
 */
export function confirm({ title, content, action, tone = "", perform, done, stale, check, reason = true }) {
  open(title, tone, (close) => {
    const why = reasonFor({ autofocus: tone === "grave" });
    const error = h("div", { class: "error", role: "alert" });
    const go = h("button", { type: "submit", class: tone === "grave" ? "kill" : "primary" }, action);
    // A disabled button would lose the focus.
    const busy = (isBusy) => go.setAttribute("aria-disabled", String(isBusy));
    const submit = async (event) => {
      event.preventDefault();
      if (go.ariaDisabled === "true") return;
      const objection = check?.();
      if (objection) return fill(error, h("p", {}, objection));
      busy(true);
      fill(error);
      try {
        const answer = await perform(why.read());
        close();
        done?.(answer);
      } catch (refused) {
        if (!(refused instanceof api.Refused)) throw refused;
        if (refused.kind === "stale" && stale) {
          close();
          return stale(refused.problem, why.read());
        }
        fill(error, refusal(refused));
      } finally {
        busy(false);
      }
    };
    return h("form", { novalidate: true, on: { submit } },
      content,
      reason && why.element,
      error,
      h("div", { class: "row end" }, button("Cancel", close), go));
  });
}

/** The field for the reason of an edit, as `element` and `read()`. */
export function reasonFor(attributes = {}) {
  const why = h("textarea", { rows: 2, maxlength: 1000, ...attributes });
  // Enter is as good as the button; with Shift it is a line break.
  why.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    why.form.requestSubmit();
  });
  const element = field(["Why? ", h("span", { class: "quiet" }, "It stands in the history")], why);
  return { element, read: () => why.value.trim() };
}

/** A refusal in words, with everything that is wrong with a document. */
export function refusal(refused) {
  if (refused.kind === "in-doubt") {
    return [
      h("p", {}, h("b", {}, "Nobody knows whether this was saved. ")),
      h("p", {}, "The store, or the way to it, broke off in between. Look at the history below before you try again."),
      h("p", { class: "quiet" }, theirs(refused.message)),
    ];
  }
  if (refused.kind === "unauthorized") return h("p", {}, h("b", {}, "Nothing was changed. "), "Your session had ended: log in, then try again.");
  const problems = refused.problem.problems ?? [];
  if (problems.length) return [h("p", {}, h("b", {}, "Nothing was changed.")), h("ul", {}, problems.slice(0, 10).map((one) => h("li", {}, problem(one))))];
  // This was a read: an edit without an answer is in doubt instead.
  if (refused.kind === "unreachable") return [h("p", {}, h("b", {}, refused.problem.title), "."), h("p", {}, theirs(refused.message))];
  if (refused.kind === "incomplete") return [h("p", {}, h("b", {}, "Only a part of it was done.")), h("p", {}, theirs(refused.message))];
  const because = /nothing was changed, because (.*)$/s.exec(refused.message)?.[1];
  return [
    because ? h("p", {}, h("b", {}, "Nothing was changed, "), "because ", theirs(because), ".") : [h("p", {}, h("b", {}, "Nothing was changed.")), h("p", {}, theirs(refused.message))],
    refused.problem.permanent && h("p", {}, h("b", {}, "This does not go away by itself. "), "Change the set-up of the store, or the edit, then try again."),
  ];
}

/** What is wrong with a flag. */
export function problem(found) {
  const place = [found.path && code(found.path), found.line && ` line ${found.line}`].filter(Boolean);
  return [place, place.length > 0 && ": ", "expected ", theirs(found.expected), ", found ", theirs(found.found), found.help && [" (", theirs(found.help), ")"]];
}

/**
 * Shows what somebody else made of a flag meanwhile beside what is wanted, and lets a person decide.
 *
 * - `problem`: the refusal, with the flag as it is. `settle(current)`: `theirs` and `mine`, lists of changes or a
 *   sentence; `lines`, two texts to compare; `becomes`, the definition that comes out, and `text`, where it is sent as
 *   one; `switchesOn`, where others left it off; `hinders`, why mine cannot be put on top of theirs.
 * - `again(etag, text)`: makes the edit onto the flag as it is.
 */
export async function conflict({ name, problem, settle, again, done, take }) {
  const { current } = problem;
  const last = await api.history(name, undefined, 1).then(({ entries }) => entries[0], () => null);
  const isGone = !current.etag;
  const settled = settle(current);
  const { theirs: theirChanges, mine, becomes, switchesOn, hinders } = settled;
  const both = theirChanges.filter((one) => typeof mine !== "string" && mine.some((other) => other.key === one.key)).map((one) => keyName(one.key));
  const yes = h("input", { type: "checkbox", id: fresh("switch-on") });
  const version = (title, text, object) => h("details", {}, h("summary", {}, title), text ?? h("pre", { tabindex: "0", role: "group", "aria-label": title }, theirs(pretty(object))));
  const content = [
    h("p", {}, last ? [theirs(last.actor ?? "Somebody"), " changed ", code(name), " ", fromNow(last.at), because(last.reason), ". "] : "Somebody else changed this flag. ",
      h("b", {}, "Nothing of yours has been saved.")),
    h("div", { class: "versions" },
      h("section", {}, h("h3", {}, "Their change"), isGone ? h("p", {}, "They removed the flag.") : changeList(theirChanges)),
      h("section", {}, h("h3", {}, "Your change"), typeof mine === "string" ? h("p", {}, theirs(mine)) : changeList(mine))),
    both.length > 0 && h("p", { class: "callout warn" }, `Both of you changed: ${list(both)}. Yours would take the place of theirs there.`),
    version("The flag as it is now", isGone ? h("p", {}, "Removed.") : null, current.flag),
    settled.lines && version("From theirs to yours, line by line", lines(...settled.lines)),
    !isGone && hinders && h("p", { class: "callout warn" }, hinders),
    !isGone && becomes !== undefined && h("p", {}, "With yours on top of theirs: ", fromTo(current.flag, becomes)),
    !isGone && switchesOn && h("div", { class: "callout bad" }, h("p", {}, h("b", {}, "The flag is off now, and your change would switch it on.")),
      h("div", { class: "check" }, yes, h("label", { for: yes.id }, `Switch it on for ${reachOf(becomes).words}`))),
  ];
  open("Somebody else was faster", "conflict", (close) => {
    const error = h("div", { class: "error", role: "alert" });
    const apply = async () => {
      if (switchesOn && !yes.checked) {
        fill(error, h("p", {}, "Say above that it is to be switched on, or keep theirs."));
        return yes.focus();
      }
      try {
        const answer = await again(current.etag, settled.text);
        close();
        done(answer);
      } catch (refused) {
        if (!(refused instanceof api.Refused)) throw refused;
        if (refused.kind !== "stale") return fill(error, refusal(refused));
        close();
        return conflict({ name, problem: refused.problem, settle, again, done, take });
      }
    };
    const drop = () => {
      close();
      take();
      notice("good", "Your change was dropped; the flag is shown as it is now.");
    };
    return h("form", { on: { submit: (event) => event.preventDefault() } }, content, error,
      h("div", { class: "row end" },
        button("Keep theirs, drop mine", drop, { autofocus: true }),
        !isGone && !hinders && button("Make my change on top of theirs", apply, { class: "primary" })));
  });
}
