// One stream of events for all pages of a browser.
//
// Over HTTP/1.1 a browser opens six connections to a server for all its pages, and each stream takes one. So one page
// holds the stream and passes its events on. The pages agree over a channel on the holder: each claim has a higher term
// than the last, and of two claims with one term the higher id wins. Web Locks would decide this as well, but browsers
// offer them only over TLS, and the limit of six matters most over plain HTTP.

import { base, listen } from "./api.js";

const BEAT_EVERY = 1000;
/** After this many missing beats the holder counts as gone: closed without notice, frozen, or stuck. */
const SILENT_BEATS = 4;
/** How long a new page waits for the holder to answer. */
const ANSWERED_WITHIN = 200;
/** Shorter interruptions are not reported: the connection also breaks when the user leaves its page. */
const BROKEN_FOR = 500;

/**
 * Calls `heard(name, data)` for each event, whichever page receives it, and `linked(isLive)` when the connection is made
 * or lost. Events may have been lost before each new connection. Returns a function that ends it.
 */
export function follow(heard, linked) {
  const channel = new BroadcastChannel(`tower-flags events 1 ${base}`);
  const id = Math.random();
  let holder = { term: 0, id: 0 };
  // Whether the followed stream is live; `null` while that is not known.
  let isLive = null;
  let silence = 0, claiming = null, breaking = null, stop = null;

  const holds = () => holder.id === id;
  const say = (kind, more) => channel.postMessage({ kind, ...holder, ...more });
  const beat = () => say("beat", { isLive });

  function link(now) {
    if (now === null || now === isLive) return;
    isLive = now;
    if (holds()) beat();
    linked(now);
  }
  function open() {
    const receive = (name, data) => {
      if (holds()) say("event", { name, data });
      heard(name, data);
    };
    stop ??= listen(receive, (now) => {
      clearTimeout(breaking);
      if (now) link(true);
      else breaking = setTimeout(link, BROKEN_FOR, false);
    });
  }
  function close() {
    clearTimeout(claiming);
    clearTimeout(breaking);
    stop?.();
    stop = null;
  }
  function goBy(next) {
    close();
    holder = next;
    isLive = null;
  }
  function claim() {
    silence = 0;
    // A stream that is already open continues.
    holder = { term: holder.term + 1, id };
    if (!stop) isLive = null;
    open();
    beat();
  }
  /** Claims after a random delay, so that pages do not claim at once. */
  function claimAfter(wait) {
    clearTimeout(claiming);
    claiming = setTimeout(claim, wait + Math.random() * 100);
  }

  channel.onmessage = ({ data }) => {
    if (data.kind === "hello") return holds() && beat();
    const order = data.term - holder.term || data.id - holder.id;
    // The sender is an earlier holder that does not know of this one.
    if (order < 0) return holds() && beat();
    if (order > 0) goBy({ term: data.term, id: data.id });
    silence = 0;
    if (data.kind === "beat") link(data.isLive);
    if (data.kind === "event") heard(data.name, data.data);
    if (data.kind === "bye") claimAfter(0);
  };
  const ticking = setInterval(() => {
    silence += 1;
    if (holds()) beat();
    else if (silence >= SILENT_BEATS) claim();
  }, BEAT_EVERY);

  // The first page receives at once. Another has its own stream until the holder speaks.
  open();
  say("hello");
  claimAfter(ANSWERED_WITHIN);
  return () => {
    if (holds()) say("bye");
    channel.close();
    clearInterval(ticking);
    close();
  };
}
