#!/usr/bin/env python3
"""A second reading of DESIGN.md, sections 3 to 5: naive, slow and independent of the engine.

    python3 oracle.py < requests.jsonl > answers.jsonl
    python3 oracle.py --self-check tests/data/bucketing.json
    python3 oracle.py --check tests/vectors/*.json

Reads one JSON request per line and writes one JSON answer per line, flushed. Python 3.11, standard library only.

    {"op": "evaluate", "text": "...", "format": "json" | "toml", "now": "<RFC 3339>",
     "contexts": [{"user": "alice", "groups": ["a"], "attributes": {"plan": "gold"}}]}
 -> {"refused": null | "why", "problems": [["flag", "path"]], "warnings": [["flag", "path"]],
     "answers": [{"flag": {"enabled": true, "variant": null, "reason": "Rollout", "bucket": 12082}}]}

    {"op": "read", "text": "...", "format": "json" | "toml"}
 -> {"ok": true, "flags": {"flag": <plain value, numbers as {"number": "0.29"}>}}   or   {"ok": false}

What it does not do: limits on the size of one flag; regexes are Python's, and their compiled size is an estimate.
"""

import datetime
import hashlib
import json
import re
import sys
import tomllib
from decimal import Decimal, InvalidOperation
from fractions import Fraction

HUNDRED_PERCENT = 100_000
FLAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_FLAGS = 10_000
MAX_DEPTH = 32
MAX_STEPS = 100
MAX_VARIANTS = 255
MAX_REGEX_BYTES = 512
MAX_REGEX_COMPILED = 256 * 1024

BUCKETINGS = ("flag:user", "user-flag", "flag:user/32", "user/32")
KINDS = ("release", "experiment", "ops", "permission")

# Every key a flag may have, as it may be spelt, and what it means.
SPELLINGS = {
    "enabled": "enabled", "on": "enabled",
    "percentage": "percentage", "rollout_percentage": "percentage",
    "allowed_users": "allowed_users", "users": "allowed_users", "enabled_for_users": "allowed_users",
    "allowed_groups": "allowed_groups",
    "rules": "rules", "requires": "requires", "schedule": "schedule", "paused_at": "paused_at",
    "bucket_by": "bucket_by", "variants": "variants", "bucketing": "bucketing", "salt": "salt",
    "overridable": "overridable", "hidden": "hidden",
    "kind": "kind", "type": "kind",
    "owner": "owner", "ticket": "ticket", "jira_ticket": "ticket", "description": "description", "tags": "tags",
    "created_at": "created_at", "expires_at": "expires_at", "metadata": "metadata",
    "name": "name",
    "rollout_stages": "rollout_stages", "rollout_started": "rollout_started", "current_stage": "current_stage",
    "stage_started": "stage_started", "rolled_back_at": "rolled_back_at",
}

PLAIN_OPS = (
    "equals", "one_of", "contains", "starts_with", "ends_with", "matches",
    "greater", "greater_or_equal", "less", "less_or_equal",
    "semver_equals", "semver_greater", "semver_greater_or_equal", "semver_less", "semver_less_or_equal",
    "before", "after", "exists",
)
OPS = PLAIN_OPS + tuple("not_" + op for op in PLAIN_OPS)


# ---------------------------------------------------------------------------------------------- reading text

def is_of_64_bits(number):
    return -(2 ** 63) <= number <= 2 ** 64 - 1


def decimal_integer(text):
    """An integer of any length; Python's own reading ends at 4,300 digits."""
    return int(Decimal(text.replace("_", "")))


class Number:
    """A number as it was written."""

    def __init__(self, text):
        self.text = text

    def is_integer(self):
        """True for what a reader of JSON keeps as an integer of 64 bits, with or without sign."""
        if not re.fullmatch(r"0|-?[1-9][0-9]*", self.text) or len(self.text) > 20:
            return False
        return is_of_64_bits(int(self.text))

    def is_written_whole(self):
        """True for digits alone, without a point or an exponent."""
        return re.fullmatch(r"[+-]?[0-9_]+", self.text) is not None

    def is_too_long(self):
        """True for a whole number that no integer of 64 bits holds, with or without sign."""
        return self.is_written_whole() and not is_of_64_bits(decimal_integer(self.text))

    def as_float(self):
        return float(self.text.replace("_", ""))


class Pairs:
    """An object as it was written: keys in order, duplicates kept."""

    def __init__(self, pairs):
        self.pairs = pairs

    def keys(self):
        return [key for key, _ in self.pairs]

    def duplicates(self):
        seen, again = set(), []
        for key in self.keys():
            if key in seen and key not in again:
                again.append(key)
            seen.add(key)
        return again


class Refused(Exception):
    """The document as a whole is not taken."""


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def read_text(text, form):
    """The document as a tree of Pairs, list, str, Number, bool and None."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise Refused("the text is not Unicode") from None
    if size > MAX_DOCUMENT_BYTES:
        raise Refused("the document is larger than 4 MiB")
    try:
        if form == "json":
            if text.startswith("\ufeff"):
                raise ValueError("byte order mark")
            tree = json.loads(text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number,
                              parse_constant=refuse_constant)
        elif form == "toml":
            tree = from_toml(tomllib.loads(text, parse_float=Number))
        else:
            raise Refused(f"unknown format {form!r}")
    except (ValueError, RecursionError) as error:
        raise Refused(f"not {form}: {error}") from None
    if is_too_deep(tree):
        raise Refused("nested deeper than 127")
    return without_broken_text(tree)


class Broken:
    """A string with half a surrogate pair: no text, and costs only what it stands in."""


def is_broken(text):
    return any("\ud800" <= char <= "\udfff" for char in text)


def without_broken_text(value):
    if isinstance(value, str):
        return Broken() if is_broken(value) else value
    if isinstance(value, list):
        return [without_broken_text(item) for item in value]
    if isinstance(value, Pairs):
        return Pairs([(key, without_broken_text(item)) for key, item in value.pairs])
    return value


def from_toml(value):
    if isinstance(value, dict):
        return Pairs([(key, from_toml(item)) for key, item in value.items()])
    if isinstance(value, list):
        return [from_toml(item) for item in value]
    if isinstance(value, bool) or isinstance(value, (str, Number)):
        return value
    if isinstance(value, int):
        return Number(str(value))
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()  # a date of TOML reads like the string of the same text
    raise Refused(f"unexpected TOML value {value!r}")


def is_too_deep(tree):
    """True where 128 objects and lists stand inside each other, which common readers of JSON give up on."""
    level = [tree]
    for _ in range(128):
        inner = []
        for value in level:
            if isinstance(value, list):
                inner += value
            elif isinstance(value, Pairs):
                inner += [item for _, item in value.pairs]
            else:
                continue
            inner.append(None)  # an empty one counts as well
        level = inner
    return bool(level)


def is_sound(value):
    """False where a key stands twice or a key or string is no text, however deep."""
    if isinstance(value, list):
        return all(is_sound(item) for item in value)
    if isinstance(value, Pairs):
        return not value.duplicates() and all(not is_broken(key) and is_sound(item) for key, item in value.pairs)
    return not isinstance(value, Broken)


def keeps_digits(value):
    """False where a whole number is longer than 64 bits, however deep."""
    if isinstance(value, list):
        return all(keeps_digits(item) for item in value)
    if isinstance(value, Pairs):
        return all(keeps_digits(item) for _, item in value.pairs)
    return not (isinstance(value, Number) and value.is_too_long())


def plain(value):
    """The tree as ordinary JSON, numbers as {"number": text}."""
    if isinstance(value, Number):
        return {"number": value.text}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Pairs):
        return {key: plain(item) for key, item in value.pairs}
    return value


# ---------------------------------------------------------------------------------------------- small values

def thousandths(value):
    """0..=100000 from a percentage's decimal text, or None if it is not one."""
    if not isinstance(value, Number):
        return None
    try:
        number = Decimal(value.text.replace("_", ""))
    except InvalidOperation:
        return None  # an exponent beyond all bounds
    if not number.is_finite() or number < 0 or number > 100:
        return None
    if number == 0:
        return 0
    sign, digits, exponent = number.as_tuple()
    shift = exponent + 3
    if shift >= 0:
        return int("".join(map(str, digits))) * 10 ** shift
    if any(digits[shift:]) or -shift > len(digits):
        return None  # a digit other than zero after the third decimal
    return int("".join(map(str, digits[:shift])) or "0")


RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})")


def days_in_month(year, month):
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def is_date(year, month, day):
    return 1 <= month <= 12 and 1 <= day <= days_in_month(year, month)


def day_number(year, month, day):
    """Days since 0000-03-01 of the proleptic Gregorian calendar."""
    if month <= 2:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 1


def instant(value):
    """Seconds on one time line, exact, from RFC 3339 with an offset; None if it is not that."""
    match = RFC3339.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if not is_date(year, month, day) or hour > 23 or minute > 59 or second > 59:
        return None
    offset = 0
    if match[8] not in "Zz":
        offset_hour, offset_minute = int(match[8][1:3]), int(match[8][4:6])
        if offset_hour > 23 or offset_minute > 59:
            return None
        offset = (offset_hour * 60 + offset_minute) * 60 * (-1 if match[8][0] == "-" else 1)
    seconds = day_number(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
    return seconds + Fraction(Decimal("0" + match[7])) if match[7] else Fraction(seconds)


SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")


def semver(value):
    """A key that sorts by the precedence of semver.org, or None. Build metadata plays no part."""
    match = SEMVER.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    core = tuple(int(match[i]) for i in (1, 2, 3))
    if match[4] is None:
        return core + (1, ())
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in match[4].split("."))
    return core + (0, parts)


def python_pattern(pattern):
    """The pattern in Python's spelling: `$` and `\\z` only match at the very end, groups are named with P."""
    out, i, in_class = [], 0, False
    multi_line = re.search(r"\(\?[a-z]*m", pattern) is not None
    while i < len(pattern):
        char = pattern[i]
        if char == "\\" and i + 1 < len(pattern):
            out.append(r"\Z" if pattern[i + 1] == "z" and not in_class else pattern[i:i + 2])
            i += 2
            continue
        if char == "[":
            in_class = True
        elif char == "]":
            in_class = False
        elif char == "$" and not in_class and not multi_line:
            char = r"\Z"
        elif pattern.startswith("(?<", i) and pattern[i + 3:i + 4] not in ("=", "!") and not in_class:
            char = "(?P<"
            i += 2
        out.append(char)
        i += 1
    return "".join(out)


NOT_LINEAR = ("ASSERT", "ASSERT_NOT", "GROUPREF", "GROUPREF_EXISTS", "ATOMIC_GROUP", "POSSESSIVE_REPEAT")


def regex_cost(nodes):
    """A guess at the bytes a linear engine compiles this to; None where such an engine refuses it."""
    total = 0
    for op, argument in nodes:
        name = str(op)
        if name in NOT_LINEAR:
            return None
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, inner = argument
            cost = regex_cost(inner)
            if cost is None:
                return None
            unbounded = str(high) == "MAXREPEAT"
            total += cost * (max(low, 1) if unbounded else high) + 32
        elif name == "BRANCH":
            for branch in argument[1]:
                cost = regex_cost(branch)
                if cost is None:
                    return None
                total += cost
        elif name == "SUBPATTERN":
            cost = regex_cost(argument[-1])
            if cost is None:
                return None
            total += cost + 64
        elif name == "IN":
            for item, value in argument:
                text = str(value)
                total += 12_000 if "WORD" in text else 2_500 if "DIGIT" in text else 300 if "SPACE" in text else 64
                total += 300 if str(item) == "NEGATE" else 0
        else:
            total += 300 if name in ("ANY", "NOT_LITERAL") else 32
    return total


def compile_regex(pattern):
    """The compiled pattern, or None where it is invalid or over a limit."""
    if len(pattern.encode("utf-8")) > MAX_REGEX_BYTES:
        return None
    translated = python_pattern(pattern)
    try:
        cost = regex_cost(re._parser.parse(translated))
        if cost is None or cost > MAX_REGEX_COMPILED:
            return None
        return re.compile(translated)
    except (re.error, OverflowError, RecursionError):
        return None


# ---------------------------------------------------------------------------------------------- section 3: one flag

class FlagReader:
    """Reads one flag's value and keeps what is wrong with it."""

    def __init__(self, name):
        self.name = name
        self.errors = []
        self.warnings = []

    def error(self, *path):
        text = shown(".".join(str(part) for part in path))
        if text not in self.errors:
            self.errors.append(text)

    def fields(self, value, known, *path):
        """The keys of an object that are not null. Unknown and duplicate keys are errors."""
        for key in value.duplicates():
            self.error(*path, key)
        found = {}
        for key, item in value.pairs:
            if key not in known:
                self.error(*path, key)
            elif item is not None:
                found[key] = item
        return found

    def read(self, value):
        if isinstance(value, bool):
            value = Pairs([("enabled", value)])
        if not isinstance(value, Pairs):
            self.error("")
            return None
        spelt = self.fields(value, SPELLINGS)
        found, spelling = {}, {}
        for key, item in spelt.items():
            meaning = SPELLINGS[key]
            if meaning in found:
                self.error(key)  # two spellings of one thing
                continue
            found[meaning], spelling[meaning] = item, key

        flag = {"name": self.name, "users": set(), "groups": set(), "rules": [], "requires": [], "schedule": None,
                "paused_at": None, "variants": None, "bucket_by": None, "bucketing": "flag:user", "salt": self.name}

        def get(meaning, expected):
            if meaning not in found:
                return None
            if not isinstance(found[meaning], expected):
                self.error(spelling[meaning])
                return None
            return found[meaning]

        enabled = get("enabled", bool)
        releases = {"percentage", "allowed_users", "allowed_groups", "rules", "schedule"} & set(found)
        if "enabled" not in found:
            if releases:
                enabled = True
            else:
                self.error("enabled")
        flag["enabled"] = enabled

        names_an_audience = {"allowed_users", "allowed_groups", "rules"} & set(found)
        flag["percentage"] = 0 if names_an_audience else HUNDRED_PERCENT
        if "percentage" in found:
            flag["percentage"] = self.percentage(found["percentage"], spelling["percentage"])

        variants = get("variants", Pairs)
        if variants is not None:
            flag["variants"] = self.variants(variants)
        for meaning, target in (("allowed_users", "users"), ("allowed_groups", "groups")):
            for i, item in enumerate(get(meaning, list) or []):
                if isinstance(item, str):
                    flag[target].add(item)
                else:
                    self.error(spelling[meaning], i)
        for i, rule in enumerate(get("rules", list) or []):
            flag["rules"].append(self.rule(rule, flag["variants"], "rules", i))
        for i, item in enumerate(get("requires", list) or []):
            self.requirement(item, flag["requires"], "requires", i)

        steps = get("schedule", list)
        if steps is not None:
            flag["schedule"] = self.schedule(steps)
        if "schedule" in found and "percentage" in found:
            self.error("schedule")
        if "paused_at" in found:
            flag["paused_at"] = instant(found["paused_at"])
            if flag["paused_at"] is None or "schedule" not in found:
                self.error("paused_at")

        flag["bucket_by"] = get("bucket_by", str)
        salt = get("salt", str)
        if salt is not None:
            flag["salt"] = salt
        for meaning, allowed in (("bucketing", BUCKETINGS), ("kind", KINDS)):
            word = get(meaning, str)
            if word is not None:
                if word in allowed:
                    flag[meaning] = word
                else:
                    self.error(spelling[meaning])
        get("overridable", bool)
        get("hidden", bool)
        if get("name", str) not in (None, self.name):
            self.error("name")
        self.bookkeeping(found, spelling)
        return flag

    def percentage(self, value, *path):
        result = thousandths(value)
        if result is None:
            self.error(*path)
        return result

    def variants(self, value):
        """name -> weight in thousandths."""
        weights, good = {}, True
        for key in value.duplicates():
            self.error("variants", key)
            good = False
        for name, item in value.pairs:
            if item is None:
                continue
            if not FLAG_NAME.fullmatch(name):
                self.error("variants", name)
            if isinstance(item, Pairs):
                fields = self.fields(item, ("weight", "value"), "variants", name)
                if not is_sound(fields.get("value")) or not keeps_digits(fields.get("value")):
                    self.error("variants", name, "value")
                weight = self.percentage(fields.get("weight"), "variants", name, "weight")
            else:
                weight = self.percentage(item, "variants", name)
            if weight is None:
                good = False
            weights[name] = weight
        if len(weights) > MAX_VARIANTS or (good and sum(weights.values()) != HUNDRED_PERCENT):
            self.error("variants")
        return weights

    def schedule(self, steps):
        """[(instant, thousandths)]."""
        if len(steps) > MAX_STEPS:
            self.error("schedule")
        plan = []
        for i, step in enumerate(steps):
            if not isinstance(step, Pairs):
                self.error("schedule", i)
                continue
            fields = self.fields(step, ("at", "percentage"), "schedule", i)
            at = instant(fields.get("at"))
            if at is None or (plan and plan[-1][0] is not None and at <= plan[-1][0]):
                self.error("schedule", i, "at")
            plan.append((at, self.percentage(fields.get("percentage"), "schedule", i, "percentage")))
        return plan

    def requirement(self, item, into, *path):
        """Adds (flag, variant or None)."""
        if isinstance(item, str):
            into.append((item, None))
        elif isinstance(item, Pairs) and not item.duplicates():
            entries = [(flag, variant) for flag, variant in item.pairs if variant is not None]
            if len(entries) != 1:
                self.error(*path)
            elif not isinstance(entries[0][1], str):
                self.error(*path, entries[0][0])
            into += entries[:1]
        else:
            self.error(*path)

    def rule(self, rule, variants, *path):
        if not isinstance(rule, Pairs):
            self.error(*path)
            return None
        fields = self.fields(rule, ("when", "serve"), *path)
        clauses = fields.get("when")
        if not isinstance(clauses, list) or not clauses:
            self.error(*path, "when")
            clauses = []
        clauses = [self.clause(clause, *path, "when", i) for i, clause in enumerate(clauses)]
        serve = fields.get("serve")
        if isinstance(serve, bool):
            serve = ("on",) if serve else ("off",)
        elif isinstance(serve, str):
            if variants is None or serve not in variants:
                self.error(*path, "serve")
            serve = ("variant", serve)
        elif isinstance(serve, Pairs):
            inner = self.fields(serve, ("percentage",), *path, "serve")
            serve = ("percentage", self.percentage(inner.get("percentage"), *path, "serve", "percentage"))
        else:
            self.error(*path, "serve")
        return {"clauses": clauses, "serve": serve}

    def clause(self, clause, *path):
        if not isinstance(clause, Pairs):
            self.error(*path)
            return None
        fields = self.fields(clause, ("attribute", "op", "values"), *path)
        if not isinstance(fields.get("attribute"), str):
            self.error(*path, "attribute")
        op = fields.get("op")
        if not isinstance(op, str) or op not in OPS:
            self.error(*path, "op")
            return None
        negated = op.startswith("not_")
        op = op.removeprefix("not_")
        op = "equals" if op == "one_of" else op
        values = fields.get("values")
        if op == "exists":
            if values is not None:
                self.error(*path, "values")
            values = []
        elif not isinstance(values, list) or not values:
            self.error(*path, "values")
            values = []
        prepared = [self.clause_value(op, value, *path, "values", i) for i, value in enumerate(values)]
        return {"attribute": fields.get("attribute"), "op": op, "negated": negated, "values": prepared}

    def clause_value(self, op, value, *path):
        """The value in the form the comparison wants."""
        if op == "equals":
            prepared = scalar(value, ruled_number)
        elif op in ("contains", "starts_with", "ends_with"):
            prepared = value if isinstance(value, str) else None
        elif op == "matches":
            prepared = compile_regex(value) if isinstance(value, str) else None
        elif op.startswith("semver_"):
            prepared = semver(value)
        elif op in ("before", "after"):
            prepared = instant(value)
        else:
            prepared = ruled_number(value)
        if prepared is None:
            self.error(*path)
        return prepared

    def bookkeeping(self, found, spelling):
        def warn(meaning, *path):
            self.warnings.append(".".join(str(part) for part in (spelling[meaning], *path)))

        for meaning in ("owner", "ticket", "description"):
            if meaning in found and not isinstance(found[meaning], str):
                warn(meaning)
        for meaning in ("created_at", "expires_at"):
            if meaning in found:
                match = isinstance(found[meaning], str) and re.fullmatch(
                    r"([0-9]{4})-([0-9]{2})-([0-9]{2})", found[meaning])
                if not match or not is_date(int(match[1]), int(match[2]), int(match[3])):
                    warn(meaning)
        if "tags" in found:
            if not isinstance(found["tags"], list):
                warn("tags")
            else:
                for i, tag in enumerate(found["tags"]):
                    if not isinstance(tag, str):
                        warn("tags", i)
        if "metadata" in found:
            metadata = found["metadata"]
            if not isinstance(metadata, Pairs) or not is_sound(metadata) or not keeps_digits(metadata):
                warn("metadata")


def asked_number(value):
    """The number that an attribute holds: an integer of 64 bits, else a float. Python compares both by their values."""
    if not isinstance(value, Number):
        return None
    if value.is_integer():
        return int(value.text)
    number = value.as_float()
    return number if number == number and abs(number) != float("inf") else None


def ruled_number(value):
    """The number of a rule, or None where no comparison holds it as it is written."""
    if not isinstance(value, Number):
        return None
    if value.is_written_whole():
        return None if value.is_too_long() else decimal_integer(value.text)
    try:
        written = Decimal(value.text.replace("_", ""))
    except InvalidOperation:
        return 0 if re.match(r"[+-]?[0._]*[eE]", value.text) else None  # an exponent beyond all bounds
    number = value.as_float()
    if number != number or abs(number) == float("inf"):
        return None
    if number.is_integer():
        return int(number) if is_of_64_bits(int(number)) and written == int(number) else None
    return number if written == Decimal(repr(number)) else None


def scalar(value, read):
    """Something that compares equal only to the same type: ("string", s), ("number", n), ("bool", b); `read` is how
    numbers are read."""
    if isinstance(value, str):
        return ("string", value)
    if isinstance(value, bool):
        return ("bool", value)
    number = read(value)
    return None if number is None else ("number", number)


# ---------------------------------------------------------------------------------------------- section 3: all flags

def says_off(value):
    """True where a definition, sound or not, legibly kills its flag."""
    if value is False:
        return True
    return isinstance(value, Pairs) and any(key in ("enabled", "on") and item is False for key, item in value.pairs)


def shown(name):
    """A name or path as problems show it: without halves of surrogate pairs."""
    return "".join("\ufffd" if is_broken(char) else char for char in name)


class FlagSet:
    """A document, loaded for the first time: `flags` are the sound ones, `broken` says why the others are off."""

    def __init__(self, text, form):
        tree = read_text(text, form)
        if not isinstance(tree, Pairs):
            raise Refused("the document is not an object")
        if tree.duplicates():
            raise Refused("duplicate top-level key")
        top = dict(tree.pairs)
        for key in top:
            if key not in ("flags", "$schema"):
                raise Refused(f"unknown top-level key {key!r}")
        if not isinstance(top.get("flags"), Pairs):
            raise Refused("flags is missing or not an object")
        written = [(name, value) for name, value in top["flags"].pairs if value is not None]
        if len(set(name for name, _ in written)) > MAX_FLAGS:
            raise Refused("more than 10,000 flags")

        self.flags, self.broken, self.problems, self.warnings = {}, {}, [], []
        occurrences = {}
        for name, value in written:
            if FLAG_NAME.fullmatch(name):
                occurrences.setdefault(name, []).append(value)
            else:  # a bad name is no flag, whatever it says
                shortened = name if len(name) <= 128 else name[:128] + "…"
                self.problems.append([shown(shortened), ""])
        twice = set(top["flags"].duplicates())
        for name, values in occurrences.items():
            reader = FlagReader(name)
            flag = reader.read(values[0]) if len(values) == 1 else None
            if name in twice:
                reader.errors = [""]
            if reader.errors:
                self.refuse(name, values, reader.errors)
            else:
                self.flags[name] = flag
                self.warnings += [[name, path] for path in reader.warnings]
        self.occurrences = occurrences
        self.link()

    def refuse(self, name, values, paths):
        self.problems += [[name, path] for path in paths]
        self.broken[name] = "Disabled" if any(says_off(value) for value in values) else "Problem"
        self.flags.pop(name, None)

    def link(self):
        """What `requires` may not be: first unknown, then cyclic, then deeper than 32. What is refused for one of them
        counts as a flag that requires nothing when the next is looked at, as any broken flag does."""
        refused = {}
        for name, flag in self.flags.items():
            for i, (needed, variant) in enumerate(flag["requires"]):
                unknown = needed not in self.occurrences
                if variant is not None and needed in self.flags:
                    unknown = unknown or variant not in (self.flags[needed]["variants"] or {})
                if unknown:
                    refused.setdefault(name, []).append(f"requires.{i}")
        edges = {name: {needed for needed, _ in flag["requires"] if needed in self.flags and needed not in refused}
                 for name, flag in self.flags.items() if name not in refused}
        cyclic = {name for name in edges if self.reaches(edges, name)}
        edges = {name: needed - cyclic for name, needed in edges.items() if name not in cyclic}
        too_deep = self.too_deep(edges, MAX_DEPTH)
        for name in sorted(cyclic | too_deep):
            refused[name] = ["requires"]
        for name, paths in refused.items():
            self.refuse(name, self.occurrences[name], paths)

    def too_deep(self, edges, limit):
        """The flags above a chain of more than that many `requires`, counted from the last one refused."""
        depths, faulty = {}, set()
        while len(depths) < len(edges):
            for name, needed in edges.items():
                if name not in depths and all(other in depths for other in needed):
                    steps = [1 + depths[other] for other, _ in self.flags[name]["requires"] if other in depths]
                    depths[name] = max(steps, default=1 if self.flags[name]["requires"] else 0)
                    if depths[name] > limit:
                        faulty.add(name)
                        depths[name] = 0
        return faulty

    @staticmethod
    def reaches(edges, start):
        """True where following `requires` leads back to the start."""
        seen, todo = set(), list(edges[start])
        while todo:
            name = todo.pop()
            if name == start:
                return True
            if name not in seen:
                seen.add(name)
                todo += edges[name]
        return False

    def answer(self, context, now):
        answers = {}
        for name in self.occurrences:
            decide(self, name, context, now, answers)
        return {name: answers[name] for name in self.occurrences}


# ---------------------------------------------------------------------------------------------- section 5: buckets

def md5_number(text):
    return int.from_bytes(hashlib.md5(text.encode("utf-8")).digest(), "big")


def fine(h):
    return (h % 100) * 1000 + (h // 100) % 1000


def bucket_of(scheme, salt, user):
    if scheme == "flag:user":
        return fine(md5_number(f"{salt}:{user}"))
    if scheme == "user-flag":
        return fine(md5_number(f"{user}-{salt}"))
    top = md5_number(f"{salt}:{user}" if scheme == "flag:user/32" else user) >> 96
    # t * 100000 < p * 0xFFFFFFFF for a whole p is the same as floor(t * 100000 / 0xFFFFFFFF) < p.
    return top * HUNDRED_PERCENT // 0xFFFF_FFFF


def variant_bucket(salt, user):
    return fine(md5_number(f"{salt}:variant:{user}"))


# ---------------------------------------------------------------------------------------------- section 4: deciding

class Context:
    def __init__(self, request):
        fields = dict(request.pairs) if request is not None else {}
        self.user = fields.get("user") or None  # the empty user id is anonymous
        self.groups = [group for group in fields.get("groups") or [] if isinstance(group, str)]
        given = fields.get("attributes")
        self.attributes = dict(given.pairs) if given is not None else {}

    def get(self, attribute):
        """The attribute, or None where it is missing."""
        if attribute == "user_id":
            return self.user
        if attribute == "groups":
            return self.groups
        return self.attributes.get(attribute)


def decide(flags, name, context, now, answers):
    """Steps 2 to 10 for one flag; 1 and 3 need what a document does not have."""
    if name not in answers:
        if name in flags.broken:
            answers[name] = off(flags.broken[name])
        else:
            answers[name] = decide_sound(flags, flags.flags[name], context, now, answers)
    return answers[name]


def off(reason, bucket=None):
    return {"enabled": False, "variant": None, "reason": reason, "bucket": bucket}


def decide_sound(flags, flag, context, now, answers):
    hashed = bucketed_value(flag, context)

    def on(reason, bucket=None):
        return {"enabled": True, "variant": choose_variant(flag, hashed), "reason": reason, "bucket": bucket}

    def by_percentage(percentage, reason):
        """Steps 8 to 10; inside a rule the reason stays the rule's."""
        if percentage >= HUNDRED_PERCENT:
            return on(reason or "Static")
        if percentage <= 0:
            return off(reason or "Static")
        if hashed is None:
            return off(reason or "Anonymous")
        bucket = bucket_of(flag["bucketing"], flag["salt"], hashed)
        return on(reason or "Rollout", bucket) if bucket < percentage else off(reason or "Rollout", bucket)

    if flag["enabled"] is False:
        return off("Disabled")
    for needed, variant in flag["requires"]:
        required = decide(flags, needed, context, now, answers)
        if not required["enabled"] or (variant is not None and required["variant"] != variant):
            return off("Prerequisite")
    if context.user is not None and context.user in flag["users"]:
        return on("User")
    if any(group in flag["groups"] for group in context.groups):
        return on("Group")
    for i, rule in enumerate(flag["rules"]):
        if all(holds(clause, context) for clause in rule["clauses"]):
            reason = f"Rule({i})"
            kind, *served = rule["serve"]
            if kind == "on":
                return on(reason)
            if kind == "off":
                return off(reason)
            if kind == "variant":
                return {"enabled": True, "variant": served[0], "reason": reason, "bucket": None}
            return by_percentage(served[0], reason)
    return by_percentage(percentage_in_force(flag, now), None)


def percentage_in_force(flag, now):
    if flag["schedule"] is None:
        return flag["percentage"]
    read_at = now if flag["paused_at"] is None else min(now, flag["paused_at"])
    in_force = 0
    for at, percentage in flag["schedule"]:
        if at <= read_at:
            in_force = percentage
    return in_force


def bucketed_value(flag, context):
    """What is hashed, or None where there is nothing to hash."""
    if flag["bucket_by"] is None:
        return context.user
    value = context.get(flag["bucket_by"])
    if isinstance(value, str) and value != "":
        return value
    if isinstance(value, Number) and value.is_integer():
        return value.text
    return None


def choose_variant(flag, hashed):
    if flag["variants"] is None or hashed is None:
        return None
    bucket, end = variant_bucket(flag["salt"], hashed), 0
    for name in sorted(flag["variants"], key=lambda name: name.encode("utf-8")):
        end += flag["variants"][name]
        if bucket < end:
            return name
    raise AssertionError("weights sum to 100 %")


def holds(clause, context):
    attribute = context.get(clause["attribute"])
    elements = attribute if isinstance(attribute, list) else [attribute]
    found = any(element_holds(clause, element) for element in elements)
    return found != clause["negated"]


def element_holds(clause, element):
    """One element against all values; None is a missing attribute and never holds."""
    op = clause["op"]
    if element is None:
        return False
    if op == "exists":
        return True
    return any(value_holds(op, element, value) for value in clause["values"])


def value_holds(op, element, value):
    if op == "equals":
        return scalar(element, asked_number) == value
    if op in ("contains", "starts_with", "ends_with", "matches"):
        if not isinstance(element, str):
            return False
        if op == "contains":
            return value in element
        if op == "starts_with":
            return element.startswith(value)
        if op == "ends_with":
            return element.endswith(value)
        return value.search(element) is not None
    if op in ("before", "after"):
        at = instant(element)
        return at is not None and (at < value if op == "before" else at > value)
    ordered = semver(element) if op.startswith("semver_") else asked_number(element)
    if ordered is None:
        return False
    return {
        "equals": ordered == value,
        "greater": ordered > value,
        "greater_or_equal": ordered >= value,
        "less": ordered < value,
        "less_or_equal": ordered <= value,
    }[op.removeprefix("semver_")]


# ---------------------------------------------------------------------------------------------- requests

def evaluate(request):
    now = instant(request["now"])
    if now is None:
        return {"error": "now is not RFC 3339"}
    try:
        flags = FlagSet(request["text"], request.get("format", "json"))
    except Refused as why:
        return {"refused": str(why), "problems": [], "warnings": [], "answers": []}
    contexts = [Context(context) for context in request.get("contexts") or []]
    return {"refused": None, "problems": flags.problems, "warnings": flags.warnings,
            "answers": [flags.answer(context, now) for context in contexts]}


def read(request):
    try:
        tree = read_text(request["text"], request.get("format", "json"))
    except Refused:
        return {"ok": False}
    if not isinstance(tree, Pairs) or not is_sound(tree):
        return {"ok": False}
    flags = dict(tree.pairs).get("flags")
    return {"ok": True, "flags": plain(flags)} if isinstance(flags, Pairs) else {"ok": False}


def respond(line):
    request = dict(json.loads(line, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number).pairs)
    if request.get("op") == "evaluate":
        return evaluate(request)
    if request.get("op") == "read":
        return read(request)
    return {"error": "unknown op"}


def serve():
    sys.stdin.reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.reconfigure(encoding="utf-8")
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            answer = respond(line)
        except Exception as error:  # one bad request must not end the batch, nor pass for a refusal
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


# ---------------------------------------------------------------------------------------------- checks

def self_check(path):
    """Compares the four schemes and the variant bucket with golden vectors. Returns the number of differences."""
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)["vectors"]
    wrong = 0
    for vector in vectors:
        flag, user = vector["flag"], vector["user"]
        a, b = bucket_of("flag:user", flag, user), bucket_of("user-flag", flag, user)
        c, d = bucket_of("flag:user/32", flag, user), bucket_of("user/32", flag, user)
        pairs = [
            ("A_milli", a), ("A", a // 1000), ("B_milli", b), ("B", b // 1000), ("V_milli", variant_bucket(flag, user)),
            ("C_on_from", c + 1), ("D_on_from", d + 1),
            ("md5_flag_user", f"{md5_number(f'{flag}:{user}'):032x}"),
            ("md5_user_flag", f"{md5_number(f'{user}-{flag}'):032x}"), ("md5_user", f"{md5_number(user):032x}"),
            ("C", (md5_number(f"{flag}:{user}") >> 96) / 0xFFFF_FFFF * 100),
            ("D", (md5_number(user) >> 96) / 0xFFFF_FFFF * 100),
        ]
        for column, computed in pairs:
            if vector[column] != computed:
                wrong += 1
                print(f"vector {vector['id']}: {column} is {vector[column]!r}, computed {computed!r}")
    print(f"{len(vectors)} vectors, {wrong} differences")
    return wrong


def check_cases(paths):
    """Runs files of tests/vectors through the oracle. Returns the number of differences."""
    cases = wrong = 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            topic = json.load(file)
        for case in topic["cases"]:
            cases += 1
            text = case["text"] if "text" in case else json.dumps(case["document"])
            line = json.dumps({"op": "evaluate", "text": text, "format": case.get("format", "json"),
                               "now": case.get("now", "2026-12-01T00:00:00Z"),
                               "contexts": [ask["context"] for ask in case.get("asks", [])]})
            answer = respond(line)
            for difference in differences(case, answer):
                wrong += 1
                print(f"{path}: {case['shows']}\n    {difference}")
    print(f"{cases} cases, {wrong} differences")
    return wrong


def differences(case, answer):
    if "error" in answer:
        yield answer["error"]
        return
    if bool(answer["refused"]) != case.get("refused", False):
        yield f"document refused: {answer['refused']}"
        return
    for kind in ("problems", "warnings"):
        if kind == "problems" or kind in case:
            expected = sorted([item["flag"], item["path"]] for item in case.get(kind, []))
            if expected != sorted(answer[kind]):
                yield f"{kind}: expected {expected}, found {sorted(answer[kind])}"
    for i, ask in enumerate(case.get("asks", [])):
        if "forced" in ask:  # step 3 of deciding, which a document does not have
            continue
        for name, expected in ask["expect"].items():
            found = answer["answers"][i].get(name, off("Unknown"))
            if any(found[key] != value for key, value in expected.items()):
                yield f"ask {i}, {name}: expected {expected}, found {found}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--self-check"]:
        sys.exit(self_check(sys.argv[2]) != 0)
    elif sys.argv[1:2] == ["--check"]:
        sys.exit(check_cases(sys.argv[2:]) != 0)
    else:
        serve()
