//! Texts of others, for terminals and spreadsheets.

/// A field of CSV (RFC 4180) that no terminal obeys and no spreadsheet computes: always in quotes, control and
/// direction characters written as escapes, and an apostrophe before what would begin a formula.
pub(super) fn csv_field(text: &str) -> String {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%'])
        || text.starts_with(['\t', '\r', '\n']);
    let mut field = String::with_capacity(text.len() + 3);
    field.push('"');
    if is_formula {
        field.push('\'');
    }
    for character in text.chars() {
        match character {
            '"' => field.push_str("\"\""),
            character if is_dangerous(character) => field.extend(character.escape_unicode()),
            character => field.push(character),
        }
    }
    field.push('"');
    field
}

/// JSON on one line with escapes for what a terminal would obey; it means the same.
pub(super) fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        if is_dangerous(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(character);
        }
    }
    line
}

/// Control characters, line and paragraph separators, and what changes the direction or is not seen.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_and_escapes_are_neutralised_in_csv() {
        assert_eq!(csv_field("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(csv_field(" @SUM(1)"), "\"' @SUM(1)\"");
        assert_eq!(csv_field("\u{1b}[2J"), "\"\\u{1b}[2J\"");
        assert_eq!(csv_field("a \"b\"\r\n=1"), "\"a \"\"b\"\"\\u{d}\\u{a}=1\"");
        assert_eq!(csv_field("\u{202e}evil"), "\"\\u{202e}evil\"");
        assert_eq!(csv_field("INC-17, ünal"), "\"INC-17, ünal\"");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "\u{9b}31m \u{202e} \u{e0001} \u{7f} ü";
        let json = serde_json::to_string(text).unwrap();
        let line = json_line(&json);
        assert!(line.is_ascii() || line.contains('ü'));
        assert!(!line.chars().any(is_dangerous), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
