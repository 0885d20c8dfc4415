//! The configuration's sections, each with its defaults.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::{Algorithm, LogFormat, SecretText, Span, TlsMode};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }
    };
}

section!(
    /// The database: SQLite in the data folder, or PostgreSQL where a URL is given.
    Database {
        /// PostgreSQL's URL.
        url: Option<SecretText> = None,
        /// A file with that URL.
        url_file: Option<PathBuf> = None,
        /// How many connections to PostgreSQL there are at most.
        pool_size: usize = 16,
        /// How long a request waits for a connection.
        pool_wait: Span = Span::seconds(5),
        /// How long making a connection may take.
        connect_timeout: Span = Span::seconds(5),
        /// How long a statement may take.
        statement_timeout: Span = Span::seconds(10),
        /// How long a statement may wait for a lock.
        lock_timeout: Span = Span::seconds(5),
        /// Whether migrations are run at start; else `registryctl migrate` runs them.
        migrate: bool = true,
        /// Whether migrating also makes any part of a name quick to find, which takes the extension
        /// `pg_trgm`.
        search_by_part: bool = true,
    }
);

section!(
    /// Install codes.
    Codes {
        /// How many characters, 8 to 32.
        length: usize = 12,
        /// How long a code lives.
        lifetime: Span = Span::days(7),
        /// Whether an activation code whose entitlement was not bound to a tenant beforehand is
        /// refused.
        activation_needs_bound_tenant: bool = false,
    }
);

section!(
    /// The throttle of guesses.
    Guesses {
        /// How many unknown codes one source may try within the window; and how many wrong tokens
        /// at the console.
        limit: u32 = 30,
        /// The window.
        window: Span = Span::minutes(10),
    }
);

section!(
    /// The pages: for customers to register on, and the portal; and the operators' console.
    WebPages {
        /// Whether they are served.
        enabled: bool = true,
        /// The editions that customers register for by themselves; the first one without a license
        /// unless given.
        self_service: Option<Vec<String>> = None,
        /// Where customers buy the other ones.
        checkout_url: Option<String> = None,
        /// Domains whose addresses are not registered, nor those of domains below them.
        blocked_domains: Vec<String> = Vec::new(),
        /// How many mails one source may ask for within `guesses.window`, and how many to one
        /// address.
        asks: u32 = 10,
        /// How long the link that signs in is good.
        link_lifetime: Span = Span::minutes(15),
        /// How long a session lives without being used.
        session_idle: Span = Span::minutes(30),
        /// How long a session lives at most.
        session_lifetime: Span = Span::hours(12),
    }
);

section!(
    /// Licenses.
    License {
        /// The `iss` of every license.
        issuer: String = "appliance-registry".to_owned(),
        /// A PKCS#8 PEM file with the signing key (Ed25519 or P-256), instead of the generated one.
        key_file: Option<PathBuf> = None,
        /// The key's id, instead of its RFC 7638 thumbprint.
        kid: Option<String> = None,
        /// Which kind of key is made for a new data folder: `EdDSA` (Ed25519) or `ES256` (P-256).
        algorithm: Algorithm = Algorithm::EdDsa,
        /// How long a connected appliance's license lives.
        lifetime: Span = Span::days(31),
        /// How long an air-gapped appliance's license lives.
        airgap_lifetime: Span = Span::days(365),
        /// How often appliances are asked to check in, give or take a quarter.
        check_in_interval: Span = Span::days(1),
    }
);

section!(
    /// Downloads.
    Downloads {
        /// How long the link in an API's answer lives; as long as a code unless given.
        lifetime: Option<Span> = None,
        /// How long a link lives that is made when the one in a mail is followed.
        fresh_lifetime: Span = Span::hours(1),
        /// How long the link in a mail works after its code was redeemed.
        after_redemption: Span = Span::days(7),
        /// The channel whose current release is offered.
        channel: String = "stable".to_owned(),
        /// A PKCS#8 PEM file with the Ed25519 key that signs manifests, instead of the generated
        /// one.
        manifest_key_file: Option<PathBuf> = None,
    }
);

section!(
    /// A bucket of an S3-compatible store for the images, instead of the data folder.
    S3 {
        /// The bucket.
        bucket: String = String::new(),
        /// The region.
        region: Option<String> = None,
        /// Where the store is, if it is not Amazon's.
        endpoint: Option<String> = None,
        /// Where customers reach it, if not at `endpoint`.
        public_endpoint: Option<String> = None,
        /// Whether the bucket is in the path, and not in the host's name; so unless it is Amazon's.
        path_style: Option<bool> = None,
        /// What goes before every key.
        prefix: Option<String> = None,
        /// The access key's id; else the environment says who we are, as AWS's tools have it.
        access_key_id: Option<String> = None,
        /// The access key.
        secret_access_key: Option<SecretText> = None,
        /// A file with the access key.
        secret_access_key_file: Option<PathBuf> = None,
        /// The session's token, of temporary credentials.
        session_token: Option<SecretText> = None,
        /// A PEM file with a certificate authority to trust beside the system's.
        ca_file: Option<PathBuf> = None,
    }
);

section!(
    /// Mail.
    Mail {
        /// The address that mails come from.
        from: String = "registry@localhost".to_owned(),
        /// Whether this process sends what waits in the outbox.
        worker: bool = true,
        /// How many mails it sends at once. With one, they go out in the order of their age.
        parallel: usize = 1,
        /// A folder with templates of the vendor's own.
        templates: Option<PathBuf> = None,
        /// The mail server; without one mails are written into the data folder's mailbox.
        smtp: Option<Smtp> = None,
    }
);

section!(
    /// A mail server.
    Smtp {
        /// Its name.
        host: String = String::new(),
        /// Its port; 587, 465 or 25 by `tls` unless given.
        port: Option<u16> = None,
        /// How the connection is protected.
        tls: TlsMode = TlsMode::StartTls,
        /// Who we are to it.
        username: Option<String> = None,
        /// The password.
        password: Option<SecretText> = None,
        /// A file with the password.
        password_file: Option<PathBuf> = None,
        /// A PEM file with the only certificate authority to trust, instead of the system's.
        ca_file: Option<PathBuf> = None,
        /// What we call ourselves; the machine's name unless given.
        hello_name: Option<String> = None,
        /// How many connections are kept open at most.
        connections: u32 = 2,
        /// How long sending one mail may take.
        timeout: Span = Span::minutes(1),
    }
);

section!(
    /// How mails look.
    Branding {
        /// What the product is called.
        product: String = "Appliance".to_owned(),
        /// Who sells it.
        vendor: Option<String> = None,
        /// The colour of buttons and links.
        color: String = "#1d4ed8".to_owned(),
        /// A picture, at an https address.
        logo_url: Option<String> = None,
        /// Where customers find help: an e-mail address, or an https address.
        support: Option<String> = None,
    }
);

section!(
    /// How long what ended is kept.
    Retention {
        /// Mails that were sent, given up or discarded.
        mails: Span = Span::days(90),
        /// Codes that nobody redeemed.
        codes: Span = Span::days(90),
        /// Lines of the audit.
        audit: Span = Span::days(730),
        /// How often it is looked for; see `sweeper`.
        sweep_every: Span = Span::hours(1),
        /// Whether this process deletes it.
        sweeper: bool = true,
    }
);

section!(
    /// HTTP.
    Http {
        /// The largest request body, in bytes.
        body_limit: usize = 65_536,
        /// How long a request may take.
        request_timeout: Span = Span::seconds(30),
        /// How long a client may take to send its headers or its body.
        read_timeout: Span = Span::seconds(15),
        /// How long requests in flight have to finish at shutdown.
        shutdown_timeout: Span = Span::seconds(30),
        /// How many connections are served at once.
        connections: usize = 512,
        /// How long an answer can be had again under its `Idempotency-Key`.
        replay_window: Span = Span::days(1),
        /// The proxies whose header is believed.
        trusted_proxies: Vec<IpNet> = Vec::new(),
        /// The header that names the client behind a trusted proxy.
        source_header: String = "x-forwarded-for".to_owned(),
    }
);

section!(
    /// The log, on standard error.
    Log {
        /// `human` or `json`.
        format: LogFormat = LogFormat::Human,
        /// What is logged: `error`, `warn`, `info`, `debug`, or directives such as
        /// `info,registry_http=debug`.
        level: String = "info".to_owned(),
    }
);

impl Database {
    /// Whether it is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.url.is_some() || self.url_file.is_some()
    }
}
