// Asking the server. Everything is found from where this file is.

import { parse, write } from "./json.js";

export const base = new URL(".", import.meta.url);

const WITHIN = 20_000;
/** An import goes flag by flag. */
const IMPORT_WITHIN = 600_000;

/** An answer that refuses: a problem document of RFC 9457. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || "The server refused without a reason");
    this.problem = problem;
    this.status = problem.status;
    this.kind = String(problem.type ?? "").replace("urn:tower-flags:", "");
  }
}

/** Edits of ours that have no answer yet: their changes are not somebody else's. */
let editing = Promise.resolve();

/** Resolves when no edit of this page is on its way, and what waited for it has seen the answer. */
export const settled = () => editing.then(() => new Promise((resolve) => setTimeout(resolve)));

/** Counts the sessions of this page. */
let session = 0;

/** Ends the session: its requests that are still under way never get an answer. */
export function abandon() {
  session += 1;
  editing = Promise.resolve();
}

let ended = () => {};

/** Calls `listener` whenever an answer says that there is no session any more. */
export function onSessionEnd(listener) {
  ended = listener;
}

async function ask(method, path, { body, headers = {}, query = {}, within = WITHIN } = {}) {
  const url = new URL(path, base);
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "" && value !== false) url.searchParams.set(key, value);
  }
  if (method !== "GET") headers = { "content-type": "application/json", ...headers };
  const asking = session;
  let response, text, failure;
  try {
    response = await fetch(url, {
      method, headers, body, credentials: "same-origin", cache: "no-store", redirect: "error",
      signal: AbortSignal.timeout(within),
    });
    text = await response.text();
  } catch (error) {
    failure = new Refused({ type: "unreachable", status: 0, title: "The server cannot be reached", detail: `The server did not answer: ${error.message}` });
  }
  if (asking !== session) return new Promise(() => {});
  if (failure) throw failure;
  let answer = null;
  try {
    answer = text === "" ? null : parse(text);
  } catch {
    answer = { title: "The server answered something that is not JSON", detail: text.slice(0, 200) };
  }
  if (response.status === 401 && !["login", "logout"].includes(path)) ended();
  if (!response.ok) throw new Refused({ ...answer, status: response.status });
  return answer;
}

/** How many flags an export leaves out, and the names of the first of them. */
export async function leftOut() {
  const { headers } = await fetch(new URL("export", base), {
    method: "HEAD", credentials: "same-origin", cache: "no-store", redirect: "error", signal: AbortSignal.timeout(WITHIN),
  });
  const names = headers.get("x-left-out");
  return { count: Number(headers.get("x-left-out-count") ?? 0), names: names ? names.split(", ").map(decodeURIComponent) : [] };
}

function edit(method, path, options) {
  const asked = ask(method, path, options).catch((refused) => {
    // The edit may have arrived even if the answer was lost, or came from a proxy.
    const isLost = refused.kind === "unreachable" || (refused.status >= 500 && !String(refused.problem.type).startsWith("urn:tower-flags:"));
    throw isLost ? new Refused({ ...refused.problem, type: "in-doubt" }) : refused;
  });
  editing = Promise.allSettled([editing, asked]);
  return asked;
}

const at = (name, rest = "") => `flags/${encodeURIComponent(name)}${rest}`;
const onto = (etag) => (etag ? { "if-match": etag } : {});

export const logIn = (token) => ask("POST", "login", { body: JSON.stringify({ token }) });
export const logOut = () => ask("POST", "logout");
export const status = () => ask("GET", "status");
export const flags = () => ask("GET", "flags");
export const flag = (name) => ask("GET", at(name));
export const explain = (context) => ask("POST", "explain", { body: write(context) });

/** Checks the whole history; without an end within 30 s, the answer is that of the last check. */
export const verifyHistory = () => ask("GET", "history/verify", { query: { fresh: true }, within: 40_000 });

/** The history, of a flag or of all; `before` is where the last page ended. */
export const history = (name, before, limit) => ask("GET", name ? at(name, "/history") : "history", { query: { before, limit } });

export const patch = (name, keys, etag, reason) =>
  edit("PATCH", at(name), { body: write(keys), headers: onto(etag), query: { reason } });
export const put = (name, text, etag, reason) =>
  edit("PUT", at(name), { body: text, headers: onto(etag), query: { reason } });
export const create = (name, definition, reason, again) =>
  edit("PUT", at(name), { body: write(definition), headers: { "if-none-match": "*" }, query: { reason, create_again: again } });
export const remove = (name, etag, reason) => edit("DELETE", at(name), { headers: onto(etag), query: { reason } });

/** `kill`, `restore`, `forget-kill`, `write-back`, `revert`, `rollout/…`. */
export const act = (name, action, { body, etag, reason, writeBack } = {}) =>
  edit("POST", at(name, `/${action}`), { body: body && write(body), headers: onto(etag), query: { reason, write_back: writeBack } });

/** Writes back every flag that the store has lost. */
export const writeBackAll = (reason) => edit("POST", "write-back", { query: { reason }, within: IMPORT_WITHIN });

/** `etag`: what the dry run, the import that is only looked at, went by. */
export const importAll = (text, { dry, etag, remove: removes, again, reason }) =>
  (dry ? ask : edit)("POST", "import", { body: text, headers: onto(etag), within: IMPORT_WITHIN, query: { dry_run: dry, remove: removes, create_again: again, reason } });

/** Changes as they land. Calls `heard(name, data)` for each event and `linked(isLive)` as the connection comes and goes. */
export function listen(heard, linked) {
  let source, again, isOver = false;
  const open = () => {
    source = new EventSource(new URL("events", base));
    for (const name of ["status", "change", "missed"]) {
      source.addEventListener(name, (event) => heard(name, JSON.parse(event.data)));
    }
    source.onopen = () => linked(true);
    source.onerror = () => {
      linked(false);
      // A browser gives up on an answer that refuses; the server may have had too many listeners.
      if (source.readyState === EventSource.CLOSED && !isOver) again = setTimeout(open, 5000);
    };
  };
  open();
  return () => {
    isOver = true;
    clearTimeout(again);
    source.close();
  };
}
