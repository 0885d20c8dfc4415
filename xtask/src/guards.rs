//! The guards of `cargo xtask ci`: what must not be in the repository, and no compiler would
//! notice.

mod rules;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::run;

/// Looks at every file that is committed or could be, and prints each finding as `path:line:
/// message`.
///
/// # Errors
/// Where there is a finding.
pub(crate) fn run() -> Result<()> {
    let listed = run::output(&mut run::command(
        "git",
        &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    ))?;
    let paths: BTreeSet<&str> = listed.split_terminator('\0').collect();
    let mut findings = Vec::new();
    for path in &paths {
        findings.extend(look_at(path)?);
    }
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "findings of the guards: {}", findings.len());
    println!("{} files, nothing found", paths.len());
    Ok(())
}

fn look_at(path: &str) -> Result<Vec<String>> {
    let file = run::root().join(path);
    // A file that was deleted but is still in the index, a link, a submodule.
    if !fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(Vec::new());
    }
    let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
    let mut findings: Vec<String> = rules::name_finding(path).into_iter().collect();
    if let Ok(text) = str::from_utf8(&bytes) {
        findings.extend(rules::text_findings(path, text));
    }
    Ok(findings)
}
