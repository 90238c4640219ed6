//! Answers for front ends.

use serde::{Serialize, Serializer};

use super::flags::Flags;

/// An object from names to answers, in ascending byte order: the name of the variant served, else `true`
/// or `false`. Hidden flags are left out. All flags count as read.
///
/// Names of flags and variants have no character that JSON or HTML could take for its own, so the text
/// can stand in a page as it is.
///
/// ```
/// use tower_flags::{Context, Flags};
///
/// let flags = Flags::builder().on("dark_mode").off("new_search").variant("pricing", "higher", 1.2);
/// let flags = flags.on("secret").hidden("secret").build(Context::anonymous());
/// let page = format!("<script>const flags = {};</script>", serde_json::to_string(&flags)?);
/// assert_eq!(page, r#"<script>const flags = {"dark_mode":true,"new_search":false,"pricing":"higher"};</script>"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().filter(|entry| !entry.is_hidden).map(|entry| (entry.name, Value(entry))))
    }
}

struct Value<'a>(super::entry::Entry<'a>);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.variant {
            Some(variant) => serializer.serialize_str(variant),
            None => serializer.serialize_bool(self.0.enabled),
        }
    }
}
