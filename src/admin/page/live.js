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
    if (isLive !== wasLive) refresh().then(missed);
  };
  const close = api.listen(heard, linked);
  stop = () => {
    close();
    clearInterval(poll);
    stop = null;
  };
}

export function disconnect() {
  stop?.();
}
