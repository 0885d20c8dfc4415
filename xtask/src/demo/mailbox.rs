//! Reads the mails as a customer would: the code and the link stand in the text.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mail_parser::MessageParser;

/// What a customer finds in a mail.
pub(super) struct Mail {
    pub(super) code: String,
    pub(super) link: String,
}

/// Waits until `count` mails have come to this address; the newest.
pub(super) fn wait_for(mailbox: &Path, to: &str, count: usize) -> Result<Mail> {
    wait(|| {
        let mut mails = read(mailbox, to)?;
        Ok(if mails.len() < count { None } else { mails.pop() })
    })
}

/// Waits for the mail that brings this code.
pub(super) fn wait_for_code(mailbox: &Path, to: &str, code: &str) -> Result<Mail> {
    wait(|| Ok(read(mailbox, to)?.into_iter().find(|mail| mail.code == code)))
}

fn wait(look: impl Fn() -> Result<Option<Mail>>) -> Result<Mail> {
    for _ in 0..200 {
        if let Some(mail) = look()? {
            return Ok(mail);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("no mail came within ten seconds")
}

fn read(mailbox: &Path, to: &str) -> Result<Vec<Mail>> {
    let folder = std::fs::read_dir(mailbox).context("there is no mailbox folder")?;
    let mut files: Vec<_> = folder.filter_map(|file| Some(file.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    let mut mails = Vec::new();
    for file in files {
        let raw = std::fs::read(&file)?;
        let mail = MessageParser::default()
            .parse(&raw)
            .with_context(|| format!("{} is no mail", file.display()))?;
        let theirs =
            mail.to().and_then(|list| list.first()?.address().map(|address| address == to));
        if theirs == Some(true) {
            let text = mail.body_text(0).context("a mail without text")?;
            mails.push(Mail {
                code: line(&text, is_code)?,
                link: line(&text, |line| line.starts_with("http"))?,
            });
        }
    }
    Ok(mails)
}

fn line(text: &str, wanted: fn(&str) -> bool) -> Result<String> {
    let found = text.lines().map(str::trim).find(|line| wanted(line));
    found.map(str::to_owned).with_context(|| format!("not in the mail:\n{text}"))
}

/// `XXXX-XXXX-XXXX`
fn is_code(line: &str) -> bool {
    let groups: Vec<&str> = line.split('-').collect();
    let is_group = |group: &&str| {
        group.len() == 4 && group.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    groups.len() == 3 && groups.iter().all(is_group)
}
