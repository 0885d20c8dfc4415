//! Text that others wrote, in a form that a terminal or a log can show. A raw control character
//! would move the cursor, set the title of the window, or type a command for the reader. A raw
//! bidirectional control would reorder the text, and an invisible character would make two names
//! look alike.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Maximum number of combining marks in a row. More of them cover the lines above and below.
const MAX_MARKS: usize = 8;

/// Returns a text for one line. Control characters, line breaks included, bidirectional controls
/// and invisible characters become escapes such as `\u{1b}`. The joiners that names need (U+200C,
/// U+200D) stay. Combining marks are dropped from the ninth in a row on.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable)
}

/// Returns a text as [`printable`] does, and keeps its line feeds and tabs.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unprintable(c) && !matches!(c, '\n' | '\t'))
}

/// Returns JSON with the same value, in which the characters that [`printable`] escapes are JSON
/// escapes such as `\u001b`. White space between the values stays. So do all combining marks, since
/// programs read the value.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| is_unprintable(c) && !c.is_ascii_whitespace();
    if !json.contains(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut printed = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string never fails.
                write!(printed, "\\u{unit:04x}").ok();
            }
        } else {
            printed.push(c);
        }
    }
    Cow::Owned(printed)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|c: char| is_escaped(c) || is_mark(c)) {
        return Cow::Borrowed(text);
    }
    let mut printed = String::with_capacity(text.len() + 16);
    let mut marks = 0;
    for c in text.chars() {
        if is_mark(c) {
            marks += 1;
            if marks > MAX_MARKS {
                continue;
            }
        } else if !is_joined(c) {
            marks = 0;
        }
        if is_escaped(c) {
            printed.extend(c.escape_unicode());
        } else {
            printed.push(c);
        }
    }
    Cow::Owned(printed)
}

/// True for control characters (C0, C1 and DEL), line and paragraph separators, bidirectional
/// controls, and characters without a width or a meaning of their own.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// True for the marks of Unicode's blocks of combining diacritical marks.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

/// True for joiners and variation selectors. They take no place on the screen, so marks after one
/// still belong to the letter before it.
fn is_joined(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, and what [`printable`] returns. `None` stands for the text itself.
    const CASES: &[(&str, Option<&str>)] = &[
        ("", None),
        ("Acme Ünïcode & Söhne 🚀", None),
        ("C:\\temp", None),
        ("שלום عليكم", None),
        // Persian and emoji need the joiners.
        ("می\u{200c}خواهم 👩\u{200d}💻", None),
        ("\u{1b}]0;owned\u{7}Acme", Some("\\u{1b}]0;owned\\u{7}Acme")),
        ("\u{1b}[2J\u{1b}[31m", Some("\\u{1b}[2J\\u{1b}[31m")),
        ("\u{9b}31m\u{9d}0;x\u{9c}", Some("\\u{9b}31m\\u{9d}0;x\\u{9c}")),
        ("a\u{0}b\u{8}c\u{7f}", Some("a\\u{0}b\\u{8}c\\u{7f}")),
        ("\u{202e}gnp.exe", Some("\\u{202e}gnp.exe")),
        ("\u{2066}a\u{2069}\u{61c}", Some("\\u{2066}a\\u{2069}\\u{61c}")),
        ("\u{200e}\u{200f}", Some("\\u{200e}\\u{200f}")),
        ("a\r\nregistryctl: done", Some("a\\u{d}\\u{a}registryctl: done")),
        ("a\tb", Some("a\\u{9}b")),
        ("a\u{2028}b\u{2029}c\u{85}d", Some("a\\u{2028}b\\u{2029}c\\u{85}d")),
        ("ad\u{200b}min\u{feff}\u{2060}", Some("ad\\u{200b}min\\u{feff}\\u{2060}")),
        ("\u{e0041}\u{e007f}", Some("\\u{e0041}\\u{e007f}")),
    ];

    #[test]
    fn hostile_text_is_escaped() {
        for (text, expected) in CASES {
            let expected = expected.unwrap_or(text);
            assert_eq!(printable(text), expected, "{text:?}");
            assert_eq!(printable(&printable(text)), expected, "escaping twice: {text:?}");
        }
    }

    #[test]
    fn harmless_text_is_not_copied() {
        for (text, _) in CASES.iter().filter(|(_, expected)| expected.is_none()) {
            assert!(matches!(printable(text), Cow::Borrowed(_)), "{text:?}");
            assert!(matches!(printable_json(text), Cow::Borrowed(_)), "{text:?}");
        }
        assert!(matches!(printable_lines("a\n\tb"), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_stay_lines() {
        for (text, expected) in [
            ("one\n\ttwo\n", "one\n\ttwo\n"),
            ("one\r\ntwo\u{1b}[A\n", "one\\u{d}\ntwo\\u{1b}[A\n"),
            ("one\u{2028}two\u{b}", "one\\u{2028}two\\u{b}"),
        ] {
            assert_eq!(printable_lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn json_keeps_its_value() {
        for (json, expected) in [
            ("{\n\t\"a\": 1\r\n}", "{\n\t\"a\": 1\r\n}"),
            (r#"{"a":"\u001b"}"#, r#"{"a":"\u001b"}"#),
            ("\"\u{9b}31m\u{7f}\"", r#""\u009b31m\u007f""#),
            ("\"\u{202e}x\u{2028}\"", r#""\u202ex\u2028""#),
            ("\"\u{e0041}\"", r#""\udb40\udc41""#),
            ("\"👩\u{200d}💻\"", "\"👩\u{200d}💻\""),
        ] {
            assert_eq!(printable_json(json), expected, "{json:?}");
        }
    }

    #[test]
    fn combining_marks_do_not_pile_up() {
        let stack = |count: usize| format!("Z{}!", "\u{301}".repeat(count));
        for count in [0, 1, 8] {
            assert_eq!(printable(&stack(count)), stack(count));
        }
        assert_eq!(printable(&stack(9)), stack(8));
        assert_eq!(printable_lines(&stack(10_000)), stack(8));
        let every_block = "\u{300}\u{1ab0}\u{1dc0}\u{20d0}\u{fe20}".repeat(20);
        assert_eq!(printable(&every_block).chars().count(), MAX_MARKS);
        let joined = "\u{301}\u{200d}\u{fe0f}".repeat(20);
        assert_eq!(printable(&joined).matches('\u{301}').count(), MAX_MARKS);
        let letters = "e\u{301}".repeat(20);
        assert_eq!(printable(&letters), letters, "each letter has its own marks");
    }

    #[test]
    fn long_text_is_escaped_to_its_end() {
        let long = "\u{1b}[31m".repeat(2_000);
        let printed = printable(&long);
        assert!(long.len() == 10_000 && !printed.contains('\u{1b}'));
        assert_eq!(printed.matches("\\u{1b}").count(), 2_000);
    }
}
