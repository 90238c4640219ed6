// Everything that was changed, of all flags.

import { base } from "./api.js";
import { h } from "./dom.js";
import { timeline } from "./history.js";
import { hear } from "./live.js";

export function allChanges() {
  const changes = timeline({ title: "Changes" });
  const leave = hear((name) => (name === "change" || name === "missed") && changes.reload());
  const file = (format, label) => h("a", { class: "as-button small", href: new URL(`history/export?format=${format}`, base), download: `history.${format}` }, label);
  const element = h("div", { class: "stack" },
    h("div", { class: "heading" }, h("h1", {}, "Changes"), h("div", { class: "row" }, file("csv", "Save as CSV"), file("jsonl", "Save as JSON lines"))), changes.element);
  return { title: "Changes", element, leave };
}
