// What needs attention whatever is being looked at: the store, kills that are here alone, flags with problems.

import * as api from "./api.js";
import { confirm, problem } from "./dialog.js";
import { because, button, code, fromNow, h, notice, theirs, when } from "./dom.js";
import { look, session } from "./live.js";
import { undisturbed } from "./press.js";
import { redraw } from "./redraw.js";
import { day, endOfDay, now, plural } from "./words.js";

let last = "";

/** Draws the banners again, unless nothing in them has changed. */
export const showBanners = () => undisturbed(draw);

function draw() {
  const { status } = session;
  if (!status) return;
  const { store, source, rules, history, local_kills: kills, missing, expiring_tokens: expiring } = status;
  const signature = JSON.stringify([missing, history.verified?.breaks, history.found_since, store.problems, store.error, source.freshness, source.last_error, rules.problems, kills, session.isLive, session.mayEdit, session.mayKill, expiring]);
  if (signature === last && document.getElementById("banners").childElementCount) return;
  last = signature;
  redraw(document.getElementById("banners"), kills.map(ofKill), ofMissing(missing), ofHistory(history), ofTokens(expiring), ofStore(store, source), ofLink(), ofSetUp(store), ofProblems(rules.problems, store.problems, missing.flags));
}

function banner(tone, title, ...content) {
  return h("section", { class: `banner ${tone}`, "aria-label": title }, h("h2", {}, title), content);
}

function ofKill(kill) {
  const flag = h("a", { href: `#/flags/${encodeURIComponent(kill.flag)}` }, code(kill.flag));
  const here = ["by ", theirs(kill.by), " ", fromNow(kill.at), because(kill.reason)];
  const again = () => confirm({
    title: "Kill it everywhere", tone: "grave", action: "Kill everywhere",
    content: h("p", {}, "The store is asked to switch ", code(kill.flag), " off as it is now, for everyone, in all processes."),
    perform: (reason) => api.act(kill.flag, "kill", { reason, writeBack: kill.missing }), done: look,
  });
  const forget = () => confirm({
    title: "Let the store decide", action: "Let the store decide", reason: false,
    content: h("p", {}, "This process goes by the store again. Where the store says that ", code(kill.flag), " is on, ", h("b", {}, "it comes back on"), " here."),
    perform: () => api.act(kill.flag, "forget-kill"),
    done: () => {
      look();
      notice("good", code(kill.flag), " is as the store says again.");
    },
  });
  return banner("bad", "Off in this process only",
    h("p", {}, flag, " was switched off ", here, ". ", kill.question
      ? h("b", {}, "Somebody has edited the flag in the store since. Which one is meant?")
      : kill.missing ? [h("b", {}, "The store has lost the flag."), " Killing it in the store writes it back, switched off."]
      : [h("b", {}, "Other processes may still serve it."), " ", kill.permanent ? h("b", {}, "The store rejects the kill, and this does not go away by itself.") : "It is written to the store as soon as the store can be reached."],
      kill.error && !kill.missing && [" The store says: ", theirs(kill.error), "."],
      !kill.survives_restart && " The kill does not survive a restart of this process."),
    session.mayKill && h("div", { class: "row" },
      (kill.question || kill.missing || kill.permanent) && button("Kill it in the store, too", again, { class: "kill small", "data-key": `again ${kill.flag}` }),
      button("Let the store decide…", forget, { class: "small", "data-key": `forget ${kill.flag}` })));
}

/** The flags that the store has lost, and a button that writes them back. */
function ofMissing({ count, flags }) {
  if (!count) return null;
  const name = (flag) => h("a", { href: `#/flags/${encodeURIComponent(flag)}` }, code(flag));
  const all = () => confirm({
    title: `Write ${plural(count, "flag")} back?`, action: "Write back",
    content: h("p", {}, "The definitions that were in effect here are written to the store again, each with an entry in the history. ", h("b", {}, "A flag that is off stays off."), " Flags that are in the store again are left alone."),
    perform: (reason) => api.writeBackAll(reason),
    done: ({ flags: written, complete }) => {
      look();
      const many = written.filter(({ action }) => action === "create").length;
      notice(complete ? "good" : "bad", `${plural(many, "flag is", "flags are")} written back.`, !complete && " Others were rejected: check each of them.");
    },
  });
  return banner("bad", count === 1 ? "The store has lost a flag" : `The store has lost ${count} flags`,
    h("p", {}, "No edit removed ", count === 1 ? "it" : "them", ": ", flags.slice(0, 5).map((flag, place) => [place > 0 && ", ", name(flag)]), count > 5 && ", …", ". ",
      count === 1 ? "It can be killed, or written back as it was." : "They can be killed, or written back as they were."),
    session.mayEdit && h("div", { class: "row" }, button(count === 1 ? "Write it back…" : "Write them back…", all, { class: "primary small" })));
}

/** Tokens that expire soon, or have expired. */
function ofTokens(expiring) {
  if (!expiring.length) return null;
  const words = ({ name, expires_on: on }) => [h("b", {}, theirs(name)), endOfDay(on) < now() ? " has expired: it was good until " : " is good until ", day(on)];
  return banner("warn", expiring.length === 1 ? "A token expires" : `${expiring.length} tokens expire`,
    h("p", {}, "Replace expiring tokens in the configuration of the service."), h("ul", {}, expiring.map((one) => h("li", {}, "The token of ", words(one), "."))));
}

/** Entries of the history that are not what was written. */
function ofHistory({ verified, found_since: since }) {
  const breaks = [...(verified?.breaks ?? []), ...since];
  const words = [...new Set(breaks.map((one) => one.words))];
  if (!words.length) return null;
  return banner("bad", "The history failed verification",
    h("p", {}, "The store may have been edited directly, restored from an older copy, or edited by a process without the history key:"),
    h("ul", {}, words.slice(0, 5).map((one) => h("li", {}, one, "."))),
    h("p", {}, words.length > 5 && "There are more. ", h("a", { href: "#/changes" }, "Look at the changes"), ", and compare them with an export or a backup."));
}

/** What the problems of a broken history expect: they have a banner of their own. */
const AS_WRITTEN = "a history as it was written";

/** Problems of the store itself, although it answers. */
function ofSetUp({ problems: all = [] }) {
  const problems = all.filter((one) => one.expected !== AS_WRITTEN);
  if (!problems.length) return null;
  return banner("warn", "The store needs attention", h("p", {}, "It answers, but edits or flags can be lost or arrive late:"), h("ul", {}, problems.map((one) => h("li", {}, problem(one)))));
}

function ofStore(store, source) {
  const since = source.freshness?.stale_since;
  const error = store.error ?? source.last_error;
  if (!error && source.freshness === "fresh") return null;
  if (source.freshness === "never_loaded") {
    return banner("bad", "No rules have been loaded yet", h("p", {}, "Every flag is off in this process. ", theirs(error ?? "")));
  }
  if (!error) {
    return banner("warn", "The store's answers may be old",
      h("p", {}, "It answers", since && [", but has received nothing since ", when(since)], ". It may be a replica that is cut off. Edits and kills made elsewhere may not be seen here. ", h("b", {}, "A kill made here works here at once.")));
  }
  return banner("warn", "The store cannot be reached",
    h("p", {}, "The last known rules stay in effect", since && [" since ", when(since)], ". Edits have to wait; ", h("b", {}, "a kill still works, in this process.")),
    h("p", { class: "quiet" }, code(store.name), " ", theirs(error ?? "")));
}

function ofLink() {
  if (session.isLive !== false) return null;
  return banner("warn", "Not live", h("p", {}, "The connection to the server was lost; it is tried again. What you see may be old."));
}

function ofProblems(problems, shown = [], lost = []) {
  // Some have a banner of their own.
  const isShown = (one) => lost.includes(one.flag) || shown.some((other) => other.expected === one.expected && other.found === one.found);
  const errors = problems.filter((one) => one.severity === "error" && !isShown(one));
  if (!errors.length) return null;
  const item = (one) => h("li", {}, one.flag && [h("a", { href: `#/flags/${encodeURIComponent(one.flag)}` }, code(one.flag)), " "], problem(one));
  return banner("warn", `${plural(errors.length, "problem")} in the rules`,
    h("details", {}, h("summary", { "data-key": "problems" }, "Flags with errors keep their last good definition, or are off"), h("ul", {}, errors.slice(0, 50).map(item))));
}
