//! An upload in parts, a few at a time.

use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ObjectStore as _, PutMultipartOptions, PutOptions, PutPayload,
    WriteMultipart,
};
use registry_core::blob::{BlobError, BlobUpload};

use crate::unavailable;

/// The least size of a part, in bytes. S3 wants 5 MiB at least, but for the last one.
const PART: u64 = 8 * 1024 * 1024;

/// How many parts S3 takes at most is 10,000; some stay in reserve, since the size is only about
/// known.
const PARTS: u64 = 9_000;

/// How many parts are on their way at once. They, and the one being filled, are all that stands in
/// memory.
const IN_FLIGHT: usize = 3;

/// How long an upload that is given up waits for the parts that are on their way.
const LAST_PARTS: Duration = Duration::from_secs(10);

fn part_size(size: Option<u64>) -> usize {
    let part = size.unwrap_or_default().div_ceil(PARTS).max(PART);
    usize::try_from(part.next_multiple_of(1024 * 1024)).unwrap_or(usize::MAX)
}

/// A file that fits into one part is put whole; it begins as that.
enum State {
    Small(Vec<u8>),
    Parts(WriteMultipart),
    Over,
}

pub(crate) struct S3Upload {
    store: AmazonS3,
    path: Path,
    part_size: usize,
    state: State,
}

impl S3Upload {
    pub(crate) fn new(store: AmazonS3, path: Path, size: Option<u64>) -> Self {
        Self { store, path, part_size: part_size(size), state: State::Small(Vec::new()) }
    }
}

/// What a browser is told about the file.
fn attributes(path: &Path) -> Attributes {
    let disposition = format!("attachment; filename=\"{}\"", path.filename().unwrap_or("image"));
    Attributes::from_iter([
        (Attribute::ContentDisposition, disposition),
        (Attribute::ContentType, "application/octet-stream".to_owned()),
    ])
}

async fn begin_parts(
    store: &AmazonS3,
    path: &Path,
    part_size: usize,
) -> Result<WriteMultipart, BlobError> {
    let options =
        PutMultipartOptions { attributes: attributes(path), ..PutMultipartOptions::default() };
    let begun =
        store.put_multipart_opts(path, options).await.map_err(|error| unavailable(&error))?;
    Ok(WriteMultipart::new_with_chunk_size(begun, part_size))
}

#[async_trait]
impl BlobUpload for S3Upload {
    async fn write(&mut self, part: &[u8]) -> Result<(), BlobError> {
        if let State::Small(buffer) = &mut self.state {
            buffer.extend_from_slice(part);
            if buffer.len() < self.part_size {
                return Ok(());
            }
            let buffer = std::mem::take(buffer);
            let mut parts = begin_parts(&self.store, &self.path, self.part_size).await?;
            parts.write(&buffer);
            self.state = State::Parts(parts);
        } else if let State::Parts(parts) = &mut self.state {
            parts.write(part);
        }
        match &mut self.state {
            State::Parts(parts) => {
                parts.wait_for_capacity(IN_FLIGHT).await.map_err(|error| unavailable(&error))
            }
            State::Small(_) | State::Over => Ok(()),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Small(buffer) => {
                let options =
                    PutOptions { attributes: attributes(&self.path), ..PutOptions::default() };
                let put = self.store.put_opts(&self.path, PutPayload::from(buffer), options).await;
                put.map(drop).map_err(|error| unavailable(&error))
            }
            // It aborts by itself where the last word is not heard.
            State::Parts(parts) => {
                parts.finish().await.map(drop).map_err(|error| unavailable(&error))
            }
            State::Over => Ok(()),
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<(), BlobError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Parts(parts) => give_up(parts).await,
            State::Small(_) | State::Over => Ok(()),
        }
    }
}

/// Takes back what was uploaded. A part that is on its way while its upload is aborted may be
/// stored all the same (Amazon S3 API Reference, `AbortMultipartUpload`), so those get some time to
/// arrive.
async fn give_up(mut parts: WriteMultipart) -> Result<(), BlobError> {
    // Whether they arrive or fail does not matter any more.
    drop(tokio::time::timeout(LAST_PARTS, parts.wait_for_capacity(0)).await);
    parts.abort().await.map_err(|error| unavailable(&error))
}

/// Parts that nobody finishes would be stored, and paid for, unseen.
impl Drop for S3Upload {
    fn drop(&mut self) {
        if let (State::Parts(parts), Ok(runtime)) =
            (std::mem::replace(&mut self.state, State::Over), tokio::runtime::Handle::try_current())
        {
            // Nobody is there to hear whether it went well.
            runtime.spawn(async move { drop(give_up(parts).await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_for_any_image() {
        let mib = 1024 * 1024;
        for (size, part) in [
            (None, 8 * mib),
            (Some(0), 8 * mib),
            (Some(5_000_000_000), 8 * mib),
            (Some(100_000_000_000), 11 * mib),
            (Some(5_000_000_000_000), 530 * mib),
        ] {
            let found = part_size(size);
            assert_eq!(found, part, "{size:?}");
            assert!(size.unwrap_or_default().div_ceil(found as u64) < 10_000);
        }
    }
}
