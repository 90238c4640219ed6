// What would this user get, and why?

import * as api from "./api.js";
import { bucketBar } from "./chart.js";
import { refusal } from "./dialog.js";
import { PAGE, code, field, fill, h, line, paged, theirs } from "./dom.js";
import { parse, write } from "./json.js";
import { hear } from "./live.js";
import { undisturbed } from "./press.js";
import { redraw } from "./redraw.js";
import { plural, why } from "./words.js";

/** What was asked last, here and on other flags. */
const asked = {};

export function forgetQuestion() {
  Object.assign(asked, { user: "", groups: "", attributes: "" });
}
forgetQuestion();

/** `plan = pro`, one in a line; numbers, `true` and lists as in JSON, anything else is text. */
function attributesOf(text) {
  const attributes = {};
  for (const line of text.split("\n").filter((line) => line.trim())) {
    const [key, ...rest] = line.split(/[=:]/);
    const value = rest.join("=").trim();
    if (!key.trim() || !rest.length) throw new Error(`Expected a name, = and a value: ${line.trim()}`);
    try {
      attributes[key.trim()] = parse(value);
    } catch {
      attributes[key.trim()] = value;
    }
  }
  return attributes;
}

/** `answered({ flags, hidden }, who, pages)` shows the answers for one user; `pages` are options of `paged`. */
function form(answered) {
  const user = line({ value: asked.user });
  const groups = line({ value: asked.groups });
  const attributes = h("textarea", { rows: 2, value: asked.attributes, spellcheck: "false" });
  const result = h("div", { class: "result", "aria-live": "polite" });
  let question = null, most = PAGE;
  const grown = (more) => {
    most = more;
  };
  const ask = async () => {
    try {
      const id = question.user_id;
      const { flags, hidden } = await api.explain(question);
      undisturbed(() => redraw(result, answered({ flags, hidden }, id ? code(id) : "an anonymous visitor", { most, grown })));
    } catch (refused) {
      redraw(result, h("div", { class: "error" }, refused instanceof api.Refused ? refusal(refused) : refused.message));
    }
  };
  const submit = (event) => {
    event.preventDefault();
    most = PAGE;
    Object.assign(asked, { user: user.value, groups: groups.value, attributes: attributes.value });
    try {
      question = { groups: groups.value.split(",").map((group) => group.trim()).filter(Boolean), attributes: attributesOf(attributes.value) };
      const id = user.value.trim();
      if (id) question.user_id = id;
    } catch (wrong) {
      question = null;
      return fill(result, h("div", { class: "error" }, wrong.message));
    }
    return ask();
  };
  // An answer that rules have changed under is no answer.
  const stop = hear((name) => {
    if (!question || !["change", "missed", "status"].includes(name)) return;
    if (element.isConnected) ask();
    else stop();
  });
  const element = h("form", { class: "explain", on: { submit } },
    field("User id", user, "Left empty: an anonymous visitor."),
    h("details", { open: Boolean(asked.groups || asked.attributes) }, h("summary", {}, "Groups and attributes"), field("Groups", groups, "With commas between them."), field("Attributes", attributes, "One in a line, as plan = pro")),
    h("button", { type: "submit", class: "primary" }, "Ask"), result);
  return element;
}

export function explainFlag(page) {
  return h("section", { class: "card", "aria-labelledby": "explain-title" }, h("h2", { id: "explain-title" }, "What would this user get?"),
    form(({ flags, hidden }, who) => {
      if (hidden.includes(page.name)) return h("p", {}, "Only editors see this answer, because the flag, or one that it requires, names users.");
      const answer = flags.find((one) => one.name === page.name);
      return answer ? answerOf(answer, who) : h("p", {}, "This process has no such flag in force.");
    }));
}

function answerOf(answer, who) {
  const { enabled, variant, value, bucket, percentage, shadowed_by: shadow } = answer;
  return [
    h("p", { class: enabled ? "verdict on" : "verdict off" }, h("b", {}, enabled ? "On" : "Off"), " for ", who, variant !== null && [" as ", code(variant)]),
    h("p", {}, theirs(why(answer))),
    value !== null && h("p", {}, "Value: ", code(write(value))),
    bucket !== null && percentage !== null && [bucketBar(bucket, percentage), h("p", { class: "quiet" }, "A user's place from 0 to 100, in this flag, never changes. Below the share it is on.")],
    shadow && h("p", { class: "callout warn" }, "Decided by ", theirs(shadow), ", not by the store."),
  ];
}

export function explainAll() {
  const element = h("div", { class: "stack" }, h("div", {}, h("h1", {}, "Who gets what"), h("p", { class: "quiet" }, "Every flag for one user, now, and why.")),
    h("div", { class: "card" }, form(({ flags, hidden }, who, pages) => {
      const row = (one) => h("tr", { role: "row" },
        h("th", { scope: "row", role: "rowheader" }, h("a", { href: `#/flags/${encodeURIComponent(one.name)}` }, theirs(one.name))),
        h("td", { role: "cell" }, h("span", { class: one.enabled ? "pill good" : "pill quiet" }, one.enabled ? "On" : "Off"), one.variant !== null && [" ", code(one.variant)]),
        h("td", { role: "cell" }, theirs(why(one))));
      const on = flags.filter((one) => one.enabled).length;
      return [h("p", {}, h("b", {}, `${on} of ${flags.length} are on`), " for ", who, ".", hidden.length > 0 && ` Not shown, since only editors see whom flags name: ${plural(hidden.length, "flag")}.`), paged(flags, (some) => h("table", { class: "answers", role: "table" }, h("caption", { class: "unseen" }, "Answers"),
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ["Flag", "Answer", "Why"].map((label) => h("th", { scope: "col", role: "columnheader" }, label)))), h("tbody", { role: "rowgroup" }, some.map(row))), pages)];
    })));
  return { title: "Who gets what", element };
}
