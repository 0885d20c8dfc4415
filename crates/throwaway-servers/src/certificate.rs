//! A generated certificate for `localhost` and `127.0.0.1`.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};

/// A server's certificate, and the authority that issued it.
pub struct Certificate {
    /// Certificate of the authority, which clients have to trust (PEM).
    pub ca_pem: String,
    /// Certificate of the server, for servers outside of this crate (PEM).
    pub chain_pem: String,
    /// Private key of the server's certificate (PEM).
    pub key_pem: String,
    pub(crate) server: Arc<ServerConfig>,
}

impl Certificate {
    /// Creates an authority and a certificate from it.
    ///
    /// # Errors
    /// If the operating system provides no random bytes.
    pub fn make() -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name = DistinguishedName::new();
        authority.distinguished_name.push(DnType::CommonName, "Throwaway authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())
            .context("the generated key cannot be read")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        Ok(Self {
            ca_pem: authority.pem(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            server: Arc::new(server),
        })
    }
}
