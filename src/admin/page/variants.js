// Variants: how those who get a flag are split, and what each of them stands for.

import { weightBar } from "./chart.js";
import { patchFrom, patched } from "./diff.js";
import { patch } from "./edit.js";
import { append, button, code, fill, h, line, theirs } from "./dom.js";
import { isNumber, parse, same, write } from "./json.js";
import { NAMES, isName, percent } from "./words.js";
import { WRONG_SHARE, shareLine, shareOf } from "./share.js";

const SHOWN_VALUE = 200;

const weightOf = (variant) => (isNumber(variant) ? variant : variant.weight);
const shortened = (text) => (text.length > SHOWN_VALUE ? `${text.slice(0, SHOWN_VALUE)}…` : text);
const swatch = () => h("span", { class: "swatch", "aria-hidden": "true" });

export function variants(page) {
  const { flag } = page.shown;
  if (!flag) return null;
  const all = Object.entries(flag.variants ?? {});
  const item = ([name, variant]) => h("li", {}, swatch(), h("span", { class: "variant" }, theirs(name)), h("b", {}, percent(weightOf(variant))),
    variant.value !== undefined && h("code", { class: "value" }, theirs(shortened(write(variant.value)))));
  return h("section", { class: "card", "aria-labelledby": "variants-title" },
    h("div", { class: "heading" }, h("h2", { id: "variants-title" }, "Variants"), page.mayEdit && button(all.length ? "Change…" : "Add…", () => ask(page), { class: "small", "data-key": "variants" })),
    h("p", { class: "quiet" }, all.length ? "How those who get the flag are split." : "Split those who get the flag, to try several things at once."),
    all.length > 0 && [weightBar(all.map(([name, variant]) => [name, weightOf(variant)])), h("ul", { class: "variants" }, all.map(item))]);
}

function ask(page) {
  const base = page.shown;
  const before = base.flag.variants ?? {};
  const rows = h("ul", { class: "variants" });
  const sum = h("p", { "aria-live": "polite" });
  const bar = h("div", {});
  const read = () => [...rows.children].map((row) => row.read());
  const shares = () => read().map(({ weight }) => weight);
  // In thousandths, since 0.1 and 0.2 do not make 0.3.
  const total = () => shares().reduce((total, weight) => total + Math.round((weight ?? 0) * 1000), 0) / 1000;
  const wanted = () => Object.fromEntries(read().map(({ name, weight, value }) => [name, value === undefined && typeof before[name] !== "object" ? weight : { weight, value }]));
  const keys = () => ({ variants: rows.children.length ? patchFrom(before, wanted()) : null });

  function objection() {
    const all = read(), names = all.map(({ name }) => name);
    if (!names.every(isName)) return NAMES;
    const twice = names.find((name, index) => names.indexOf(name) < index);
    if (twice) return `There are two variants of the name ${twice}.`;
    if (shares().includes(null)) return `Each weight: ${WRONG_SHARE}`;
    if (all.length && total() !== 100) return `Together they are ${percent(total())}, and have to be ${percent(100)}.`;
    const wrong = all.find(({ error }) => error);
    if (wrong) return `The value of ${wrong.name} is not JSON: ${wrong.error}`;
    // A merge patch takes a null for the end of a key.
    return all.length && !same(patched({ variants: before }, keys()).variants, wanted()) ? "A null in a value is set by Edit as JSON alone." : null;
  }
  function draw() {
    const wrong = objection();
    fill(sum, wrong ?? (rows.children.length ? `Together ${percent(100)}.` : "No variants: everyone who gets the flag gets the same."));
    fill(bar, !wrong && rows.children.length > 0 && weightBar(read().map(({ name, weight }) => [name, weight])));
  }
  const add = (name, variant) => rows.append(fields(name, variant, more));
  const more = button("Add a variant", () => {
    add(null, 0);
    rows.lastElementChild.querySelector("input").focus();
  }, { class: "small" });
  const even = button("Same weight for all", () => {
    const each = Math.floor(100_000 / rows.children.length);
    [...rows.children].forEach((row, index) => row.weigh((index === 0 ? 100_000 - each * (rows.children.length - 1) : each) / 1000));
  }, { class: "small" });

  for (const [name, variant] of Object.entries(before)) add(name, variant);
  if (!rows.children.length) [50, 50].forEach((weight) => add(null, weight));
  draw();
  patch(page, {
    base, keys, check: objection, title: ["Variants of ", code(base.name)], action: "Save", tone: "broad",
    content: h("div", { class: "fields", on: { input: draw, click: draw } }, rows, h("div", { class: "row" }, more, even), bar, sum,
      base.flag.variants && h("p", { class: "callout warn" }, "With other names or weights, some users see another variant than before. An experiment that runs should rather be ended and begun anew.")),
  });
}

/** One variant; `name` is `null` for a new one. `read()`: `{ name, weight, value, error }`. */
function fields(name, variant, more) {
  const row = h("li", {});
  const of = name === null ? "the new variant" : name;
  const called = name === null ? line({ "aria-label": "Name", placeholder: "Name", class: "variant" }) : h("span", { class: "variant" }, theirs(name));
  const weight = shareLine(weightOf(variant), { "aria-label": `Weight of ${of} in percent` });
  const value = h("textarea", { rows: 1, class: "mono", spellcheck: "false", "aria-label": `Value of ${of}, as JSON`, placeholder: "Value, as JSON", value: variant.value === undefined ? "" : write(variant.value) });
  const away = button("×", () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    (next?.querySelector(".take") ?? more).focus();
    row.remove();
  }, { class: "take", "aria-label": `Remove ${of}` });
  const valueRead = () => {
    if (!value.value.trim()) return {};
    try {
      return { value: parse(value.value) };
    } catch (error) {
      return { error: error.message };
    }
  };
  row.read = () => ({ name: name ?? called.value.trim(), weight: shareOf(weight.value), ...valueRead() });
  row.weigh = (share) => {
    weight.value = String(share);
  };
  append(row, [swatch(), called, h("span", { class: "amount" }, weight, "%"), value, away]);
  return row;
}
