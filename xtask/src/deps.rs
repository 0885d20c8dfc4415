//! `cargo xtask deps`: the arrows between our crates point down.
//!
//! The table below is the architecture, as a command can check it. Development dependencies are
//! left aside: a test may use what its crate may not.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::run;

/// Every crate of the workspace, and which of ours it may depend on; from the top floor down.
///
/// `registry-testkit` stands on no right side: it is for tests only. It has a real signer and a
/// real vault, so that no test signs or seals with a make-believe one.
const ARROWS: &[(&str, &[&str])] = &[
    ("registryd", &["registry-wiring", "registry-http", CORE]),
    ("registryctl", &["registry-wiring", "appliance-license", CORE]),
    ("appliance-setup", &["appliance-install", "appliance-bootstrap", "appliance-license"]),
    (
        "registry-wiring",
        &[
            "registry-store-postgres",
            "registry-store-sqlite",
            "registry-vault",
            "registry-blob-s3",
            "registry-blob-local",
            "registry-mail-smtp",
            "registry-license",
            CORE,
        ],
    ),
    ("appliance-install", &["registry-api", "appliance-license"]),
    ("appliance-bootstrap", &["appliance-license"]),
    ("registry-http", &[CORE, "registry-api"]),
    ("registry-testkit", &[CORE, "registry-license", "registry-vault"]),
    ("registry-store-postgres", &[CORE]),
    ("registry-store-sqlite", &[CORE]),
    ("registry-vault", &[CORE]),
    ("registry-blob-s3", &[CORE]),
    ("registry-blob-local", &[CORE]),
    ("registry-mail-smtp", &[CORE]),
    ("registry-license", &[CORE]),
    (CORE, &[]),
    ("registry-api", &[]),
    ("appliance-license", &[]),
    ("xtask", &["throwaway-postgres"]),
    ("throwaway-postgres", &[]),
    ("throwaway-servers", &[]),
];

const CORE: &str = "registry-core";

/// Core has no I/O and no randomness of its own, so it has no use for these.
const NOT_IN_CORE: &[&str] = &["axum", "diesel", "getrandom", "hyper", "rand", "reqwest", "tokio"];

/// Prints the arrows.
///
/// # Errors
/// Where the table does not allow one: names them all.
pub(crate) fn run() -> Result<()> {
    let metadata = run::output(&mut run::command(
        "cargo",
        &["metadata", "--no-deps", "--format-version", "1"],
    ))?;
    let mut packages = parse(&metadata)?;
    packages.sort_by_key(|package| {
        ARROWS.iter().position(|(name, _)| *name == package.name).unwrap_or(usize::MAX)
    });
    println!("{}", picture(&packages).join("\n"));
    let violations = violations(&packages);
    ensure!(violations.is_empty(), "arrows that must not be:\n{}", violations.join("\n"));
    Ok(())
}

/// A crate of the workspace, with all that it depends on, ours or not.
struct Package {
    name: String,
    needs: BTreeSet<String>,
}

fn parse(metadata: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    packages.iter().map(parse_package).collect()
}

fn parse_package(package: &Value) -> Result<Package> {
    let name = parse_name(package)?;
    let dependencies =
        package["dependencies"].as_array().context("a package lists no dependencies")?;
    let needs =
        dependencies.iter().filter(|dependency| dependency["kind"] != "dev").map(parse_name);
    Ok(Package { name, needs: needs.collect::<Result<_>>()? })
}

fn parse_name(named: &Value) -> Result<String> {
    named["name"].as_str().map(str::to_owned).context("a package or dependency has no name")
}

/// One line a crate, with its arrows to others of ours.
fn picture(packages: &[Package]) -> Vec<String> {
    let ours = names(packages);
    let width = ours.iter().map(|name| name.len()).max().unwrap_or(0);
    let line = |package: &Package| {
        let arrows: Vec<_> =
            package.needs.iter().map(String::as_str).filter(|need| ours.contains(need)).collect();
        let arrows = if arrows.is_empty() { "–".to_owned() } else { arrows.join(", ") };
        format!("{:width$} → {arrows}", package.name)
    };
    packages.iter().map(line).collect()
}

fn violations(packages: &[Package]) -> Vec<String> {
    let ours = names(packages);
    let mut found = Vec::new();
    for Package { name, needs } in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(listed, _)| listed == name) else {
            found.push(format!(
                "`{name}` is not in the table of xtask/src/deps.rs: add it, on its floor"
            ));
            continue;
        };
        for need in needs.iter().map(String::as_str) {
            if ours.contains(need) && !allowed.contains(&need) {
                found.push(format!("`{name}` must not depend on `{need}`"));
            }
            if name == CORE && NOT_IN_CORE.contains(&need) {
                found.push(format!(
                    "`{name}` must not depend on `{need}`: core has no I/O and no randomness of its own"
                ));
            }
        }
    }
    found
}

fn names(packages: &[Package]) -> BTreeSet<&str> {
    packages.iter().map(|package| package.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, needs: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        }
    }

    #[test]
    fn every_arrow_that_the_table_allows_points_down() {
        let floor = |name: &str| ARROWS.iter().position(|(listed, _)| *listed == name);
        for (name, allowed) in ARROWS {
            for target in *allowed {
                assert!(floor(target) > floor(name), "{name} → {target}");
                assert_ne!(*target, "registry-testkit", "{name}");
            }
        }
    }

    #[test]
    fn development_dependencies_are_left_aside_and_build_dependencies_are_not() {
        let metadata = json!({ "packages": [{ "name": "registry-vault", "dependencies": [
            { "name": "registry-core", "kind": null },
            { "name": "registry-api", "kind": "build" },
            { "name": "registry-testkit", "kind": "dev" },
        ] }] });
        let packages = parse(&metadata.to_string()).unwrap();
        assert_eq!(packages[0].name, "registry-vault");
        assert!(packages[0].needs.iter().eq(["registry-api", "registry-core"]));
    }

    #[test]
    fn every_arrow_that_is_not_allowed_is_named() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&[], None),
            (&[CORE, "tokio"], None),
            (
                &[CORE, "registry-vault"],
                Some("`registry-license` must not depend on `registry-vault`"),
            ),
            (
                &["registry-testkit"],
                Some("`registry-license` must not depend on `registry-testkit`"),
            ),
        ];
        for (needs, expected) in cases {
            let others =
                [CORE, "registry-vault", "registry-testkit"].map(|name| package(name, &[]));
            let packages: Vec<_> =
                others.into_iter().chain([package("registry-license", needs)]).collect();
            assert!(violations(&packages).iter().eq(*expected), "{needs:?}");
        }
    }

    #[test]
    fn core_takes_no_runtime_and_an_unknown_crate_is_refused() {
        let found = violations(&[package(CORE, &["serde", "tokio"]), package("registry-new", &[])]);
        assert_eq!(
            found,
            [
                "`registry-core` must not depend on `tokio`: core has no I/O and no randomness of its own",
                "`registry-new` is not in the table of xtask/src/deps.rs: add it, on its floor",
            ]
        );
    }

    #[test]
    fn the_picture_has_one_line_a_crate_with_its_arrows() {
        let http = package("registry-http", &["axum", "registry-api", CORE]);
        assert_eq!(
            picture(&[http, package(CORE, &["serde"]), package("registry-api", &[])]),
            [
                "registry-http → registry-api, registry-core",
                "registry-core → –",
                "registry-api  → –"
            ]
        );
    }
}
