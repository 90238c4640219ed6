// What a flag is for, and the definition as it is written.

import * as api from "./api.js";
import { edit, patch } from "./edit.js";
import { differences, laidOut, members, rebased } from "./diff.js";
import { button, code, field, fill, h, line, select, theirs } from "./dom.js";
import { parse, write } from "./json.js";
import { KINDS, ago, day, endOfDay, fromTo, kindName, reachOf, removal } from "./words.js";

export function about(page) {
  const { flag } = page.shown;
  if (!flag) return null;
  const rows = [
    ["Kind", kindName(flag.kind)],
    ["Owner", flag.owner && theirs(flag.owner)],
    ["Ticket", flag.ticket && ticket(flag.ticket)],
    ["Tags", flag.tags?.length > 0 && h("ul", { class: "names" }, flag.tags.map((tag) => h("li", {}, theirs(tag))))],
    ["Created", flag.created_at && [day(flag.created_at), h("span", { class: "quiet" }, ` ${ago(flag.created_at)}`)]],
    ["Expires", flag.expires_at && [day(flag.expires_at), h("span", { class: "quiet" }, page.shown.expired ? " is over" : ` ${ago(endOfDay(flag.expires_at))}`)]],
    ["Requires", flag.requires?.length > 0 && flag.requires.map((one) => [code(typeof one === "string" ? one : JSON.stringify(one)), " "])],
    ["Bucketed by", flag.bucket_by && code(flag.bucket_by)],
    ["Bucketing", flag.bucketing && code(flag.bucketing)],
    ["Salt", flag.salt !== undefined && code(flag.salt)],
    ["Testers", flag.overridable && "may force it with a signed link"],
    ["Clients", flag.hidden && "are never told of it"],
    ["Metadata", flag.metadata && h("pre", { tabindex: "0", role: "group", "aria-label": "Metadata" }, theirs(write(flag.metadata, 2)))],
    ["Version", String(page.shown.version)],
  ].filter(([, value]) => value);
  return h("section", { class: "card", "aria-labelledby": "about-title" },
    h("div", { class: "heading" }, h("h2", { id: "about-title" }, "About"), page.mayEdit && button("Change…", () => askAbout(page), { class: "small", "data-key": "about" })),
    h("dl", {}, rows.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value)))));
}

/** A link where it is one, and nothing but the web is. */
function ticket(text) {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url?.protocol === "https:" ? h("a", { href: url.href, rel: "noopener noreferrer", target: "_blank" }, theirs(text)) : theirs(text);
}

function askAbout(page) {
  const base = page.shown;
  const { flag } = base;
  const texts = [["owner", "Owner", {}], ["ticket", "Ticket", {}], ["created_at", "Created", { type: "date" }], ["expires_at", "Expires", { type: "date" }]];
  const description = h("textarea", { rows: 3, value: flag.description ?? "" });
  const kind = select(KINDS, flag.kind ?? "release");
  const tags = h("input", { type: "text", value: (flag.tags ?? []).join(", ") });
  const inputs = texts.map(([key, , more]) => h("input", { type: "text", value: flag[key] ?? "", ...more, autocomplete: "off" }));
  const keys = () => {
    const wanted = {};
    const say = (key, value, before = flag[key] ?? "") => {
      if (value !== before) wanted[key] = value === "" ? null : value;
    };
    say("description", description.value);
    say("kind", kind.value, flag.kind ?? "release");
    texts.forEach(([key], number) => say(key, inputs[number].value.trim()));
    if (tags.value !== (flag.tags ?? []).join(", ")) wanted.tags = [...new Set(tags.value.split(",").map((tag) => tag.trim()).filter(Boolean))];
    return wanted;
  };
  patch(page, {
    base, keys, title: ["About ", code(base.name)], action: "Save",
    content: [field("Description", description), field("Kind", kind), texts.map(([, label], number) => field(label, inputs[number])), field("Tags", tags, "With commas between them.")],
  });
}

/** The whole definition, and the end of the flag. */
export function advanced(page) {
  const { shown } = page;
  return h("section", { class: "card", "aria-labelledby": "advanced-title" },
    h("h2", { id: "advanced-title" }, "Definition"),
    h("details", {}, h("summary", {}, "As it is stored"), h("pre", { tabindex: "0", role: "group", "aria-label": "Definition" }, theirs(shown.text === null ? write(shown.flag, 2) : laidOut(shown.text)))),
    page.mayEdit && shown.etag && h("div", { class: "row" },
      button("Edit as JSON…", () => askText(page), { class: "small", "data-key": "edit-text" }),
      button("Remove flag…", () => askRemove(page), { class: "small kill-quiet", "data-key": "remove" })));
}

function askText(page) {
  const base = page.shown;
  const before = laidOut(base.text);
  const text = h("textarea", { rows: 16, value: before, spellcheck: "false", autocapitalize: "none", class: "mono" });
  const preview = h("p", { class: "preview", "aria-live": "polite" });
  text.addEventListener("input", () => fill(preview, toWhom(base.flag, text.value)));
  const settle = (current) => {
    const all = rebased(before, text.value, current.text);
    if (all) return { ...all, lines: [laidOut(current.text), all.text], becomes: parse(all.text) };
    return {
      theirs: differences(base.flag, current.flag), mine: text.value,
      hinders: "What you changed cannot be told from what you left alone, since one of the texts is no definition. Yours stands above: take what you need of it, and edit the flag as it is now.",
    };
  };
  edit(page, {
    base, title: ["Definition of ", code(base.name)], action: "Save",
    check: () => {
      if (text.value === before) return "Nothing has been changed yet.";
      try {
        JSON.parse(text.value);
        return null;
      } catch (error) {
        return `This is not JSON: ${error.message}`;
      }
    },
    content: [field("JSON", text, "All of it is replaced. This can switch the flag on."), preview],
    make: (etag, reason, merged = text.value) => api.put(base.name, merged, etag, reason),
    settle,
  });
}

/** Whom a text as it was typed reaches, beside whom the flag reaches now. */
function toWhom(flag, text) {
  const wanted = members(text);
  if (!wanted) return null;
  const definition = parse(text), old = reachOf(flag), young = reachOf(definition);
  return [old.words === "nobody" && young.words !== "nobody" && h("b", {}, "This switches it on for somebody. "), fromTo(flag, definition)];
}

function askRemove(page) {
  const { shown } = page;
  const name = line();
  edit(page, {
    title: ["Remove ", code(shown.name), "?"], tone: "grave", action: "Remove it",
    check: () => (name.value.trim() === shown.name ? null : "Type the flag's name to remove it."),
    content: [h("p", {}, "Code that still asks for it gets ", h("b", {}, "its own default"), ", mostly off. ", h("b", {}, removal(shown.flag)), " To switch it off, Kill is the better way: it keeps everything."), field("The flag's name, to be sure", name)],
    make: (etag, reason) => api.remove(shown.name, etag, reason),
    mine: () => "Remove the flag.",
    leaves: true,
  });
}
