// Variants and their weights.

import { weightBar } from "./chart.js";
import { patch } from "./edit.js";
import { button, code, fill, h, theirs } from "./dom.js";
import { percent } from "./words.js";
import { shareOf } from "./share.js";

const weightOf = (variant) => (typeof variant === "number" ? variant : variant.weight);
const SHOWN_VALUE = 200;

const shortened = (text) => (text.length > SHOWN_VALUE ? `${text.slice(0, SHOWN_VALUE)}…` : text);

export function variants(page) {
  const { flag } = page.shown;
  const all = Object.entries(flag?.variants ?? {});
  if (!all.length) return null;
  const key = (number) => h("span", { class: `swatch tint-${number % 8}`, "aria-hidden": "true" });
  const item = ([name, variant], number) => h("li", {}, key(number), h("span", { class: "variant" }, theirs(name)), h("b", {}, percent(weightOf(variant))),
    typeof variant === "object" && variant.value !== undefined && h("code", { class: "value" }, theirs(shortened(JSON.stringify(variant.value)))));
  return h("section", { class: "card", "aria-labelledby": "variants-title" },
    h("div", { class: "heading" }, h("h2", { id: "variants-title" }, "Variants"), page.mayEdit && button("Change weights…", () => ask(page), { class: "small", "data-key": "variants" })),
    h("p", { class: "quiet" }, "How those who get the flag are split."),
    weightBar(all.map(([name, variant]) => [name, weightOf(variant)])),
    h("ul", { class: "variants" }, all.map(item)));
}

function ask(page) {
  const base = page.shown;
  const all = Object.entries(base.flag.variants);
  const inputs = all.map(([name, variant]) => h("input", { type: "text", inputmode: "decimal", size: 7, value: String(weightOf(variant)), "aria-label": `Weight of ${name} in percent`, on: { input: draw } }));
  const sum = h("p", { "aria-live": "polite" });
  const bar = h("div", {});
  const weights = () => inputs.map((input) => shareOf(input.value));
  // In thousandths, since 0.1 and 0.2 do not make 0.3.
  const total = () => weights().reduce((total, weight) => total + Math.round((weight ?? 0) * 1000), 0) / 1000;
  const objection = () => (weights().includes(null) ? "Each weight is a number from 0 to 100, with at most three decimals." : total() !== 100 ? `Together they are ${percent(total())}, and have to be 100\u202f%.` : null);
  function draw() {
    fill(sum, objection() ?? "Together 100\u202f%.");
    fill(bar, objection() ? null : weightBar(all.map(([name], number) => [name, weights()[number]])));
  }
  draw();
  const keys = () => ({ variants: Object.fromEntries(all.flatMap(([name, variant], number) => {
    const weight = weights()[number];
    return weight === weightOf(variant) ? [] : [[name, typeof variant === "number" ? weight : { weight }]];
  })) });
  patch(page, {
    base, keys, check: objection, title: ["Variants of ", code(base.name)], action: "Change the weights",
    content: [h("ul", { class: "variants" }, all.map(([name], number) => h("li", {}, h("span", { class: `swatch tint-${number % 8}`, "aria-hidden": "true" }), h("span", { class: "variant" }, theirs(name)), h("span", { class: "amount" }, inputs[number], "%")))), bar, sum,
      h("p", { class: "callout warn" }, "Some users see another variant than before. An experiment that runs should rather be ended and begun anew.")],
  });
}
