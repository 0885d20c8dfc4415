-- The audit is listed newest first, also over all tenants.
CREATE INDEX audit_newest ON audit (at DESC, id DESC);
