// JSON that keeps the digits of its numbers as written: `JSON.parse` rounds numbers that no float holds.

/** A number that JavaScript would write with another text. */
export class Digits {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  /** For shares and weights, where the float is precise enough. */
  valueOf() {
    return Number(this.text);
  }

  /** For `JSON.stringify`: never other digits. */
  toJSON() {
    if (typeof JSON.rawJSON === "function") return JSON.rawJSON(this.text);
    throw new TypeError("Numbers with digits of their own are written by write()");
  }
}

/** Whether it is a number, in either form. */
export const isNumber = (value) => value instanceof Digits || Number.isFinite(value);

/** Whether it is an object with keys. */
export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Digits);

const number = (text) => (String(Number(text)) === text ? Number(text) : new Digits(text));

const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{},:]|[^\s"[\]{},:]+/g;
/** Finds numbers that JavaScript writes differently. It may also match inside strings, which only costs time. */
const ODD = /(?:^|[[:,\s])(?:-0(?![.\d])|-?(?:[\d.]+[eE]|\d+\.\d*0(?=[,\]}\s]|$)|\d{16}|[\d.]{17}|0\.000000))/;
const WORDS = { true: true, false: false, null: null };

/** Reads JSON and keeps numbers as written. Throws what `JSON.parse` throws. */
export function parse(text) {
  // This rejects invalid JSON. Without odd numbers nothing else is needed, which is much faster.
  const read = JSON.parse(text);
  if (!ODD.test(text)) return read;
  const tokens = text.matchAll(TOKENS);
  const next = () => tokens.next().value[0];
  // Objects and lists that are not closed yet; a stack, since texts may be nested deeper than calls.
  const open = [];
  for (let token = next(); ; token = next()) {
    let value;
    const inner = open.at(-1);
    if (token === "[") {
      open.push({ items: [] });
      continue;
    } else if (token === "{") {
      open.push({ entries: [], key: null });
      continue;
    } else if (token === "," || token === ":") {
      continue;
    } else if (token === "]") {
      value = open.pop().items;
    } else if (token === "}") {
      value = Object.fromEntries(open.pop().entries);
    } else if (token[0] === "\"") {
      value = JSON.parse(token);
      if (inner?.entries && inner.key === null) {
        inner.key = value;
        continue;
      }
    } else {
      value = Object.hasOwn(WORDS, token) ? WORDS[token] : number(token);
    }
    const around = open.at(-1);
    if (around === undefined) return value;
    if (around.items) around.items.push(value);
    else {
      around.entries.push([around.key, value]);
      around.key = null;
    }
  }
}

/** Writes JSON, with numbers as they were read; on several lines if `space` gives the indentation. */
export function write(value, space = 0) {
  const pieces = [];
  // The rest, in reverse order: a text to write as it is, or a value with its margin.
  const todo = [{ value, margin: "" }];
  while (todo.length) {
    const { text, value: one, margin } = todo.pop();
    if (text !== undefined) {
      pieces.push(text);
      continue;
    }
    const isList = Array.isArray(one);
    if (!isList && !isObject(one)) {
      pieces.push(one instanceof Digits ? one.text : JSON.stringify(one) ?? "null");
      continue;
    }
    const members = isList ? one.map((item) => ["", item]) : Object.entries(one).filter(([, item]) => item !== undefined).map(([key, item]) => [`${JSON.stringify(key)}:${space ? " " : ""}`, item]);
    const [opening, closing] = isList ? "[]" : "{}";
    if (!members.length) {
      pieces.push(opening + closing);
      continue;
    }
    const inner = margin + " ".repeat(space), line = space ? `\n${inner}` : "";
    pieces.push(opening);
    todo.push({ text: space ? `\n${margin}${closing}` : closing });
    members.map(([key, item], index) => [{ text: `${index ? "," : ""}${line}${key}` }, { value: item, margin: inner }]).flat().reverse().forEach((piece) => todo.push(piece));
  }
  return pieces.join("");
}

/** With the keys of all objects in one order. */
function ordered(value) {
  if (Array.isArray(value)) return value.map(ordered);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, ordered(item)]).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** A text that equal values share, whatever the order of their keys. */
export const canonical = (value) => (value === undefined ? undefined : write(ordered(value)));

/** Whether two values are equal, whatever the order of their keys. */
export const same = (one, other) => canonical(one) === canonical(other);
