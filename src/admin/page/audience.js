// Whom a flag names: users, groups, rules.

import { patch } from "./edit.js";
import { button, code, fill, fresh, h, theirs } from "./dom.js";
import { list, operator, percent } from "./words.js";

const MOST = 100;

export function audience(page) {
  const { flag } = page.shown;
  if (!flag) return null;
  const users = flag.allowed_users ?? [], groups = flag.allowed_groups ?? [], rules = flag.rules ?? [];
  return h("section", { class: "card", "aria-labelledby": "audience-title" },
    h("div", { class: "heading" }, h("h2", { id: "audience-title" }, "By name"), page.mayEdit && button("Change…", () => ask(page), { class: "small", "data-key": "audience" })),
    h("p", { class: "quiet" }, "On for them whatever the share is."),
    named("Users", users), named("Groups", groups),
    rules.length > 0 && [h("h3", {}, "Rules"), h("p", { class: "quiet" }, "From top to bottom; the first that holds decides."), h("ol", { class: "rules" }, rules.map((rule) => h("li", {}, ruleWords(rule))))]);
}

function named(title, items) {
  if (!items.length) return h("p", {}, h("b", {}, title), " ", h("span", { class: "quiet" }, "none"));
  return h("div", {}, h("h3", {}, title, " ", h("span", { class: "quiet" }, items.length)), h("ul", { class: "names" }, items.slice(0, MOST).map((item) => h("li", {}, theirs(item)))),
    items.length > MOST && h("p", { class: "quiet" }, `and ${items.length - MOST} more`));
}

/** A rule as a sentence. */
export function ruleWords({ when = [], serve }) {
  const clause = ({ attribute, op, values = [] }) => [code(attribute), ` ${operator(op)} `, values.slice(0, 20).map((value, index) => [index > 0 && " or ", h("q", {}, theirs(String(value)))]), values.length > 20 && ` or ${values.length - 20} others`];
  return ["If ", when.map((one, index) => [index > 0 && " and ", clause(one)]), ": ", h("b", {}, served(serve))];
}

function served(serve) {
  if (serve === true) return "on";
  if (serve === false) return "off";
  if (typeof serve === "string") return ["on, as ", code(serve)];
  return `on for ${percent(serve?.percentage ?? 0)} of them`;
}

function ask(page) {
  const base = page.shown;
  const users = editor("Users", base.flag.allowed_users ?? []), groups = editor("Groups", base.flag.allowed_groups ?? []);
  const keys = () => ({ ...users.change("allowed_users"), ...groups.change("allowed_groups") });
  patch(page, {
    base, keys, title: ["Who gets ", code(base.name), " by name"], action: "Save",
    content: [users.element, groups.element,
      h("p", { class: "quiet" }, "Exactly as the service knows them: upper and lower case count.")],
  });
}

/** One of the two lists: names can be added, several at a time, and taken out. */
function editor(title, before) {
  let items = [...before];
  const names = h("ul", { class: "names" });
  const input = h("input", { type: "text", id: fresh("names"), autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const summary = h("p", { class: "quiet", "aria-live": "polite" });
  const draw = () => {
    fill(names, items.slice(0, MOST).map((item) => h("li", {}, theirs(item), button("×", () => {
      items = items.filter((other) => other !== item);
      draw();
      input.focus();
    }, { class: "take", "aria-label": `Remove ${item}` }))));
    const added = items.filter((item) => !before.includes(item)).length, removed = before.filter((item) => !items.includes(item)).length;
    fill(summary, items.length > MOST && `${items.length - MOST} more are not shown. `, added + removed > 0 && list([added && `${added} added`, removed && `${removed} removed`].filter(Boolean)));
  };
  const add = () => {
    const young = input.value.split(/[\n,]/).map((name) => name.trim()).filter(Boolean);
    items = [...new Set([...items, ...young])];
    input.value = "";
    draw();
  };
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  });
  draw();
  const element = h("fieldset", {}, h("legend", {}, title), names, h("div", { class: "row" }, h("label", { for: input.id, class: "unseen" }, `Add ${title.toLowerCase()}`), input, button("Add", add, { class: "small" })), summary);
  // What was typed and not added yet is meant, too.
  const change = (key) => {
    if (input.value.trim()) add();
    return JSON.stringify(items) === JSON.stringify(before) ? {} : { [key]: items };
  };
  return { element, change };
}
