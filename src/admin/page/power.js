// The kill switch, first and unmistakable; and the way back.

import * as api from "./api.js";
import { edit } from "./edit.js";
import { because, button, code, fresh, fromNow, h, theirs } from "./dom.js";
import { problem } from "./dialog.js";
import { session } from "./live.js";
import { hereOf, percent, reach, shortMoment } from "./words.js";

export function power(page) {
  const { shown } = page;
  const { flag, local_kill: kill, percentage: share } = shown;
  const isOn = flag ? flag.enabled : shown.in_force?.enabled ?? false;
  if (kill) {
    return card("off", "Off in this process only",
      [h("p", {}, "By ", theirs(kill.by), " ", fromNow(kill.at), because(kill.reason), ". ", h("b", {}, "Other processes may still serve it.")),
        kill.missing ? h("p", {}, "The store has lost the flag: killing it everywhere writes it back, switched off.") : kill.error && h("p", {}, "The store says: ", theirs(kill.error), ". ", kill.permanent && h("b", {}, "This does not go away by itself.")),
        !kill.missing && !kill.permanent && h("p", {}, kill.question ? "Somebody has edited the flag in the store since: kill it in the store, too, or let the store decide (above)." : "It is written as soon as the store can be reached.")],
      page.mayKill && button("Try to kill it everywhere", () => askKill(page), { class: "kill", "data-key": "power" }));
  }
  if (shown.missing) return lost(page);
  if (shown.shadowed_by) return overruled(page, isOn);
  if (!isOn) {
    return card("off", "Killed: nobody gets it",
      [flag && h("p", {}, "Everything else is kept. Restored, it reaches ", h("b", {}, reach(flag, share)), "."),
        shown.rollout?.paused_since && !shown.rollout.is_finished && h("p", {}, "Its plan stands still at ", percent(shown.rollout.percentage), " until it is resumed.")],
      page.mayRestore && flag && button("Restore…", () => askRestore(page), { class: "primary", "data-key": "power" }));
  }
  const here = hereOf(shown);
  if (here) return notAsStored(page, here);
  return card("on", flag ? onWords(flag, share) : "On, by its last good definition",
    [shown.rollout?.next_at && h("p", {}, "By its plan. The next step is ", fromNow(shown.rollout.next_at), `, ${shortMoment(shown.rollout.next_at)}.`),
      shown.rollout?.paused_since && !shown.rollout.is_finished && h("p", {}, "Its plan is paused."),
      flag?.requires?.length > 0 && h("p", {}, "Only where these are on: ", flag.requires.map(required))],
    page.mayKill && button("Kill…", () => askKill(page), { class: "kill", "data-key": "power" }));
}

/** The store no longer has the flag, although no edit removed it. */
function lost(page) {
  const { flag, missing, in_force: inForce, percentage } = page.shown;
  const isOn = missing.in_force && inForce?.enabled;
  return card(isOn ? "on" : "off", isOn ? "On here, but missing in the store" : missing.in_force ? "Off here, and missing in the store" : "Off: the store has lost it",
    [missing.in_force ? h("p", {}, "Running processes continue with the definition they had", isOn && [", on for ", h("b", {}, reach(flag, percentage))], ". Processes that start now do not get the flag.")
      : h("p", {}, "Nobody gets it", flag?.enabled && [". It was on for ", h("b", {}, reach(flag, percentage))], "."),
      h("p", { class: "quiet" }, "Noticed ", fromNow(missing.since), ".")],
    page.mayKill && h("div", { class: "row" },
      session.mayEdit && button("Write it back…", () => askWriteBack(page), { class: "primary", "data-key": "write-back" }),
      button("Kill…", () => askKill(page), { class: "kill", "data-key": "power" })));
}

function askWriteBack(page) {
  const { shown } = page;
  edit(page, {
    title: ["Write ", code(shown.name), " back?"], action: "Write it back",
    content: [h("p", {}, "The definition is written to the store again, with an entry in the history. ", !shown.flag ? "It is the last one in the history." : shown.flag.enabled ? ["It is on for ", h("b", {}, reach(shown.flag, shown.percentage)), "."] : "It is off, and stays off.")],
    make: (_, reason) => api.act(shown.name, "write-back", { reason }),
    mine: () => "Write the flag back.",
  });
}

/** Another layer has the last word: what the store says is not what anybody gets here. */
function overruled(page, isOn) {
  const { flag, in_force: inForce, percentage, shadowed_by: layer } = page.shown;
  return card(inForce?.enabled ? "on" : "off", [inForce?.enabled ? "On here" : "Off here", ", by ", theirs(layer)],
    [h("p", {}, "The store says ", h("b", {}, isOn && flag ? ["on for ", reach(flag, percentage)] : isOn ? "on" : "killed"), ". That holds in other processes, and here once ", theirs(layer), " no longer has the flag.")],
    isOn ? page.mayKill && button("Kill in the store…", () => askKill(page), { class: "kill", "data-key": "power" })
      : page.mayRestore && flag && button("Restore in the store…", () => askRestore(page), { class: "primary", "data-key": "power" }));
}

const HERE = {
  nobody: "Switched on, but nobody gets it here now",
  earlier: "On here by its last good definition",
  "nothing-yet": "Switched on, but nobody gets it here yet",
};

/** It says on, and this process does not go by it: which is off, or something else. */
function notAsStored(page, here) {
  const { flag, percentage, in_force: inForce, problems } = page.shown;
  const errors = problems.filter(({ severity }) => severity === "error");
  return card(here === "earlier" ? "on" : "off", HERE[here],
    [errors.length > 0 ? errors.map((one) => h("p", {}, h("b", {}, "Why: "), problem(one), ".")) : h("p", {}, here === "nothing-yet" ? "This process has not loaded it yet." : "This process holds it off, and names no reason."),
      h("p", {}, here === "earlier" ? [`The share there is ${percent(inForce.percentage)}. Once this is mended, it is on for `, h("b", {}, reach(flag, percentage)), "."]
        : ["As it is stored it is on for ", h("b", {}, reach(flag, percentage)), here === "nothing-yet" ? "." : ": that comes back by itself once this is mended."])],
    page.mayKill && button("Kill…", () => askKill(page), { class: "kill", "data-key": "power" }));
}

const onWords = (flag, share) => {
  const to = reach(flag, share);
  return to === "nobody" ? "Switched on, but nobody gets it yet" : ["On for ", to];
};

function required(one) {
  const [name, variant] = typeof one === "string" ? [one] : Object.entries(one)[0] ?? [""];
  return [h("a", { href: `#/flags/${encodeURIComponent(name)}` }, code(name)), variant !== undefined && [" as ", code(String(variant))], " "];
}

function card(tone, title, words, action) {
  return h("section", { class: `power ${tone}`, "aria-labelledby": "power-title" }, h("div", {}, h("h2", { id: "power-title" }, title), words), action);
}

function askKill(page) {
  const { shown } = page;
  const { flag, percentage } = shown;
  const everywhere = h("input", { type: "checkbox", id: fresh("write-back"), checked: true });
  edit(page, {
    title: ["Kill ", code(shown.name), "?"], tone: "grave", action: "Kill it now", isUrgent: true,
    content: [
      h("p", {}, h("b", {}, "It goes off at once for everybody"), hereOf(shown) === "nobody" ? " who may still have it elsewhere; here nobody has it now."
        : flag?.enabled ? [", that is for ", h("b", {}, reach(flag, percentage)), percentage > 0 && percentage < 100 && `: about ${Math.max(1, Math.round(percentage * 10))} of every 1000 users lose it`, "."]
        : ", by name or by share."),
      h("p", { class: "quiet" }, "Share, names, rules and plan are kept, so that Restore brings it back as it is.", shown.rollout && !shown.rollout.is_finished && " Its plan is paused."),
      shown.missing && h("div", { class: "check" }, everywhere, h("label", { for: everywhere.id }, "Also write it to the store, switched off, for all processes. The store has lost it.")),
    ],
    make: (_, reason) => api.act(shown.name, "kill", { reason, writeBack: Boolean(shown.missing) && everywhere.checked }),
    mine: () => "Kill the flag.",
  });
}

function askRestore(page) {
  const { shown } = page;
  edit(page, {
    title: ["Restore ", code(shown.name), "?"], action: "Restore it",
    content: [h("p", {}, "It comes back on for ", h("b", {}, reach(shown.flag, shown.percentage)), "."),
      shown.problems.some(({ severity }) => severity === "error") && h("p", { class: "callout warn" }, "Not here, though, until what is wrong with it is mended."),
      shown.rollout && !shown.rollout.is_finished && h("p", {}, "Its plan stays paused until you resume it.")],
    make: (etag, reason) => api.act(shown.name, "restore", { etag, reason }),
    mine: (current) => (current.flag ? { ...current.flag, enabled: true } : "Restore the flag."),
  });
}
