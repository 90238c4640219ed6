// How things are said: shares, times, states, reasons.

let skew = 0;

/** Goes by the server's clock from now on. */
export function setClock(serverNow) {
  const at = Date.parse(serverNow);
  if (!Number.isNaN(at)) skew = at - Date.now();
}

/** The present instant by the server's clock, in milliseconds. */
export const now = () => Date.now() + skew;

export const percent = (number) => `${Number(Number(number).toFixed(3))}\u202f%`;

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export const list = (items, last = "and") =>
  items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} ${last} ${items.at(-1)}`;

const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const TIME = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
const HOUR = new Intl.DateTimeFormat("en-GB", TIME);
const MOMENT = new Intl.DateTimeFormat("en-GB", { ...TIME, year: "numeric" });
const UTC = new Intl.DateTimeFormat("en-GB", { ...TIME, year: "numeric", timeZone: "UTC" });
/** Dates without a time are days in UTC. */
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

const formatted = (format, at) => {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : format.format(date);
};
/** An instant in the time zone of the browser, which it names. */
export const moment = (at) => formatted(MOMENT, at);
export const utc = (at) => formatted(UTC, at);
export const day = (at) => formatted(DAY, at);
export const shortDay = (at) => formatted(SHORT, at);
export const shortMoment = (at) => formatted(HOUR, at);

/** The time zone of the browser: `Europe/Berlin, CET now`. */
export function zone() {
  const { value } = MOMENT.formatToParts(now()).find(({ type }) => type === "timeZoneName");
  return `${MOMENT.resolvedOptions().timeZone}, ${value} now`;
}

/** How steps that are whole days of 24 hours apart move by the clock, if it changes between them: `1 hour later`, or `null`. */
export function clockChange(times) {
  const [first, ...others] = times.map((at) => new Date(at).getTimezoneOffset());
  const other = others.find((offset) => offset !== first);
  return other === undefined ? null : `${span((first - other) * 60_000)} ${first > other ? "later" : "earlier"}`;
}

const UNITS = [[86_400_000 * 365, "year"], [86_400_000 * 30, "month"], [86_400_000, "day"], [3_600_000, "hour"], [60_000, "minute"]];

/** A length of time, roughly: `3 days`. */
export function span(milliseconds) {
  const length = Math.abs(milliseconds);
  const unit = UNITS.find(([size]) => length >= size);
  return unit ? plural(Math.floor(length / unit[0]), unit[1]) : "a moment";
}

/** The end of a day in UTC, when what expires on it is over. */
export const endOfDay = (date) => Date.parse(date) + 86_400_000;

export function ago(at) {
  const passed = now() - new Date(at).getTime();
  if (Number.isNaN(passed)) return String(at);
  // What has just happened may be ahead of the clock by the time an answer takes.
  if (passed > -3000) return passed < 60_000 ? "just now" : `${span(passed)} ago`;
  return `in ${span(passed)}`;
}

/** When something happened. A time in the future was written by a clock that runs ahead. */
export function happened(at) {
  const ahead = new Date(at).getTime() - now();
  return ahead > 3000 ? "by a clock that runs ahead" : ago(at);
}

/** How many users a flag names. Who may not edit gets their number in place of a list. */
export const usersOf = (flag) => (Array.isArray(flag?.allowed_users) ? flag.allowed_users.length : flag?.allowed_users ?? 0);

/** Who gets a flag beside its share: `1 user and 2 groups by name`. */
function named(flag) {
  const parts = [];
  if (usersOf(flag)) parts.push(plural(usersOf(flag), "user"));
  if (flag.allowed_groups?.length) parts.push(plural(flag.allowed_groups.length, "group"));
  const words = parts.length ? [`${list(parts)} by name`] : [];
  if (flag.rules?.length) words.push(`whoever ${plural(flag.rules.length, "rule")} ${flag.rules.length === 1 ? "lets" : "let"} in`);
  return words;
}

export const hasAudience = (flag) => Boolean(usersOf(flag) || flag?.allowed_groups?.length || flag?.rules?.length);

/** Whom a definition reaches with a share, its kill switch aside. */
export function reach(flag, share) {
  if (share >= 100) return flag.rules?.length ? "everyone, unless a rule says otherwise" : "everyone";
  const parts = named(flag);
  if (share > 0) parts.unshift(`${percent(share)} of users`);
  return parts.join(", plus ") || "nobody";
}

const SPELLINGS = { on: "enabled", rollout_percentage: "percentage", users: "allowed_users", enabled_for_users: "allowed_users" };

/** Whom a definition reaches now, as `{ words, share }`, in whichever spelling it is written. */
export function reachOf(definition) {
  const written = typeof definition === "boolean" ? { enabled: definition } : definition ?? { enabled: false };
  const flag = Object.fromEntries(Object.entries(written).filter(([, value]) => value !== null).map(([key, value]) => [Object.hasOwn(SPELLINGS, key) ? SPELLINGS[key] : key, value]));
  const names = flag.allowed_users || flag.allowed_groups || flag.rules;
  const at = flag.paused_at === undefined ? now() : Math.min(now(), Date.parse(flag.paused_at));
  const share = Array.isArray(flag.schedule) ? flag.schedule.findLast((step) => Date.parse(step.at) <= at)?.percentage ?? 0 : flag.percentage ?? (names ? 0 : 100);
  return flag.enabled === false ? { words: "nobody", share: 0 } : { words: reach(flag, share), share };
}

/** What becomes of whom a flag reaches when one definition takes the place of another; `null` is none at all. */
export function fromTo(before, after) {
  const [old, young] = [reachOf(before), reachOf(after)];
  const stays = old.share === young.share ? ` The share stays at ${percent(young.share)}.` : "";
  if (old.words === young.words) return young.words === "nobody" ? "Nobody gets it before or after." : `It stays on for ${young.words}.${stays}`;
  return `From ${old.words} to ${young.words}.${stays}`;
}

/**
 * What this process serves where that is not what is stored: `nobody`, an `earlier` definition, or `nothing-yet` where
 * it has not loaded the flag. `null` where it is as stored, or is held back by what has words of its own.
 */
export function hereOf({ version, flag, problems, in_force: inForce, shadowed_by: layer, local_kill: kill, missing }) {
  if (!flag?.enabled || layer || kill || missing) return null;
  const isWrong = problems.some((problem) => problem.severity === "error");
  if (inForce?.enabled) return isWrong ? "earlier" : null;
  return isWrong || inForce?.version === version ? "nobody" : "nothing-yet";
}

/** Whom the end of a flag takes it from. */
export const removal = (flag) => (reachOf(flag).words === "nobody" ? "Nobody has it now." : `It goes away from ${reachOf(flag).words}.`);

const DAYS_UNTIL_STALE = 90;
const DAYS_OF_WARNING = 14;

/** Whether another layer, such as the environment, defines a flag that the store does not have. */
export const isElsewhere = ({ from }) => from !== undefined && !["store", "this process"].includes(from);

/** What a flag is doing, as `{ key, label, tone }`; the order of the tests is their weight. */
export function stateOf(shown) {
  const { flag, rollout, percentage: share } = shown;
  if (shown.local_kill) return { key: "local", label: "Off here only", tone: "bad" };
  if (shown.missing) return { key: "missing", label: shown.missing.in_force ? "Missing in the store" : "Lost by the store", tone: "bad" };
  if (!flag) return { key: "problem", label: "Problem", tone: "bad" };
  if (shown.shadowed_by) return shown.in_force?.enabled ? { key: "some", label: "On by another layer", tone: "warn" } : { key: "off", label: "Off by another layer", tone: "warn" };
  const reachesSomebody = share > 0 || hasAudience(flag) || (rollout && !rollout.is_finished);
  if (!flag.enabled) return reachesSomebody ? { key: "killed", label: "Killed", tone: "bad" } : { key: "off", label: "Off", tone: "quiet" };
  const here = hereOf(shown);
  if (here === "nobody") return { key: "problem", label: "Off by a problem", tone: "bad" };
  if (here === "earlier") return { key: "problem", label: "Problem", tone: "bad" };
  if (rollout && !rollout.is_finished) {
    return rollout.paused_since ? { key: "rolling", label: "Paused", tone: "warn" } : { key: "rolling", label: "Rolling out", tone: "busy" };
  }
  if (share >= 100) return { key: "on", label: "On", tone: "good" };
  return reachesSomebody ? { key: "some", label: "On for some", tone: "busy" } : { key: "off", label: "Off", tone: "quiet" };
}

/** What else is to be known of a flag at a glance, as `[label, tone, explanation]`. */
export function badgesOf(shown) {
  const badges = [];
  const { flag } = shown;
  const errors = shown.problems.filter((problem) => problem.severity === "error");
  if (flag && errors.length) badges.push(["Problem", "bad", errors[0].expected]);
  if (shown.shadowed_by) badges.push([`Overruled by ${shown.shadowed_by}`, "warn", "Another layer defines this flag, too, and has precedence here"]);
  if (isElsewhere(shown)) badges.push([`From ${shown.from}`, "quiet", "Another layer defines this flag; the store has no flag of this name"]);
  if (!flag) return badges;
  if (shown.expired) {
    badges.push(["Expired", "warn", `Meant to be gone since ${day(flag.expires_at)}`]);
  } else if (flag.expires_at) {
    const left = endOfDay(flag.expires_at) - now();
    if (left < DAYS_OF_WARNING * 86_400_000) badges.push([`Expires in ${span(left)}`, "warn", `On ${day(flag.expires_at)}`]);
  }
  const age = flag.created_at ? now() - Date.parse(flag.created_at) : 0;
  const isSettled = !flag.enabled || (shown.percentage >= 100 && !flag.variants) || stateOf(shown).key === "off";
  const isRelease = !flag.kind || flag.kind === "release";
  if (isRelease && isSettled && age > DAYS_UNTIL_STALE * 86_400_000) {
    badges.push(["Stale", "quiet", `Made ${span(age)} ago and the same for everyone: the code may not need it any more`]);
  }
  return badges;
}

const REASONS = {
  Disabled: "The flag is killed.",
  Prerequisite: "A flag that this one requires is not as it has to be.",
  User: "This user is named.",
  Group: "A group of this user is named.",
  Anonymous: "It is on for a part of the users only, and without a user id nobody can be drawn.",
  Override: "A tester's signed link says so.",
};

/** Why somebody gets what they get, for people. What has no words here is said as the server says it. */
export function why({ enabled, reason, words, bucket, percentage }) {
  const place = bucket !== null && percentage !== null && `The user's place, ${bucket}, is ${enabled ? "below" : "not below"} the share of ${percent(percentage)}.`;
  const rule = /^Rule\((\d+)\)$/.exec(reason);
  if (rule) return [`Rule ${Number(rule[1]) + 1} decides.`, place].filter(Boolean).join(" ");
  if (reason === "Rollout" && place) return place;
  if (reason === "Static") return enabled ? "It is on for everyone." : "The share is 0, and nothing names this user.";
  if (Object.hasOwn(REASONS, reason)) return REASONS[reason];
  // The words begin with on or off, which stands before them already.
  const rest = words.replace(/^(on|off)( with variant \S+)?: /, "");
  return `${rest.charAt(0).toUpperCase()}${rest.slice(1)}.`;
}

/** What names of flags and variants look like. */
export const isName = (text) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(text);
export const NAMES = "A name has letters, digits, dots, hyphens and underscores, begins with a letter or digit, and has at most 128 characters.";

const KEYS = {
  enabled: "Switch", percentage: "Share of users", allowed_users: "Users by name", allowed_groups: "Groups by name",
  rules: "Rules", requires: "Requires", schedule: "Plan", paused_at: "Plan paused", bucket_by: "Bucketed by", variants: "Variants",
  bucketing: "Bucketing", salt: "Salt", overridable: "Testers may force it", hidden: "Hidden from clients", kind: "Kind",
  owner: "Owner", ticket: "Ticket", description: "Description", tags: "Tags", created_at: "Created", expires_at: "Expires",
  metadata: "Metadata", "": "Definition",
};
export const keyName = (key) => (Object.hasOwn(KEYS, key) ? KEYS[key] : key);

export const KINDS = [["release", "Release"], ["experiment", "Experiment"], ["ops", "Operations"], ["permission", "Permission"]];
export const kindName = (kind) => KINDS.find(([key]) => key === (kind ?? "release"))?.[1] ?? kind;
