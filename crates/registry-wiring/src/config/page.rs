//! `docs/configuration.md`, written from the description of the configuration.

use super::Config;
use super::schema::{Entry, Value};

const INTRODUCTION: &str = "\
# Configuration

This page is generated from the code: `cargo xtask configuration` writes it, and a test compares it.

registryd and registryctl read one TOML file, which `--config` or `REGISTRY_CONFIG` names. Each key
is also an environment variable: `a.b` is `REGISTRY_A_B`. The environment takes precedence over the
file, and `--data` and `--listen` take precedence over both. Write numbers, booleans, lists and
tables in the environment as TOML values: `REGISTRY_HTTP_TRUSTED_PROXIES='[\"10.0.0.0/8\"]'`. An
empty variable counts as not set.

An unknown key in the file is an error, and so is the old name of a renamed key. An unknown variable
that begins with `REGISTRY_` is a warning.

`registryd check` stops at a file that it cannot read; otherwise it prints every setting with its
origin and lists the invalid values; if all are valid, it also checks the files that the settings
name. It changes nothing.

A duration is written as `7d`, `10m` or `1h 30m`. A key without a default is unset, unless its text
says that it is required.

An example: [fleet.toml](examples/fleet.toml).
";

/// The page.
#[must_use]
pub fn page() -> String {
    let lines = Config::default().entries().into_iter().map(|entry| match &entry.value {
        None => heading(&entry),
        Some(value) => row(&entry, value),
    });
    [INTRODUCTION.to_owned()].into_iter().chain(lines).collect()
}

fn heading(entry: &Entry) -> String {
    let title = match entry.path.as_str() {
        "" => "## Top level".to_owned(),
        path => format!("## `[{path}]`\n\n{}", flowed(&entry.doc)),
    };
    format!("\n{title}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n")
}

fn row(entry: &Entry, value: &Value) -> String {
    let default = value.shown.as_ref().map(|shown| format!("`{shown}`")).unwrap_or_default();
    let (path, kind, doc) = (&entry.path, value.type_name, flowed(&entry.doc));
    format!("| `{path}` | {kind} | {default} | {doc} |\n")
}

/// The documentation as one paragraph.
fn flowed(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_DOCS=1` writes the page.
    #[test]
    fn configuration_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(written == page(), "docs/configuration.md is old: run `cargo xtask configuration`");
    }

    #[test]
    fn every_key_has_documentation_of_its_own() {
        for entry in Config::default().entries() {
            assert!(entry.doc.trim_end().ends_with('.'), "{}: {:?}", entry.path, entry.doc);
        }
    }
}
