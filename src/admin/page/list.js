// All flags: found, filtered, sorted.

import * as api from "./api.js";
import { shareBar } from "./chart.js";
import { PAGE, button, field, fill, h, paged, say, select, theirs } from "./dom.js";
import { hear, session } from "./live.js";
import { undisturbed } from "./press.js";
import { redraw } from "./redraw.js";
import { badgesOf, day, hasAudience, hereOf, kindName, now, percent, plural, span, stateOf } from "./words.js";

const STATES = [
  ["all", "All"], ["on", "On"], ["rolling", "Rolling out"], ["some", "On for some"], ["off", "Off"], ["killed", "Killed"], ["attention", "Needs attention"],
];
const COLUMNS = [["name", "Flag"], ["state", "State"], ["share", "Share"], ["owner", "Owner"], ["kind", "Kind"], ["age", "Age"]];
/** Which state stands first: what may have to be dealt with. */
const WEIGHTS = ["local", "missing", "problem", "killed", "rolling", "some", "on", "off"];

/** What was looked for last, also after a look at one flag. */
const wanted = {};

export function forgetSearch() {
  Object.assign(wanted, { text: "", state: "all", kind: "", owner: "", sort: "name", isUp: true, most: PAGE });
}
forgetSearch();

const needsAttention = (shown) => ["local", "missing", "problem"].includes(stateOf(shown).key) || badgesOf(shown).some(([, tone]) => tone !== "quiet");
const isIn = (state, shown) => (state === "all" ? true : state === "attention" ? needsAttention(shown) : stateOf(shown).key === state);

function isFound(shown) {
  const flag = shown.flag ?? {};
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [shown.name, flag.description, flag.owner, flag.ticket, ...(flag.tags ?? [])].filter((part) => typeof part === "string").join("\n").toLowerCase();
  return words.every((word) => text.includes(word))
    && (!wanted.kind || (flag.kind ?? "release") === wanted.kind)
    && (!wanted.owner || flag.owner === wanted.owner);
}

const SORTS = {
  name: (shown) => shown.name,
  state: (shown) => WEIGHTS.indexOf(stateOf(shown).key),
  share: (shown) => (shown.flag && isServed(shown) ? shown.percentage : -1),
  owner: (shown) => shown.flag?.owner ?? "\uffff",
  kind: (shown) => kindName(shown.flag?.kind),
  age: (shown) => (shown.flag?.created_at ? now() - Date.parse(shown.flag.created_at) : -1),
};

function sorted(flags) {
  const by = SORTS[wanted.sort], direction = wanted.isUp ? 1 : -1;
  const compare = (one, other) => (typeof one === "string" ? one.localeCompare(other, "en") : one - other);
  return [...flags].sort((one, other) => direction * compare(by(one), by(other)) || one.name.localeCompare(other.name, "en"));
}

export async function listView() {
  let { flags, from } = await api.flags();

  const search = h("input", { type: "search", value: wanted.text, placeholder: "Name, words, owner, ticket", autocomplete: "off", spellcheck: "false" });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "State" });
  const kind = h("div", {}), owner = h("div", {});
  const order = select(COLUMNS.flatMap(([key, label]) => [[`${key} up`, label], [`${key} down`, `${label}, reversed`]]), `${wanted.sort} ${wanted.isUp ? "up" : "down"}`);
  const table = h("div", { class: "flags-table" });
  const count = h("p", { class: "quiet count", role: "status" });

  const draw = () => {
    const found = flags.filter(isFound);
    redraw(chips, STATES.map(([key, label]) => {
      const many = found.filter((shown) => isIn(key, shown)).length;
      if (!many && key !== "all" && key !== wanted.state) return null;
      const choose = () => {
        Object.assign(wanted, { state: key, most: PAGE });
        draw();
      };
      return button([label, h("span", { class: "many" }, many)], choose, { class: "chip", "data-key": `state ${key}`, "data-state": key, "aria-pressed": String(key === wanted.state) });
    }));
    const rows = sorted(found.filter((shown) => isIn(wanted.state, shown)));
    fill(count, rows.length === flags.length ? plural(flags.length, "flag") : `${rows.length} of ${plural(flags.length, "flag")}`,
      from === "store" ? "" : ", as this process has them: the store does not answer");
    redraw(table, flags.length === 0 ? none() : rows.length === 0 ? nothingFound(reset) : paged(rows, (some) => rowsOf(some, sort), {
      most: wanted.most,
      grown: (most) => {
        wanted.most = most;
      },
    }));
  };
  const sort = (key) => {
    wanted.isUp = wanted.sort === key ? !wanted.isUp : true;
    wanted.sort = key;
    order.value = `${key} ${wanted.isUp ? "up" : "down"}`;
    draw();
  };
  const reset = () => {
    Object.assign(wanted, { text: "", state: "all", kind: "", owner: "", most: PAGE });
    search.value = "";
    choices();
    draw();
    search.focus();
  };
  const choices = () => {
    const change = (key) => (event) => {
      wanted[key] = event.target.value;
      draw();
    };
    const of = (read, name = (value) => value) => {
      const values = [...new Set(flags.map(read).filter((value) => typeof value === "string"))].sort();
      return [["", "All"], ...values.map((value) => [value, name(value)])];
    };
    fill(kind, field("Kind", select(of((shown) => shown.flag && (shown.flag.kind ?? "release"), kindName), wanted.kind, { on: { change: change("kind") } })));
    fill(owner, field("Owner", select(of((shown) => shown.flag?.owner), wanted.owner, { on: { change: change("owner") } })));
  };
  search.addEventListener("input", () => {
    Object.assign(wanted, { text: search.value, most: PAGE });
    draw();
  });
  order.addEventListener("change", () => {
    const [key, direction] = order.value.split(" ");
    Object.assign(wanted, { sort: key, isUp: direction === "up" });
    draw();
  });

  // Several changes that land together are one look; and plans move without any.
  let soon = null, isDue = false, isAway = false;
  // Answers may overtake each other.
  let asked = 0, shown = 0;
  const drawAll = () => {
    if (isAway) return;
    if (!document.activeElement?.matches?.("select")) choices();
    draw();
  };
  const again = () => {
    if (isDue) return;
    isDue = true;
    clearTimeout(soon);
    soon = setTimeout(async () => {
      isDue = false;
      const turn = asked += 1;
      try {
        const found = await api.flags();
        if (turn < shown) return;
        shown = turn;
        ({ flags, from } = found);
      } catch (refused) {
        if (!(refused instanceof api.Refused)) throw refused;
        return;
      } finally {
        if (!isAway) soon = setTimeout(again, untilNext(flags));
      }
      undisturbed(drawAll);
    }, 250);
  };
  const silence = hear((name, data) => {
    if (name === "change") say(`${data.flag} was changed`);
    if (name !== "link") again();
  });
  choices();
  draw();
  soon = setTimeout(again, untilNext(flags));

  const element = h("div", {},
    h("div", { class: "heading" }, h("h1", {}, "Flags"), session.mayEdit && h("a", { class: "as-button primary", href: "#/new" }, "New flag")),
    h("div", { class: "tools" }, h("div", { class: "search" }, field("Search", search)), kind, owner, h("div", { class: "order" }, field("Sort by", order))),
    chips, count, table);
  const leave = () => {
    isAway = true;
    clearTimeout(soon);
    silence();
  };
  return { title: "Flags", element, leave };
}

/** How long until a plan moves, at most a minute. */
function untilNext(flags) {
  const steps = flags.map((shown) => Date.parse(shown.rollout?.next_at ?? "") - now()).filter((left) => left > 0);
  return Math.min(60_000, ...steps.map((left) => left + 500));
}

function none() {
  return h("div", { class: "empty" }, h("h2", {}, "No flags yet"), h("p", {}, "A flag is a switch in the code that you turn here, for everyone or for a share of users."),
    session.mayEdit && h("p", {}, h("a", { class: "as-button primary", href: "#/new" }, "Make the first one"), " ", h("a", { class: "as-button", href: "#/transfer" }, "Import some")));
}

function nothingFound(reset) {
  return h("div", { class: "empty" }, h("p", {}, "No flag is like that."), button("Show all flags", reset));
}

function rowsOf(rows, sort) {
  const head = ([key, label]) => h("th", { scope: "col", role: "columnheader", "aria-sort": wanted.sort === key ? (wanted.isUp ? "ascending" : "descending") : "none", class: `col-${key}` },
    button([label, h("span", { class: "direction", "aria-hidden": "true" }, wanted.sort === key ? (wanted.isUp ? " ↑" : " ↓") : "")], () => sort(key), { class: "sort", "data-key": `sort ${key}` }));
  return h("table", { role: "table" },
    h("caption", { class: "unseen" }, "Flags"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map(head))),
    h("tbody", { role: "rowgroup" }, rows.map(row)));
}

function row(shown) {
  const { name, flag } = shown;
  const state = stateOf(shown);
  const cell = (key, ...content) => h("td", { role: "cell", class: `col-${key}` }, content);
  return h("tr", { role: "row", "data-flag": name },
    h("th", { scope: "row", role: "rowheader", class: "col-name" },
      h("a", { class: "flag-link", href: `#/flags/${encodeURIComponent(name)}`, "data-key": `flag ${name}` }, theirs(name)),
      badgesOf(shown).map(badge),
      flag?.description && h("span", { class: "about" }, theirs(flag.description))),
    cell("state", pill(state)),
    cell("share", flag ? [shareBar(isServed(shown) ? shown.percentage : 0), h("span", { class: "number" }, shareWords(shown))] : "–"),
    cell("owner", flag?.owner && theirs(flag.owner)),
    cell("kind", flag && kindName(flag.kind)),
    cell("age", flag?.created_at && h("time", { datetime: flag.created_at, title: day(flag.created_at) }, span(now() - Date.parse(flag.created_at)))));
}

const isServed = (shown) => shown.flag.enabled && !shown.local_kill && shown.missing?.in_force !== false && !["nobody", "nothing-yet"].includes(hereOf(shown));
const shareWords = (shown) => (!isServed(shown) ? "nobody" : shown.percentage === 0 && hasAudience(shown.flag) ? "by name" : percent(shown.percentage));

export function pill({ key, label, tone }) {
  return h("span", { class: `pill ${tone}`, "data-state": key }, label);
}

export function badge([label, tone, explanation]) {
  return h("span", { class: `badge ${tone}`, title: explanation }, label);
}
