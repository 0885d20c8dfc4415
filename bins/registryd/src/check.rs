//! `registryd check`: stops at a file that it cannot read; otherwise prints every setting with its
//! origin and lists the invalid values; if all are valid, also checks the files that the settings
//! name. Changes nothing.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use registry_wiring::config::{Loaded, Origin};
use registry_wiring::{Config, check};
use terminal_text::printable;

use crate::{Options, logging, serve};

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let Options { data, listen, config } = options;
    let loaded = Loaded::read_over(config.as_deref(), data, listen)?;
    let mut problems = loaded.problems();
    if problems.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("the async runtime cannot be started")?;
        problems = runtime.block_on(async { deeper_problems(&loaded.config) });
    }
    let mut output = std::io::stdout().lock();
    output.write_all(settings(&loaded).as_bytes()).context("standard output is closed")?;
    for name in serve::unknown_variables() {
        let name = printable(&name);
        writeln!(output, "warning: {name} is in the environment, and is not a key")?;
    }
    if problems.is_empty() {
        writeln!(
            output,
            "The configuration is valid. Database, mail server and bucket were not contacted."
        )?;
        return Ok(());
    }
    bail!("the configuration cannot be used:\n{}", problems.join("\n"))
}

/// Problems that only show if all values are valid by themselves: files, templates, branding.
fn deeper_problems(config: &Config) -> Vec<String> {
    let public_url = config.public_url.clone();
    let public_url = public_url.unwrap_or_else(|| format!("http://{}", config.listen));
    let mut problems = check(config, &public_url);
    let results = [
        logging::filter(&config.log).map(drop),
        serve::http_settings(config).map(drop),
        serve::web_pages(config, &public_url).map(drop),
    ];
    problems.extend(results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")));
    problems.dedup();
    problems
}

/// Every setting, one a line: `codes.length = 8   # registry.toml:7`.
fn settings(loaded: &Loaded) -> String {
    let keys =
        loaded.config.entries().into_iter().filter_map(|entry| Some((entry.path, entry.value?)));
    let lines = keys.map(|(path, value)| {
        let shown = value.shown.unwrap_or_else(|| "(not set)".to_owned());
        let line = format!("{path} = {}", printable(&shown));
        match loaded.origin(&path) {
            Origin::Default => format!("{line}\n"),
            origin => format!("{line:<58} # {}\n", printable(&origin.to_string())),
        }
    });
    lines.collect()
}
