//! Texts of others, for terminals and spreadsheets.

/// A field of CSV (RFC 4180) that no terminal obeys and no spreadsheet computes: always in quotes, control and
/// direction characters written as escapes, and an apostrophe before what would begin a formula. A formula may also
/// begin behind a separator, since many spreadsheets split at `;` or tabs and heed no quotes then.
pub(super) fn csv_field(text: &str) -> String {
    let mut field = String::with_capacity(text.len() + 3);
    field.push('"');
    let mut is_at_start = true;
    for character in text.chars() {
        if is_at_start && is_of_formula(character) {
            field.push('\'');
        }
        is_at_start = matches!(character, ';' | ',' | '\t' | '\r' | '\n') || (is_at_start && character.is_whitespace());
        match character {
            '"' => field.push_str("\"\""),
            character if is_dangerous(character) => field.extend(character.escape_unicode()),
            character => field.push(character),
        }
    }
    field.push('"');
    field
}

/// What makes a formula of the text behind it.
fn is_of_formula(character: char) -> bool {
    matches!(character, '=' | '+' | '-' | '@' | '|' | '%' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠')
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
            '\u{00ad}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_and_escapes_are_neutralised_in_csv() {
        for (text, field) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            (" @SUM(1)", " '@SUM(1)"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("|x", "'|x"),
            ("%x", "'%x"),
            ("＝1", "'＝1"),
            ("＋1", "'＋1"),
            ("－1", "'－1"),
            ("＠1", "'＠1"),
            ("\t=1", "'\\u{9}'=1"),
            ("\r=1", "'\\u{d}'=1"),
            ("a;=HYPERLINK(\"https://e\")", "a;'=HYPERLINK(\"\"https://e\"\")"),
            ("a, -1; \t+2", "a, '-1; '\\u{9}'+2"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a \"b\"\r\n=1", "a \"\"b\"\"\\u{d}'\\u{a}'=1"),
            ("\u{202e}evil", "\\u{202e}evil"),
            ("a\u{ad}b\u{206a}\u{fe0f}", "a\\u{ad}b\\u{206a}\\u{fe0f}"),
            ("INC-17, ünal: 2 = 1 + 1", "INC-17, ünal: 2 = 1 + 1"),
        ] {
            assert_eq!(csv_field(text), format!("\"{field}\""), "{text:?}");
        }
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
