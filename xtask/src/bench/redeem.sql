\set k :k + 1
\set n :first + :client_id * :each + :k - 1
WITH it AS MATERIALIZED (
    SELECT c.id AS code_id, c.tenant_id, e.license_sub, e.customer, e.seats, :n::bigint AS n
    FROM (
        SELECT id, tenant_id, entitlement_id, expires_at, consumed_at, superseded_at
        FROM install_codes
        WHERE digest = decode(lpad(to_hex(:n::bigint), 64, '0'), 'hex') AND digest_key_id = 'bench'
        LIMIT 1
    ) c
    CROSS JOIN LATERAL (SELECT status FROM tenants WHERE id = c.tenant_id LIMIT 1) t
    LEFT JOIN LATERAL (
        SELECT license_sub, customer, seats, revoked_at FROM entitlements
        WHERE id = c.entitlement_id LIMIT 1
    ) e ON e.revoked_at IS NULL
    WHERE c.consumed_at IS NULL AND c.superseded_at IS NULL AND c.expires_at > now()
        AND t.status NOT IN ('suspended', 'cancelled')
),
w0 AS (
    UPDATE tenants SET status = 'installed', installed_at = now(), updated_at = now()
    FROM it WHERE tenants.id = it.tenant_id
),
w1 AS (
    UPDATE install_codes SET consumed_at = now(), consumed_by = 'appliance-0123456789abcdef'
    FROM it WHERE install_codes.id = it.code_id
),
w2 AS (
    INSERT INTO appliances (tenant_id, id, registered_at, last_check_in_at, revoked_at, license_sub,
        license_customer, license_tier, license_seats, license_expires_at)
    SELECT tenant_id, 'appliance-0123456789abcdef', now(), NULL, NULL, license_sub, customer, 'pro',
        seats, now() + interval '31 days'
    FROM it
),
w3 AS (
    INSERT INTO credentials (digest, tenant_id, appliance_id, issued_at, first_used_at)
    SELECT sha256(code_id::text::bytea), tenant_id, 'appliance-0123456789abcdef', now(), NULL
    FROM it
),
w4 AS (
    INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, mail_id, detail, count)
    SELECT ('01a20000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now(), 'appliance',
        '127.0.0.1', 'code_redeemed', tenant_id, code_id, NULL, 'by appliance-0123456789abcdef', 1
    FROM it
)
SELECT count(*) FROM it;
