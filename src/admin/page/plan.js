// Releasing by a plan: started, paused, hastened, taken back.

import * as api from "./api.js";
import { planChart } from "./chart.js";
import { edit, patch } from "./edit.js";
import { button, code, field, fill, fromNow, h, select, when } from "./dom.js";
import { WRONG_SHARE, consequence, shareLine, shareOf } from "./share.js";
import { clockChange, now, percent, zone } from "./words.js";

const HOUR = 3_600_000;

export function plan(page) {
  const { shown } = page;
  const { flag, rollout } = shown;
  if (!flag) return null;
  if (!rollout) {
    return h("section", { class: "card", "aria-labelledby": "plan-title" }, h("h2", { id: "plan-title" }, "Plan"),
      h("p", { class: "quiet" }, "Raises the share step by step, by itself, and can be paused at any time."),
      page.mayEdit && button("Start a plan…", () => askStart(page), { "data-key": "plan-start" }));
  }
  return h("section", { class: "card plan", "aria-labelledby": "plan-title" },
    h("h2", { id: "plan-title" }, "Plan"),
    h("p", { class: "plan-now" }, nowWords(rollout)),
    planChart(rollout), steps(rollout), !rollout.is_finished && !rollout.paused_since && clocks(rollout.stages), page.mayEdit && actions(page));
}

/** Says what a day is, if the clocks change between the steps: steps that are days apart then move by the clock. */
function clocks(stages) {
  const change = clockChange(stages.map(({ at }) => at));
  return change && h("p", { class: "quiet" }, `The clocks change between these steps. A day of a plan is 24 hours, so the steps after the change come ${change} by the clock.`);
}

function nowWords(rollout) {
  const { stages, current, percentage, next_at: next, paused_since: paused, is_finished: isFinished, is_killed: isKilled } = rollout;
  if (isKilled) return [h("b", {}, "Stopped"), ` at ${percent(percentage)}: the flag is killed.`];
  if (isFinished) return [h("b", {}, `Done: ${percent(percentage)}.`), " The last step was ", fromNow(stages.at(-1).at), "."];
  if (paused) return [h("b", {}, `Paused at ${percent(percentage)}`), " ", fromNow(paused), ". It stays there until it is resumed."];
  const to = stages[(current ?? -1) + 1];
  return [h("b", {}, `${percent(percentage)} now`), next && [`, ${percent(to.percentage)} `, fromNow(next), "."]];
}

function steps({ stages, current, paused_since: paused, is_finished: isFinished }) {
  const item = (stage, index) => {
    const isCurrent = index === current;
    const isPassed = current !== null && index < current;
    const word = isCurrent ? "now" : isPassed ? "done" : paused ? "once resumed" : "to come";
    return h("li", { class: isCurrent ? "current" : isPassed ? "passed" : "", "aria-current": isCurrent ? "step" : null },
      h("b", {}, percent(stage.percentage)), " ", paused && !isPassed && !isCurrent ? "" : when(stage.at), " ", h("span", { class: "quiet" }, isCurrent && isFinished ? "now, for good" : word));
  };
  return h("ol", { class: "steps" }, stages.map(item));
}

function actions(page) {
  const { rollout, flag } = page.shown;
  const { stages, current, paused_since: paused, is_finished: isFinished } = rollout;
  const next = stages[(current ?? -1) + 1], before = current > 0 ? stages[current - 1] : null;
  const isOn = flag.enabled;
  const act = (label, action, sentence, tone) => button(label, () => edit(page, {
    title: [label.replace("…", ""), ": ", code(page.name)], action: label.replace("…", ""), tone, content: sentence,
    make: (etag, reason) => api.act(page.name, `rollout/${action}`, { etag, reason }),
    mine: () => `${label.replace("…", "")}.`,
  }), { "data-key": `plan-${action}`, class: tone === "grave" ? "kill-quiet" : "" });
  return h("div", { class: "row", role: "group", "aria-label": "Plan" },
    isOn && !paused && !isFinished && act("Pause…", "pause", h("p", {}, `The share stays at ${percent(rollout.percentage)} until somebody resumes the plan.`)),
    isOn && paused && !isFinished && act("Resume…", "resume", h("p", {}, `It goes on from ${percent(rollout.percentage)}. The steps to come move by the time it stood still.`)),
    isOn && next && act(`Advance to ${percent(next.percentage)}…`, "advance", h("p", {}, `From ${percent(rollout.percentage)} to ${percent(next.percentage)} now: `, consequence(rollout.percentage, next.percentage), " The steps after it come as much earlier.")),
    isOn && before && act(`Back to ${percent(before.percentage)}…`, "back", h("p", {}, `From ${percent(rollout.percentage)} to ${percent(before.percentage)}, and the plan pauses there: `, consequence(rollout.percentage, before.percentage))),
    isOn && act("Roll back…", "roll-back", [h("p", {}, h("b", {}, "The flag goes off for everybody"), `: for the ${percent(rollout.percentage)} of users who have it, and for whoever is named.`), h("p", { class: "quiet" }, "The plan stops where it is and is kept.")], "grave"),
    button("End the plan…", () => askEnd(page), { "data-key": "plan-end" }),
    button("Start another…", () => askStart(page), { "data-key": "plan-start" }));
}

function askEnd(page) {
  const share = page.shown.rollout.percentage;
  patch(page, {
    keys: { schedule: null, paused_at: null, percentage: share },
    title: ["End the plan of ", code(page.name), "?"], action: "End the plan",
    content: h("p", {}, `The share stays at ${percent(share)}, as if set by hand. The steps to come are dropped.`),
  });
}

/** Hours of ten years: nobody plans further, and dates end somewhere. */
const LONGEST = 10 * 366 * 24;
const USUAL = [[1, 1, "days"], [10, 1, "days"], [50, 2, "days"], [100, 0, "days"]];

/** The form for a plan: stages, when it begins, and what it looks like. */
function askStart(page) {
  const { shown } = page;
  const inForce = shown.flag.enabled ? shown.percentage : 0;
  const rows = h("ol", { class: "stages" });
  const preview = h("div", { class: "preview" });
  const start = h("input", { type: "datetime-local", on: { input: draw } });

  function addRow(share, length, unit) {
    const number = shareLine(share, { size: 5, "aria-label": "Share in percent", on: { input: draw } });
    const time = h("input", { type: "number", min: 0, step: "any", value: String(length), "aria-label": "For how long", on: { input: draw } });
    const units = select([["hours", "hours"], ["days", "days"]], unit, { "aria-label": "Unit", on: { change: draw } });
    const row = h("li", {}, h("span", { class: "amount" }, number, "%"), h("span", { class: "length" }, " for ", time, " ", units), h("span", { class: "last" }, " from then on"),
      button("Remove", () => {
        row.remove();
        draw();
        (rows.lastElementChild?.querySelector("input") ?? add).focus();
      }, { class: "plain small", "aria-label": "Remove this step" }));
    row.isInDays = () => units.value === "days";
    row.read = () => ({ percentage: shareOf(number.value), hours: Number((time.valueAsNumber * (units.value === "days" ? 24 : 1)).toFixed(3)) });
    rows.append(row);
    return number;
  }
  const add = button("Add a step", () => {
    addRow(100, 1, "days").select();
    draw();
    rows.lastElementChild.querySelector("input").focus();
  }, { class: "small" });

  const read = () => [...rows.children].map((row) => row.read());
  const startAt = () => (start.value ? new Date(start.value).getTime() : now());

  function objection() {
    const stages = read();
    if (!stages.length) return "A plan needs a step.";
    if (start.value && Number.isNaN(startAt())) return "The beginning is no date and time.";
    for (const [index, { percentage, hours }] of stages.entries()) {
      if (percentage === null) return `Step ${index + 1}: ${WRONG_SHARE}`;
      if (index + 1 < stages.length && !(hours > 0)) return `Step ${index + 1}: how long is it to last?`;
      if (hours > LONGEST) return `Step ${index + 1}: at most ten years.`;
      if (index > 0 && percentage < stages[index - 1].percentage) return `Step ${index + 1} is below the one before: a plan only goes up.`;
    }
    if (stages[0].percentage < inForce) return `${percent(inForce)} of users have it now, and a plan takes it from nobody: begin with at least that.`;
    return null;
  }
  function draw() {
    const wrong = objection();
    if (wrong) return fill(preview, h("p", { class: "error" }, wrong));
    let at = startAt();
    const stages = read().map(({ percentage, hours }) => {
      const stage = { at: new Date(at).toISOString(), percentage };
      at += hours * HOUR;
      return stage;
    });
    const last = stages.at(-1);
    const begun = start.value ? stages.filter((stage) => Date.parse(stage.at) <= now()).at(-1) : undefined;
    fill(preview, planChart({ stages, current: null, percentage: inForce, paused_since: null }, { isPreview: true }),
      h("p", {}, stages.map((stage, index) => [index > 0 && (stage === last ? " and " : ", "), percent(stage.percentage), index > 0 || start.value ? [" from ", when(stage.at)] : " at once"]), ".",
        stages.length > 1 && [" It ends ", fromNow(last.at), "."]),
      [...rows.children].slice(0, -1).some((row) => row.isInDays()) && clocks(stages),
      begun && h("p", { class: "callout warn" }, h("b", {}, `It begins in the past: ${percent(begun.percentage)} of users have it at once`), begun === last && ", and the plan is over", "."));
  }

  // What is in force is where it begins: nobody loses anything.
  for (const [share, length, unit] of USUAL) if (share >= inForce) addRow(share, length, unit);
  if (shown.flag.enabled && inForce > 0 && inForce < 100 && read()[0]?.percentage !== inForce) {
    const first = addRow(inForce, 1, "days");
    rows.prepend(first.closest("li"));
  }
  const plan = () => ({
    ...(start.value ? { start: new Date(start.value).toISOString() } : {}),
    stages: read().map(({ percentage, hours }, index, all) => (index + 1 < all.length ? { percentage, hours } : { percentage })),
  });
  draw();
  edit(page, {
    title: ["A plan for ", code(page.name)], action: "Start the plan", check: objection,
    content: [rows, h("p", {}, add), field("Begins", start, `Left empty, it begins at once. Your time zone: ${zone()}.`), preview,
      !shown.flag.enabled && h("p", { class: "callout" }, "The flag is killed. The plan waits, paused, until the flag is restored and the plan resumed."),
      shown.flag.percentage !== undefined && shown.percentage > 0 && shown.flag.enabled && h("p", { class: "quiet" }, `${percent(inForce)} of users have it now and keep it.`)],
    make: (etag, reason) => api.act(page.name, "rollout/start", { body: plan(), etag, reason }),
    mine: () => `Start a plan: ${plan().stages.map((stage) => percent(stage.percentage)).join(", ")}.`,
  });
}
