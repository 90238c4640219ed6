// What the server tells by itself, for whoever shows it.

import * as api from "./api.js";
import { follow } from "./events.js";
import { setClock } from "./words.js";

/** The state that the whole page goes by. */
export const session = {
  /** The answer of `status`. */
  status: null,
  /** Whether events come in; `null` while that is not known. */
  isLive: null,
  get mayEdit() {
    return this.status?.you.role === "editor";
  },
  /** Killing, and taking that back. */
  get mayKill() {
    return ["editor", "responder"].includes(this.status?.you.role);
  },
};

const listeners = new Set();

/** Calls `listener(name, data)` for `status`, `change`, `missed` and `link`, until the function it returns is called. */
export function hear(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (name, data) => listeners.forEach((listener) => listener(name, data));

let asked = 0, shown = 0;

/** Asks how everything is. An answer that comes after one that was asked for later is passed over. */
export async function look() {
  const turn = asked += 1;
  const status = await api.status();
  if (turn < shown) return;
  shown = turn;
  session.status = status;
  setClock(session.status.now);
  tell("status", session.status);
}

let stop = null;

/** How long the page waits before it asks again, after no answer or without events. */
export const AGAIN_AFTER = 5000;

/** A page that has been hidden for this long neither holds nor follows the stream: browsers slow such pages down. */
const HIDDEN_FOR = 10_000;

/** Has everything that is shown looked at anew. */
export const missed = () => tell("missed", {});

export function connect() {
  stop?.();
  session.isLive = null;
  let poll, again;
  const refresh = () => look().catch((refused) => {
    if (!(refused instanceof api.Refused)) throw refused;
    // The event that asked for it does not come again.
    clearTimeout(again);
    if (stop) again = setTimeout(refresh, AGAIN_AFTER);
  });
  const heard = (name, data) => {
    if (name === "status") refresh();
    else api.settled().then(() => tell(name, data));
  };
  const linked = (isLive) => {
    session.isLive = isLive;
    tell("link", isLive);
    clearInterval(poll);
    // Without events the page polls.
    if (!isLive) poll = setInterval(() => refresh().then(missed), AGAIN_AFTER);
    // Events may have been missed before a connection; and a stream also breaks off because its session has ended.
    refresh().then(missed);
  };
  let close = follow(heard, linked), timer = null;
  const rest = () => {
    close?.();
    close = null;
    clearInterval(poll);
    clearTimeout(again);
  };
  const turned = () => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(rest, HIDDEN_FOR);
    } else if (close === null) {
      close = follow(heard, linked);
    }
  };
  document.addEventListener("visibilitychange", turned);
  // A page hands the stream over as soon as the user leaves it. If the browser shows it again, it turns visible.
  addEventListener("pagehide", rest);
  // A page may be opened behind others.
  turned();
  stop = () => {
    rest();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", turned);
    removeEventListener("pagehide", rest);
    stop = null;
  };
}

export function disconnect() {
  stop?.();
}
