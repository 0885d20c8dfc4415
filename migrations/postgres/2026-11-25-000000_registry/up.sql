-- What a row can hold of a rule, a constraint backs. Plain SQL: no advisory locks, no LISTEN, no functions of our own.
--
-- `version` counts the changes to a tenant and all that hangs on it (its entitlement, codes, appliances), and to an
-- entitlement that is not bound yet: a guarded write lands only if it is still the one that was decided on.
--
-- Texts that are searched by their beginning have collation "C", so that an ordinary index serves LIKE 'beginning%'.

CREATE TABLE tenants (
    id UUID NOT NULL PRIMARY KEY,
    company_name TEXT NOT NULL,
    contact_name TEXT,
    contact_email TEXT,
    contact_email_folded TEXT COLLATE "C",
    search_text TEXT COLLATE "C" NOT NULL,
    edition TEXT NOT NULL,
    product TEXT NOT NULL,
    deployment TEXT NOT NULL CHECK (deployment IN ('appliance', 'hosted')),
    status TEXT NOT NULL CHECK (status IN ('registered', 'installed', 'active', 'suspended', 'cancelled')),
    subscription TEXT UNIQUE,
    billing_customer TEXT,
    region TEXT,
    registered_at TIMESTAMPTZ NOT NULL,
    installed_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL,
    version BIGINT NOT NULL DEFAULT 1
) WITH (fillfactor = 85);
CREATE INDEX tenants_by_registration ON tenants (registered_at DESC, id DESC);
CREATE INDEX tenants_by_contact ON tenants (contact_email_folded, registered_at DESC, id DESC);
CREATE INDEX tenants_by_beginning ON tenants (search_text);

CREATE TABLE entitlements (
    id UUID NOT NULL PRIMARY KEY,
    tenant_id UUID REFERENCES tenants (id),
    subscription TEXT UNIQUE,
    customer TEXT NOT NULL CHECK (customer <> ''),
    edition TEXT NOT NULL,
    seats INTEGER CHECK (seats > 0),
    license_sub TEXT NOT NULL UNIQUE,
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    version BIGINT NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX entitlements_one_active_a_tenant ON entitlements (tenant_id) WHERE revoked_at IS NULL;
CREATE INDEX entitlements_by_tenant ON entitlements (tenant_id);

CREATE TABLE install_codes (
    id UUID NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('install', 'activation')),
    tenant_id UUID REFERENCES tenants (id),
    entitlement_id UUID REFERENCES entitlements (id),
    digest_key_id TEXT NOT NULL,
    digest BYTEA NOT NULL CHECK (length(digest) = 32),
    last_four TEXT NOT NULL,
    issued_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    consumed_at TIMESTAMPTZ,
    consumed_by TEXT,
    superseded_at TIMESTAMPTZ,
    CHECK ((consumed_at IS NULL) = (consumed_by IS NULL)),
    CHECK (consumed_at IS NULL OR superseded_at IS NULL),
    CHECK (kind <> 'install' OR tenant_id IS NOT NULL),
    CHECK (kind <> 'activation' OR entitlement_id IS NOT NULL),
    UNIQUE (digest, digest_key_id)
);
CREATE UNIQUE INDEX install_codes_one_live_a_tenant ON install_codes (tenant_id)
    WHERE kind = 'install' AND consumed_at IS NULL AND superseded_at IS NULL;
CREATE UNIQUE INDEX install_codes_one_live_an_entitlement ON install_codes (entitlement_id)
    WHERE kind = 'activation' AND consumed_at IS NULL AND superseded_at IS NULL;
CREATE INDEX install_codes_by_tenant ON install_codes (tenant_id, issued_at);

CREATE TABLE appliances (
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    id TEXT NOT NULL CHECK (id <> ''),
    registered_at TIMESTAMPTZ NOT NULL,
    last_check_in_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ,
    license_sub TEXT,
    license_customer TEXT,
    license_tier TEXT,
    license_seats INTEGER,
    license_expires_at TIMESTAMPTZ,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE credentials (
    digest BYTEA NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    tenant_id UUID NOT NULL,
    appliance_id TEXT NOT NULL,
    issued_at TIMESTAMPTZ NOT NULL,
    first_used_at TIMESTAMPTZ,
    FOREIGN KEY (tenant_id, appliance_id) REFERENCES appliances (tenant_id, id)
);
CREATE INDEX credentials_by_appliance ON credentials (tenant_id, appliance_id);

CREATE TABLE mails (
    id UUID NOT NULL PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    recipient TEXT NOT NULL,
    message TEXT NOT NULL,
    sealed_key_id TEXT,
    sealed BYTEA,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'dead', 'discarded')),
    attempts INTEGER NOT NULL,
    queued_at TIMESTAMPTZ NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    settled_at TIMESTAMPTZ,
    last_error TEXT,
    CHECK ((sealed IS NULL) = (sealed_key_id IS NULL)),
    CHECK (state NOT IN ('sent', 'discarded') OR sealed IS NULL)
);
CREATE INDEX mails_due ON mails (due_at) WHERE state = 'queued';
CREATE INDEX mails_by_tenant ON mails (tenant_id);

CREATE TABLE audit (
    id UUID NOT NULL PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    actor TEXT NOT NULL,
    source TEXT NOT NULL,
    action TEXT NOT NULL,
    tenant_id UUID,
    code_id UUID,
    mail_id UUID,
    detail TEXT NOT NULL,
    count INTEGER NOT NULL
);
CREATE INDEX audit_by_tenant ON audit (tenant_id, at, id);
CREATE UNIQUE INDEX audit_unknown_codes ON audit (source, at) WHERE action = 'unknown_codes';

CREATE TABLE replays (
    scope TEXT NOT NULL,
    key_digest BYTEA NOT NULL CHECK (length(key_digest) = 32),
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    sealed_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (scope, key_digest)
);
CREATE INDEX replays_ended ON replays (expires_at);

CREATE TABLE releases (
    id UUID NOT NULL PRIMARY KEY,
    channel TEXT NOT NULL,
    version TEXT NOT NULL,
    blob_key TEXT NOT NULL UNIQUE,
    file_name TEXT NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
    published_at TIMESTAMPTZ NOT NULL,
    UNIQUE (channel, version)
);

CREATE TABLE channels (
    name TEXT NOT NULL PRIMARY KEY,
    release_id UUID NOT NULL REFERENCES releases (id)
);

-- What readiness writes to, to see that the database takes a write.
CREATE TABLE probes (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    writes BIGINT NOT NULL
);

-- The master key that whoever started last works with: another process must have it in its ring.
CREATE TABLE rings (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    key_id TEXT NOT NULL
);
