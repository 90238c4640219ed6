// What is different between two definitions, and how it looks.

import { h, theirs, unseen, when } from "./dom.js";
import { Digits, canonical, isObject, parse, same, write } from "./json.js";
import { ruleWords } from "./rule.js";
import { keyName, percent, plural } from "./words.js";

/** Key by key, as the server tells it of an entry of the history. */
export function differences(before, after) {
  const [old, young] = [before ?? {}, after ?? {}];
  const keys = [...new Set([...Object.keys(old), ...Object.keys(young)])].sort();
  return keys.filter((key) => !same(old[key], young[key])).map((key) => ({ key, before: old[key] ?? null, after: young[key] ?? null }));
}

/** What comes out of a merge patch over the canonical object. */
export function patched(flag, patch) {
  const merge = (target, change) => {
    if (!isObject(change)) return change;
    const result = isObject(target) ? { ...target } : {};
    for (const [key, value] of Object.entries(change)) {
      if (value === null) delete result[key];
      else result[key] = merge(Object.hasOwn(result, key) ? result[key] : undefined, value);
    }
    return result;
  };
  return merge(flag ?? {}, patch);
}

/** The merge patch from one object to another. What stands as `null` in the other cannot be said by one. */
export function patchFrom(before, after) {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return Object.fromEntries([...keys].filter((key) => !same(before[key], after[key])).map((key) => {
    const [old, young] = [before[key], after[key]];
    return [key, young === undefined ? null : isObject(old) && isObject(young) ? patchFrom(old, young) : young];
  }));
}

/** The keys of a stored text with their values as they are written; `null` for what is no definition. */
export function members(text) {
  let value = null;
  try {
    value = parse(text);
  } catch { /* It is none. */ }
  if (typeof value === "boolean") return new Map([["enabled", String(value)]]);
  if (!isObject(value)) return null;
  const found = new Map();
  let depth = 0, from = 0, key = null;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g)) {
    if (token === "{" || token === "[") depth += 1;
    else if (depth === 1 && token === ":") from = index + 1;
    else if (depth === 1 && key === null && token.startsWith("\"")) key = JSON.parse(token);
    else if (["}", "]", ","].includes(token)) {
      if (depth === 1 && key !== null) {
        found.set(key, text.slice(from, index).trim());
        key = null;
      }
      if (token !== ",") depth -= 1;
    }
  }
  return found;
}

const bare = (json) => json.replace(/\s/g, "");
const isOne = (one, other) => one === other || (one !== undefined && other !== undefined && same(parse(one), parse(other)));

const read = (text) => (text === undefined ? null : parse(text));

/** What is different between two definitions as they are written, key by key. */
function between(before, after) {
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort();
  return keys.filter((key) => !isOne(before.get(key), after.get(key))).map((key) => ({ key, before: read(before.get(key)), after: read(after.get(key)) }));
}

const SWITCH = ["enabled", "on"];
const isOn = (definition) => SWITCH.map((key) => definition.get(key)).find((text) => text !== undefined && text !== "null") !== "false";

/**
 * What I made of a text, put onto what others have made of it meanwhile: the keys that I changed and no others, and
 * the switch where I turned it. `null` where one of the three is no definition. `switchesOn`: others left it off.
 */
export function rebased(base, mine, theirs) {
  const [before, wanted, there] = [base, mine, theirs].map((text) => members(text ?? ""));
  if (!before || !wanted || !there) return null;
  const turns = isOn(before) !== isOn(wanted);
  const changes = between(before, wanted).filter(({ key }) => turns || !SWITCH.includes(key));
  const result = new Map(there);
  if (turns) SWITCH.filter((key) => !wanted.has(key)).forEach((key) => result.delete(key));
  for (const { key } of changes) wanted.has(key) ? result.set(key, wanted.get(key)) : result.delete(key);
  const text = `{\n${[...result].map(([key, value]) => `  ${JSON.stringify(key)}: ${value}`).join(",\n")}\n}`;
  return { theirs: between(before, there), mine: changes, text, switchesOn: isOn(result) && !isOn(there) };
}

/** Changes as a list for people. */
export function changeList(changes) {
  if (!changes.length) return h("p", { class: "quiet" }, "Nothing that decides anything: spelling or order alone.");
  return h("ul", { class: "changes" }, changes.map((change) => h("li", {}, h("span", { class: "key" }, theirs(keyName(change.key))), " ", inWords(change))));
}

const isShort = (value) => value === null || ((typeof value !== "object" || value instanceof Digits) && String(value).length <= 60);

function inWords({ key, before, after }) {
  if (key === "enabled") return after === false ? h("b", { class: "off-word" }, "off for everyone") : after === true ? h("b", {}, "on") : "not said";
  if (Array.isArray(before ?? after) && Array.isArray(after ?? before) && [...(before ?? []), ...(after ?? [])].every(isShort)) {
    return ofLists(before ?? [], after ?? []);
  }
  if (key === "schedule") return ofPlans(before, after);
  if (key === "rules") return ofRules(before ?? [], after ?? []);
  if (before === null && isShort(after)) return h("span", {}, one(key, after));
  if (isShort(before) && isShort(after)) return [one(key, before), [unseen(" becomes "), h("span", { class: "arrow", "aria-hidden": "true" }, " → ")], one(key, after)];
  return lines(pretty(before), pretty(after));
}

function one(key, value) {
  if (value === null) return h("span", { class: "quiet" }, "none");
  if (key === "percentage") return h("b", {}, percent(value));
  if (key === "allowed_users" && typeof value === "number") return plural(value, "user");
  if (key === "paused_at") return when(value);
  return theirs(String(value));
}

/** A plan by its steps: those that are new stand out. */
function ofPlans(before, after) {
  if (after === null) return [h("del", {}, "no plan any more")];
  const old = (before ?? []).map(canonical);
  return h("ul", { class: "bare" }, after.map((step) => {
    const words = [h("b", {}, percent(step.percentage)), " from ", when(step.at)];
    return h("li", {}, old.includes(canonical(step)) ? words : h("ins", {}, words));
  }));
}

/** Rules as they will be asked: those that are new stand out, and those that go stand below. */
function ofRules(before, after) {
  const [old, young] = [before, after].map((rules) => rules.map(canonical));
  const kept = (rules, others) => rules.filter((rule) => others.includes(rule)).join();
  const gone = before.filter((_, index) => !young.includes(old[index]));
  return [
    kept(old, young) !== kept(young, old) && "in another order",
    h("ol", { class: "rules" }, after.map((rule, index) => h("li", {}, old.includes(young[index]) ? ruleWords(rule) : [unseen("added: "), h("ins", {}, ruleWords(rule))]))),
    gone.length > 0 && h("ul", { class: "bare" }, gone.map((rule) => h("li", {}, unseen("removed: "), h("del", {}, ruleWords(rule))))),
  ];
}

const MOST = 20;

function ofLists(before, after) {
  const [old, young] = [new Set(before), new Set(after)];
  const added = [...young].filter((item) => !old.has(item)), removed = [...old].filter((item) => !young.has(item));
  if (!added.length && !removed.length) return "in another order";
  const some = (items, tag, sign, word) => [
    items.slice(0, MOST).map((item) => [h(tag, {}, unseen(word), h("span", { "aria-hidden": "true" }, sign), theirs(String(item))), " "]),
    items.length > MOST && `${sign}${items.length - MOST} more `,
  ];
  return [some(added, "ins", "+\u2009", "added"), some(removed, "del", "−\u2009", "removed")];
}

/** JSON as people read it; text that is none as it is. */
export function pretty(value) {
  return value === null || value === undefined ? "" : write(value, 2);
}

/** A stored text with line breaks, where nothing is lost by reading and writing it. */
export function laidOut(text) {
  if (text.includes("\n")) return text;
  try {
    const value = parse(text);
    return bare(write(value)) === bare(text) ? write(value, 2) : text;
  } catch {
    return text;
  }
}

const MOST_LINES = 600;

/** Two texts, line by line. */
export function lines(before, after) {
  const rows = compared(before === "" ? [] : before.split("\n"), after === "" ? [] : after.split("\n"));
  return h("pre", { class: "lines", tabindex: "0", role: "group", "aria-label": "Difference line by line" }, rows.map(([sign, text]) => {
    const tag = sign === "+" ? "ins" : sign === "−" ? "del" : "span";
    return h(tag, {}, `${sign} `, theirs(text), "\n");
  }));
}

/** By the longest common subsequence; large ones whole against whole. */
function compared(old, young) {
  if (old.length > MOST_LINES || young.length > MOST_LINES) return [...old.map((line) => ["−", line]), ...young.map((line) => ["+", line])];
  const table = Array.from({ length: old.length + 1 }, () => new Uint16Array(young.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = young.length - 1; j >= 0; j -= 1) {
      table[i][j] = old[i] === young[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const rows = [];
  let i = 0, j = 0;
  while (i < old.length || j < young.length) {
    if (i < old.length && j < young.length && old[i] === young[j]) {
      rows.push([" ", old[i]]);
      i += 1;
      j += 1;
    } else if (j >= young.length || (i < old.length && table[i + 1][j] >= table[i][j + 1])) {
      rows.push(["−", old[i]]);
      i += 1;
    } else {
      rows.push(["+", young[j]]);
      j += 1;
    }
  }
  return rows;
}
