// Whom a flag names: users and groups.

import { patch } from "./edit.js";
import { button, code, fill, fresh, h, line, theirs } from "./dom.js";
import { plural } from "./words.js";

const MOST = 100;

export function audience(page) {
  const { flag } = page.shown;
  if (!flag) return null;
  const groups = flag.allowed_groups ?? [];
  const users = flag.allowed_users ?? [];
  return h("section", { class: "card", "aria-labelledby": "audience-title" },
    h("div", { class: "heading" }, h("h2", { id: "audience-title" }, "By name"), page.mayEdit && button("Change…", () => ask(page), { class: "small", "data-key": "audience" })),
    h("p", { class: "quiet" }, "On for them whatever the share is."),
    Array.isArray(users) ? named("Users", users) : h("p", {}, h("b", {}, plural(users, "user")), " ", h("span", { class: "quiet" }, "(only editors see their names)")), named("Groups", groups));
}

function named(title, items) {
  if (!items.length) return h("p", {}, h("b", {}, title), " ", h("span", { class: "quiet" }, "none"));
  return h("div", {}, h("h3", {}, title, " ", h("span", { class: "quiet" }, items.length)), h("ul", { class: "names" }, items.slice(0, MOST).map((item) => h("li", {}, theirs(item)))),
    items.length > MOST && h("p", { class: "quiet" }, `and ${items.length - MOST} more`));
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
  const input = line({ id: fresh("names") });
  const more = h("p", { class: "quiet" });
  // What was typed and not added yet is meant, too.
  const meant = () => [...items, ...new Set(input.value.split(",").map((name) => name.trim()).filter((name) => name && !items.includes(name)))];
  const draw = () => {
    fill(names, items.slice(0, MOST).map((item) => h("li", {}, theirs(item), button("×", () => {
      items = items.filter((other) => other !== item);
      draw();
      input.focus();
    }, { class: "take", "aria-label": `Remove ${item}` }))));
    fill(more, items.length > MOST && `${items.length - MOST} more are not shown.`);
  };
  const add = button("Add", () => {
    items = meant();
    input.value = "";
    draw();
  }, { class: "small" });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add.click();
  });
  draw();
  const element = h("fieldset", {}, h("legend", {}, title), names, h("div", { class: "row" }, h("label", { for: input.id, class: "unseen" }, `Add ${title.toLowerCase()}`), input, add), more);
  const change = (key) => (JSON.stringify(meant()) === JSON.stringify(before) ? {} : { [key]: meant() });
  return { element, change };
}
