//! One flag inside a JSON document: everything but its own span stays byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use crate::document::{Problem, json, members, position};

/// The object of all flags, and where its members stand in the document.
struct Flags<'a> {
    text: &'a str,
    /// With its braces.
    object: Range<usize>,
    /// Where the key `flags` stands.
    key_at: usize,
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    name: Cow<'a, str>,
    key_at: usize,
    value: Range<usize>,
}

impl<'a> Flags<'a> {
    fn of(text: &'a str) -> Result<Self, Problem> {
        // Says with line and column what is wrong with text that is no JSON.
        json(text)?;
        let expected = |found: &str| Problem::new("an object with the object \"flags\"", found);
        let root = text.trim();
        let outer = spans(text, root).ok_or_else(|| expected("another value"))?;
        let flags = outer.into_iter().find(|member| member.name == "flags").ok_or_else(|| expected("none"))?;
        let members = spans(text, &text[flags.value.clone()]).ok_or_else(|| expected("another value in its place"))?;
        Ok(Self { text, object: flags.value, key_at: flags.key_at, members })
    }

    /// What stands before the key of a member: a brace or the value before, comma and white space.
    fn start_of_gap(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(self.object.start + 1, |before| self.members[before].value.end)
    }

    /// A new member, as text to put after the last one.
    fn appended(&self, name: &str, definition: &str) -> (Range<usize>, String) {
        let Some(last) = self.members.last() else {
            return (self.object.clone(), self.first(name, definition));
        };
        let gap = &self.text[self.start_of_gap(self.members.len() - 1)..last.key_at];
        let comma = if gap.contains(',') { "" } else { "," };
        let key = &self.text[last.key_at..last.value.start];
        let colon = &key[key.rfind('"').map_or(0, |quote| quote + 1)..];
        (last.value.end..last.value.end, format!("{comma}{gap}\"{name}\"{colon}{definition}"))
    }

    /// The object with its first member, indented as the document is.
    fn first(&self, name: &str, definition: &str) -> String {
        let line = self.text[..self.key_at].rsplit('\n').next().unwrap_or_default();
        if line.len() == self.key_at || !line.trim().is_empty() {
            return format!("{{\"{name}\": {definition}}}");
        }
        let newline = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        format!("{{{newline}{line}{line}\"{name}\": {definition}{newline}{line}}}")
    }
}

/// The members of `object`, which lies in `text`.
fn spans<'a>(text: &'a str, object: &'a str) -> Option<Vec<Member<'a>>> {
    let list = members(object).filter(|_| object.starts_with('{'))?;
    let mut end = position(text, object) + 1;
    let mut found = Vec::with_capacity(list.len());
    for (name, value) in list {
        let start = position(text, value.get());
        let key_at = end + text[end..start].find('"')?;
        end = start + value.get().len();
        found.push(Member { name, key_at, value: start..end });
    }
    Some(found)
}

/// The text of a flag; the first, where it stands twice.
pub(super) fn flag<'a>(text: &'a str, name: &str) -> Result<Option<&'a str>, Problem> {
    let flags = Flags::of(text)?;
    let found = flags.members.iter().find(|member| member.name == name);
    Ok(found.map(|member| &text[member.value.clone()]).filter(|text| *text != "null"))
}

/// The document with another definition of a flag, or without it. Where it stood twice it stands once.
pub(super) fn with_flag(text: &str, name: &str, definition: Option<&str>) -> Result<String, Problem> {
    let flags = Flags::of(text)?;
    let is_it = |place: &usize| flags.members[*place].name == name;
    let places: Vec<usize> = (0..flags.members.len()).filter(is_it).collect();
    let (kept, removed) = places.split_at(usize::from(definition.is_some() && !places.is_empty()));
    let mut pieces: Vec<(Range<usize>, String)> = Vec::new();
    match (definition.map(str::trim), kept.first()) {
        (Some(definition), Some(place)) => {
            pieces.push((flags.members[*place].value.clone(), definition.to_owned()));
        }
        (Some(definition), None) => pieces.push(flags.appended(name, definition)),
        (None, _) => {}
    }
    if !removed.is_empty() && removed.len() == flags.members.len() {
        pieces.push((flags.object.clone(), "{}".to_owned()));
    } else {
        let first_kept = (0..flags.members.len()).find(|place| !removed.contains(place)).unwrap_or_default();
        for place in removed.iter().copied() {
            let member = &flags.members[place];
            let span = if place < first_kept {
                member.key_at..flags.members[place + 1].key_at
            } else {
                flags.start_of_gap(place)..member.value.end
            };
            pieces.push((span, String::new()));
        }
    }
    pieces.sort_by_key(|(span, _)| span.start);
    let mut edited = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (span, piece) in pieces {
        edited.push_str(&text[at..span.start]);
        edited.push_str(&piece);
        at = span.end;
    }
    edited.push_str(&text[at..]);
    Ok(edited)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "{\n  \"$schema\" : \"x\",\n  \"flags\": {\n    \"a\": true,\n    \"b\" : { \"enabled\":true ,\n      \"percentage\": 2.50 }\n  }\n}\n";

    fn put(text: &str, name: &str, definition: &str) -> String {
        with_flag(text, name, Some(definition)).unwrap()
    }

    fn without(text: &str, name: &str) -> String {
        with_flag(text, name, None).unwrap()
    }

    #[test]
    fn only_the_flags_own_text_is_another_one() {
        assert_eq!(put(FILE, "a", " false "), FILE.replace("\"a\": true", "\"a\": false"));
        assert_eq!(put(FILE, "b", "true"), FILE.replace("{ \"enabled\":true ,\n      \"percentage\": 2.50 }", "true"));
        assert_eq!(flag(FILE, "b").unwrap(), Some("{ \"enabled\":true ,\n      \"percentage\": 2.50 }"));
        assert_eq!(flag(FILE, "c").unwrap(), None);
        assert_eq!(flag(r#"{"flags": {"a": null}}"#, "a").unwrap(), None);
        assert_eq!(put(r#"{"flags": {"\u0061": 1}}"#, "a", "2"), r#"{"flags": {"\u0061": 2}}"#);
    }

    #[test]
    fn a_new_flag_is_written_as_the_last_one_is() {
        let expected = FILE.replace("2.50 }\n", "2.50 },\n    \"c\" : true\n");
        assert_eq!(put(FILE, "c", "true"), expected);
        assert_eq!(put(r#"{"flags":{"a":true}}"#, "c", "1"), r#"{"flags":{"a":true,"c":1}}"#);
        assert_eq!(put(r#"{"flags": {}}"#, "c", "1"), r#"{"flags": {"c": 1}}"#);
        assert_eq!(put("{\n\t\"flags\": { }\n}", "c", "1"), "{\n\t\"flags\": {\n\t\t\"c\": 1\n\t}\n}");
        assert_eq!(
            put("{\"flags\": {\"a\": 1\n, \"b\": 2}}", "c", "3"),
            "{\"flags\": {\"a\": 1\n, \"b\": 2\n, \"c\": 3}}"
        );
    }

    #[test]
    fn a_flag_goes_with_its_comma() {
        assert_eq!(without(FILE, "a"), FILE.replace("\"a\": true,\n    ", ""));
        assert_eq!(
            without(FILE, "b"),
            FILE.replace(",\n    \"b\" : { \"enabled\":true ,\n      \"percentage\": 2.50 }", "")
        );
        assert_eq!(without(r#"{"flags": { "a": 1 }}"#, "a"), r#"{"flags": {}}"#);
        assert_eq!(without(FILE, "c"), FILE);
    }

    #[test]
    fn a_flag_that_stands_twice_stands_once_after_an_edit() {
        let text = r#"{"flags": {"a": 1, "b": 2, "a": 3, "a": 4}}"#;
        assert_eq!(put(text, "a", "5"), r#"{"flags": {"a": 5, "b": 2}}"#);
        assert_eq!(without(text, "a"), r#"{"flags": {"b": 2}}"#);
        assert_eq!(without(r#"{"flags": {"a": 1, "a": 2, "b": 3}}"#, "a"), r#"{"flags": {"b": 3}}"#);
        assert_eq!(without(r#"{"flags": {"a": 1, "a": 2}}"#, "a"), r#"{"flags": {}}"#);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "{", "[]", "{}", r#"{"flags": []}"#, r#"{"flags": {"a": tr"#] {
            assert!(flag(text, "a").is_err() && with_flag(text, "a", Some("1")).is_err(), "{text}");
        }
    }
}
