DROP INDEX tenants_by_edition;
DROP INDEX tenants_by_status;
