//! Reads mails as a customer does: the code and the link are in the text.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mail_parser::MessageParser;

/// The parts of a mail that a customer needs.
pub(super) struct Mail {
    pub(super) code: String,
    pub(super) link: String,
}

/// Waits until `count` mails to this address have arrived, and returns the newest.
pub(super) fn wait_for(mailbox: &Path, to: &str, count: usize) -> Result<Mail> {
    wait(|| {
        let mut mails = read(mailbox, to)?;
        Ok(if mails.len() < count { None } else { mails.pop() })
    })
}

/// Waits for the mail with this code.
pub(super) fn wait_for_code(mailbox: &Path, to: &str, code: &str) -> Result<Mail> {
    wait(|| Ok(read(mailbox, to)?.into_iter().find(|mail| mail.code == code)))
}

fn wait(find: impl Fn() -> Result<Option<Mail>>) -> Result<Mail> {
    for _ in 0..200 {
        if let Some(mail) = find()? {
            return Ok(mail);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("no mail arrived within ten seconds")
}

fn read(mailbox: &Path, to: &str) -> Result<Vec<Mail>> {
    let folder = std::fs::read_dir(mailbox).context("the mailbox folder does not exist")?;
    let mut files: Vec<_> = folder.filter_map(|file| Some(file.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    let mut mails = Vec::new();
    for file in files {
        let raw = std::fs::read(&file)?;
        let mail = MessageParser::default()
            .parse(&raw)
            .with_context(|| format!("{} is not a mail", file.display()))?;
        let is_recipient =
            mail.to().and_then(|list| list.first()?.address().map(|address| address == to));
        if is_recipient == Some(true) {
            let text = mail.body_text(0).context("the mail has no text")?;
            mails.push(Mail {
                code: find_line(&text, is_code)?,
                link: find_line(&text, |line| line.starts_with("http"))?,
            });
        }
    }
    Ok(mails)
}

fn find_line(text: &str, is_wanted: fn(&str) -> bool) -> Result<String> {
    let found = text.lines().map(str::trim).find(|line| is_wanted(line));
    found.map(str::to_owned).with_context(|| format!("the mail has no code or no link:\n{text}"))
}

/// True for `XXXX-XXXX-XXXX`.
fn is_code(line: &str) -> bool {
    let groups: Vec<&str> = line.split('-').collect();
    let is_group = |group: &&str| {
        group.len() == 4 && group.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    groups.len() == 3 && groups.iter().all(is_group)
}
