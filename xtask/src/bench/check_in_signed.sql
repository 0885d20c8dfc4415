\set k :k + 1
\set n :first + :client_id * :each + :k - 1
WITH it AS MATERIALIZED (
    SELECT t.id AS tenant_id, a.id AS appliance_id, e.license_sub, e.customer, e.seats, :n::bigint AS n
    FROM credentials c
    JOIN appliances a ON a.tenant_id = c.tenant_id AND a.id = c.appliance_id AND a.revoked_at IS NULL
    JOIN tenants t ON t.id = c.tenant_id AND t.status NOT IN ('suspended', 'cancelled')
    JOIN entitlements e ON e.tenant_id = t.id AND e.revoked_at IS NULL
    WHERE c.digest = sha256(convert_to(lpad(to_hex(:n::bigint), 64, '0'), 'UTF8'))
),
g0 AS (
    UPDATE tenants SET version = version + 1 FROM it WHERE tenants.id = it.tenant_id
),
w0 AS (
    UPDATE appliances SET last_check_in_at = now(), license_sub = it.license_sub, license_customer = it.customer,
        license_tier = 'pro', license_seats = it.seats, license_expires_at = now() + interval '31 days'
    FROM it WHERE appliances.tenant_id = it.tenant_id AND appliances.id = it.appliance_id
),
w1 AS (
    INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, mail_id, detail, count)
    SELECT ('01a30000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now(), 'appliance', '127.0.0.1',
        'license_renewed', tenant_id, NULL, NULL, 'renewed for ' || appliance_id, 1
    FROM it
)
SELECT count(*) FROM it;
