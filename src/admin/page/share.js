// The share of users, by hand.

import { patch } from "./edit.js";
import { button, code, fill, fresh, h, line } from "./dom.js";
import { hasAudience, percent } from "./words.js";

/** A share as it was typed: at most three decimals, 0 to 100; `null` for anything else. */
export function shareOf(text) {
  if (!/^\s*\d{1,3}([.,]\d{1,3})?\s*$/.test(text)) return null;
  const share = Number(text.trim().replace(",", "."));
  return share <= 100 ? share : null;
}

export const WRONG_SHARE = "A number from 0 to 100, with at most three decimals.";

/** A line for a share or a weight. */
export const shareLine = (share, attributes) => line({ inputmode: "decimal", size: 7, value: String(share), ...attributes });

/** What it means for users when a share moves. */
export function consequence(from, to) {
  const many = (share) => `${Number((share * 10).toFixed(2))} of every 1000 users`;
  if (to > from) return [h("b", {}, `${many(to - from)} more get it.`), " Nobody loses it."];
  return [h("b", {}, `${many(from - to)} lose it`), to === 0 ? ": nobody has it by share any more." : `, ${percent(to)} keep it.`];
}

export function share(page) {
  const { shown } = page;
  const { flag, rollout } = shown;
  // A plan says it itself.
  if (!flag || rollout) return null;
  const now = shown.percentage;
  const title = h("h2", { id: "share-title" }, "Share of users");
  if (!page.mayEdit) return h("section", { class: "card", "aria-labelledby": "share-title" }, title, h("p", { class: "big" }, percent(now)));

  const id = fresh("share");
  const slider = h("input", { type: "range", min: 0, max: 100, step: "any", value: now, id, "aria-labelledby": "share-title", "data-key": "share-slider" });
  const number = shareLine(now, { "aria-label": "Share of users in percent", "data-key": "share-number" });
  const words = h("p", { class: "quiet", "aria-live": "polite" });
  const save = button("", ask, { class: "primary", "data-key": "share-save" });
  const drop = button("Undo", () => {
    set(now);
    // The button disappears when there is nothing to undo.
    number.focus();
  }, { class: "plain" });
  const buttons = h("div", { class: "row" }, save, drop);
  const quick = h("div", { class: "row quick", role: "group", "aria-label": "Common shares" },
    [0, 1, 5, 10, 25, 50, 100].map((to) => button(percent(to), () => set(to), { class: "chip", "data-key": `share-${to}` })));

  const wanted = () => shareOf(number.value);
  function draw() {
    const to = wanted();
    number.toggleAttribute("aria-invalid", to === null);
    buttons.hidden = to === now;
    save.disabled = to === null;
    slider.setAttribute("aria-valuetext", percent(to ?? now));
    fill(save, to === null ? "Change…" : `Change to ${percent(to)}…`);
    fill(words, to === null ? WRONG_SHARE : to === now ? (now === 0 && hasAudience(flag) ? "Only whoever is named below gets it." : "Users are drawn by their id: whoever is in stays in as the share grows.") : consequence(now, to));
  }
  function set(to) {
    number.value = String(to);
    slider.value = to;
    draw();
  }
  slider.addEventListener("input", () => {
    number.value = String(Math.round(slider.valueAsNumber));
    draw();
  });
  number.addEventListener("input", () => {
    if (wanted() !== null) slider.value = wanted();
    draw();
  });
  number.addEventListener("keydown", (event) => event.key === "Enter" && wanted() !== null && wanted() !== now && ask());
  function ask() {
    const to = wanted();
    patch(page, {
      base: shown, keys: { percentage: to },
      title: [code(shown.name), ` for ${percent(to)} of users?`], action: `Change to ${percent(to)}`,
      content: [h("p", {}, `From ${percent(now)} to ${percent(to)}: `, consequence(now, to)),
        !flag.enabled && h("p", { class: "callout" }, "The flag is killed: nobody gets it until it is restored.")],
    });
  }
  draw();
  const section = h("section", { class: "card share", "aria-labelledby": "share-title" }, title,
    h("div", { class: "share-row" }, slider, h("span", { class: "amount" }, number, h("span", { "aria-hidden": "true" }, "%"))), quick, words, buttons);
  section.isTouched = () => number.value !== String(now);
  section.settle = () => set(now);
  return section;
}
