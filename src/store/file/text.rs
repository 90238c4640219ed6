//! One flag in the text of a file, whichever format it has.

use super::plain::Plain;
use super::{in_json, in_toml};
use crate::engine::{Document, Format, Problem};

/// The definition of a flag as JSON: from a JSON file byte for byte, from a TOML file as that says it.
pub(super) fn flag(file: &str, format: Format, name: &str) -> Result<Option<String>, Problem> {
    match format {
        Format::Json => in_json::flag(file, name).map(|text| text.map(str::to_owned)),
        Format::Toml => in_toml::flag(file, name).map(|plain| plain.as_ref().map(Plain::to_json)),
    }
}

/// Whether a definition that was written into a file is what the file says now.
pub(super) fn is_what_became_of(written: &str, found: &str, format: Format) -> bool {
    match format {
        Format::Json => written.trim() == found,
        Format::Toml => match (Plain::of_json(written), Plain::of_json(found)) {
            (Ok(written), Ok(found)) => written == found,
            _ => false,
        },
    }
}

/// The file with another definition of one flag, or without it, and nothing else changed.
pub(super) fn with_flag(file: &str, format: Format, name: &str, definition: Option<&str>) -> Result<String, Problem> {
    let edited = match format {
        Format::Json => in_json::with_flag(file, name, definition),
        Format::Toml => {
            let plain = definition.map(Plain::of_json).transpose()?;
            in_toml::with_flag(file, name, plain.as_ref())
        }
    }?;
    let (mut before, mut after) = (Document::from_text(file, format)?, Document::from_text(&edited, format)?);
    let found = flag(&edited, format, name)?;
    let is_there = match (definition, &found) {
        (Some(definition), Some(found)) => is_what_became_of(definition, found, format),
        (definition, found) => definition.is_none() && found.is_none(),
    };
    before.remove(name);
    after.remove(name);
    if is_there && before.flags == after.flags {
        return Ok(edited);
    }
    // A form of TOML that nobody has thought of costs this edit, and not the file.
    let problem = Problem::new("a file that can be edited without changing other flags", "another one");
    Err(problem.with_help("edit it by hand"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_of_a_document_that_is_full_is_refused() {
        let flags: Vec<String> = (0..10_000).map(|number| format!("\"flag_{number}\": true")).collect();
        let full = format!("{{\"flags\": {{{}}}}}", flags.join(", "));
        assert!(with_flag(&full, Format::Json, "flag_7", Some("false")).is_ok());
        let problem = with_flag(&full, Format::Json, "one_more", Some("true")).unwrap_err();
        assert!(problem.to_string().contains("at most 10000 flags"), "{problem}");
        let large = format!(r#"{{"enabled": true, "description": "{}"}}"#, "x".repeat(4 * 1024 * 1024));
        let problem = with_flag(r#"{"flags": {}}"#, Format::Json, "a", Some(&large)).unwrap_err();
        assert!(problem.to_string().contains("at most 4194304 bytes"), "{problem}");
    }
}
