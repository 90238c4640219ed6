// A new flag.

import * as api from "./api.js";
import { confirm, reasonFor, refusal } from "./dialog.js";
import { code, field, fill, h, line, notice, select } from "./dom.js";
import { WRONG_SHARE, shareLine, shareOf } from "./share.js";
import { KINDS, NAMES, isName, now } from "./words.js";

export function create() {
  const text = () => h("input", { type: "text", autocomplete: "off" });
  const name = line({ maxlength: 128, required: true });
  const description = h("textarea", { rows: 2 }), owner = text(), ticket = text();
  const kind = select(KINDS, "release");
  const expires = h("input", { type: "date" });
  const share = shareLine(0);
  const why = reasonFor();
  const error = h("div", { class: "error", role: "alert" });
  const go = h("button", { type: "submit", class: "primary" }, "Make the flag");

  const definition = () => {
    const parts = { enabled: true, percentage: shareOf(share.value), kind: kind.value, created_at: new Date(now()).toISOString().slice(0, 10) };
    const more = { description: description.value.trim(), owner: owner.value.trim(), ticket: ticket.value.trim(), expires_at: expires.value };
    return { ...parts, ...Object.fromEntries(Object.entries(more).filter(([, value]) => value)) };
  };
  const made = ({ name: given }) => {
    notice("good", code(given), " is there.");
    location.hash = `#/flags/${encodeURIComponent(given)}`;
  };
  const submit = async (event) => {
    event.preventDefault();
    const given = name.value.trim();
    const wrong = !isName(given) ? [name, NAMES]
      : shareOf(share.value) === null ? [share, `The share: ${WRONG_SHARE}`] : null;
    if (wrong) {
      fill(error, h("p", {}, wrong[1]));
      return wrong[0].focus();
    }
    go.disabled = true;
    fill(error);
    try {
      made(await api.create(given, definition(), why.read(), false));
    } catch (refused) {
      if (!(refused instanceof api.Refused)) throw refused;
      if (refused.kind === "removed") return askAgain(given);
      if (refused.kind === "stale") return fill(error, h("p", {}, "There is a flag of this name already: ", h("a", { href: `#/flags/${encodeURIComponent(given)}` }, code(given)), "."));
      fill(error, refusal(refused));
    } finally {
      go.disabled = false;
    }
  };
  const askAgain = (given) => confirm({
    title: ["Make ", code(given), " again?"], action: "Make it again", reason: false,
    content: h("p", {}, "A flag of this name was removed. ", h("b", {}, "Code that still asks for it wakes up with the new one.")),
    perform: () => api.create(given, definition(), why.read(), true), done: made,
  });
  const element = h("div", { class: "narrow stack" },
    h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "#/" }, "← All flags")), h("h1", {}, "New flag")),
    h("form", { class: "card", novalidate: true, on: { submit } },
      field("Name", name, "As the code asks for it: new_checkout"), field("What is it for?", description),
      h("div", { class: "pair" }, field("Owner", owner), field("Ticket", ticket)),
      h("div", { class: "pair" }, field("Kind", kind), field("Expires", expires, "When the code should be rid of it.")),
      field("Share of users to begin with, in percent", share, "0: nobody yet. You can name people and start a plan next."), why.element, error, h("div", { class: "row" }, go)));
  return { title: "New flag", element };
}
