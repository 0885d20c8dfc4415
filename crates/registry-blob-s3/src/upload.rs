//! A multipart upload, which sends a few parts at a time.

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

/// Minimum size of a part, in bytes. S3 requires at least 5 MiB, except for the last part.
const MIN_PART_SIZE: u64 = 8 * 1024 * 1024;

/// Number of parts that the part size is computed for. S3 accepts up to 10,000 parts; the rest is a
/// reserve, because the size of the file is only an estimate.
const MAX_PARTS: u64 = 9_000;

/// Number of parts that are being sent at once. Only these parts and the one being filled are in
/// memory.
const PARTS_IN_FLIGHT: usize = 3;

/// Maximum time that an aborted upload waits for the parts that are being sent.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the part size in bytes for a file of about `size` bytes.
fn part_size(size: Option<u64>) -> usize {
    let part = size.unwrap_or_default().div_ceil(MAX_PARTS).max(MIN_PART_SIZE);
    usize::try_from(part.next_multiple_of(1024 * 1024)).unwrap_or(usize::MAX)
}

/// State of an upload. A file that fits into one part is sent with a single `PUT`.
enum State {
    /// The file still fits into one part.
    Small(Vec<u8>),
    /// The multipart upload has begun.
    Multipart(WriteMultipart),
    /// The upload is finished or aborted.
    Ended,
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

/// Returns the response headers for downloads of the file.
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
            self.state = State::Multipart(parts);
        } else if let State::Multipart(parts) = &mut self.state {
            parts.write(part);
        }
        match &mut self.state {
            State::Multipart(parts) => {
                parts.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(|error| unavailable(&error))
            }
            State::Small(_) | State::Ended => Ok(()),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Small(buffer) => {
                let options =
                    PutOptions { attributes: attributes(&self.path), ..PutOptions::default() };
                let put = self.store.put_opts(&self.path, PutPayload::from(buffer), options).await;
                put.map(drop).map_err(|error| unavailable(&error))
            }
            // If completing the upload fails, `finish` itself aborts it.
            State::Multipart(parts) => {
                parts.finish().await.map(drop).map_err(|error| unavailable(&error))
            }
            State::Ended => Ok(()),
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<(), BlobError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Multipart(parts) => abort_parts(parts).await,
            State::Small(_) | State::Ended => Ok(()),
        }
    }
}

/// Deletes the uploaded parts. A part that is being sent during the abort may be stored
/// nevertheless (Amazon S3 API Reference, `AbortMultipartUpload`), so this waits a while for such
/// parts first.
async fn abort_parts(mut parts: WriteMultipart) -> Result<(), BlobError> {
    // The result does not matter: the parts are deleted in either case.
    drop(tokio::time::timeout(ABORT_TIMEOUT, parts.wait_for_capacity(0)).await);
    parts.abort().await.map_err(|error| unavailable(&error))
}

/// Aborts the upload, because the parts of an unfinished upload are invisible, but stored and paid
/// for.
impl Drop for S3Upload {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if let (State::Multipart(parts), Ok(runtime)) =
            (state, tokio::runtime::Handle::try_current())
        {
            // There is no caller to report an error to.
            runtime.spawn(async move { drop(abort_parts(parts).await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_size_grows_with_the_file() {
        let mib = 1024 * 1024;
        for (size, part) in [
            (None, 8 * mib),
            (Some(0), 8 * mib),
            (Some(5_000_000_000), 8 * mib),
            (Some(100_000_000_000), 11 * mib),
            (Some(5_000_000_000_000), 530 * mib),
        ] {
            let computed = part_size(size);
            assert_eq!(computed, part, "{size:?}");
            assert!(size.unwrap_or_default().div_ceil(computed as u64) < 10_000);
        }
    }
}
