-- The minimum that such a product needs. A product's own tables replace these.
-- All types exist in PostgreSQL and in SQLite, so ids are text.
CREATE TABLE IF NOT EXISTS tenants (
    tenant_id text PRIMARY KEY,
    company_name text NOT NULL,
    created_at timestamp NOT NULL,
    -- An appliance has one tenant, even if several bootstraps run at the same time.
    sole smallint NOT NULL DEFAULT 1 UNIQUE CHECK (sole = 1)
);
CREATE TABLE IF NOT EXISTS users (
    user_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants (tenant_id),
    first_name text NOT NULL,
    last_name text NOT NULL,
    email text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    role text NOT NULL,
    created_at timestamp NOT NULL
);
CREATE TABLE IF NOT EXISTS license_state (
    id smallint PRIMARY KEY CHECK (id = 1),
    edition_choice text NOT NULL CHECK (edition_choice IN ('ee', 'ce')),
    license_token text,
    appliance_id text,
    check_in_url text,
    appliance_credential text,
    trial_started_at timestamp
);
