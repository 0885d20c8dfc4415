DROP INDEX tenants_signed_up;
DROP INDEX mails_due_by_priority;
ALTER TABLE mails DROP COLUMN priority;
ALTER TABLE tenants DROP COLUMN origin;
