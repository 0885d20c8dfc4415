DROP INDEX audit_newest;
