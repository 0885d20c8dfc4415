//! Confirmation of commands that take something away: suspend, cancel, revoke, yank, rollback,
//! discard and retire.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use clap::Args;
use terminal_text::printable;

// No doc comment: clap would show it as the help of every command that flattens this.
#[derive(Args, Clone, Copy)]
pub(crate) struct Confirmation {
    /// Skips the confirmation question. Default: the command asks on a terminal, and fails without
    /// one.
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Asks the question on a terminal. Without a terminal, `--yes` is required.
    pub(crate) fn ask(self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            bail!("nothing was changed: confirm with --yes, since there is no terminal to ask on");
        }
        let answer = answer(&format!("{question} [y/N] "))?;
        if !matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            bail!("nothing was changed: the question was not answered with `y`");
        }
        Ok(())
    }
}

/// Asks a question on the terminal, and returns the answer.
pub(crate) fn answer(question: &str) -> anyhow::Result<String> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{}", printable(question))
        .and_then(|()| stderr.flush())
        .context("the question cannot be printed")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(answer)
}
