//! Settings of a bucket, and the clients for it.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{Certificate, ClientOptions, RetryConfig};
use zeroize::Zeroizing;

/// Credentials for the store.
#[derive(Clone)]
pub struct S3Credentials {
    /// ID of the access key.
    pub access_key_id: String,
    /// Secret of the access key.
    pub secret_access_key: Zeroizing<String>,
    /// Session token of temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
}

/// Settings of a bucket.
#[derive(Clone)]
pub struct S3Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// Region, which is part of every signature; many stores accept any. By default `us-east-1`;
    /// without `credentials`, `AWS_REGION` in the environment takes precedence.
    pub region: Option<String>,
    /// URL of the store, `https://host[:port]`; Amazon's own by default.
    pub endpoint: Option<String>,
    /// URL of the store for customers, if it differs from `endpoint`.
    pub public_endpoint: Option<String>,
    /// True if the bucket is the first segment of the URL's path, false if it is part of the host
    /// name.
    pub path_style: bool,
    /// Prefix of every key, without the slash that follows it.
    pub prefix: Option<String>,
    /// Credentials; by default those in the environment (`AWS_ACCESS_KEY_ID`, a web identity, or
    /// the machine's role).
    pub credentials: Option<S3Credentials>,
    /// PEM of a certificate authority that is trusted in addition to the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// Error in the settings of a bucket.
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
            // `Certificate::from_pem` accepts a text without a certificate.
            if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
                return Err(S3Error("`s3.ca_file` contains no certificate in PEM".to_owned()));
            }
            let certificate = Certificate::from_pem(pem).map_err(|error| {
                S3Error(format!("the certificate in `s3.ca_file` cannot be used: {error}"))
            })?;
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
            builder = builder.with_endpoint(bucket_url(endpoint, &self.bucket, self.path_style)?);
        }
        builder.build().map_err(|error| S3Error(error.to_string()))
    }
}

/// Returns the URL that requests are sent to, with the bucket in the host name unless it is in the
/// path.
fn bucket_url(endpoint: &str, bucket: &str, path_style: bool) -> Result<String, S3Error> {
    let endpoint = endpoint.trim_end_matches('/');
    let (scheme, host) = endpoint.split_once("://").ok_or_else(|| {
        S3Error(format!("the endpoint `{endpoint}` is not a URL: use `https://host[:port]`"))
    })?;
    Ok(if path_style { endpoint.to_owned() } else { format!("{scheme}://{bucket}.{host}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_in_path_or_host_name() {
        for (endpoint, path_style, url) in [
            ("https://s3.vendor.example", true, "https://s3.vendor.example"),
            ("https://s3.vendor.example/", true, "https://s3.vendor.example"),
            ("https://s3.vendor.example:9000", false, "https://images.s3.vendor.example:9000"),
        ] {
            assert_eq!(bucket_url(endpoint, "images", path_style).unwrap(), url);
        }
        assert!(bucket_url("s3.vendor.example", "images", true).is_err());
    }
}
