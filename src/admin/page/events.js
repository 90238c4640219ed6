// One stream of events for all pages of a browser.
//
// Over HTTP/1.1 a browser has six connections to a server for all its pages, and a stream takes one. So one page holds
// the stream and hands its events on. The pages agree over a channel which page that is: each claim has a higher term
// than the last, and of two claims of one term the one with the higher id counts. Web Locks would decide that as well,
// but browsers have them over TLS alone, and the limit of six counts most over plain HTTP.

import { base, listen } from "./api.js";

const BEAT_EVERY = 1000;
/** After so many beats that did not come, the holder counts as gone: closed without a word, frozen, or stuck. */
const SILENT_BEATS = 4;
/** How long a page that comes waits for the holder to speak. */
const ANSWERED_WITHIN = 200;
/** A connection that breaks off for a shorter time is not told: it also breaks off when its page is left. */
const BROKEN_FOR = 500;

/**
 * Calls `heard(name, data)` for each event, whichever page receives it, and `linked(isLive)` as the connection comes and
 * goes. Each time it comes, events may have been lost before. Returns a function that ends it.
 */
export function follow(heard, linked) {
  const channel = new BroadcastChannel(`tower-flags events 1 ${base}`);
  const id = Math.random();
  let holder = { term: 0, id: 0 };
  // Of the stream that is followed; `null` while that is not known.
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
    // A stream that is there already goes on.
    holder = { term: holder.term + 1, id };
    if (!stop) isLive = null;
    open();
    beat();
  }
  /** Not at the same moment as all others. */
  function claimAfter(wait) {
    clearTimeout(claiming);
    claiming = setTimeout(claim, wait + Math.random() * 100);
  }

  channel.onmessage = ({ data }) => {
    if (data.kind === "hello") return holds() && beat();
    const order = data.term - holder.term || data.id - holder.id;
    // A page that speaks as an earlier holder does not know of this one.
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
