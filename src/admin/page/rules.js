// Rules: whom a flag reaches by what is known about them.

import { patch } from "./edit.js";
import { append, button, code, fresh, h, line, select } from "./dom.js";
import { OPERATORS, isKnown, kindOf, ruleWords, typed, valueOf } from "./rule.js";
import { WRONG_SHARE, shareLine, shareOf } from "./share.js";

export function rules(page) {
  const { flag } = page.shown;
  if (!flag) return null;
  const all = flag.rules ?? [];
  return h("section", { class: "card", "aria-labelledby": "rules-title" },
    h("div", { class: "heading" }, h("h2", { id: "rules-title" }, "Rules"), page.mayEdit && button(all.length ? "Change…" : "Add…", () => ask(page), { class: "small", "data-key": "rules" })),
    h("p", { class: "quiet" }, all.length ? "From top to bottom; the first that holds decides." : "Let in, or keep out, whoever has a certain plan, country or version, say."),
    all.length > 0 && h("ol", { class: "rules" }, all.map((rule) => h("li", {}, ruleWords(rule)))));
}

function ask(page) {
  const base = page.shown;
  const { flag } = base;
  const before = flag.rules ?? [];
  const rows = h("ol", { class: "rule-forms" });
  const attributes = h("datalist", { id: fresh("attributes") },
    [...new Set(["user_id", "groups", ...before.filter(isKnown).flatMap(({ when }) => when.map(({ attribute }) => attribute))])].map((value) => h("option", { value })));
  const add = (rule) => {
    rows.append(card(rule, { attributes: attributes.id, variants: Object.keys(flag.variants ?? {}), another }));
    number(rows);
  };
  const another = button("Add a rule", () => {
    add(YOUNG);
    rows.lastElementChild.querySelector("input").focus();
  }, { class: "small" });
  before.forEach(add);
  if (!before.length) add(YOUNG);
  const read = () => [...rows.children].map((row) => row.read());
  const keys = () => {
    const wanted = read().map(({ rule }) => rule);
    return { rules: wanted.length ? wanted : null };
  };
  const check = () => {
    const at = read().findIndex(({ wrong }) => wrong);
    return at < 0 ? null : `Rule ${at + 1}: ${read()[at].wrong}`;
  };
  patch(page, {
    base, keys, check, title: ["Rules of ", code(base.name)], action: "Save", tone: "broad",
    content: [h("p", { class: "quiet" }, "Asked from top to bottom for whoever is not let in by name; the first rule that holds decides, and where none does, the share."),
      rows, attributes, another],
  });
}

const YOUNG = { when: [{ attribute: "", op: "equals", values: [] }], serve: true };

/** Says which rule is which after one came, went or moved. */
function number(rows) {
  const all = [...rows.children];
  all.forEach((row, index) => {
    row.name.textContent = `Rule ${index + 1}`;
    row.up.disabled = index === 0;
    row.down.disabled = index === all.length - 1;
    row.up.ariaLabel = `Move rule ${index + 1} up`;
    row.down.ariaLabel = `Move rule ${index + 1} down`;
    row.away.ariaLabel = `Remove rule ${index + 1}`;
  });
}

/** One rule that can be moved and removed, and changed where all of it is known here. `read()`: `{ rule, wrong }`. */
function card(rule, place) {
  const row = h("li", {});
  const move = (to, first, second) => () => {
    const rows = row.parentElement;
    to();
    number(rows);
    (first().disabled ? second() : first()).focus();
  };
  row.name = h("legend", {});
  row.up = button("↑", move(() => row.previousElementSibling.before(row), () => row.up, () => row.down), { class: "small" });
  row.down = button("↓", move(() => row.nextElementSibling.after(row), () => row.down, () => row.up), { class: "small" });
  row.away = button("×", () => {
    const rows = row.parentElement;
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    number(rows);
    (next?.away ?? place.another).focus();
  }, { class: "small" });
  const body = isKnown(rule) || rule === YOUNG ? fields(rule, place) : kept(rule);
  row.read = body.read;
  row.append(h("fieldset", {}, row.name, body.content, h("div", { class: "row" }, body.outcome, h("div", { class: "row moves" }, row.up, row.down, row.away))));
  return row;
}

/** What this page does not know is kept as it is. */
const kept = (rule) => ({
  content: [h("p", { class: "quiet" }, "This page does not know all of this rule, and keeps it as it is."), h("p", {}, ruleWords(rule))],
  read: () => ({ rule, wrong: null }),
});

function fields({ when, serve }, place) {
  const clauses = h("ul", { class: "clauses" });
  const alone = () => [...clauses.children].forEach((row) => {
    row.away.hidden = clauses.children.length === 1;
  });
  const add = (clause) => {
    clauses.append(clauseFields(clause, place, alone));
    alone();
  };
  when.forEach(add);
  const another = button("Add a condition", () => {
    add(YOUNG.when[0]);
    clauses.lastElementChild.querySelector("input").focus();
  }, { class: "plain small" });

  const named = [...new Set([...place.variants, ...(typeof serve === "string" ? [serve] : [])])];
  // Names of variants begin with a letter or digit, so that none is one of the others.
  const outcome = select([["+on", "on"], ["+off", "off"], ["+share", "on for a share of them"], ...named.map((name) => [name, `on, as ${name}`])],
    typeof serve === "string" ? serve : serve === true ? "+on" : serve === false ? "+off" : "+share", { "aria-label": "What they get" });
  const share = shareLine(serve.percentage ?? 10, { "aria-label": "Share of them in percent" });
  const amount = h("span", { class: "amount" }, share, "%");
  const draw = () => {
    amount.hidden = outcome.value !== "+share";
  };
  outcome.addEventListener("change", draw);
  draw();
  const serves = () => ({ "+on": true, "+off": false, "+share": { percentage: shareOf(share.value) } })[outcome.value] ?? outcome.value;
  const read = () => {
    const read = [...clauses.children].map((row) => row.read());
    const rule = { when: read.map(({ clause }) => clause), serve: serves() };
    const wrong = read.find(({ wrong }) => wrong)?.wrong ?? (rule.serve?.percentage === null ? `the share: ${WRONG_SHARE}` : null);
    return { rule, wrong };
  };
  return { content: [clauses, another], outcome: ["Then", outcome, amount], read };
}

const HINTS = { anything: "pro", text: "@example.com", number: "18", version: "2.1.0", instant: "2026-12-01T09:00:00Z" };

/** One condition of a rule. `read()`: `{ clause, wrong }`. */
function clauseFields({ attribute, op, values = [] }, place, changed) {
  const row = h("li", {});
  const name = line({ value: attribute, list: place.attributes, placeholder: "plan", "aria-label": "Attribute" });
  const both = ([op, words, opposite]) => [[op, words], [`not_${op}`, opposite]].map(([value, label]) => h("option", { value }, label));
  const how = h("select", { "aria-label": "Condition" }, OPERATORS.map(([, label, operators]) => h("optgroup", { label }, operators.map(both))));
  how.value = op;
  const kind = () => kindOf(how.value);
  const typedLines = () => text.value.split("\n").map((text) => text.trim()).filter(Boolean);
  const text = h("textarea", { "aria-label": "Values, one in a line", spellcheck: "false", autocapitalize: "none", value: values.map((value) => typed(kind(), value)).join("\n") });
  const draw = () => {
    text.hidden = kind() === "nothing";
    text.placeholder = `${HINTS[kind()]}\none in a line`;
    text.rows = Math.min(8, Math.max(2, text.value.split("\n").length));
  };
  how.addEventListener("change", draw);
  text.addEventListener("input", draw);
  draw();
  row.away = button("×", () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    changed();
    next.querySelector("input").focus();
  }, { class: "take", "aria-label": "Remove this condition" });
  row.read = () => {
    const clause = { attribute: name.value === attribute ? attribute : name.value.trim(), op: how.value };
    if (kind() !== "nothing") clause.values = typedLines().map((text) => valueOf(kind(), text));
    const bad = clause.values?.findIndex((value) => value === undefined) ?? -1;
    const wrong = !clause.attribute ? "which attribute is it about?" : clause.values?.length === 0 ? `which values of ${clause.attribute}?` : bad >= 0 ? `${typedLines()[bad]} is no number.` : null;
    return { clause, wrong };
  };
  append(row, [name, how, text, row.away]);
  return row;
}
