// Drawings: a plan as a line over time, shares and variants as bars. Each is also said in words beside it.

import { svg } from "./dom.js";
import { now, percent, shortDay, shortMoment } from "./words.js";

/** A share of users as a small bar. */
export function shareBar(share) {
  return svg("svg", { class: "share-bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 6 }), svg("rect", { class: "part", width: share, height: 6 }));
}

/** Variants side by side, as `[[name, weight], …]`. */
export function weightBar(weights) {
  let left = 0;
  const parts = weights.map(([name, weight]) => {
    const part = svg("rect", { class: "part", x: left, width: weight, height: 10 }, svg("title", {}, `${name}: ${percent(weight)}`));
    left += weight;
    return part;
  });
  return svg("svg", { class: "weight-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, parts);
}

/** Where a user's bucket lies, and up to where the flag is on. */
export function bucketBar(bucket, share) {
  return svg("svg", { class: "bucket-bar", viewBox: "0 0 100 12", preserveAspectRatio: "none", role: "img", "aria-label": `Bucket ${bucket} of 100; on below ${share}` },
    svg("rect", { class: "track", y: 4, width: 100, height: 4 }), svg("rect", { class: "part", y: 4, width: share, height: 4 }),
    svg("rect", { class: "marker", x: Math.min(Math.max(bucket - 0.4, 0), 99.2), width: 0.8, height: 12 }));
}

const HEIGHT = 220;
const EDGE = { top: 26, right: 18, bottom: 30, left: 44 };

/**
 * A plan over time, drawn anew as wide as there is room. `rollout` is as the server tells it; `isPreview`: nothing of
 * it has happened.
 */
export function planChart(rollout, { isPreview = false } = {}) {
  const drawing = svg("svg", { class: "plan-chart", height: HEIGHT, role: "img", "aria-label": inWords(rollout, isPreview) });
  let width = 0;
  const draw = () => drawing.replaceChildren(...parts(rollout, width, isPreview));
  new ResizeObserver(([entry]) => {
    if (Math.round(entry.contentRect.width) === width) return;
    width = Math.round(entry.contentRect.width);
    if (width > 0) draw();
  }).observe(drawing);
  drawing.draw = () => width > 0 && draw();
  return drawing;
}

function inWords({ stages, paused_since: paused, percentage }, isPreview) {
  const steps = stages.map((stage) => `${percent(stage.percentage)} from ${shortMoment(stage.at)}`).join(", ");
  return `Plan: ${steps}.${isPreview ? "" : ` Now ${percent(percentage)}${paused ? ", paused" : ""}.`}`;
}

function parts({ stages, paused_since: paused, current, percentage }, width, isPreview) {
  const present = now();
  // What a pause holds up is drawn as if it were resumed now.
  const late = paused ? present - Date.parse(paused) : 0;
  const times = stages.map((stage, index) => Date.parse(stage.at) + (!isPreview && index > (current ?? -1) ? late : 0));
  const [first, last] = [Math.min(times[0], isPreview ? times[0] : present), Math.max(times.at(-1), isPreview ? 0 : present)];
  const room = Math.max((last - first) * 0.06, 60_000);
  const [from, to] = [first - (times[0] <= first ? room : 0), last + room * 2];
  const x = (time) => EDGE.left + ((time - from) / (to - from)) * (width - EDGE.left - EDGE.right);
  const y = (share) => EDGE.top + (1 - share / 100) * (HEIGHT - EDGE.top - EDGE.bottom);

  const grid = [0, 50, 100].flatMap((share) => [
    svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(share), y2: y(share) }),
    svg("text", { class: "tick", x: EDGE.left - 8, y: y(share) + 4, "text-anchor": "end" }, percent(share)),
  ]);

  // Up to now as it was, from now on as it will be.
  const turn = isPreview ? from : Math.min(Math.max(present, from), to);
  const passed = (index) => index <= (current ?? -1);
  const path = (indices, begin, height, end) => {
    let line = `M${x(begin)} ${y(height)}`;
    for (const index of indices) line += `H${x(Math.max(times[index], begin))}V${y(stages[index].percentage)}`;
    return `${line}H${x(end)}`;
  };
  const all = stages.map((_, index) => index);
  const before = isPreview ? [] : all.filter(passed), after = all.filter((index) => isPreview || !passed(index));
  const height = isPreview ? percentage : before.length ? stages[before.at(-1)].percentage : 0;
  const past = path(before, from, 0, turn);
  const future = path(after, turn, height, to);
  const lines = [
    !isPreview && svg("path", { class: "area", d: `${past}V${y(0)}H${x(from)}Z` }),
    svg("path", { class: paused ? "to-come paused" : "to-come", d: future }),
    !isPreview && svg("path", { class: "past", d: past }),
  ];

  let labelled = -Infinity;
  const points = stages.map((stage, index) => {
    const left = x(times[index]);
    const dot = svg("circle", { class: !isPreview && passed(index) ? "dot" : "dot to-come", cx: left, cy: y(stage.percentage), r: 4 });
    if (left - labelled < 44) return dot;
    labelled = left;
    return [dot, svg("text", { class: "value", x: Math.min(left + 2, width - EDGE.right - 34), y: y(stage.percentage) - 9 }, percent(stage.percentage))];
  });

  const isLong = to - from > 3 * 86_400_000;
  const tick = (time, anchor) => svg("text", { class: "tick", x: x(time), y: HEIGHT - 8, "text-anchor": anchor }, isLong ? shortDay(time) : shortMoment(time));
  const ticks = [tick(times[0], "start"), times.length > 1 && x(times.at(-1)) - x(times[0]) > (isLong ? 110 : 290) && tick(times.at(-1), "end")];

  const marker = !isPreview && [
    svg("line", { class: "now", x1: x(present), x2: x(present), y1: EDGE.top - 8, y2: y(0) }),
    svg("text", { class: "now-label", x: Math.min(Math.max(x(present), EDGE.left + 16), width - EDGE.right - 26), y: EDGE.top - 13, "text-anchor": "middle" }, paused ? "now, paused" : "now"),
  ];
  return [grid, lines, points, ticks, marker].flat(Infinity).filter(Boolean);
}
