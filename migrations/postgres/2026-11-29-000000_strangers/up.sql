-- Who made a tenant, and whose mails go first: those of strangers wait for those of customers, and
-- tenants that strangers made and never installed are deleted.
-- Expands: the previous release ignores these columns.
ALTER TABLE tenants ADD COLUMN origin TEXT NOT NULL DEFAULT 'service';
ALTER TABLE mails ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
CREATE INDEX mails_due_by_priority ON mails (priority, due_at) WHERE state = 'queued';
CREATE INDEX tenants_signed_up ON tenants (registered_at) WHERE origin = 'sign_up';
