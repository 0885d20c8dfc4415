-- Tenants are listed by status and by edition, also by those that few have.
CREATE INDEX tenants_by_status ON tenants (status, registered_at DESC, id DESC);
CREATE INDEX tenants_by_edition ON tenants (edition, registered_at DESC, id DESC);
