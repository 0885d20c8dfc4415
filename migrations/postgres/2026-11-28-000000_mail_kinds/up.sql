-- The kind of a mail is a column, so that a condition on it is the same SQL in both databases. The
-- versions of tenants and entitlements are no longer needed: a change locks the rows that it reads.
ALTER TABLE mails ADD COLUMN kind TEXT;
UPDATE mails SET kind =
    CASE WHEN message LIKE '{"kind":"portal_link"%' THEN 'portal_link' ELSE 'install_code' END;
ALTER TABLE mails ALTER COLUMN kind SET NOT NULL;
ALTER TABLE tenants DROP COLUMN version;
ALTER TABLE entitlements DROP COLUMN version;
