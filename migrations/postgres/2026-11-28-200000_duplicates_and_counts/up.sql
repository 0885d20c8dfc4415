-- Order of an appliance's credentials, whatever the clock did, and what shows that two machines use
-- one identity. A counted audit entry has a key, so that an event that repeats adds no row.
-- Expands: the previous release ignores these columns.
ALTER TABLE appliances ADD COLUMN registrations INTEGER NOT NULL DEFAULT 0;
ALTER TABLE appliances ADD COLUMN duplicate_seen_at TIMESTAMPTZ;
ALTER TABLE credentials ADD COLUMN registration INTEGER NOT NULL DEFAULT 0;
ALTER TABLE credentials ADD COLUMN replaced_at TIMESTAMPTZ;
ALTER TABLE credentials ADD COLUMN sequence INTEGER;
ALTER TABLE credentials ADD COLUMN source TEXT;
ALTER TABLE credentials ADD COLUMN previous_source TEXT;
ALTER TABLE credentials ADD COLUMN source_since TIMESTAMPTZ;
ALTER TABLE audit ADD COLUMN count_key BYTEA;
CREATE UNIQUE INDEX audit_counted ON audit (count_key) WHERE count_key IS NOT NULL;
