//! Asking before something is done that cannot be taken back, or that customers notice.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use clap::Args;

#[derive(Args, Clone, Copy)]
pub(crate) struct Confirmation {
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Asks, on a terminal; elsewhere it takes `--yes`.
    pub(crate) fn ask(self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            bail!("this needs a yes: say --yes where nobody can be asked");
        }
        let mut error = std::io::stderr().lock();
        write!(error, "{question} [y/N] ")
            .and_then(|()| error.flush())
            .context("nobody can be asked")?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context("nobody answered")?;
        if !matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            bail!("nothing was done");
        }
        Ok(())
    }
}
