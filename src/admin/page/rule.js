// A rule: said in words, and its values as they are typed.

import { code, h, theirs } from "./dom.js";
import { isNumber, parse, same, write } from "./json.js";
import { percent } from "./words.js";

/** By the kind of value they take: operator, words, words with `not_` before it. */
export const OPERATORS = [
  ["anything", "Any value", [["equals", "is", "is not"]]],
  ["nothing", "Whether there is one", [["exists", "is known", "is not known"]]],
  ["text", "Text", [
    ["contains", "contains", "does not contain"], ["starts_with", "starts with", "does not start with"],
    ["ends_with", "ends with", "does not end with"], ["matches", "matches the pattern", "does not match the pattern"],
  ]],
  ["number", "Number", [
    ["greater", "is above", "is not above"], ["greater_or_equal", "is at least", "is not at least"],
    ["less", "is below", "is not below"], ["less_or_equal", "is at most", "is not at most"],
  ]],
  ["version", "Version", [
    ["semver_equals", "is version", "is not version"],
    ["semver_greater", "is newer than version", "is not newer than version"],
    ["semver_greater_or_equal", "is at least version", "is not at least version"],
    ["semver_less", "is older than version", "is not older than version"],
    ["semver_less_or_equal", "is at most version", "is not at most version"],
  ]],
  ["instant", "Point in time", [["before", "is before", "is not before"], ["after", "is after", "is not after"]]],
];

const KNOWN = new Map(OPERATORS.flatMap(([kind, , operators]) => operators.flatMap(([op, words, opposite]) => [
  [op, { kind, words }], [`not_${op}`, { kind, words: opposite }],
])));

/** The kind of value that an operator takes; `undefined` for one that is not known here. */
export const kindOf = (op) => KNOWN.get(op)?.kind;

const FITS = {
  anything: (value) => ["string", "boolean"].includes(typeof value) || isNumber(value),
  number: isNumber,
};
const fits = (kind, value) => (FITS[kind] ?? ((other) => typeof other === "string"))(value);

const hasOnly = (object, keys) => object !== null && typeof object === "object" && Object.keys(object).every((key) => keys.includes(key));

/** A line holds no line breaks. */
const isLine = (text) => typeof text === "string" && /^[^\r\n]+$/.test(text);

const isKnownClause = (clause) => hasOnly(clause, ["attribute", "op", "values"]) && isLine(clause.attribute) && KNOWN.has(clause.op)
  && (kindOf(clause.op) === "nothing" ? clause.values === undefined : clause.values?.length > 0 && clause.values.every((value) => fits(kindOf(clause.op), value)));

/** Whether all of a rule is understood here. One that is not is shown as it is written, and never changed. */
export const isKnown = (rule) => hasOnly(rule, ["when", "serve"]) && rule.when?.length > 0 && rule.when.every(isKnownClause)
  && (["boolean", "string"].includes(typeof rule.serve) || (hasOnly(rule.serve, ["percentage"]) && Number.isFinite(rule.serve.percentage)));

const MOST = 20;

/** A rule as a sentence. */
export function ruleWords(rule) {
  if (!isKnown(rule)) return code(write(rule));
  const clause = ({ attribute, op, values = [] }) => [code(attribute), ` ${KNOWN.get(op).words}`,
    values.slice(0, MOST).map((value, index) => [index > 0 ? " or " : " ", h("q", {}, theirs(String(value)))]), values.length > MOST && ` or ${values.length - MOST} others`];
  return ["If ", rule.when.map((one, index) => [index > 0 && " and ", clause(one)]), ": ", h("b", {}, served(rule.serve))];
}

function served(serve) {
  if (typeof serve === "string") return ["on, as ", code(serve)];
  if (typeof serve === "boolean") return serve ? "on" : "off";
  return `on for ${percent(serve.percentage)} of them`;
}

/** A value as it was typed: numbers and `true` as in JSON, a text with or without quotes; `undefined` for what does not fit. */
export function valueOf(kind, text) {
  let value = text;
  try {
    const json = parse(text);
    if (typeof json === "string" || fits(kind, json)) value = json;
  } catch { /* A text without quotes. */ }
  return fits(kind, value) ? value : undefined;
}

/** How a value is typed: a text in quotes where it would be taken for something else, or for two. */
export function typed(kind, value) {
  const plain = String(value);
  return isLine(plain) && plain === plain.trim() && same(valueOf(kind, plain), value) ? plain : write(value);
}
