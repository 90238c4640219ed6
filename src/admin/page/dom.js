// Building the page. Data becomes text nodes and attribute values, and never markup.

import { FOCUSABLE, focus, remove, rest } from "./focus.js";
import { undisturbed } from "./press.js";
import { ago, moment, utc } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("p", { class: "quiet", on: { click } }, "text", child, [more])`. */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "value") {
      element.value = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  append(element, children);
  return element;
}

/** Adds children; what is `null`, `undefined` or `false` is left out. */
export function append(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts children in place of those that are there. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** A text that somebody else wrote: its direction does not spill over into ours. */
export function theirs(text) {
  return h("bdi", { class: "theirs" }, text);
}

/** The same as code. */
export function code(text) {
  return h("code", {}, theirs(text));
}

/** For those who listen alone. */
export function unseen(text) {
  return h("span", { class: "unseen" }, text);
}

/** The reason that somebody gave, if they did, behind what they did. */
export const because = (reason) => reason && [": “", theirs(reason), "”"];

/** An instant, with UTC on hover. */
export const when = (at) => h("time", { datetime: at, title: utc(at) }, moment(at));

/** How far away an instant is, with the instant itself on hover. */
export const fromNow = (at) => h("time", { datetime: at, title: [...new Set([moment(at), utc(at)])].join(", ") }, ago(at));

export function button(label, click, attributes = {}) {
  return h("button", { type: "button", ...attributes, on: { click } }, label);
}

let numbers = 0;

/** An id that no other element has. */
export function fresh(prefix) {
  numbers += 1;
  return `${prefix}-${numbers}`;
}

/** A control with its label above and, where given, a hint below. */
export function field(label, control, hint) {
  control.id ||= fresh("field");
  const described = hint && h("span", { class: "hint", id: `${control.id}-hint` }, hint);
  if (described) control.setAttribute("aria-describedby", described.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, described);
}

/** A line for what is taken as it is typed, as names and ids are. */
export function line(attributes) {
  return h("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "none", ...attributes });
}

/** A choice from a list of `[value, label]`. */
export function select(options, chosen, attributes = {}) {
  const choices = options.map(([value, label]) => h("option", { value, selected: value === chosen }, label));
  return h("select", attributes, choices);
}

export const PAGE = 200;

/**
 * The first of many items, as `make(items)` shows them, and a button for more: a browser takes seconds to build rows
 * by the ten thousand. `most`: how many to begin with; `grown(most)`: is told when there are more.
 */
export function paged(items, make, { most = PAGE, grown } = {}) {
  const place = h("div", {});
  const more = button("", () => {
    most += PAGE;
    grown?.(most);
    draw();
  }, { class: "more", "data-key": "more" });
  function draw() {
    fill(place, make(items.slice(0, most)));
    fill(more, `Show ${Math.min(PAGE, items.length - most)} more`);
    const hadFocus = document.activeElement === more;
    more.hidden = items.length <= most;
    if (hadFocus && more.hidden && ![...place.querySelectorAll(FOCUSABLE)].slice(-1).some(focus)) rest();
  }
  draw();
  return [place, more];
}

/** Says something to those who listen instead of looking. */
export function say(text) {
  document.getElementById("spoken").textContent = text;
}

/** A message at the top of the page, which stays until it is closed; `good` ones go by themselves. */
export function notice(tone, ...content) {
  const item = h("div", { class: `notice ${tone}`, role: tone === "bad" ? "alert" : "status" });
  const next = () => (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button");
  const close = () => remove(item, next());
  append(item, [h("div", {}, content), button("Close", close, { class: "plain small" })]);
  const all = document.getElementById("notices");
  undisturbed(() => {
    all.append(item);
    while (all.children.length > 4) remove(all.firstChild, all.children[1].querySelector("button"));
  });
  // A notice that has the focus stays.
  if (tone === "good") setTimeout(() => undisturbed(() => item.contains(document.activeElement) || close()), 8000);
  return item;
}

export function clearNotices() {
  document.getElementById("notices").replaceChildren();
}
