// All flags, out and in.

import * as api from "./api.js";
import { changeList } from "./diff.js";
import { confirm, refusal } from "./dialog.js";
import { button, code, field, fill, h, notice, paged, theirs } from "./dom.js";
import { session } from "./live.js";
import { redraw } from "./redraw.js";
import { fromTo, list, plural, reachOf, removal } from "./words.js";

/** What becomes of a flag, and what became of it. */
const WORDS = { create: ["is new", "was made"], change: ["changes", "was changed"], remove: ["is removed", "was removed"], refused: ["is refused", "was refused"] };

export function transfer() {
  const incomplete = h("div", { "aria-live": "polite" });
  api.leftOut().then(({ count, names }) => count && fill(incomplete, h("p", { class: "callout warn" },
    `The document does not have ${plural(count, "flag")} whose text the store cannot give, or whose name no flag may have: `,
    theirs(count > names.length ? `${names.join(", ")} and ${count - names.length} more` : list(names)), ". An import of it does not remove them.")), () => {});
  const element = h("div", { class: "narrow stack" }, h("h1", {}, "Import & export"),
    h("section", { class: "card", "aria-labelledby": "export-title" }, h("h2", { id: "export-title" }, "Export"), h("p", {}, "All flags of the store as one document, to keep or to import elsewhere."),
      h("p", {}, h("a", { class: "as-button", href: new URL("export", api.base), download: "flags.json" }, "Save flags.json")), incomplete),
    session.mayEdit && importing());
  return { title: "Import & export", element };
}

function importing() {
  const file = h("input", { type: "file", accept: ".json,application/json" });
  const text = h("textarea", { rows: 10, spellcheck: "false", class: "mono", placeholder: "{ \"flags\": { \"new_checkout\": { \"enabled\": true, \"percentage\": 10 } } }" });
  const removes = h("input", { type: "checkbox", id: "import-remove" }), again = h("input", { type: "checkbox", id: "import-again" });
  const result = h("div", { class: "result", "aria-live": "polite" });
  const options = () => ({ remove: removes.checked, again: again.checked });
  // What was looked at is what is imported.
  [text, removes, again].forEach((control) => control.addEventListener("input", () => fill(result)));
  file.addEventListener("change", async () => {
    if (!file.files[0]) return;
    text.value = await file.files[0].text();
    fill(result);
  });
  /** Shows what would change; `before` stands above it. */
  const look = async (before) => {
    try {
      const answer = await api.importAll(text.value, { ...options(), dry: true });
      const { flags } = await api.flags();
      redraw(result, before, outcome(answer), proceed(answer, new Map(flags.map((shown) => [shown.name, shown.flag]))));
    } catch (refused) {
      if (!(refused instanceof api.Refused)) throw refused;
      redraw(result, h("div", { class: "error", role: "alert" }, refusal(refused)));
    }
  };
  const preview = (event) => {
    event.preventDefault();
    return look();
  };
  const proceed = ({ flags, complete, etag }, before) => {
    const touched = flags.filter(({ action }) => !["none", "refused"].includes(action));
    if (!complete) return h("p", { class: "callout warn" }, "Nothing can be imported as long as a flag is refused.");
    if (!touched.length) return h("p", {}, "Everything is like that already.");
    const removed = touched.filter(({ action }) => action === "remove").length;
    return button(`Import ${plural(touched.length, "change")}…`, () => confirm({
      title: `Import ${plural(touched.length, "change")}?`, action: "Import", tone: removed ? "grave" : "",
      content: [h("p", {}, `${summary(flags)}. Flags that are off stay off.`), toWhom(touched, before)],
      perform: (reason) => api.importAll(text.value, { ...options(), etag, reason }).catch((refused) => {
        if (refused.kind === "incomplete") redraw(result, h("p", { class: "callout bad" }, theirs(refused.message)), outcome(refused.problem));
        throw refused;
      }),
      stale: () => look(h("p", { class: "callout warn", role: "alert" }, h("b", {}, "Nothing was imported: flags were changed since you looked. "), "This is what would change now.")),
      done: (answer) => {
        redraw(result, outcome(answer));
        notice("good", "Imported: ", summary(answer.flags), ".");
      },
    }), { class: "primary" });
  };
  const check = (control, label) => h("div", { class: "check" }, control, h("label", { for: control.id }, label));
  return h("form", { class: "card", on: { submit: preview }, "aria-labelledby": "import-title" }, h("h2", { id: "import-title" }, "Import"),
    h("p", {}, "You are shown what would change before anything does. A flag that is off is never switched on."),
    field("File", file), field("Or as text", text),
    check(removes, "Remove flags that are not in it"), check(again, "Make flags again that were removed earlier"),
    h("div", { class: "row" }, h("button", { type: "submit" }, "Show what would change")), result);
}

const MOST = 20;

/** To what share of users an import goes, for flags where that changes. `before`: definitions by name. */
function toWhom(touched, before) {
  const moves = touched.map(({ name, action, changes }) => {
    const old = before.get(name) ?? null;
    const young = action === "remove" ? null : { ...old, ...Object.fromEntries(changes.map(({ key, after }) => [key, after])) };
    return [name, old, young, action];
  });
  const moved = moves.filter(([, old, young, action]) => action === "remove" || reachOf(old).words !== reachOf(young).words);
  const others = moves.length - moved.length;
  return [
    moved.length > 0 && h("ul", {}, moved.slice(0, MOST).map(([name, old, young, action]) => h("li", {}, code(name), ": ", action === "remove" ? removal(old) : fromTo(old, young)))),
    moved.length > MOST && h("p", {}, `and ${moved.length - MOST} more`),
    others > 0 && h("p", {}, moved.length ? `The share of ${plural(others, "other flag")} stays as it is.` : "The share of users stays as it is."),
  ];
}

function summary(flags) {
  const many = (action) => flags.filter((one) => one.action === action).length;
  return list([["create", "new"], ["change", "changed"], ["remove", "removed"], ["none", "as they were"], ["refused", "refused"]].map(([action, word]) => many(action) && `${many(action)} ${word}`).filter(Boolean)) || "no flags";
}

function outcome({ flags, dry_run: isDry }) {
  const shown = flags.filter(({ action }) => action !== "none");
  return [h("p", {}, h("b", {}, summary(flags)), "."), paged(shown, (some) => h("ul", { class: "outcome" }, some.map((one) => h("li", {}, code(one.name), ` ${WORDS[one.action][isDry ? 0 : 1]}`, one.kept_off && (isDry ? " and stays off" : " and stayed off"),
    one.error ? h("p", { class: "error" }, theirs(one.error.detail)) : one.action === "change" && changeList(one.changes)))))];
}
