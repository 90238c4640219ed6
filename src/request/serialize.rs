//! Answers for front ends.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::flags::Flags;
use crate::engine::Entry;

/// An object from names to values, in ascending byte order. The value of a flag is that of the variant served,
/// else the variant's name, else `true` or `false`. Hidden flags are left out. All flags count as read.
///
/// As JSON the text can stand in a page as it is, between `<script>` tags or in an attribute's quotes of `'`:
/// the characters `<`, `>`, `&`, `'`, U+2028 and U+2029, which only texts of values can have, are written as
/// escapes. It is meant for JSON: other formats may not know how to take such a value.
///
/// ```
/// use tower_flags::{Context, Flags};
///
/// let flags = Flags::builder().on("dark_mode").off("new_search").on("secret").hidden("secret");
/// let flags = flags.variant("pricing", "higher", 1.2).variant("hero", "b", serde_json::Value::Null);
/// let flags = flags.variant("banner", "sale", "50 % </script>").build(Context::anonymous());
/// assert_eq!(
///     format!("<script>const flags = {};</script>", serde_json::to_string(&flags)?),
///     r#"<script>const flags = {"banner":"50 % \u003c/script\u003e","dark_mode":true,"hero":"b","new_search":false,"pricing":1.2};</script>"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let visible = self.iter().filter(|entry| !entry.is_hidden);
        serializer.collect_map(visible.map(|entry| (entry.name, Value { flags: self, entry })))
    }
}

struct Value<'a> {
    flags: &'a Flags,
    entry: Entry<'a>,
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(variant) = self.entry.variant else { return serializer.serialize_bool(self.entry.enabled) };
        let Some(value) = self.flags.value_served(self.entry.name) else { return serializer.serialize_str(variant) };
        match escaped(value) {
            Some(escaped) => escaped.serialize(serializer),
            None => value.serialize(serializer),
        }
    }
}

/// The value with escapes for what HTML would take for its own; `None` where there is nothing to escape.
fn escaped(value: &serde_json::Value) -> Option<Box<RawValue>> {
    const SPECIAL: [char; 6] = ['<', '>', '&', '\'', '\u{2028}', '\u{2029}'];
    let text = value.to_string();
    if !text.contains(SPECIAL) {
        return None;
    }
    let mut safe = String::with_capacity(text.len() + 30);
    for character in text.chars() {
        if SPECIAL.contains(&character) {
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    // Outside of texts JSON has none of them.
    RawValue::from_string(safe).ok()
}
