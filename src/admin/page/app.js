// The page: logging in, the frame around everything, and which view is shown.

import * as api from "./api.js";
import { showBanners } from "./banners.js";
import { button, clearNotices, field, fill, h, notice, say, svg, theirs, unseen } from "./dom.js";
import { open } from "./dialog.js";
import { connect, disconnect, hear, look, missed, session } from "./live.js";
import { allChanges } from "./changes.js";
import { create } from "./create.js";
import { explainAll, forgetQuestion } from "./explain.js";
import { flagView } from "./flag.js";
import { forgetSearch, listView } from "./list.js";
import { transfer } from "./transfer.js";

const main = document.getElementById("main");
const header = document.getElementById("top");

/** By the first part of what stands behind `#/`. A view is `{ title, element, leave }`, or a promise of one. */
const VIEWS = { "": listView, flags: flagView, new: create, changes: allChanges, explain: explainAll, transfer };
const NAVIGATION = [["", "Flags"], ["explain", "Who gets what"], ["changes", "Changes"], ["transfer", "Import"]];

let shown = null;
/** Where `shown` was found. */
let place = "";
let turn = 0;

async function show() {
  const mine = (turn += 1);
  const [, first = "", ...rest] = location.hash.split("/");
  const view = Object.hasOwn(VIEWS, first) ? VIEWS[first] : listView;
  const named = rest.map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  let next;
  try {
    next = await view(...named);
  } catch (refused) {
    if (!(refused instanceof api.Refused)) throw refused;
    if (refused.status === 401) return;
    next = missing(refused);
  }
  if (mine !== turn) return next.leave?.();
  shown?.leave?.();
  const isFirst = shown === null;
  shown = next;
  place = location.hash;
  document.title = next.title === "Flags" ? "Flags" : `${next.title} · Flags`;
  fill(main, next.element);
  frame(first);
  if (isFirst) return;
  scrollTo(0, 0);
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

function missing(refused) {
  const element = h("div", { class: "empty" }, h("h1", {}, refused.problem.title ?? "It cannot be shown"), h("p", {}, theirs(refused.message)), h("p", {}, h("a", { href: "#/" }, "Back to all flags")));
  return { title: "Not found", element };
}

function mark() {
  return svg("svg", { class: "mark", viewBox: "0 0 28 18", "aria-hidden": "true" },
    svg("rect", { class: "mark-body", x: 1, y: 1, width: 26, height: 16, rx: 8 }), svg("circle", { class: "mark-knob", cx: 19, cy: 9, r: 5 }));
}

/** What those who may not edit may do. */
const MAY = { viewer: " may look only", responder: " may kill and restore" };

function frame(current) {
  const { you } = session.status;
  const link = ([path, label]) => h("a", { href: `#/${path}`, "aria-current": path === current || (path === "" && ["flags", "new"].includes(current)) ? "page" : null }, label);
  fill(header, h("div", { class: "wide bar" },
    h("a", { class: "brand", href: "#/", "aria-label": "Flags, start" }, mark(), "Flags"),
    h("nav", { "aria-label": "Main" }, NAVIGATION.map(link)),
    h("div", { class: "who" }, pulse(), h("span", { class: "name" }, theirs(you.name), MAY[you.role] && h("span", { class: "quiet" }, MAY[you.role])), button("Log out", leave, { class: "plain small" }))));
}

/** Whether changes come in by themselves, and which store they come from. */
function pulse() {
  const { store, source } = session.status;
  const isThere = !store.error && (source.freshness === "fresh" || !source.last_error);
  return h("span", { class: "pulse-and-store" },
    h("span", { class: session.isLive === false ? "pulse lost" : "pulse" }, session.isLive === null ? "Connecting" : session.isLive ? "Live" : "Not live"),
    h("span", { class: isThere ? "store quiet" : "store lost", title: `The store ${store.name} ${isThere ? "answers" : "does not answer"}` },
      unseen("Store: "), theirs(store.name), isThere ? unseen(", it answers") : " does not answer"));
}

async function leave() {
  try {
    await api.logOut();
  } catch (refused) {
    if (refused.status !== 401) return notice("bad", h("b", {}, "You are still logged in. "), theirs(refused.message));
  }
  signedOut();
}

function signedOut() {
  disconnect();
  turn += 1;
  shown?.leave?.();
  shown = null;
  forget();
  fill(document.getElementById("banners"));
  fill(header);
  document.title = "Log in · Flags";
  const { form, token } = logInForm(async () => {
    await look();
    connect();
    await show();
  });
  form.prepend(h("h1", {}, mark(), "Flags"), h("p", { class: "quiet" }, "Release features, watch them, and switch them off."));
  fill(main, h("div", { class: "card login" }, form));
  token.focus();
}

/** Goes on after a session that ended was followed by another; set while the page waits for that. */
let goOn = null;

/** A session that ended by itself takes nothing away of what was begun: whoever logs in again is where they were. */
function ended() {
  if (!shown || goOn) return;
  disconnect();
  let isBack = false;
  const { you } = session.status;
  const dialog = open("Your session has ended", "login", (close) => {
    goOn = async () => {
      await look();
      isBack = true;
      close();
      // What somebody else began is not theirs.
      const isOther = session.status.you.name !== you.name;
      if (isOther) forget();
      connect();
      if (!isOther && place === location.hash) return missed();
      closeAll();
      await show();
    };
    const { form } = logInForm(goOn);
    form.prepend(h("p", {}, "Log in to go on. What you have begun is still here."));
    return form;
  });
  dialog.addEventListener("close", () => {
    goOn = null;
    if (!isBack) signedOut();
  });
}

/** Clears what a session leaves behind: questions, announcements, and answers that are still to come. */
function forget() {
  api.abandon();
  closeAll();
  clearNotices();
  say("");
  forgetSearch();
  forgetQuestion();
}

function closeAll() {
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
}

/** Trades a token for a session, then calls `entered`. */
function logInForm(entered) {
  const token = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false", autocapitalize: "none" });
  const error = h("div", { class: "error", role: "alert" });
  const go = h("button", { type: "submit", class: "primary" }, "Log in");
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    fill(error);
    try {
      await api.logIn(token.value.trim());
      await entered().catch((refused) => {
        throw refused.status === 401 ? new Error(NOT_KEPT) : refused;
      });
    } catch (refused) {
      if (!(refused instanceof api.Refused) && refused.message !== NOT_KEPT) throw refused;
      fill(error, h("p", {}, whyNot(refused)));
      token.select();
      token.focus();
    } finally {
      go.disabled = false;
    }
  };
  const form = h("form", { on: { submit } }, field("Your token", token, "From whoever runs this service. It is not kept in the browser."), error, go);
  return { form, token };
}

const NOT_KEPT = "The token is right, but the browser did not keep the session: this page has to be served by HTTPS, or allow cookies without it.";

function whyNot(refused) {
  if (refused.kind === "no-login") return "This service has a login of its own: log in there, then open this page again.";
  if (refused.kind === "unauthorized") return "Nobody has this token. Look for a missing character at either end.";
  if (refused.kind === "malformed") return "A token is needed.";
  return refused.message;
}

hear((name) => {
  if (name === "status" || name === "link") {
    showBanners();
    document.querySelector(".pulse-and-store")?.replaceWith(pulse());
  }
});
addEventListener("hashchange", () => session.status && document.querySelector(".login") === null && show());
// A session may end, or be followed by another, while the page sleeps.
addEventListener("visibilitychange", () => {
  if (!document.hidden && shown) (goOn ?? look)().catch(() => {});
});

api.onSessionEnd(ended);
look().then(() => {
  connect();
  return show();
}).catch((refused) => {
  if (!(refused instanceof api.Refused)) throw refused;
  if (refused.status === 401) return signedOut();
  fill(main, h("div", { class: "empty" }, h("h1", {}, refused.problem.title ?? "It cannot be shown"), h("p", {}, theirs(refused.message)), button("Try again", () => location.reload(), { class: "primary" })));
});
