// One flag: its switch, its share, its plan, whom it names, and what became of it.

import * as api from "./api.js";
import { audience } from "./audience.js";
import { problem } from "./dialog.js";
import { about, advanced } from "./about.js";
import { explainFlag } from "./explain.js";
import { because, code, h, notice, say, theirs } from "./dom.js";
import { historyOf } from "./history.js";
import { badge, pill } from "./list.js";
import { write } from "./json.js";
import { AGAIN_AFTER, hear, session } from "./live.js";
import { plan } from "./plan.js";
import { undisturbed } from "./press.js";
import { redraw } from "./redraw.js";
import { rules } from "./rules.js";
import { share } from "./share.js";
import { power } from "./power.js";
import { badgesOf, hereOf, isElsewhere, now, stateOf } from "./words.js";
import { variants } from "./variants.js";

/**
 * What a section gets. A section is a function that takes the page and gives an element, or nothing; one that
 * somebody has begun to fill in says so by `element.isTouched()` and is left alone until that is over.
 */
class Page {
  /** How often the flag was asked for, and which of these answers is shown: they may overtake each other. */
  #asked = 0;
  #shown = 0;

  constructor(shown, history) {
    this.shown = shown;
    this.history = history;
    this.places = [];
  }

  get name() {
    return this.shown.name;
  }

  /** Whether edits can be made: not while the store does not answer. */
  get mayEdit() {
    return session.mayEdit && this.shown.from === "store";
  }

  /** A kill works without the store, but only on flags that come from it. */
  get mayKill() {
    return session.mayKill && !isElsewhere(this.shown);
  }

  get mayRestore() {
    return session.mayKill && this.shown.from === "store";
  }

  section(make) {
    const place = h("div", { class: "place" });
    this.places.push({ place, make });
    this.#draw({ place, make });
    return place;
  }

  #draw({ place, make }) {
    if (!place.firstElementChild?.isTouched?.()) redraw(place, make(this));
  }

  #drawAll = () => this.places.forEach((one) => this.#draw(one));

  /** Shows everything anew. */
  draw() {
    undisturbed(this.#drawAll);
    this.wake();
  }

  /** The answer to an edit of ours: what was filled in has been said. */
  take(answer) {
    // After a kill that the store has not taken, the rest of the flag is as it was.
    this.shown = answer.stored === false ? { ...this.shown, local_kill: answer.local_kill, in_force: answer.in_force } : answer;
    this.#shown = this.#asked;
    this.places.forEach(({ place }) => place.firstElementChild?.settle?.());
    this.draw();
    // The rules in effect may have changed since the answer was made, and their events may have come before it.
    if (answer.stored === false) this.history.reload();
    else this.reload();
  }

  /** Looks again; `settles`: what was filled in is given up. */
  async reload(settles = false) {
    const turn = this.#asked += 1;
    let next;
    try {
      next = await api.flag(this.name);
    } catch (refused) {
      if (!(refused instanceof api.Refused)) throw refused;
      if (refused.kind === "no-such-flag" && turn > this.#shown) this.vanish(refused);
      if (refused.kind !== "no-such-flag") this.#askAgain();
      return null;
    }
    if (turn <= this.#shown) return null;
    this.#shown = turn;
    if (settles) this.places.forEach(({ place }) => place.firstElementChild?.settle?.());
    const before = this.shown;
    this.shown = next;
    // The page itself says what that means, whichever event brought it.
    if (next.missing && !before.missing) say(`The store has lost ${this.name}`);
    if (settles || write(before) !== write(next)) this.draw();
    if (next.from === "this process" && !next.missing) this.#askAgain();
    this.history.reload();
    return before;
  }

  /** Draws anew when the plan makes its next step. */
  wake() {
    clearTimeout(this.timer);
    const left = Date.parse(this.shown.rollout?.next_at ?? "") - now();
    this.timer = setTimeout(() => (left < 60_000 ? this.reload() : this.draw()), Math.min(60_000, left > 0 ? left + 300 : 60_000));
  }

  /** Asks again in a while: the event that asked does not come again, and the store may have been slow only once. */
  #askAgain() {
    clearTimeout(this.again);
    if (!this.hasLeft) this.again = setTimeout(() => this.reload(), AGAIN_AFTER);
  }

  vanish(refused) {
    const gone = h("div", { class: "empty" }, h("h1", {}, "This flag is gone"), h("p", {}, code(this.name), ": ", theirs(refused.message)), h("p", {}, h("a", { href: "#/changes" }, "Who removed it?"), " ", h("a", { href: "#/" }, "All flags")));
    undisturbed(() => redraw(this.element, gone));
  }
}

export async function flagView(name) {
  const shown = await api.flag(name);
  const history = historyOf(name, () => page);
  const page = new Page(shown, history);

  const heard = async (event, data) => {
    if (["missed", "status"].includes(event)) return page.reload();
    if (event !== "change" || data.flag !== name) return;
    const before = await page.reload();
    if (!before || before.etag === page.shown.etag) return;
    // No edit did it, and none is to blame.
    if (page.shown.missing) return;
    // What was written past the history has no entry there.
    const { entries: [last] } = page.shown.changed_outside ? { entries: [] }
      : await api.history(name, undefined, 1).catch(() => ({ entries: [] }));
    const isTouched = page.places.some(({ place }) => place.firstElementChild?.isTouched?.());
    notice("news", theirs(last?.actor ?? "Somebody"), " has just changed this flag", because(last?.reason), ". ",
      isTouched && h("b", {}, "What you began is still here; when you save, you are shown both."));
    say(`${name} was changed by ${last?.actor ?? "somebody else"}`);
  };
  const silence = hear(heard);

  page.element = h("div", { class: "flag-page" },
    h("p", { class: "crumbs" }, h("a", { href: "#/" }, "← All flags")),
    page.section(head),
    page.section(power),
    h("div", { class: "columns" },
      h("div", { class: "column" }, [share, plan, audience, rules, variants].map((one) => page.section(one)), history.element),
      h("div", { class: "column side" }, explainFlag(page), page.section(about), page.section(advanced))));
  page.wake();
  page.leave = () => {
    silence();
    page.hasLeft = true;
    clearTimeout(page.timer);
    clearTimeout(page.again);
  };
  return { title: name, element: page.element, leave: page.leave };
}

function head({ shown }) {
  const { flag } = shown;
  // What takes the flag away from people stands beside its switch.
  const problems = shown.problems.filter(({ severity }) => severity !== "error" || !hereOf(shown));
  return h("div", { class: "flag-head" },
    h("div", { class: "title" }, h("h1", { tabindex: "-1" }, theirs(shown.name)), pill(stateOf(shown)), badgesOf(shown).map(badge)),
    flag?.description && h("p", { class: "description" }, theirs(flag.description)),
    shown.shadowed_by && h("p", { class: "callout warn" }, h("b", {}, "Edits here have no effect in this process. "), theirs(shown.shadowed_by), " defines this flag, too, and overrules the store",
      shown.in_force && [": it is ", h("b", {}, shown.in_force.enabled ? "switched on" : "switched off"), " there"], "."),
    isElsewhere(shown) && h("p", { class: "callout" }, h("b", {}, theirs(shown.from), " defines this flag. "), "Change it there: the store has no flag of this name."),
    shown.missing && h("p", { class: "callout bad" }, h("b", {}, "The store has lost this flag. "), "No edit removed it. ", shown.flag ? shown.missing.in_force ? "This process continues with the definition below." : "The definition below was in effect last." : "Its history has the last definition."),
    shown.from === "this process" && !shown.missing && h("p", { class: "callout warn" }, h("b", {}, "The store does not answer. "), "This is the flag as this process has it. Only a kill works now."),
    shown.changed_outside && shown.version > 0 && h("p", { class: "callout" }, "Somebody wrote this flag past the history, with the store's own tools."),
    problems.length > 0 && h("div", { class: "callout bad" }, h("b", {}, flag ? "Something in it is not as it should be" : "The definition cannot be used"), h("ul", {}, problems.map((one) => h("li", {}, problem(one)))),
      !flag && h("p", {}, shown.in_force ? "The last good definition stays in force." : "The flag is off until this is mended.")));
}
