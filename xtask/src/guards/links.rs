//! Internal links of the Markdown pages: the file and the heading that they name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::contract::File;

/// Returns the links that lead nowhere. `paths` are all files of the repository, `files` those that
/// are text.
pub(super) fn findings(paths: &BTreeSet<&str>, files: &[File<'_>]) -> Vec<String> {
    let pages: BTreeMap<&str, &str> =
        files.iter().filter(|(path, _)| is_page(path)).copied().collect();
    let mut findings = Vec::new();
    for (path, text) in &pages {
        for (line, target) in links(text) {
            if let Some(problem) = problem(path, &target, paths, &pages) {
                findings.push(format!("{path}:{line}: the link to {target} {problem}"));
            }
        }
    }
    findings
}

fn is_page(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "md")
}

fn problem(
    from: &str,
    target: &str,
    paths: &BTreeSet<&str>,
    pages: &BTreeMap<&str, &str>,
) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { from.to_owned() } else { resolve(from, file)? };
    let folder = format!("{path}/");
    let exists = paths.contains(path.as_str()) || paths.iter().any(|it| it.starts_with(&folder));
    if !exists {
        return Some("leads to no file");
    }
    let has_anchor =
        |text: &&str| anchor.is_empty() || anchors(text).iter().any(|known| known == anchor);
    match pages.get(path.as_str()) {
        Some(text) if !has_anchor(text) => Some("leads to no heading"),
        Some(_) | None => None,
    }
}

/// Resolves a path relative to the file `from`. `None` if it leads out of the repository.
fn resolve(from: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for component in Path::new(relative).components() {
        match component {
            Component::ParentDir => drop(parts.pop()?),
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Returns the lines of a page outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the targets of the links of a page, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
    }
    found
}

/// Removes code spans from a line, since brackets in them are not links.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Returns the anchors of the headings, as GitHub makes them: lower case, dashes for spaces, no
/// other punctuation, and a number for a repeated heading.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ') else { continue };
        if !line.starts_with('#') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let earlier = anchors.iter().filter(|known| is_numbered(known, &slug)).count();
        anchors.push(if earlier == 0 { slug } else { format!("{slug}-{earlier}") });
    }
    anchors
}

fn is_numbered(anchor: &str, slug: &str) -> bool {
    anchor.strip_prefix(slug).is_some_and(|rest| {
        let number = rest.strip_prefix('-').unwrap_or("1");
        rest.is_empty() || (!number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_link_is_found() {
        let page = "# A page\n\n## What is `stored`, and why\n\n## Twice\n\n## Twice\n";
        for (link, expected) in [
            ("b.md", None),
            ("./b.md#a-page", None),
            ("b.md#what-is-stored-and-why", None),
            ("b.md#twice-1", None),
            ("#here", None),
            ("../src/x.rs", None),
            ("../src", None),
            ("https://elsewhere.example/#x", None),
            ("c.md", Some("leads to no file")),
            ("b.md#twice-2", Some("leads to no heading")),
            ("#there", Some("leads to no heading")),
        ] {
            let from = format!("# Here\n\nSee [this]({link}).\n");
            let paths = BTreeSet::from(["docs/a.md", "docs/b.md", "src/x.rs"]);
            let found = findings(&paths, &[("docs/a.md", &from), ("docs/b.md", page)]);
            let expected =
                expected.map(|problem| format!("docs/a.md:3: the link to {link} {problem}"));
            assert!(found.iter().eq(expected.iter()), "{link}: {found:?}");
        }
    }

    #[test]
    fn code_has_no_links() {
        let text = "```\n[x](nowhere)\n# no heading\n```\n`[x](nowhere)` [y](#a)\n";
        assert_eq!(links(text), [(5, "#a".to_owned())]);
        assert!(anchors(text).is_empty());
    }
}
