//! Which bucket, where, and how it is reached.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{Certificate, ClientOptions, RetryConfig};
use zeroize::Zeroizing;

/// Who we are to the store.
#[derive(Clone)]
pub struct S3Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The access key.
    pub secret_access_key: Zeroizing<String>,
    /// The session's token, of temporary ones.
    pub session_token: Option<Zeroizing<String>>,
}

/// A bucket of a store.
#[derive(Clone)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// The region, which is part of every signature; many stores take any.
    /// Where none is given, what the environment says, or `us-east-1`.
    pub region: Option<String>,
    /// Where the store is, as `https://host[:port]`; Amazon's own where none is given.
    pub endpoint: Option<String>,
    /// Where customers reach it, if not at `endpoint`.
    pub public_endpoint: Option<String>,
    /// Whether the bucket is the first part of the path, and not of the host's name.
    pub path_style: bool,
    /// What goes before every key.
    pub prefix: Option<String>,
    /// Who we are; else what the environment says (`AWS_ACCESS_KEY_ID`, a web identity, the
    /// machine's role).
    pub credentials: Option<S3Credentials>,
    /// The certificate authority, as PEM, beside those of the system.
    pub ca_pem: Option<Vec<u8>>,
}

/// Why a bucket cannot be used as it is set.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct S3Error(String);

impl S3Settings {
    pub(crate) fn client(
        &self,
        endpoint: Option<&str>,
        retry: RetryConfig,
        timeout: Duration,
    ) -> Result<AmazonS3, S3Error> {
        let mut options = ClientOptions::new()
            .with_timeout(timeout)
            .with_connect_timeout(timeout.min(Duration::from_secs(5)));
        if let Some(pem) = &self.ca_pem {
            // Anything else would be taken for a file without any.
            if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
                return Err(S3Error("`s3.ca_file` has no certificate in PEM".to_owned()));
            }
            let certificate = Certificate::from_pem(pem)
                .map_err(|error| S3Error(format!("no certificate: {error}")))?;
            options = options.with_root_certificate(certificate);
        }
        options = options.with_allow_http(endpoint.is_some_and(|url| url.starts_with("http://")));
        let mut builder = match &self.credentials {
            Some(credentials) => AmazonS3Builder::new()
                .with_access_key_id(&credentials.access_key_id)
                .with_secret_access_key(credentials.secret_access_key.as_str()),
            None => AmazonS3Builder::from_env(),
        };
        if let Some(token) =
            self.credentials.as_ref().and_then(|credentials| credentials.session_token.as_ref())
        {
            builder = builder.with_token(token.as_str());
        }
        builder = builder
            .with_client_options(options)
            .with_retry(retry)
            .with_bucket_name(&self.bucket)
            .with_virtual_hosted_style_request(!self.path_style);
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(host_of(endpoint, &self.bucket, self.path_style)?);
        }
        builder.build().map_err(|error| S3Error(error.to_string()))
    }
}

/// The endpoint as requests go to it: with the bucket in the host's name, unless it is in the path.
fn host_of(endpoint: &str, bucket: &str, path_style: bool) -> Result<String, S3Error> {
    let endpoint = endpoint.trim_end_matches('/');
    let (scheme, host) =
        endpoint.split_once("://").ok_or_else(|| S3Error(format!("`{endpoint}` is not a URL")))?;
    Ok(if path_style { endpoint.to_owned() } else { format!("{scheme}://{bucket}.{host}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_in_the_path_or_in_the_hosts_name() {
        for (endpoint, path_style, host) in [
            ("https://s3.vendor.example", true, "https://s3.vendor.example"),
            ("https://s3.vendor.example/", true, "https://s3.vendor.example"),
            ("https://s3.vendor.example:9000", false, "https://images.s3.vendor.example:9000"),
        ] {
            assert_eq!(host_of(endpoint, "images", path_style).unwrap(), host);
        }
        assert!(host_of("s3.vendor.example", "images", true).is_err());
    }
}
