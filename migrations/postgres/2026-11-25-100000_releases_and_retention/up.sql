-- Releases can be withdrawn and carry what the vendor signed about them; what followed a mail's link is counted by the
-- minute; codes that ended unused are found when they are to be deleted, and the oldest mail without sorting all that wait.
ALTER TABLE releases ADD COLUMN manifest TEXT;
ALTER TABLE releases ADD COLUMN manifest_signature BYTEA;
ALTER TABLE releases ADD COLUMN yanked_at TIMESTAMPTZ;
CREATE UNIQUE INDEX audit_downloads ON audit (code_id, source, action, at)
    WHERE action IN ('download_started', 'download_refused');
CREATE INDEX mails_by_age ON mails (queued_at, id) WHERE state = 'queued';
CREATE INDEX install_codes_unused_by_end ON install_codes (expires_at) WHERE consumed_at IS NULL;
