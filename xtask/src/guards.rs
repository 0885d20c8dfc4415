//! The guards of `cargo xtask ci`: mistakes in the repository that no compiler finds.

mod contract;
mod links;
mod rules;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::run;

/// Checks every file that is committed or could be, and prints each finding as `path:line:
/// message`.
///
/// # Errors
/// If there is a finding.
pub(crate) fn run() -> Result<()> {
    let listed = run::output(&mut run::command(
        "git",
        &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    ))?;
    let mut paths: BTreeSet<&str> = listed.split_terminator('\0').collect();
    // A deleted file may still be in the index. A link or a submodule is not a file of ours.
    paths.retain(|path| {
        fs::symlink_metadata(run::root().join(path)).is_ok_and(|metadata| metadata.is_file())
    });
    let mut texts = Vec::new();
    for path in &paths {
        let file = run::root().join(path);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        texts.extend(String::from_utf8(bytes).ok().map(|text| (*path, text)));
    }
    let files: Vec<_> = texts.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let contract = files.iter().find(|(path, _)| *path == contract::CONTRACT);
    let (_, contract) = contract.context("the wire contract is missing")?;
    let mut findings: Vec<String> =
        paths.iter().filter_map(|path| rules::name_finding(path)).collect();
    findings.extend(files.iter().flat_map(|(path, text)| rules::text_findings(path, text)));
    findings.extend(contract::findings(contract, &files));
    findings.extend(links::findings(&paths, &files));
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "the guards found {} problems", findings.len());
    println!("{} files checked, no problems found", paths.len());
    Ok(())
}
