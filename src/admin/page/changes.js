// Everything that was changed, of all flags.

import * as api from "./api.js";
import { button, fromNow, h, notice, theirs } from "./dom.js";
import { timeline } from "./history.js";
import { hear, look, session } from "./live.js";
import { redraw } from "./redraw.js";
import { plural } from "./words.js";

export function allChanges() {
  const changes = timeline({ title: "Changes" });
  const check = h("div", { class: "row" });
  const draw = () => redraw(check, h("p", { class: "quiet" }, verifiedWords(session.status.history)), button("Check the history now", verify, { class: "small", "data-key": "verify" }));
  const verify = async () => {
    try {
      const { verified, running } = await api.verifyHistory();
      await look();
      changes.reload();
      if (running || !verified) notice("bad", "The check has not ended yet, or the history cannot be read.");
      else if (verified.broken) notice("bad", h("b", {}, "The history failed verification."));
      else notice("good", `All ${plural(verified.entries, "entry", "entries")} of the history are as they were written.`);
    } catch (refused) {
      if (!(refused instanceof api.Refused)) throw refused;
      notice("bad", theirs(refused.message));
    }
  };
  draw();
  const leave = hear((name) => {
    if (name === "change" || name === "missed") changes.reload();
    if (name === "status") draw();
  });
  const file = (format, label) => h("a", { class: "as-button small", href: new URL(`history/export?format=${format}`, api.base), download: `history.${format}` }, label);
  const element = h("div", { class: "stack" },
    h("div", { class: "heading" }, h("h1", {}, "Changes"), h("div", { class: "row" }, file("csv", "Save as CSV"), file("jsonl", "Save as JSON lines"))), check, changes.element);
  return { title: "Changes", element, leave };
}

/** What is known of the whole history. */
function verifiedWords({ verified, found_since: since, running, error }) {
  if (running) return "The history is being checked.";
  if (error) return ["The history could not be checked: ", theirs(error)];
  if (!verified) return "The history has not been checked since this process started. A check runs within minutes of the start, and then once a day.";
  const count = verified.broken + since.length;
  const found = count === 0 ? "it is as it was written" : [h("b", {}, plural(count, "break")), ": see above, and below"];
  return ["Checked ", fromNow(verified.at), `, ${plural(verified.entries, "entry", "entries")}: `, found, "."];
}
