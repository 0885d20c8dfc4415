DROP INDEX tenants_by_part;
