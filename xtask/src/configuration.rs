//! `cargo xtask configuration`: writes docs/configuration.md.
//!
//! The test that compares the page with the configuration's types also writes it. That way xtask
//! does not depend on the whole service, and still builds quickly.

use anyhow::Result;

use crate::run;

/// Writes the page.
///
/// # Errors
/// If the test that writes it fails.
pub(crate) fn run() -> Result<()> {
    let mut test = run::command(
        "cargo",
        &["test", "--package=registry-wiring", "--lib", "configuration_page_is_current"],
    );
    run::run(test.env("UPDATE_DOCS", "1"))
}
