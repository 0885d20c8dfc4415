//! Releases: publish an image (upload, check, sign, make it current), yank it, roll back.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::audit::{Action, Actor, AuditDetail};
use crate::blob::{BlobError, BlobKey, BlobUpload};
use crate::entropy;
use crate::refusal::Refusal;
use crate::registry::{ChangeContext, Error, Registry, refuse};
use crate::release::{Release, SignedManifest};
use crate::store::{Decision, ListedRelease, ReleaseFacts, Write};
use crate::text::{Channel, Version};

/// An image that is being uploaded. Nothing is published if the upload is dropped.
pub struct ReleaseUpload {
    actor: Actor,
    upload: Box<dyn BlobUpload>,
    hash: Sha256,
    release: Release,
}

impl ReleaseUpload {
    /// Appends a part of the image.
    pub async fn write(&mut self, part: &[u8]) -> Result<(), Error> {
        self.hash.update(part);
        self.release.size += part.len() as u64;
        Ok(self.upload.write(part).await?)
    }

    /// Aborts the upload and removes what was uploaded.
    pub async fn abort(self) -> Result<(), Error> {
        Ok(self.upload.abort().await?)
    }
}

/// A release to be published.
#[derive(Clone, Debug, Default)]
pub struct NewRelease {
    /// Version of the release.
    pub version: String,
    /// Channel; the channel offered to customers if `None`.
    pub channel: Option<String>,
    /// File name of the image, in storage and for downloads.
    pub file_name: String,
    /// Size of the image in bytes, if known beforehand.
    pub size: Option<u64>,
}

impl Registry {
    /// Starts the upload of an image. Nothing is visible before
    /// [`release_publish`](Self::release_publish).
    pub async fn release_begin(
        &self,
        new: NewRelease,
        actor: Actor,
    ) -> Result<ReleaseUpload, Error> {
        let version = Version::parse(&new.version)?;
        let channel = self.channel(new.channel.as_deref())?;
        check_plain("version", version.as_str())?;
        check_plain("channel", channel.as_str())?;
        let file_name = plain_name(&new.file_name);
        let mut change = self.change_context(actor.clone());
        let id = change.next_id();
        // Each upload has its own folder: publishing again never touches a file that existing links
        // point to.
        let key = BlobKey::parse(&format!("{}/{id}/{file_name}", plain_name(channel.as_str())));
        let key = key.ok_or(Refusal::Invalid {
            field: "file",
            problem: "has a name that cannot be stored".into(),
        })?;
        let listed = self.ports.store.release_list(Some(channel.clone())).await?;
        not_yanked(find(&listed, &version))?;
        let upload = self.ports.blobs.upload(&key, new.size).await?;
        let release = Release {
            id,
            channel,
            version,
            key,
            file_name,
            size: 0,
            sha256: String::new(),
            published_at: change.now,
            manifest: None,
            yanked_at: None,
        };
        Ok(ReleaseUpload { actor, upload, hash: Sha256::new(), release })
    }

    /// Makes the uploaded image visible, checks that it arrived complete, signs its manifest, and
    /// makes it the current release of its channel, in this order. Publishing the same content
    /// under the same version again is not an error.
    pub async fn release_publish(&self, upload: ReleaseUpload) -> Result<Release, Error> {
        let ReleaseUpload { actor, upload, hash, mut release } = upload;
        release.sha256 = entropy::hex(&hash.finalize());
        let key = release.key.clone();
        upload.finish().await?;
        let problem = match self.ports.blobs.size(&key).await {
            Ok(stored) if stored == release.size => None,
            Ok(stored) => {
                Some(BlobError::Unavailable(format!("{stored} of {} bytes arrived", release.size)))
            }
            Err(error) => Some(error),
        };
        if let Some(problem) = problem {
            // Report the first problem, not a failed deletion: a store that is down cannot delete
            // either.
            drop(self.ports.blobs.delete(&key).await);
            return Err(problem.into());
        }
        let text = release.manifest_text();
        let signature = self.ports.manifests.sign(text.as_bytes());
        release.manifest = Some(SignedManifest { text, signature });
        let listed = self.ports.store.release_list(Some(release.channel.clone())).await?;
        let is_repair = match find(&listed, &release.version) {
            Some(previous) => !self.is_whole(&previous.release).await.unwrap_or(true),
            None => false,
        };
        let result = self.publish(&actor, &release, is_repair).await;
        // Delete the file only if the release certainly does not use it. After any other error the
        // database may have committed the release.
        let is_unused = match &result {
            Ok(published) => published.key != key,
            Err(error) => matches!(error, Error::Refused(_)),
        };
        if is_unused {
            self.ports.blobs.delete(&key).await?;
        }
        result
    }

    async fn publish(
        &self,
        actor: &Actor,
        release: &Release,
        is_repair: bool,
    ) -> Result<Release, Error> {
        let channel = release.channel.clone();
        let (change, release) = (self.change_context(actor.clone()), release.clone());
        let decide = Arc::new(move |facts: &ReleaseFacts| {
            decide(change.clone(), &release, is_repair, facts)
        });
        self.ports.store.release_change(channel, decide).await?.into_result()
    }

    /// Returns the releases of a channel, or of all channels, newest first.
    pub async fn release_list(&self, channel: Option<&str>) -> Result<Vec<ListedRelease>, Error> {
        let channel = channel.map(Channel::parse).transpose()?;
        Ok(self.ports.store.release_list(channel).await?)
    }

    /// Returns the release with this version.
    pub async fn release_show(
        &self,
        version: &str,
        channel: Option<&str>,
    ) -> Result<ListedRelease, Error> {
        let version = Version::parse(version)?;
        let listed = self.ports.store.release_list(Some(self.channel(channel)?)).await?;
        Ok(find(&listed, &version).cloned().ok_or(Refusal::ReleaseNotFound)?)
    }

    /// Yanks a release: no new links to it are created, and existing links that the registry serves
    /// itself stop working. If the release is current, the newest earlier release becomes current,
    /// or else the oldest later one. Repeating the call changes nothing.
    pub async fn release_yank(
        &self,
        version: &str,
        channel: Option<&str>,
        actor: Actor,
    ) -> Result<Release, Error> {
        let (version, channel, change) =
            (Version::parse(version)?, self.channel(channel)?, self.change_context(actor));
        let decide =
            Arc::new(move |facts: &ReleaseFacts| decide_yank(change.clone(), &version, facts));
        self.ports.store.release_change(channel, decide).await?.into_result()
    }

    /// Makes another release the current one: the named version, or else the newest release that is
    /// older than the current one.
    pub async fn release_rollback(
        &self,
        version: Option<&str>,
        channel: Option<&str>,
        actor: Actor,
    ) -> Result<Release, Error> {
        let version = version.map(Version::parse).transpose()?;
        let (channel, change) = (self.channel(channel)?, self.change_context(actor));
        if let Some(version) = &version {
            let listed = self.ports.store.release_list(Some(channel.clone())).await?;
            let named = find(&listed, version).map(|it| &it.release);
            // If the blob store does not respond, the rollback still goes ahead. Otherwise
            // customers would stay on a bad image.
            if let Some(named) = named
                && !self.is_whole(named).await.unwrap_or(true)
            {
                return Err(BlobError::NotFound(named.key.clone()).into());
            }
        }
        let name = channel.clone();
        let decide = Arc::new(move |facts: &ReleaseFacts| {
            decide_rollback(change.clone(), version.as_ref(), &name, facts)
        });
        self.ports.store.release_change(channel, decide).await?.into_result()
    }

    /// Returns the public key that verifies manifests, in PEM.
    #[must_use]
    pub fn manifest_key_pem(&self) -> String {
        self.ports.manifests.public_key_pem()
    }

    fn channel(&self, named: Option<&str>) -> Result<Channel, Refusal> {
        named.map_or_else(|| Ok(self.settings.downloads.channel.clone()), Channel::parse)
    }
}

fn find<'a>(listed: &'a [ListedRelease], version: &Version) -> Option<&'a ListedRelease> {
    listed.iter().find(|it| it.release.version == *version)
}

fn not_yanked(listed: Option<&ListedRelease>) -> Result<(), Refusal> {
    match listed.map(|it| (&it.release, it.release.yanked_at)) {
        Some((release, Some(since))) => {
            Err(Refusal::ReleaseYanked { version: release.version.to_string(), since })
        }
        _ => Ok(()),
    }
}

/// Publishes a release. `is_repair` means that the file of an earlier publication is lost: the new
/// file replaces it. The new file also replaces an earlier publication that has no manifest.
fn decide(
    mut change: ChangeContext,
    release: &Release,
    is_repair: bool,
    facts: &ReleaseFacts,
) -> Decision<Release> {
    let existing = find(&facts.releases, &release.version);
    if let Err(refusal) = not_yanked(existing) {
        return refuse(refusal, None);
    }
    let existing = existing.map(|it| &it.release);
    let published = match existing {
        Some(existing) if existing.sha256 != release.sha256 => {
            return refuse(Refusal::ReleaseExists { version: release.version.to_string() }, None);
        }
        Some(existing) if is_repair || existing.manifest.is_none() => {
            &Release { id: existing.id, ..release.clone() }
        }
        Some(existing) => existing,
        None => release,
    };
    let mut writes = vec![
        Write::SetCurrent { channel: published.channel.clone(), release: Some(published.id) },
        Write::audit(change.audit(
            Action::ReleasePublished,
            None,
            AuditDetail::value(published.version.as_str()),
        )),
    ];
    if existing != Some(published) {
        writes.insert(0, Write::PutRelease(Box::new(published.clone())));
    }
    Decision::commit(writes, Ok(published.clone()))
}

fn decide_yank(
    mut change: ChangeContext,
    version: &Version,
    facts: &ReleaseFacts,
) -> Decision<Release> {
    let Some(listed) = find(&facts.releases, version) else {
        return refuse(Refusal::ReleaseNotFound, None);
    };
    if listed.release.yanked_at.is_some() {
        return Decision::commit(vec![], Ok(listed.release.clone()));
    }
    let yanked = Release { yanked_at: Some(change.now), ..listed.release.clone() };
    let mut writes = vec![Write::PutRelease(Box::new(yanked.clone()))];
    if listed.is_current {
        // Prefer earlier releases: a later one may be the release that was rolled back.
        let at = facts.releases.iter().position(|it| it.is_current).unwrap_or_default();
        let (later, previous) = facts.releases.split_at(at);
        let mut others = previous.iter().skip(1).chain(later.iter().rev()).map(|it| &it.release);
        let next = others.find(|it| it.yanked_at.is_none());
        writes.push(Write::SetCurrent {
            channel: yanked.channel.clone(),
            release: next.map(|it| it.id),
        });
    }
    writes.push(Write::audit(change.audit(
        Action::ReleaseYanked,
        None,
        AuditDetail::value(yanked.version.as_str()),
    )));
    Decision::commit(writes, Ok(yanked))
}

fn decide_rollback(
    mut change: ChangeContext,
    version: Option<&Version>,
    channel: &Channel,
    facts: &ReleaseFacts,
) -> Decision<Release> {
    let target = if let Some(version) = version {
        find(&facts.releases, version).ok_or(Refusal::ReleaseNotFound)
    } else {
        let older = facts.releases.iter().skip_while(|it| !it.is_current).skip(1);
        let mut older = older.filter(|it| it.release.yanked_at.is_none());
        older.next().ok_or_else(|| Refusal::NoEarlierRelease { channel: channel.to_string() })
    };
    let target = match target.and_then(|target| not_yanked(Some(target)).map(|()| target)) {
        Ok(target) => target,
        Err(refusal) => return refuse(refusal, None),
    };
    let release = target.release.clone();
    if target.is_current {
        return Decision::commit(vec![], Ok(release));
    }
    let writes = vec![
        Write::SetCurrent { channel: release.channel.clone(), release: Some(release.id) },
        Write::audit(change.audit(
            Action::ReleaseRolledBack,
            None,
            AuditDetail::value(release.version.as_str()),
        )),
    ];
    Decision::commit(writes, Ok(release))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+')
}

/// Refuses characters that could look different in mails, tables and links than they are.
fn check_plain(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_plain) {
        return Ok(());
    }
    let problem =
        "must be letters, digits, `.`, `_`, `-` and `+`, and begin with a letter or a digit"
            .to_owned();
    Err(Refusal::Invalid { field, problem })
}

/// Turns a file name into one that every file system, URL and header accepts unchanged.
fn plain_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let start = name.len().saturating_sub(128);
    // A leading dot hides a file, and a leading dash looks like an option of a command.
    let name = name[start..].trim_start_matches(['.', '-']);
    if name.is_empty() { "image".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{check_plain, plain_name};

    #[test]
    fn only_plain_versions_are_accepted() {
        for (text, is_valid) in [
            ("1.2.0", true),
            ("2026.11+build-7_rc1", true),
            ("v1", true),
            ("\u{202e}1", false),
            ("..", false),
            ("--", false),
            ("1/2", false),
            ("1 beta", false),
            ("", false),
        ] {
            assert_eq!(check_plain("version", text).is_ok(), is_valid, "{text:?}");
        }
    }

    #[test]
    fn file_names_become_portable() {
        for (name, plain) in [
            ("appliance-1.2.iso", "appliance-1.2.iso"),
            ("my image (1).iso", "my-image--1-.iso"),
            ("..", "image"),
            ("größe.iso", "gr--e.iso"),
            ("-dash.iso", "dash.iso"),
            ("ü.iso", "iso"),
            ("", "image"),
        ] {
            assert_eq!(plain_name(name), plain, "{name:?}");
        }
        assert_eq!(plain_name(&"x".repeat(300)).len(), 128);
    }
}
