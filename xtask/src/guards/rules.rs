//! Rules for single files: secrets, skipped tests, silenced lints, invisible characters, length.

use std::ffi::OsStr;
use std::path::Path;

/// A line that contains all pieces is a finding with this message. The pieces are written with
/// `concat!`, so the guard does not find them in this file.
type Rule = (&'static [&'static str], &'static str);

const TEXT_RULES: &[Rule] =
    &[(&[concat!("-----BE", "GIN "), concat!("PRIVATE", " KEY")], "a private key")];

const SKIPPED_TEST: &str = "a skipped test: repair it or remove it";
const BARE_ALLOW: &str = "a bare allow: write `expect` with a reason";
const RUST_RULES: &[Rule] = &[
    (&[concat!("#[", "ignore")], SKIPPED_TEST),
    (&[concat!("cfg_", "attr("), ", ignore"], SKIPPED_TEST),
    (&[concat!("#[", "allow(")], BARE_ALLOW),
    (&[concat!("#![", "allow(")], BARE_ALLOW),
    (&[concat!("cfg_", "attr("), ", allow("], BARE_ALLOW),
];

/// Maximum number of lines of a Rust file, tests included. A longer file is hard to read and has to
/// be split.
const MAX_RUST_LINES: usize = 400;

/// Returns a finding if the name of a file is one that secrets or databases have.
pub(super) fn name_finding(path: &str) -> Option<String> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    let found = matches!(name, ".env" | "master.key" | "service-token")
        || name.starts_with(".env.")
        || matches!(extension, Some("db" | "db-shm" | "db-wal" | "env"));
    found.then(|| {
        format!("{path}:1: a file of this name has secrets or data: keep it out of the repository")
    })
}

/// Returns the findings in the text of a file.
pub(super) fn text_findings(path: &str, text: &str) -> Vec<String> {
    let rust = Path::new(path).extension().is_some_and(|extension| extension == "rs");
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if let Some(c) = line.chars().find(|c| is_invisible(*c)) {
            findings
                .push(format!("{path}:{number}: an invisible character, U+{:04X}", u32::from(c)));
        }
        let code = rust && !line.trim_start().starts_with("//");
        let rules = TEXT_RULES.iter().chain(if code { RUST_RULES } else { &[] });
        for (_, message) in
            rules.filter(|(pieces, _)| pieces.iter().all(|piece| line.contains(piece)))
        {
            findings.push(format!("{path}:{number}: {message}"));
        }
    }
    let lines = text.lines().count();
    if rust && lines > MAX_RUST_LINES {
        findings.push(format!("{path}:{lines}: more than {MAX_RUST_LINES} lines: split the file"));
    }
    findings
}

/// True for characters that change the direction of text or have no width: with them, a reviewer
/// sees other code than the compiler.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{61c}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_databases_are_found_by_name() {
        for (path, found) in [
            (".env", true),
            ("bins/registryd/.env.local", true),
            ("prod.env", true),
            ("data/service-token", true),
            ("master.key", true),
            ("registry.db", true),
            ("a/registry.db-wal", true),
            ("src/env.rs", false),
            ("docs/service-token.md", false),
            ("crates/registry-vault/src/master_key.rs", false),
            ("db", false),
        ] {
            assert_eq!(name_finding(path).is_some(), found, "{path}");
        }
    }

    #[test]
    fn finding_names_file_and_line() {
        for (path, line, message) in [
            ("a.md", "plain text, äöü → –", None),
            ("a.md", "turned \u{202e}around", Some("an invisible character, U+202E")),
            ("a.md", "\u{feff}a byte order mark", Some("an invisible character, U+FEFF")),
            ("a.txt", concat!("-----BE", "GIN ", "EC PRIVATE", " KEY-----"), Some("a private key")),
            ("a.txt", concat!("-----BE", "GIN ", "PUBLIC", " KEY-----"), None),
            ("a.rs", concat!("    #[", "ignore]"), Some(SKIPPED_TEST)),
            ("a.rs", concat!("#[", "ignore = \"slow\"]"), Some(SKIPPED_TEST)),
            ("a.rs", concat!("#[cfg_", "attr(windows, ignore)]"), Some(SKIPPED_TEST)),
            ("a.rs", concat!("#[", "allow(dead_code)]"), Some(BARE_ALLOW)),
            ("a.rs", concat!("#![", "allow(dead_code)]"), Some(BARE_ALLOW)),
            ("a.rs", concat!("#[cfg_", "attr(windows, allow(dead_code))]"), Some(BARE_ALLOW)),
            ("a.rs", concat!("    // never #[", "allow(dead_code)]"), None),
            ("a.rs", "#[expect(dead_code, reason = \"…\")]", None),
            ("a.md", concat!("#[", "ignore]"), None),
        ] {
            let expected = message.map(|message| format!("{path}:2: {message}"));
            assert!(
                text_findings(path, &format!("first\n{line}\n")).iter().eq(expected.iter()),
                "{path}: {line}"
            );
        }
    }

    #[test]
    fn only_rust_files_have_a_maximum_length() {
        let text = "line\n".repeat(MAX_RUST_LINES);
        assert!(text_findings("a.rs", &text).is_empty());
        let longer = text + "line\n";
        assert_eq!(
            text_findings("a.rs", &longer),
            ["a.rs:401: more than 400 lines: split the file"]
        );
        assert!(text_findings("a.md", &longer).is_empty());
    }
}
