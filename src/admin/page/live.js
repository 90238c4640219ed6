// What the server tells by itself, for whoever shows it.

import * as api from "./api.js";
import { setClock } from "./words.js";

/** The state that the whole page goes by. */
export const session = {
  /** The answer of `status`. */
  status: null,
  /** Whether events come in. */
  isLive: true,
  get mayEdit() {
    return this.status?.you.role === "editor";
  },
};

const listeners = new Set();

/** Calls `listener(name, data)` for `status`, `change`, `missed` and `link`, until the function it returns is called. */
export function hear(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (name, data) => listeners.forEach((listener) => listener(name, data));

/** Asks how everything is. */
export async function look() {
  session.status = await api.status();
  setClock(session.status.now);
  tell("status", session.status);
}

let stop = null;

/** A browser has six connections to a server for all its pages: one that nobody looks at gives its own back. */
const HIDDEN_FOR = 10_000;

/** Has everything that is shown looked at anew. */
export const missed = () => tell("missed", {});

export function connect() {
  stop?.();
  let poll;
  const refresh = () => look().catch((refused) => {
    if (!(refused instanceof api.Refused)) throw refused;
  });
  const heard = (name, data) => {
    if (name === "status") refresh();
    else api.settled().then(() => tell(name, data));
  };
  const linked = (isLive) => {
    const wasLive = session.isLive;
    session.isLive = isLive;
    tell("link", isLive);
    clearInterval(poll);
    // Without events everything is looked at from time to time; and what was missed once they come again.
    if (!isLive) poll = setInterval(() => refresh().then(missed), 5000);
    // A stream also breaks off because its session has ended.
    if (isLive !== wasLive || hasRested) refresh().then(missed);
    hasRested = false;
  };
  let close = api.listen(heard, linked), rest = null, hasRested = false;
  const turned = () => {
    clearTimeout(rest);
    if (document.hidden) {
      rest = setTimeout(() => {
        close?.();
        close = null;
        clearInterval(poll);
      }, HIDDEN_FOR);
    } else if (close === null) {
      // What is shown is as old as the rest was long, which is no loss of the connection to be told of.
      hasRested = true;
      close = api.listen(heard, linked);
    }
  };
  document.addEventListener("visibilitychange", turned);
  // A page may be opened behind others.
  turned();
  stop = () => {
    close?.();
    clearTimeout(rest);
    clearInterval(poll);
    document.removeEventListener("visibilitychange", turned);
    stop = null;
  };
}

export function disconnect() {
  stop?.();
}
