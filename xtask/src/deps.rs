//! `cargo xtask deps`: checks that dependencies between our crates point down.
//!
//! The table below is the architecture in a form that a command can check. Development dependencies
//! are not checked: a test may use crates that the tested crate may not use.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::run;

/// Crates of the workspace from the top layer down, each with the workspace crates that it may
/// depend on.
///
/// No crate may depend on `registry-testkit`, which is for tests only. The testkit depends on the
/// real signer and the real vault, so no test needs a fake of them.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("registryd", &["registry-wiring", "registry-http", CORE, "terminal-text"]),
    ("registryctl", &["registry-wiring", "appliance-license", CORE, "terminal-text"]),
    (
        "appliance-setup",
        &["appliance-install", "appliance-bootstrap", "appliance-license", "terminal-text"],
    ),
    (
        "registry-wiring",
        &[
            "registry-store-postgres",
            "registry-store-sqlite",
            "registry-store-sql",
            "registry-vault",
            "registry-blob-s3",
            "registry-blob-local",
            "registry-mail-smtp",
            "registry-license",
            "private-files",
            CORE,
        ],
    ),
    ("appliance-install", &["registry-api", "appliance-license", "private-files"]),
    ("appliance-bootstrap", &["appliance-license"]),
    ("registry-http", &[CORE, "registry-api"]),
    ("registry-testkit", &[CORE, "registry-license", "registry-vault"]),
    ("registry-store-postgres", &["registry-store-sql", CORE]),
    ("registry-store-sqlite", &["registry-store-sql", CORE]),
    ("registry-store-sql", &[CORE]),
    ("registry-vault", &[CORE]),
    ("registry-blob-s3", &[CORE]),
    ("registry-blob-local", &[CORE]),
    ("registry-mail-smtp", &[CORE]),
    ("registry-license", &[CORE]),
    (CORE, &[]),
    ("registry-api", &[]),
    ("appliance-license", &[]),
    ("private-files", &[]),
    ("terminal-text", &[]),
    ("xtask", &["throwaway-postgres"]),
    ("throwaway-postgres", &[]),
    ("throwaway-servers", &[]),
];

const CORE: &str = "registry-core";

/// Crates that core must not use, since core does no I/O and takes randomness from a port.
const FORBIDDEN_IN_CORE: &[&str] =
    &["axum", "diesel", "getrandom", "hyper", "rand", "reqwest", "tokio"];

/// Prints the dependencies between our crates, and checks them.
///
/// # Errors
/// If the table does not allow a dependency. The error names all such dependencies.
pub(crate) fn run() -> Result<()> {
    let metadata = run::output(&mut run::command(
        "cargo",
        &["metadata", "--no-deps", "--format-version", "1"],
    ))?;
    let mut packages = parse(&metadata)?;
    packages.sort_by_key(|package| {
        ALLOWED_DEPENDENCIES
            .iter()
            .position(|(name, _)| *name == package.name)
            .unwrap_or(usize::MAX)
    });
    println!("{}", diagram(&packages).join("\n"));
    let violations = violations(&packages);
    ensure!(violations.is_empty(), "dependencies that are not allowed:\n{}", violations.join("\n"));
    Ok(())
}

/// A crate of the workspace with its dependencies, from the workspace or not.
struct Package {
    name: String,
    dependencies: BTreeSet<String>,
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
    let dependencies =
        dependencies.iter().filter(|dependency| dependency["kind"] != "dev").map(parse_name);
    Ok(Package { name, dependencies: dependencies.collect::<Result<_>>()? })
}

fn parse_name(item: &Value) -> Result<String> {
    item["name"].as_str().map(str::to_owned).context("a package or dependency has no name")
}

/// Returns one line for each crate, with its dependencies on other crates of the workspace.
fn diagram(packages: &[Package]) -> Vec<String> {
    let workspace = names(packages);
    let width = workspace.iter().map(|name| name.len()).max().unwrap_or(0);
    let line = |package: &Package| {
        let dependencies = package.dependencies.iter().map(String::as_str);
        let targets: Vec<_> = dependencies.filter(|name| workspace.contains(name)).collect();
        let targets = if targets.is_empty() { "–".to_owned() } else { targets.join(", ") };
        format!("{:width$} → {targets}", package.name)
    };
    packages.iter().map(line).collect()
}

fn violations(packages: &[Package]) -> Vec<String> {
    let workspace = names(packages);
    let mut violations = Vec::new();
    for Package { name, dependencies } in packages {
        let row = ALLOWED_DEPENDENCIES.iter().find(|(listed, _)| listed == name);
        let Some((_, allowed)) = row else {
            violations.push(format!(
                "`{name}` is missing in the table of xtask/src/deps.rs: add it, in its layer"
            ));
            continue;
        };
        for dependency in dependencies.iter().map(String::as_str) {
            if workspace.contains(dependency) && !allowed.contains(&dependency) {
                violations.push(format!("`{name}` must not depend on `{dependency}`"));
            }
            if name == CORE && FORBIDDEN_IN_CORE.contains(&dependency) {
                violations.push(format!(
                    "`{name}` must not depend on `{dependency}`: core does no I/O, and takes \
                     randomness from a port"
                ));
            }
        }
    }
    violations
}

fn names(packages: &[Package]) -> BTreeSet<&str> {
    packages.iter().map(|package| package.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn allowed_dependencies_point_down() {
        let layer =
            |name: &str| ALLOWED_DEPENDENCIES.iter().position(|(listed, _)| *listed == name);
        for (name, allowed) in ALLOWED_DEPENDENCIES {
            for target in *allowed {
                assert!(layer(target) > layer(name), "{name} → {target}");
                assert_ne!(*target, "registry-testkit", "{name}");
            }
        }
    }

    #[test]
    fn only_development_dependencies_are_ignored() {
        let metadata = json!({ "packages": [{ "name": "registry-vault", "dependencies": [
            { "name": "registry-core", "kind": null },
            { "name": "registry-api", "kind": "build" },
            { "name": "registry-testkit", "kind": "dev" },
        ] }] });
        let packages = parse(&metadata.to_string()).unwrap();
        assert_eq!(packages[0].name, "registry-vault");
        assert!(packages[0].dependencies.iter().eq(["registry-api", "registry-core"]));
    }

    #[test]
    fn forbidden_dependency_is_named() {
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
        for (dependencies, expected) in cases {
            let others =
                [CORE, "registry-vault", "registry-testkit"].map(|name| package(name, &[]));
            let packages: Vec<_> =
                others.into_iter().chain([package("registry-license", dependencies)]).collect();
            assert!(violations(&packages).iter().eq(*expected), "{dependencies:?}");
        }
    }

    #[test]
    fn runtime_in_core_is_found() {
        assert_eq!(
            violations(&[package(CORE, &["serde", "tokio"])]),
            ["`registry-core` must not depend on `tokio`: core does no I/O, and takes \
                 randomness from a port"]
        );
    }

    #[test]
    fn unknown_crate_is_found() {
        assert_eq!(
            violations(&[package("registry-new", &[])]),
            ["`registry-new` is missing in the table of xtask/src/deps.rs: add it, in its layer"]
        );
    }

    #[test]
    fn diagram_has_a_line_per_crate() {
        let http = package("registry-http", &["axum", "registry-api", CORE]);
        assert_eq!(
            diagram(&[http, package(CORE, &["serde"]), package("registry-api", &[])]),
            [
                "registry-http → registry-api, registry-core",
                "registry-core → –",
                "registry-api  → –"
            ]
        );
    }
}
