-- The kind of a mail is a column, so that a condition on it is the same SQL in both databases.
ALTER TABLE mails ADD COLUMN kind TEXT NOT NULL DEFAULT '';
UPDATE mails SET kind =
    CASE WHEN message LIKE '{"kind":"portal_link"%' THEN 'portal_link' ELSE 'install_code' END;
