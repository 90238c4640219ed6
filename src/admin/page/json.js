// JSON with the digits of its numbers as they are written: a browser's own reading rounds what a float does not hold.

/** A number whose text is another one than JavaScript would write. */
export class Digits {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  /** For shares and weights, where nothing is lost by it. */
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
/** Finds numbers that JavaScript writes in another way. It may also find some in strings, which costs time alone. */
const ODD = /(?:^|[[:,\s])(?:-0(?![.\d])|-?(?:[\d.]+[eE]|\d+\.\d*0(?=[,\]}\s]|$)|\d{16}|[\d.]{17}|0\.000000))/;
const WORDS = { true: true, false: false, null: null };

/** Reads JSON, in which numbers stay as they are written. Throws what `JSON.parse` throws. */
export function parse(text) {
  // Says what is no JSON; from here on it is some. Without odd numbers it is all there is to do, and much faster.
  const read = JSON.parse(text);
  if (!ODD.test(text)) return read;
  const tokens = text.matchAll(TOKENS);
  const next = () => tokens.next().value[0];
  // Of objects and lists that are not at their end; a stack, since texts may be nested deeper than calls.
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

/** Writes JSON, numbers as they were read; on lines of their own, if `space` says how far inner ones are set in. */
export function write(value, space = 0) {
  const pieces = [];
  // What is still to be written, the last first: a text as it is, or a value with its margin.
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

/** A text that two values share if they are one, in whichever order their keys stand. */
export const canonical = (value) => (value === undefined ? undefined : write(ordered(value)));

/** Whether two values are one, in whichever order their keys stand. */
export const same = (one, other) => canonical(one) === canonical(other);
