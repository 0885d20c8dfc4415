//! An object store: `s3s`, which verifies signatures (AWS Signature Version 4), over a folder.

use anyhow::{Result, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::host::MultiDomain;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;

use crate::running::Running;

/// How a store begins.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The port; 0 for a free one.
    pub port: u16,
    /// The bucket that is there.
    pub bucket: String,
    /// Who may use it.
    pub access_key_id: String,
    /// With which secret.
    pub secret_access_key: String,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            port: 0,
            bucket: "images".to_owned(),
            access_key_id: "throwaway".to_owned(),
            secret_access_key: "throwaway-secret".to_owned(),
        }
    }
}

/// A store that runs.
pub struct S3Server {
    running: Option<Running>,
    folder: TempDir,
    options: S3Options,
}

impl S3Server {
    /// Starts a store with an empty bucket.
    ///
    /// # Errors
    /// Where the port is taken, or there is no room.
    pub fn start(options: S3Options) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(&options.bucket))?;
        let mut server = Self { running: None, folder, options };
        server.resume()?;
        Ok(server)
    }

    /// Where it is under another name, as customers might see it.
    #[must_use]
    pub fn public_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.port)
    }

    /// Where it is, also while it is stopped.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://localhost:{}", self.options.port)
    }

    /// Ends it as if it were killed; what it holds stays.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// Where its port was taken meanwhile.
    pub fn resume(&mut self) -> Result<()> {
        let files = FileSystem::new(self.folder.path()).map_err(|error| anyhow!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(
            self.options.access_key_id.clone(),
            self.options.secret_access_key.clone(),
        ));
        let port = self.options.port;
        if port != 0 {
            let domains = ["localhost", "127.0.0.1"].map(|host| format!("{host}:{port}"));
            builder.set_host(MultiDomain::new(&domains).map_err(|error| anyhow!("{error}"))?);
        }
        let service = builder.build();
        let running = Running::start(port, move |stream| {
            let service = service.clone();
            async move {
                let server = Builder::new(TokioExecutor::new());
                // What breaks off is for the client to notice.
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            }
        })?;
        let first = self.options.port == 0;
        self.options.port = running.address.port();
        if first {
            // Only now is it known which host names it has.
            drop(running);
            return self.resume();
        }
        self.running = Some(running);
        Ok(())
    }

    /// How many bytes the files in the bucket have, parts of unfinished uploads included.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn stored(&self) -> Result<u64> {
        fn sum(folder: &std::path::Path) -> std::io::Result<u64> {
            let mut bytes = 0;
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                bytes += match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => sum(&entry.path())?,
                    Ok(metadata) => metadata.len(),
                    // Renamed or deleted meanwhile.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                    Err(error) => return Err(error),
                };
            }
            Ok(bytes)
        }
        Ok(sum(self.folder.path())?)
    }
}
