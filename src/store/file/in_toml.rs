//! One flag inside a TOML document: comments, order and spelling of everything else stay.

use toml_edit::{Array, ArrayOfTables, Decor, DocumentMut, Formatted, InlineTable, Item, Table, TableLike, Value};

use super::wide::Wide;
use crate::document::{Plain, Problem};

/// A flag as a tree; dates become texts, and so do the numbers that JSON cannot say.
pub(super) fn flag(text: &str, name: &str) -> Result<Option<Plain>, Problem> {
    let (document, wide) = parse(text)?;
    let flags = document.get("flags").and_then(Item::as_table_like).ok_or_else(no_flags)?;
    Ok(flags.get(name).map(|item| wide.show(plain(item))))
}

/// The document with another definition of a flag, or without it.
pub(super) fn with_flag(text: &str, name: &str, definition: Option<&Plain>) -> Result<String, Problem> {
    let (mut document, wide) = parse(text)?;
    let unedited = wide.shown(document.to_string());
    match definition {
        Some(definition) => {
            let flags = document.get("flags").and_then(Item::as_table_like);
            let before = flags.and_then(|flags| flags.get(name)).map(plain);
            put(&mut document, name, &wide.hide(definition.clone(), before.as_ref()))?;
        }
        None => remove(&mut document, name)?,
    }
    Ok(spliced(text, &unedited, &wide.shown(document.to_string())))
}

fn parse(text: &str) -> Result<(DocumentMut, Wide), Problem> {
    let (hidden, wide) = Wide::hidden(text);
    let parsed = hidden.parse().or_else(|_| text.parse()).map_err(|error: toml_edit::TomlError| {
        let problem = Problem::new("a TOML document", format!("a syntax error: {}", error.message()));
        problem.at_offset(text, error.span().map_or(text.len(), |span| span.start))
    });
    Ok((parsed?, wide))
}

fn no_flags() -> Problem {
    Problem::new("a table \"flags\"", "none")
}

fn plain(item: &Item) -> Plain {
    match item {
        Item::None => Plain::Null,
        Item::Value(value) => plain_value(value),
        Item::Table(table) => Plain::Map(table.iter().map(|(key, item)| (key.to_owned(), plain(item))).collect()),
        Item::ArrayOfTables(tables) => {
            let map = |table: &Table| table.iter().map(|(key, item)| (key.to_owned(), plain(item))).collect();
            Plain::List(tables.iter().map(|table| Plain::Map(map(table))).collect())
        }
    }
}

fn plain_value(value: &Value) -> Plain {
    match value {
        Value::String(text) => Plain::Text(text.value().clone()),
        Value::Integer(number) => match number.display_repr() {
            digits if digits.starts_with(['0']) && digits.len() > 1 => Plain::Number(number.value().to_string()),
            digits => digits_in_json(&digits),
        },
        Value::Float(number) => digits_in_json(&number.display_repr()),
        Value::Boolean(value) => Plain::Bool(*value.value()),
        Value::Datetime(instant) => Plain::Text(instant.value().to_string()),
        Value::Array(items) => Plain::List(items.iter().map(plain_value).collect()),
        Value::InlineTable(table) => {
            Plain::Map(table.iter().map(|(key, value)| (key.to_owned(), plain_value(value))).collect())
        }
    }
}

fn digits_in_json(written: &str) -> Plain {
    let digits = written.trim_start_matches('+').replace('_', "");
    match digits.trim_start_matches('-') {
        "inf" | "nan" => Plain::Text(digits),
        _ => Plain::Number(digits),
    }
}

fn value(plain: &Plain) -> Result<Value, Problem> {
    Ok(match plain {
        Plain::Null => return Err(Problem::new("a value that TOML has", "null").with_help("leave the key out")),
        Plain::Bool(value) => Value::Boolean(Formatted::new(*value)),
        Plain::Number(digits) => {
            let number = digits.parse().ok().filter(|value| matches!(value, Value::Integer(_) | Value::Float(_)));
            number.ok_or_else(|| Problem::new("a number that TOML can hold", digits.clone()))?
        }
        Plain::Text(text) => one_line(text).unwrap_or_else(|| Value::from(text.as_str())),
        Plain::List(items) => Value::Array(items.iter().map(value).collect::<Result<Array, _>>()?),
        Plain::Map(members) => {
            let mut table = InlineTable::new();
            for (key, member) in members {
                if table.insert(key, value(member)?).is_some() {
                    return Err(Problem::new("each key once", format!("{key:?} twice")));
                }
            }
            Value::InlineTable(table)
        }
    })
}

/// A text with line ends, on one line: written over several it would get the ends that the file has.
fn one_line(text: &str) -> Option<Value> {
    // The escapes of JSON are escapes of TOML too, which wants one more.
    let escaped = serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f");
    text.contains(['\n', '\r']).then(|| escaped.parse().ok()).flatten()
}

fn table(members: &[(String, Plain)]) -> Result<Table, Problem> {
    let mut table = Table::new();
    for (key, member) in members {
        if table.insert(key, Item::Value(value(member)?)).is_some() {
            return Err(Problem::new("each key once", format!("{key:?} twice")));
        }
    }
    Ok(table)
}

fn put(document: &mut DocumentMut, name: &str, definition: &Plain) -> Result<(), Problem> {
    let is_shown = flags_are_shown(document);
    let flags = document.get_mut("flags").ok_or_else(no_flags)?;
    let has_headers = matches!(flags, Item::Table(flags) if !flags.is_dotted() && prefers_headers(flags));
    let flags = flags.as_table_like_mut().ok_or_else(no_flags)?;
    match flags.get_mut(name) {
        Some(Item::Table(table)) if !matches!(definition, Plain::Map(_)) => {
            // The comments above the header go above the line that takes its place.
            let above = prefix(table.decor());
            flags.insert(name, Item::Value(value(definition)?));
            if let Some(mut key) = flags.key_mut(name) {
                key.leaf_decor_mut().set_prefix(above);
            }
        }
        Some(item) => set(item, definition)?,
        None => match definition {
            Plain::Map(members) if has_headers => {
                let mut table = table(members)?;
                table.decor_mut().set_prefix("\n");
                flags.insert(name, Item::Table(table));
            }
            _ => append(flags, name, value(definition)?),
        },
    }
    // The header that now stands above all others is set off from them.
    if !is_shown && flags_are_shown(document) {
        let mut first = None;
        positions(document.as_table(), &mut |at| first = Some(first.map_or(at, |first: isize| first.min(at))));
        if let Some(first) = first {
            put_above(document.as_table_mut(), first, "\n");
        }
    }
    Ok(())
}

/// Whether there is a header `[flags]`.
fn flags_are_shown(document: &DocumentMut) -> bool {
    let flags = document.get("flags").and_then(Item::as_table).filter(|flags| !flags.is_dotted());
    flags.is_none_or(|flags| !flags.is_implicit() || flags.iter().any(|(_, item)| item.is_value()))
}

/// Whether flags have headers of their own here: as the last one has it.
fn prefers_headers(flags: &Table) -> bool {
    let last = flags.iter().filter(|(_, item)| item.is_table_like()).last();
    last.is_none_or(|(_, item)| matches!(item, Item::Table(table) if !table.is_dotted()))
}

/// Changes what is other in `new`, and nothing else.
fn set(item: &mut Item, new: &Plain) -> Result<(), Problem> {
    if plain(item) == *new {
        return Ok(());
    }
    match (&mut *item, new) {
        (Item::Table(table), Plain::Map(members)) => set_members(table, members),
        (Item::Value(old), new) => set_value(old, new),
        (Item::ArrayOfTables(tables), Plain::List(items)) if items.iter().all(|item| matches!(item, Plain::Map(_))) => {
            set_tables(tables, items)
        }
        (item, new) => {
            *item = Item::Value(value(new)?);
            Ok(())
        }
    }
}

fn set_value(old: &mut Value, new: &Plain) -> Result<(), Problem> {
    if plain_value(old) == *new {
        return Ok(());
    }
    match (&mut *old, new) {
        (Value::InlineTable(table), Plain::Map(members)) => set_members(table, members),
        (Value::Array(array), Plain::List(items)) => set_items(array, items),
        (old, new) => {
            let decor = old.decor().clone();
            *old = value(new)?;
            *old.decor_mut() = decor;
            Ok(())
        }
    }
}

fn set_members(table: &mut dyn TableLike, members: &[(String, Plain)]) -> Result<(), Problem> {
    let is_gone = |key: &&str| !members.iter().any(|(kept, _)| kept == key);
    let gone: Vec<String> = table.iter().map(|(key, _)| key).filter(is_gone).map(str::to_owned).collect();
    for key in gone {
        table.remove(&key);
    }
    for (key, member) in members {
        match table.get_mut(key) {
            Some(item) => set(item, member)?,
            None => append(table, key, value(member)?),
        }
    }
    Ok(())
}

/// Puts a key at the end. In an inline table the space before its brace stays there.
fn append(table: &mut dyn TableLike, key: &str, mut new: Value) {
    let last = table.iter_mut().last().and_then(|(_, item)| match item {
        Item::Value(last) => Some(last.decor_mut()),
        _ => None,
    });
    if let Some(last) = last
        && let suffix = suffix(last)
        && !suffix.is_empty()
        && suffix.trim().is_empty()
    {
        last.set_suffix("");
        *new.decor_mut() = Decor::new(" ", suffix);
    }
    table.insert(key, Item::Value(new));
}

/// Items that are the same at the beginning and at the end stay, with what is written around them.
fn set_items(array: &mut Array, items: &[Plain]) -> Result<(), Problem> {
    let old: Vec<Plain> = array.iter().map(plain_value).collect();
    let head = old.iter().zip(items).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(items.len()) - head;
    let tail = old.iter().rev().zip(items.iter().rev()).take(rest).take_while(|(old, new)| old == new).count();
    // A line of its own for each, where the last one has it.
    let last = array.iter().last().map(|last| prefix(last.decor())).unwrap_or_default();
    let own_line = last.rfind('\n').map(|end| last[end..].to_owned());
    for place in (head..old.len() - tail).rev() {
        let removed = prefix(array.remove(place).decor());
        // What stands behind the item before, on its line.
        let Some((kept, _)) = removed.split_once('\n').filter(|(kept, _)| kept.contains('#')) else { continue };
        match array.get_mut(place) {
            Some(next) => {
                let before = prefix(next.decor());
                next.decor_mut().set_prefix(format!("{kept}{before}"));
            }
            None => {
                let trailing = array.trailing().as_str().unwrap_or_default().to_owned();
                array.set_trailing(format!("{kept}{trailing}"));
            }
        }
    }
    for (place, item) in items.iter().enumerate().take(items.len() - tail).skip(head) {
        let mut new = value(item)?;
        let before = own_line.as_deref().unwrap_or(if place == 0 { "" } else { " " });
        *new.decor_mut() = Decor::new(before, "");
        array.insert_formatted(place, new);
    }
    Ok(())
}

fn set_tables(tables: &mut ArrayOfTables, items: &[Plain]) -> Result<(), Problem> {
    while tables.len() > items.len() {
        tables.remove(tables.len() - 1);
    }
    for (place, item) in items.iter().enumerate() {
        let Plain::Map(members) = item else { continue };
        match tables.get_mut(place) {
            Some(table) => set_members(table, members)?,
            None => tables.push(table(members)?),
        }
    }
    Ok(())
}

/// Takes a flag away, with the comments right above it. What stands above them, set off by an empty line, is of
/// something else and stays.
fn remove(document: &mut DocumentMut, name: &str) -> Result<(), Problem> {
    let flags = document.get_mut("flags").ok_or_else(no_flags)?;
    let own_position = flags.as_table().and_then(Table::position);
    let flags = flags.as_table_like_mut().ok_or_else(no_flags)?;
    let (above, position) = match flags.get(name) {
        Some(Item::Table(table)) if !table.is_dotted() => (prefix(table.decor()), table.position()),
        Some(_) => (flags.key(name).map(|key| prefix(key.leaf_decor())).unwrap_or_default(), own_position),
        None => return Ok(()),
    };
    let is_line = flags.get(name).is_some_and(Item::is_value);
    let next_line = flags.iter().skip_while(|(key, _)| *key != name).skip(1).find(|(_, item)| item.is_value());
    let next_line = next_line.map(|(key, _)| key.to_owned()).filter(|_| is_line);
    flags.remove(name);
    if flags.is_empty()
        && let Some(flags) = document.get_mut("flags").and_then(Item::as_table_mut)
    {
        // A document without flags still says so.
        flags.set_implicit(false);
        flags.set_dotted(false);
    }
    let flags = document.get_mut("flags").and_then(Item::as_table_like_mut).ok_or_else(no_flags)?;
    let kept = of_something_else(&above);
    if kept.is_empty() {
        return Ok(());
    }
    if let Some(mut key) = next_line.as_deref().and_then(|key| flags.key_mut(key)) {
        let decor = key.leaf_decor_mut();
        let next = prefix(decor);
        decor.set_prefix(joined(kept, &next));
        return Ok(());
    }
    let mut next = None;
    positions(document.as_table(), &mut |at| {
        if position.is_none_or(|position| at > position) && next.is_none_or(|next| at < next) {
            next = Some(at);
        }
    });
    let is_put = next.is_some_and(|next| put_above(document.as_table_mut(), next, kept));
    if !is_put {
        let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing(joined(kept, &trailing));
    }
    Ok(())
}

/// The comments before the last empty line, with it.
fn of_something_else(above: &str) -> &str {
    let mut end = 0;
    let mut at = 0;
    for line in above.split_inclusive('\n') {
        at += line.len();
        if line.trim().is_empty() {
            end = at;
        }
    }
    let kept = &above[..end];
    if kept.contains('#') { kept } else { "" }
}

fn joined(kept: &str, next: &str) -> String {
    // Not two empty lines where there was one on either side.
    let next = if kept.ends_with("\n\n") || kept == "\n" { next.strip_prefix('\n').unwrap_or(next) } else { next };
    format!("{kept}{next}")
}

fn positions(table: &Table, see: &mut impl FnMut(isize)) {
    for (_, item) in table {
        let tables: Box<dyn Iterator<Item = &Table>> = match item {
            Item::Table(table) => Box::new(std::iter::once(table)),
            Item::ArrayOfTables(tables) => Box::new(tables.iter()),
            _ => continue,
        };
        for table in tables {
            if let Some(position) = table.position().filter(|_| !table.is_implicit() && !table.is_dotted()) {
                see(position);
            }
            positions_boxed(table, see);
        }
    }
}

fn positions_boxed(table: &Table, see: &mut dyn FnMut(isize)) {
    positions(table, &mut |at| see(at));
}

fn put_above(table: &mut Table, position: isize, kept: &str) -> bool {
    for (_, item) in table.iter_mut() {
        let tables: Vec<&mut Table> = match item {
            Item::Table(table) => vec![table],
            Item::ArrayOfTables(tables) => tables.iter_mut().collect(),
            _ => continue,
        };
        for table in tables {
            if table.position() == Some(position) && !table.is_implicit() && !table.is_dotted() {
                let next = prefix(table.decor());
                table.decor_mut().set_prefix(joined(kept, &next));
                return true;
            }
            if put_above(table, position, kept) {
                return true;
            }
        }
    }
    false
}

fn prefix(decor: &Decor) -> String {
    decor.prefix().and_then(|raw| raw.as_str()).unwrap_or_default().to_owned()
}

fn suffix(decor: &Decor) -> String {
    decor.suffix().and_then(|raw| raw.as_str()).unwrap_or_default().to_owned()
}

/// The original with what is other between `unedited` and `edited`. `toml_edit` ends every line with a line feed
/// alone, which is not to reach lines that nobody has edited.
fn spliced(original: &str, unedited: &str, edited: &str) -> String {
    let newline = if original.contains("\r\n") { "\r\n" } else { "\n" };
    let has_last_end = original.is_empty() || original.ends_with('\n');
    let whole = if has_last_end { original.to_owned() } else { format!("{original}{newline}") };
    let before = common_prefix(unedited, edited);
    let after = common_suffix(&unedited[before..], &edited[before..]);
    let places = (place_in(&whole, unedited, before), place_in(&whole, unedited, unedited.len() - after));
    let (Some(start), Some(end)) = places else { return edited.to_owned() };
    let middle = edited[before..edited.len() - after].replace("\r\n", "\n").replace('\n', newline);
    let mut text = format!("{}{middle}{}", &whole[..start], &whole[end..]);
    if !has_last_end && text.ends_with(newline) {
        text.truncate(text.len() - newline.len());
    }
    text
}

fn common_prefix(one: &str, two: &str) -> usize {
    let same = one.bytes().zip(two.bytes()).take_while(|(one, two)| one == two).count();
    (0..=same).rev().find(|&end| one.is_char_boundary(end) && two.is_char_boundary(end)).unwrap_or_default()
}

fn common_suffix(one: &str, two: &str) -> usize {
    let same = one.bytes().rev().zip(two.bytes().rev()).take_while(|(one, two)| one == two).count();
    let is_boundary = |end: &usize| one.is_char_boundary(one.len() - end) && two.is_char_boundary(two.len() - end);
    (0..=same).rev().find(is_boundary).unwrap_or_default()
}

/// Where an offset of `plain` lies in `original`, which differs from it by carriage returns alone; else `None`.
fn place_in(original: &str, plain: &str, offset: usize) -> Option<usize> {
    let (original, plain) = (original.as_bytes(), plain.as_bytes());
    let (mut at, mut place) = (0, None);
    for (reached, byte) in plain.iter().enumerate() {
        if reached == offset {
            place = Some(at);
        }
        if *byte == b'\n' && original.get(at..at + 2) == Some(b"\r\n") {
            at += 1;
        }
        if original.get(at) != Some(byte) {
            return None;
        }
        at += 1;
    }
    (at == original.len()).then(|| place.unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# Flags of the shop

"$schema" = "x"

# Night
[flags.dark_mode] # for all
enabled = true # since May
percentage = 1_2.50   # of users
rollout_started = 2026-05-01T07:32:00Z
limits = [0xff, inf, -nan, +1.5e3]

# --- search ---

# New search
[flags.search]
enabled = true
allowed_users = [
  "ann", # tester
  "bob",
]

[[flags.search.rules]]
when = [{ attribute = "plan", op = "equals", values = ["pro"] }] # paying
serve = true

[flags.search.metadata]
note = 'as it is'

[flags]
old = false # goes
inline = { enabled = true, percentage = 5 } # small
dotted.enabled = true
dotted.percentage = 7

# end
"#;

    fn json(text: &str) -> Plain {
        Plain::of_definition(text).unwrap()
    }

    fn put(text: &str, name: &str, definition: &str) -> String {
        let edited = with_flag(text, name, Some(&json(definition))).unwrap();
        assert_eq!(flag(&edited, name).unwrap(), Some(json(definition)), "{edited}");
        edited
    }

    fn without(text: &str, name: &str) -> String {
        let edited = with_flag(text, name, None).unwrap();
        assert_eq!(flag(&edited, name).unwrap(), None, "{edited}");
        edited
    }

    /// Sets one key of a flag as it stands in the file.
    fn set_key(text: &str, name: &str, key: &str, value: &str) -> String {
        let Some(Plain::Map(mut members)) = flag(text, name).unwrap() else { panic!("{name} is no table") };
        let value = json(value);
        match members.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => members.push((key.to_owned(), value)),
        }
        put(text, name, &Plain::Map(members).to_json())
    }

    #[test]
    fn a_flag_is_read_as_json() {
        let read = |name| flag(FILE, name).unwrap().unwrap().to_json();
        assert_eq!(
            read("dark_mode"),
            r#"{"enabled": true, "percentage": 12.50, "rollout_started": "2026-05-01T07:32:00Z", "limits": [255, "inf", "-nan", 1.5e3]}"#
        );
        assert_eq!(read("old"), "false");
        assert_eq!(read("dotted"), r#"{"enabled": true, "percentage": 7}"#);
        assert!(read("search").contains(r#""rules": [{"when": [{"attribute": "plan", "op""#), "{}", read("search"));
        assert_eq!(flag(FILE, "nothing").unwrap(), None);
    }

    #[test]
    fn only_keys_that_change_are_written() {
        let edited = set_key(FILE, "dark_mode", "percentage", "25");
        assert_eq!(edited, FILE.replace("1_2.50   # of users", "25   # of users"));
        let edited = set_key(FILE, "dark_mode", "owner", "\"ann\"");
        assert_eq!(edited, FILE.replace("+1.5e3]\n", "+1.5e3]\nowner = \"ann\"\n"));
        let edited = set_key(FILE, "inline", "enabled", "false");
        assert_eq!(edited, FILE.replace("{ enabled = true, percentage = 5 }", "{ enabled = false, percentage = 5 }"));
        let edited = set_key(FILE, "inline", "owner", "\"a\"");
        assert_eq!(edited, FILE.replace("percentage = 5 }", "percentage = 5, owner = \"a\" }"));
        let edited = set_key(FILE, "dotted", "owner", "\"a\"");
        assert_eq!(edited, FILE.replace("dotted.percentage = 7\n", "dotted.percentage = 7\ndotted.owner = \"a\"\n"));
        let edited = set_key(FILE, "search", "allowed_users", r#"["ann", "bob", "eve"]"#);
        assert_eq!(edited, FILE.replace("  \"bob\",\n", "  \"bob\",\n  \"eve\",\n"));
        let edited = set_key(FILE, "search", "allowed_users", r#"["ann"]"#);
        assert_eq!(edited, FILE.replace("  \"ann\", # tester\n  \"bob\",\n", "  \"ann\", # tester\n"));
        let edited = set_key(FILE, "search", "metadata", r#"{"note": "as it is", "more": 1}"#);
        assert_eq!(edited, FILE.replace("note = 'as it is'\n", "note = 'as it is'\nmore = 1\n"));
        let edited = put(FILE, "old", "true");
        assert_eq!(edited, FILE.replace("old = false # goes", "old = true # goes"));
        let edited = put(FILE, "old", r#"{"enabled": false, "percentage": 100}"#);
        assert_eq!(edited, FILE.replace("old = false # goes", "old = { enabled = false, percentage = 100 } # goes"));
    }

    #[test]
    fn a_new_flag_is_written_as_the_others_are() {
        let tables = "[flags.a]\nenabled = true\n\n# end\n";
        let new = r#"{"enabled": true, "percentage": 12.5}"#;
        assert_eq!(
            put(tables, "b.c", new),
            "[flags.a]\nenabled = true\n\n[flags.\"b.c\"]\nenabled = true\npercentage = 12.5\n\n# end\n"
        );
        assert_eq!(put(tables, "b", "true"), "[flags]\nb = true\n\n[flags.a]\nenabled = true\n\n# end\n");
        let lines = "[flags]\na = { enabled = true }\n# end\n";
        assert_eq!(
            put(lines, "b", new),
            "[flags]\na = { enabled = true }\nb = { enabled = true, percentage = 12.5 }\n# end\n"
        );
        assert_eq!(put("flags = { a = true }\n", "b", "true"), "flags = { a = true, b = true }\n");
        assert_eq!(put("[flags]\n", "b", new), "[flags]\n\n[flags.b]\nenabled = true\npercentage = 12.5\n");
    }

    #[test]
    fn a_flag_goes_with_its_own_comments_alone() {
        let edited = without(FILE, "search");
        let (before, rest) = FILE.split_once("# New search").unwrap();
        let rest = &rest[rest.find("[flags]").unwrap()..];
        assert_eq!(edited, format!("{before}{rest}"));
        assert_eq!(without(FILE, "old"), FILE.replace("old = false # goes\n", ""));
        assert_eq!(without("# licence\n\n# a\n[flags.a]\nenabled = true\n", "a"), "[flags]\n# licence\n\n");
        assert_eq!(without("[flags]\n# all\n\n# a\na = true\nb = true\n", "a"), "[flags]\n# all\n\nb = true\n");
    }

    #[test]
    fn a_table_may_become_a_line() {
        let edited = put("# night\n[flags.a]\nenabled = true\n\n[flags.b]\nenabled = true\n", "a", "false");
        assert_eq!(edited, "[flags]\n# night\na = false\n\n[flags.b]\nenabled = true\n");
    }

    #[test]
    fn lines_that_nobody_edits_keep_their_ends() {
        let text = "# a\r\n[flags.a]\r\nenabled = true\r\npercentage = 5\n\n[flags.b]\r\nenabled = true";
        let edited = set_key(text, "a", "percentage", "6");
        assert_eq!(edited, text.replace("= 5", "= 6"));
        let edited = set_key(text, "b", "owner", "\"x\"");
        assert_eq!(edited, format!("{text}\r\nowner = \"x\""));
    }

    /// Files in which `toml_edit` reads no number.
    #[test]
    fn a_number_that_is_too_long_stays_as_it_is_written_and_costs_no_edit() {
        const FILE: &str = "[flags.a]\r\nenabled = true # 9223372036854775808\r\nmetadata = { id = 9_223_372_036_854_775_808, \
             mask = 0xffff_ffff_ffff_ffff, far = 1e999, near = 1 } # of a\r\n\r\n[flags.b]\r\npercentage = 5\r\n\
             metadata.ids = [\r\n  +18446744073709551615, # longest\r\n  7,\r\n]\r\n";
        let off = json(r#"{"percentage": 5, "metadata": {"ids": [18446744073709551615, 7]}, "enabled": false}"#);
        let edited = with_flag(FILE, "b", Some(&off)).unwrap();
        assert_eq!(edited, FILE.replace("7,\r\n]\r\n", "7,\r\n]\r\nenabled = false\r\n"));
        assert_eq!(flag(&edited, "b").unwrap(), Some(off));

        let of_a = flag(FILE, "a").unwrap().unwrap();
        let as_json = r#"{"enabled": true, "metadata": {"id": 9223372036854775808, "mask": 18446744073709551615, "far": 1e999, "near": 1}}"#;
        assert_eq!(of_a.to_json(), as_json);
        let killed = with_flag(FILE, "a", Some(&json(&as_json.replace("true", "false")))).unwrap();
        assert_eq!(killed, FILE.replace("enabled = true", "enabled = false"));
        assert_eq!(with_flag(FILE, "a", None).unwrap(), FILE[FILE.find("\r\n[flags.b]").unwrap()..]);

        // A number that other TOML readers reject is not written where there was none.
        let problem = with_flag(FILE, "c", Some(&json(r#"{"percentage": 9223372036854775809}"#))).unwrap_err();
        assert!(problem.to_string().contains("a number that TOML can hold, found 9223372036854775809"), "{problem}");
        // A syntax error is where it is in the file.
        let problem = with_flag(&format!("{FILE}x = = 1\n"), "a", None).unwrap_err();
        assert!(problem.to_string().starts_with("line 11, column 5"), "{problem}");
    }

    #[test]
    fn what_toml_cannot_hold_is_refused() {
        for (definition, found) in [
            (r#"{"enabled": true, "metadata": {"a": null}}"#, "null"),
            (r#"{"enabled": true, "metadata": {"a": 123456789012345678901}}"#, "123456789012345678901"),
            (r#"{"enabled": true, "metadata": {"a": 1, "a": 2}}"#, "twice"),
        ] {
            let problem = with_flag(FILE, "x", Some(&json(definition))).unwrap_err();
            assert!(problem.found.contains(found), "{problem}");
        }
    }
}
