-- Optional: makes any part of a company's name or of an address quick to find. It takes the extension `pg_trgm`, which
-- not every server has; without it only beginnings are found.

CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX tenants_by_part ON tenants USING gin (search_text gin_trgm_ops);
