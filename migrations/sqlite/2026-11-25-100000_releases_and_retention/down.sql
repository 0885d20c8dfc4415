DROP INDEX install_codes_unused_by_end;
DROP INDEX mails_by_age;
DROP INDEX audit_downloads;
ALTER TABLE releases DROP COLUMN yanked_at;
ALTER TABLE releases DROP COLUMN manifest_signature;
ALTER TABLE releases DROP COLUMN manifest;
