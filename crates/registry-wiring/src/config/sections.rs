//! The sections of the configuration. The documentation of a field is its row in
//! `docs/configuration.md`: write it for an operator.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::schema::{Describe, Entry, section};
use super::{Algorithm, LogFormat, SecretText, Span, TlsMode};

section!(
    /// The database: SQLite in the data folder, or PostgreSQL if a URL is set. See
    /// [operations.md](operations.md#postgresql).
    Database {
        /// URL of a PostgreSQL database, such as
        /// `postgres://registry:…@db.example/registry?sslmode=verify-full`. `sslmode` is `disable`,
        /// `prefer` (the default), `require`, `verify-ca` or `verify-full`; `sslrootcert` is a PEM
        /// file, or `system`.
        url: Option<SecretText> = None,
        /// File with that URL, mode 0600.
        url_file: Option<PathBuf> = None,
        /// Maximum number of PostgreSQL connections of one process, 1 to 1024.
        pool_size: usize = 16,
        /// Time that a request waits for a free connection. Then the response is 503.
        pool_wait: Span = Span::seconds(5),
        /// Maximum number of requests that share a PostgreSQL transaction, 1 to 1024.
        batch_size: usize = 32,
        /// Maximum number of shared PostgreSQL transactions of a kind (registrations, redemptions,
        /// check-ins and so on) that one process runs at the same time, 1 to 1024.
        batches_in_flight: usize = 2,
        /// Time limit for opening a connection.
        connect_timeout: Span = Span::seconds(5),
        /// Time limit for one statement.
        statement_timeout: Span = Span::seconds(10),
        /// Time that a statement waits for a lock. With SQLite, time that a change waits for others.
        lock_timeout: Span = Span::seconds(5),
        /// If true, registryd runs pending migrations at the start. If false, run
        /// `registryctl migrate`.
        migrate: bool = true,
        /// If true, a search finds any part of a name. The index needs the PostgreSQL extension
        /// `pg_trgm`. If false, a search finds the beginning of a name.
        search_by_part: bool = true,
    }
);

section!(
    /// Install codes and activation codes.
    Codes {
        /// Length of a new install code, 8 to 32 characters. A code of more than 8 characters is
        /// shown in groups of four. Below 10, registryd warns at the start: codes can be guessed.
        length: usize = 12,
        /// Length of a new activation code, 8 to 32 characters. Default: `codes.length`.
        activation_length: Option<usize> = None,
        /// Lifetime of a new code.
        lifetime: Span = Span::days(7),
        /// If true, an activation code is refused unless its entitlement was bound to a tenant
        /// beforehand.
        activation_needs_bound_tenant: bool = true,
    }
);

section!(
    /// Rate limits. Each registryd process counts separately, so N processes admit N times as much.
    /// The networks around a source have multiples of its limits: an IPv4 /24 has 8 times as much,
    /// an IPv6 /56 4 times, and a /48 16 times.
    RateLimit {
        /// Window in which requests are counted. It starts with the first request. It must not be
        /// longer than `sign_in.link_lifetime` or `http.replay_window`.
        window: Span = Span::minutes(10),
        /// Maximum number of unknown codes from one source (an IPv4 address, or the /64 of an IPv6
        /// address) in a window. Then the response is 429. Failed sign-ins to the console have the
        /// same limit, and are counted separately.
        code_guesses: u32 = 30,
        /// Maximum number of unknown codes from all sources together in a window. Then the response
        /// is 503. Sources without an unknown code have half as many again for themselves.
        code_guesses_total: u32 = 20_000,
        /// Maximum number of registrations of one source in a window, and of sign-in links. A source
        /// that has reached one limit is refused both. For one recipient, registrations, sign-in links and new codes
        /// each have this limit, and are counted separately. A form that is sent twice counts once.
        mails: u32 = 10,
        /// Maximum number of registrations of all sources together in a window, and of sign-in links.
        /// Then the response is 503. Sources without a request have half as many again for themselves.
        mails_total: u32 = 600,
        /// Delay of the response to an unknown code, credential, token or link, and to a request that
        /// a rate limit refuses. So a stranger who tries many leaves the processor to others.
        refusal_delay: Span = Span::milliseconds(250),
        /// Number of registryd processes on one database. Each has its share of the totals.
        processes: u32 = 1,
    }
);

section!(
    /// The web pages: `/signup` and `/portal` for customers, `/console` for operators.
    Web {
        /// If false, registryd serves no pages.
        enabled: bool = true,
        /// Editions that customers can register for on the sign-up page. By default the first
        /// edition without a tier. A paid edition in this list costs customers nothing.
        self_service: Option<Vec<String>> = None,
        /// URL at which customers buy the other editions. `{edition}` is replaced by the edition's
        /// name.
        checkout_url: Option<String> = None,
        /// Mail domains that cannot register, and their subdomains. International names may be
        /// written in Unicode or Punycode.
        blocked_domains: Vec<String> = Vec::new(),
    }
);

section!(
    /// Sign-in links and sessions of the portal and the console.
    SignIn {
        /// Lifetime of a mailed sign-in link, 1m to 1d.
        link_lifetime: Span = Span::minutes(15),
        /// Lifetime of a session that is not used, at least 2m.
        session_idle: Span = Span::minutes(30),
        /// Maximum lifetime of a session.
        session_lifetime: Span = Span::hours(12),
    }
);

section!(
    /// Licenses.
    License {
        /// Value of `iss` in every license.
        issuer: String = "appliance-registry".to_owned(),
        /// PKCS#8 PEM file with the signing key, Ed25519 (`EdDSA`) or P-256 (`ES256`), mode 0600.
        /// It replaces the generated keys.
        key_file: Option<PathBuf> = None,
        /// Key id, by default the RFC 7638 thumbprint. It needs `license.key_file`.
        kid: Option<String> = None,
        /// Algorithm of the key that is generated for a new data folder.
        algorithm: Algorithm = Algorithm::EdDsa,
        /// Lifetime of a connected appliance's license.
        lifetime: Span = Span::days(31),
        /// Lifetime of an air-gapped appliance's license.
        airgap_lifetime: Span = Span::days(365),
        /// Interval between check-ins. Each interval is spread by a quarter in either direction.
        check_in_interval: Span = Span::days(1),
    }
);

section!(
    /// Download links.
    Downloads {
        /// Lifetime of the link in an API response (`download_url`), by default `codes.lifetime`.
        /// With S3 at most 7d.
        lifetime: Option<Span> = None,
        /// Lifetime of the link that a mailed link or the portal redirects to. A download that has
        /// started may take longer. With S3 at most 7d.
        fresh_lifetime: Span = Span::hours(1),
        /// Time that a mailed link still works after its code was redeemed.
        after_redemption: Span = Span::days(7),
        /// Channel whose current release is offered.
        channel: String = "stable".to_owned(),
        /// PKCS#8 PEM file with the Ed25519 key that signs release manifests, mode 0600. It
        /// replaces `keys/release.pem`.
        manifest_key_file: Option<PathBuf> = None,
    }
);

section!(
    /// A bucket of an S3-compatible store for the images. Without this section the images are in
    /// the data folder. See [operations.md](operations.md#images-in-a-bucket).
    S3 {
        /// Name of the bucket. Required.
        bucket: String = String::new(),
        /// Region, by default `AWS_REGION` or `us-east-1`.
        region: Option<String> = None,
        /// URL of the store, if it is not Amazon's.
        endpoint: Option<String> = None,
        /// URL at which customers reach the store, by default `s3.endpoint`.
        public_endpoint: Option<String> = None,
        /// If true, URLs are `https://host/bucket/key`. If false, `https://bucket.host/key`. By
        /// default true if `s3.endpoint` is set.
        path_style: Option<bool> = None,
        /// Prefix of every key.
        prefix: Option<String> = None,
        /// Id of the access key. By default the credentials come from the environment, as AWS tools
        /// read them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a web identity, or the
        /// machine's role.
        access_key_id: Option<String> = None,
        /// Secret access key.
        secret_access_key: Option<SecretText> = None,
        /// File with the secret access key, mode 0600.
        secret_access_key_file: Option<PathBuf> = None,
        /// Session token of temporary credentials. Links expire together with these credentials, so
        /// keep `downloads.lifetime` shorter.
        session_token: Option<SecretText> = None,
        /// PEM file with a certificate authority to trust, in addition to the system's.
        ca_file: Option<PathBuf> = None,
    }
);

section!(
    /// Mail. See [operations.md](operations.md#mail).
    Mail {
        /// Sender address.
        from: String = "registry@localhost".to_owned(),
        /// If true, this process delivers the mails in the outbox.
        worker: bool = true,
        /// Number of mails that this process delivers at once, 1 to 64. With 1, mails are delivered
        /// in the order of their age.
        parallel: usize = 1,
        /// Folder with your own mail templates.
        templates: Option<PathBuf> = None,
        /// The mail server. Without this section mails are files in the data folder's mailbox.
        smtp: Option<Smtp> = None,
    }
);

section!(
    /// The mail server. Without this section mails are `.eml` files in the data folder's mailbox.
    Smtp {
        /// Host name or address of the server. Its certificate must be issued for this name.
        /// Required.
        host: String = String::new(),
        /// Port, by default 587 (`starttls`), 465 (`implicit`) or 25 (`none`).
        port: Option<u16> = None,
        /// Protection of the connection. With `none`, a password is allowed only if the server is
        /// on this machine.
        tls: TlsMode = TlsMode::StartTls,
        /// User name.
        username: Option<String> = None,
        /// Password.
        password: Option<SecretText> = None,
        /// File with the password, mode 0600.
        password_file: Option<PathBuf> = None,
        /// File with an access token of OAuth 2.0, instead of a password, for servers that sign in
        /// with XOAUTH2 only. It is read before each mail, so another program can renew the token.
        token_file: Option<PathBuf> = None,
        /// PEM file with the only certificate authority to trust, instead of the system's.
        ca_file: Option<PathBuf> = None,
        /// Host name in `EHLO`, by default the host of `public_url` if it is a domain, or else the
        /// machine's name.
        hello_name: Option<String> = None,
        /// Maximum number of open connections.
        connections: u32 = 2,
        /// Time limit for one mail, from connecting to the server's last reply; 1s to 5m.
        timeout: Span = Span::minutes(1),
    }
);

section!(
    /// Branding of the mails and the pages.
    Branding {
        /// Name of the product.
        product: String = "Appliance".to_owned(),
        /// Name of the vendor.
        vendor: Option<String> = None,
        /// Color of buttons and links. Text on it is white or black, whichever is readable.
        color: String = "#1d4ed8".to_owned(),
        /// URL of the logo, https. It is shown at most 200 × 40 pixels in size.
        logo_url: Option<String> = None,
        /// Address for help: a mail address, to which replies go as well, or an https URL.
        support: Option<String> = None,
    }
);

section!(
    /// Retention of mails, codes and audit entries. Recorded responses are deleted when they expire
    /// (`http.replay_window`).
    Retention {
        /// Retention of mails that were sent, given up or discarded. Queued mails stay.
        mails: Span = Span::days(90),
        /// Retention of codes that ended without a redemption. Redeemed codes stay.
        codes: Span = Span::days(90),
        /// Retention of audit entries.
        audit: Span = Span::days(730),
        /// Retention of tenants that were registered at the sign-up page and never installed, after
        /// their last code has expired. Their codes and mails go with them.
        unused_tenants: Span = Span::days(30),
        /// Retention of mails in the mailbox folder, which contain codes in plain text. Only without
        /// `mail.smtp`.
        mailbox: Span = Span::days(7),
        /// Interval between two sweeps.
        sweep_every: Span = Span::hours(1),
        /// If true, this process deletes what has expired. If false, run `registryctl sweep`.
        sweeper: bool = true,
    }
);

section!(
    /// The HTTP server.
    Http {
        /// Maximum size of a request body in bytes, at least 1024. Forms of the web pages are
        /// limited to 7168 bytes.
        body_limit: usize = 65_536,
        /// Time limit for one request. Then the response is 503. It must be longer than what the
        /// database may take.
        request_timeout: Span = Span::seconds(30),
        /// Time limit for receiving a request's headers, and again for its body.
        read_timeout: Span = Span::seconds(15),
        /// Time that a connection waits for its next request. Keep it longer than that of the load
        /// balancer, which is a minute for most.
        keep_alive: Span = Span::seconds(75),
        /// Time between SIGTERM and the end of listening. `/readyz` is 503 meanwhile, so that load
        /// balancers turn away. SIGINT, or a second signal, skips it.
        drain_delay: Span = Span::seconds(7),
        /// Time that requests in flight have to finish after that.
        shutdown_timeout: Span = Span::seconds(30),
        /// Maximum number of connections served at once, 1 to 65536, and fewer if the process may
        /// open fewer files. When all are taken, idle ones are closed. Half of them serve a single
        /// source at most, unless it is a trusted proxy.
        connections: usize = 512,
        /// Time that a response can be replayed under its `Idempotency-Key`.
        replay_window: Span = Span::days(1),
        /// Networks of the proxies whose `http.source_header` is trusted.
        trusted_proxies: Vec<IpNet> = Vec::new(),
        /// Header in which a trusted proxy names the client.
        source_header: String = "x-forwarded-for".to_owned(),
    }
);

section!(
    /// The log, on standard error.
    Log {
        /// Format of a line.
        format: LogFormat = LogFormat::Human,
        /// Level: `error`, `warn`, `info`, `debug`, or directives such as
        /// `info,registry_http=debug`.
        level: String = "info".to_owned(),
    }
);

impl Database {
    /// True if the database is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.url.is_some() || self.url_file.is_some()
    }
}
