\set k :k + 1
\set n :first + :client_id * :each + :k - 1
WITH it AS MATERIALIZED (
    SELECT c.tenant_id, c.appliance_id, e.license_sub, e.customer, e.seats, :n::bigint AS n
    FROM (
        SELECT tenant_id, appliance_id FROM credentials
        WHERE digest = sha256(convert_to(lpad(to_hex(:n::bigint), 64, '0'), 'UTF8'))
        LIMIT 1
    ) c
    CROSS JOIN LATERAL (
        SELECT revoked_at FROM appliances WHERE tenant_id = c.tenant_id AND id = c.appliance_id
        LIMIT 1
    ) a
    CROSS JOIN LATERAL (SELECT status FROM tenants WHERE id = c.tenant_id LIMIT 1) t
    CROSS JOIN LATERAL (
        SELECT license_sub, customer, seats FROM entitlements
        WHERE tenant_id = c.tenant_id AND revoked_at IS NULL LIMIT 1
    ) e
    WHERE a.revoked_at IS NULL AND t.status NOT IN ('suspended', 'cancelled')
),
w0 AS (
    UPDATE appliances SET last_check_in_at = now(), license_sub = it.license_sub,
        license_customer = it.customer, license_tier = 'pro', license_seats = it.seats,
        license_expires_at = now() + interval '31 days'
    FROM it WHERE appliances.tenant_id = it.tenant_id AND appliances.id = it.appliance_id
),
w1 AS (
    INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, mail_id, detail, count)
    SELECT ('01a30000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now(), 'appliance',
        '127.0.0.1', 'license_renewed', tenant_id, NULL, NULL, 'renewed for ' || appliance_id, 1
    FROM it
)
SELECT count(*) FROM it;
