//! An object store in a folder. The crate `s3s` verifies the signatures (AWS Signature Version 4).

use anyhow::{Result, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::host::MultiDomain;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;

use crate::running::Running;

/// Options of an object store.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// Port; 0 for a free one.
    pub port: u16,
    /// Name of the only bucket.
    pub bucket: String,
    /// Access key id of the only user.
    pub access_key_id: String,
    /// Secret access key of the only user.
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

/// A running object store.
pub struct S3Server {
    running: Option<Running>,
    folder: TempDir,
    options: S3Options,
}

impl S3Server {
    /// Starts a store with an empty bucket.
    ///
    /// # Errors
    /// If the port is in use, or the folder cannot be created.
    pub fn start(options: S3Options) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(&options.bucket))?;
        let mut server = Self { running: None, folder, options };
        server.resume()?;
        Ok(server)
    }

    /// Returns another URL of the store, as a stand-in for a public endpoint.
    #[must_use]
    pub fn public_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.port)
    }

    /// Returns the URL of the store, which stays the same while the store is stopped.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://localhost:{}", self.options.port)
    }

    /// Stops the store as if it were killed. The objects stay.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Starts the store again on the same port.
    ///
    /// # Errors
    /// If another process uses the port.
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
                // A broken connection is an error of the client, which reports it.
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            }
        })?;
        let is_new_port = self.options.port == 0;
        self.options.port = running.address.port();
        if is_new_port {
            // The host names in requests contain the port, so the service is built again.
            drop(running);
            return self.resume();
        }
        self.running = Some(running);
        Ok(())
    }

    /// Returns the size of all objects in bytes, parts of unfinished uploads included.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn stored(&self) -> Result<u64> {
        fn sum(folder: &std::path::Path) -> std::io::Result<u64> {
            let mut bytes = 0;
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                bytes += match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => sum(&entry.path())?,
                    Ok(metadata) => metadata.len(),
                    // The file was renamed or deleted after the folder was listed.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                    Err(error) => return Err(error),
                };
            }
            Ok(bytes)
        }
        Ok(sum(self.folder.path())?)
    }
}
