//! Each numbered rule of the wire contract is cited by a test, and each cited rule exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The page with the rules.
pub(super) const CONTRACT: &str = "docs/wire-contract.md";

/// A file of the repository: path and text.
pub(super) type File<'a> = (&'a str, &'a str);

/// Returns the rules that no test cites, and the citations of rules that do not exist.
pub(super) fn findings(contract: &str, files: &[File<'_>]) -> Vec<String> {
    let (defined, mut findings) = defined(contract);
    let mut cited = BTreeSet::new();
    for (path, text) in files.iter().filter(|(path, _)| is_code(path)) {
        let tests_from = first_line_of_tests(path, text);
        for (line, rule) in citations(text) {
            if !defined.contains_key(rule) {
                findings.push(format!("{path}:{line}: {rule} is not a rule of {CONTRACT}"));
            } else if tests_from.is_some_and(|first| line >= first) {
                cited.insert(rule);
            }
        }
    }
    let not_cited = defined.iter().filter(|(rule, _)| !cited.contains(*rule));
    findings
        .extend(not_cited.map(|(rule, line)| format!("{CONTRACT}:{line}: no test cites {rule}")));
    findings
}

/// Returns the rules with the lines of their definitions, and the rules that are defined twice.
fn defined(contract: &str) -> (BTreeMap<&str, usize>, Vec<String>) {
    let (mut defined, mut findings) = (BTreeMap::new(), Vec::new());
    for (line, rule) in citations(contract) {
        let is_definition = contract
            .lines()
            .nth(line - 1)
            .is_some_and(|text| text.contains(&format!("**{rule}.**")));
        if is_definition && defined.insert(rule, line).is_some_and(|first| first != line) {
            findings.push(format!("{CONTRACT}:{line}: {rule} is defined twice"));
        }
    }
    (defined, findings)
}

fn is_code(path: &str) -> bool {
    let extension = Path::new(path).extension();
    extension.is_some_and(|extension| extension == "rs" || extension == "mjs")
}

/// Returns the line on which the tests of a file begin: the first line of a test file, the line of
/// `#[cfg(test)]` in other files.
fn first_line_of_tests(path: &str, text: &str) -> Option<usize> {
    if path.contains("/tests/") || path.contains("/conformance/") {
        return Some(1);
    }
    let at = text.lines().position(|line| line.trim_start().starts_with("#[cfg(test)]"))?;
    Some(at + 1)
}

/// Returns each mention of a rule, with its line: `R-`, an area in lower case, and a number.
fn citations(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).flat_map(|(number, line)| {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.filter(|word| is_rule(word)).map(move |word| (number, word))
    })
}

fn is_rule(word: &str) -> bool {
    let Some((area, number)) = word.strip_prefix("R-").and_then(|rest| rest.rsplit_once('-'))
    else {
        return false;
    };
    let is_area = area.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    is_area && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    // `concat!` keeps the guard from finding these numbers in this file.
    const ONE: &str = concat!("R", "-made-up-1");
    const TWO: &str = concat!("R", "-made-up-2");

    fn contract() -> String {
        format!("# Rules\n\n- **{ONE}.** A rule.\n- **{TWO}.** Another, see {ONE}.\n")
    }

    #[test]
    fn rule_without_a_test_is_found() {
        let only_one = format!("/// {ONE}.\n#[test]\n");
        let contract = contract();
        let expected = [format!("{CONTRACT}:4: no test cites {TWO}")];
        assert_eq!(findings(&contract, &[("a/tests/x.rs", &only_one)]), expected);
    }

    #[test]
    fn citation_counts_in_tests_only() {
        let contract = contract();
        let both = format!("// {ONE}, {TWO}");
        for (path, text, expected) in [
            ("a/tests/x.rs", both.clone(), 0),
            ("a/tests/browser/x.mjs", both.clone(), 0),
            ("a/src/conformance/x.rs", both.clone(), 0),
            ("a/src/x.rs", format!("#[cfg(test)]\nmod tests {{\n    {both}\n}}"), 0),
            ("a/src/x.rs", format!("{both}\n#[cfg(test)]\n"), 2),
            ("a/src/x.rs", both.clone(), 2),
            ("docs/x.md", both, 2),
        ] {
            assert_eq!(findings(&contract, &[(path, &text)]).len(), expected, "{path}: {text}");
        }
    }

    #[test]
    fn unknown_rule_is_found() {
        let text = format!("// {ONE} {TWO}\n// {}\n", concat!("R", "-made-up-3"));
        let contract = contract();
        let found = findings(&contract, &[("a/tests/x.rs", &text)]);
        assert_eq!(found, [format!("a/tests/x.rs:2: {}3 is not a rule of {CONTRACT}", &ONE[..10])]);
    }

    #[test]
    fn rule_defined_twice_is_found() {
        let contract = format!("- **{ONE}.** A.\n- **{ONE}.** B.\n");
        let cited = format!("// {ONE}");
        let found = findings(&contract, &[("a/tests/x.rs", &cited)]);
        assert_eq!(found, [format!("{CONTRACT}:2: {ONE} is defined twice")]);
    }
}
