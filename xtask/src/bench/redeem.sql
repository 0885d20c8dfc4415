\set k :k + 1
\set n :first + :client_id * :each + :k - 1
WITH it AS MATERIALIZED (
    SELECT c.id AS code_id, t.id AS tenant_id, e.license_sub, e.customer, e.seats, :n::bigint AS n
    FROM install_codes c
    JOIN tenants t ON t.id = c.tenant_id
    LEFT JOIN entitlements e ON e.id = c.entitlement_id AND e.revoked_at IS NULL
    LEFT JOIN appliances a ON a.tenant_id = t.id AND a.id = 'appliance-0123456789abcdef'
    WHERE c.digest = decode(lpad(to_hex(:n::bigint), 64, '0'), 'hex') AND c.digest_key_id = 'bench'
        AND c.consumed_at IS NULL AND c.superseded_at IS NULL AND c.expires_at > now()
        AND t.status NOT IN ('suspended', 'cancelled')
),
g0 AS (
    UPDATE tenants SET status = 'installed', installed_at = now(), updated_at = now(), version = version + 1
    FROM it WHERE tenants.id = it.tenant_id
),
w0 AS (
    UPDATE install_codes SET consumed_at = now(), consumed_by = 'appliance-0123456789abcdef'
    FROM it WHERE install_codes.id = it.code_id AND consumed_at IS NULL AND superseded_at IS NULL
),
w1 AS (
    INSERT INTO appliances (tenant_id, id, registered_at, last_check_in_at, revoked_at, license_sub, license_customer,
        license_tier, license_seats, license_expires_at)
    SELECT tenant_id, 'appliance-0123456789abcdef', now(), NULL, NULL, license_sub, customer, 'pro', seats,
        now() + interval '31 days'
    FROM it
),
w2 AS (
    INSERT INTO credentials (digest, tenant_id, appliance_id, issued_at, first_used_at)
    SELECT sha256(code_id::text::bytea), tenant_id, 'appliance-0123456789abcdef', now(), NULL FROM it
),
w3 AS (
    INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, mail_id, detail, count)
    SELECT ('01a20000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now(), 'appliance', '127.0.0.1',
        'code_redeemed', tenant_id, code_id, NULL, 'by appliance-0123456789abcdef', 1
    FROM it
)
SELECT count(*) FROM it;
