//! One flag in the text of a file, whichever format it has.

use super::{in_json, in_toml};
use crate::document::{Document, Format, Plain, Problem};

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
        Format::Toml => match (Plain::of_definition(written), Plain::of_definition(found)) {
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
            let plain = definition.map(Plain::of_definition).transpose()?;
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

    /// Files as people write them: every way to write flags down.
    const FILES: [(Format, &str); 8] = [
        (Format::Json, "{\"flags\": {}}"),
        (
            Format::Json,
            "{\r\n\t\"$schema\": \"s\",\r\n\t\"flags\": {\r\n\t\t\"a\": true,\r\n\t\t\"b\" :{ \"on\":true }\r\n\t}\r\n}",
        ),
        (Format::Toml, "[flags]\n"),
        (
            Format::Toml,
            "# one\n\n# two\n[flags.a] # three\nenabled = true # four\n\n[flags.b] # of b\non = true\n\n# end\n",
        ),
        (Format::Toml, "# one\r\n[flags]\r\n# two\r\na = true # three\r\n\r\n# of b\r\nb = { on = true } # of b too"),
        (Format::Toml, "flags.a.enabled = true # one\nflags.b = false\nflags.c.percentage = 5 # two\n"),
        (Format::Toml, "flags = { a = true, b = { on = true } } # one\n"),
        (
            Format::Toml,
            "[flags.b.metadata] # of b\nx = 1\n\n# of b too\n[flags.b]\non = true\n[[flags.b.rollout_stages]]\ny = 2 # of b as well\n",
        ),
    ];

    const DEFINITIONS: [Option<&str>; 7] = [
        None,
        Some("true"),
        Some(" false\n"),
        Some(r#"{"enabled": true, "percentage": 12.50}"#),
        Some(
            r#"{"on": false, "percentage": 1e1, "allowed_users": ["a", "b\r\n#\u007f\u0001"], "metadata": {"x": {"y": []}}}"#,
        ),
        Some(r#"{"on": false, "allowed_users": [], "rollout_stages": [{"h": 1}, {"h": [2, {}]}], "owner": null}"#),
        Some(
            "{\n  \"percentage\": 5,\n  \"rules\": [{\"when\": [{\"attribute\": \"x\", \"op\": \"exists\"}], \"serve\": true}]\n}",
        ),
    ];

    #[test]
    fn any_edits_one_after_another_change_what_they_name_and_keep_the_comments_of_the_rest() {
        for (format, file) in FILES {
            let mut chance = 1_u32;
            let mut any = |below: usize| {
                chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (chance >> 16) as usize % below
            };
            for _ in 0..40 {
                let mut text = file.to_owned();
                let mut named = Vec::new();
                for _ in 0..8 {
                    let name = ["a", "b", "c.d", "n"][any(4)];
                    let definition = DEFINITIONS[any(DEFINITIONS.len())];
                    let edited = with_flag(&text, format, name, definition);
                    text = edited.unwrap_or_else(|problem| panic!("{problem}: {name} {definition:?} in\n{text}"));
                    named.push(name);
                }
                let is_untouched = !named.contains(&"b");
                for comment in file.split('#').skip(1).map(|comment| comment.split(['\r', '\n']).next().unwrap()) {
                    let is_of_b = comment.starts_with(" of b");
                    assert!(!is_of_b || !is_untouched || text.contains(comment), "{comment} {named:?}\n{text}");
                }
                assert!(!file.ends_with("# end\n") || text.ends_with("# end\n"), "{text}");
                if file.contains("\r\n") {
                    assert_eq!(
                        text.matches('\n').count(),
                        text.matches("\r\n").count() + inner_lines(&text),
                        "{text:?}"
                    );
                }
            }
        }
    }

    /// Line feeds of a definition that JSON takes over as it is.
    fn inner_lines(text: &str) -> usize {
        text.replace("\r\n", "").matches('\n').count()
    }

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
