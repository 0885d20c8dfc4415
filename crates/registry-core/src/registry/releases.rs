//! Publishing an image: upload, check, make it the current one.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::audit::{Action, Actor};
use crate::blob::{BlobError, BlobKey, BlobUpload};
use crate::entropy;
use crate::refusal::Refusal;
use crate::registry::{Error, Registry, Stamp, refuse};
use crate::release::Release;
use crate::store::{Decision, ReleaseFacts, Write};
use crate::text::Version;

/// An image being uploaded. Dropping it publishes nothing.
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

    /// Takes back what was uploaded.
    pub async fn abort(self) -> Result<(), Error> {
        Ok(self.upload.abort().await?)
    }
}

impl Registry {
    /// Starts to publish an image as `version`, to be downloaded as `file_name`. Nothing is visible before
    /// [`release_publish`](Self::release_publish).
    pub async fn release_begin(&self, version: &str, file_name: &str, actor: Actor) -> Result<ReleaseUpload, Error> {
        let version = Version::parse(version)?;
        let channel = self.settings.channel.clone();
        let file_name = plain_name(file_name);
        let mut stamp = self.stamp(actor.clone());
        let id = stamp.draw();
        // One folder an upload: publishing again never touches a file that links already point to.
        let key = BlobKey::parse(&format!("{}/{id}/{file_name}", plain_name(channel.as_str())));
        let key = key.ok_or(Refusal::Invalid { field: "file", problem: "has a name that cannot be stored".into() })?;
        let upload = self.ports.blobs.upload(&key).await?;
        let published_at = stamp.now;
        let release = Release { id, channel, version, key, file_name, size: 0, sha256: String::new(), published_at };
        Ok(ReleaseUpload { actor, upload, hash: Sha256::new(), release })
    }

    /// Makes the uploaded image visible, checks that it is there whole, and makes it the current one of its channel,
    /// in this order. Publishing the same content under the same version again is no error.
    pub async fn release_publish(&self, upload: ReleaseUpload) -> Result<Release, Error> {
        let ReleaseUpload { actor, upload, hash, mut release } = upload;
        release.sha256 = entropy::hex(&hash.finalize());
        let key = release.key.clone();
        upload.finish().await?;
        let stored = self.ports.blobs.size(&key).await?;
        if stored != release.size {
            self.ports.blobs.delete(&key).await?;
            let problem = format!("{stored} of {} bytes arrived", release.size);
            return Err(BlobError::Unavailable(problem).into());
        }
        let mut result = self.publish(&actor, &release, false).await;
        if let Ok(earlier) = &result
            && earlier.key != key
            && !self.is_whole(earlier).await?
        {
            result = self.publish(&actor, &release, true).await;
        }
        // Only where the store has surely not taken the file: after an unclear failure it may have.
        let superfluous = match &result {
            Ok(published) => published.key != key,
            Err(error) => matches!(error, Error::Refused(_)),
        };
        if superfluous {
            self.ports.blobs.delete(&key).await?;
        }
        result
    }

    async fn publish(&self, actor: &Actor, release: &Release, mend: bool) -> Result<Release, Error> {
        let (channel, version) = (release.channel.clone(), release.version.clone());
        let (stamp, release) = (self.stamp(actor.clone()), release.clone());
        let decide = Arc::new(move |facts: &ReleaseFacts| decide(stamp.clone(), &release, mend, facts));
        self.ports.store.release_publish(channel, version, decide).await?.into_result()
    }
}

/// `mend`: the file of an earlier publication is lost, and this one takes its place.
fn decide(mut stamp: Stamp, release: &Release, mend: bool, facts: &ReleaseFacts) -> Decision<Release> {
    let published = match &facts.existing {
        Some(existing) if existing.sha256 != release.sha256 => {
            return refuse(Refusal::ReleaseExists { version: release.version.to_string() }, None);
        }
        Some(existing) if mend => &Release { id: existing.id, ..release.clone() },
        Some(existing) => existing,
        None => release,
    };
    let mut writes = vec![
        Write::SetCurrent { channel: published.channel.clone(), release: published.id },
        Write::audit(stamp.audit(Action::ReleasePublished, None, published.version.as_str())),
    ];
    if facts.existing.as_ref() != Some(published) {
        writes.insert(0, Write::PutRelease(Box::new(published.clone())));
    }
    Decision::Commit { writes, outcome: Ok(published.clone()) }
}

/// A file name that every file system, URL and header takes as it is.
fn plain_name(name: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+') { c } else { '-' };
    let name: String = name.chars().map(fine).collect();
    let name = name.trim_start_matches('.');
    let start = name.len().saturating_sub(128);
    if name.is_empty() { "image".to_owned() } else { name[start..].trim_start_matches('.').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn a_file_name_becomes_one_that_every_system_takes() {
        for (given, plain) in [
            ("appliance-1.2.iso", "appliance-1.2.iso"),
            ("my image (1).iso", "my-image--1-.iso"),
            ("..", "image"),
            ("größe.iso", "gr--e.iso"),
            ("", "image"),
        ] {
            assert_eq!(plain_name(given), plain, "{given:?}");
        }
        assert_eq!(plain_name(&"x".repeat(300)).len(), 128);
    }
}
