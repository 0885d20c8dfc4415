\set k :k + 1
\set n :first + :client_id * :each + :k
WITH it AS MATERIALIZED (
    SELECT :n::bigint AS n,
        ('01a10000-0000-7000-8000-' || lpad(to_hex(:n::bigint), 12, '0'))::uuid AS id
),
w0 AS (
    INSERT INTO tenants (id, company_name, contact_name, contact_email, contact_email_folded,
        search_text, edition, product, deployment, status, subscription, billing_customer, region,
        registered_at, installed_at, updated_at)
    SELECT id, 'Company ' || n, NULL, 'b' || n || '@bench.example', 'b' || n || '@bench.example',
        'company ' || n || ' b' || n || '@bench.example', 'pro', 'default', 'appliance',
        'registered', NULL, NULL, NULL, now(), NULL, now()
    FROM it
),
w1 AS (
    INSERT INTO entitlements (id, tenant_id, subscription, customer, edition, seats, license_sub,
        created_at, revoked_at)
    SELECT id, id, NULL, 'Company ' || n, 'pro', 25, 'lic_' || replace(id::text, '-', ''), now(),
        NULL
    FROM it
),
w2 AS (
    INSERT INTO install_codes (id, kind, tenant_id, entitlement_id, digest_key_id, digest,
        last_four, issued_at, expires_at, consumed_at, consumed_by, superseded_at)
    SELECT id, 'install', id, id, 'limit', decode(lpad(to_hex(n), 64, '0'), 'hex'), 'ABCD', now(),
        now() + interval '7 days', NULL, NULL, NULL
    FROM it
),
w3 AS (
    INSERT INTO mails (id, tenant_id, kind, recipient, message, sealed_key_id, sealed, state,
        attempts, queued_at, due_at, settled_at, last_error)
    SELECT id, id, 'install_code', 'b' || n || '@bench.example', repeat('x', 260), 'limit',
        decode(repeat('00', 52), 'hex'), 'queued', 0, now(), now(), NULL, NULL
    FROM it
),
w4 AS (
    INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, mail_id, detail, count)
    SELECT ('01a10000-0000-7000-800' || v.number || '-' || lpad(to_hex(n), 12, '0'))::uuid, now(),
        'service default', '127.0.0.1', v.action, id, id, NULL, v.detail, 1
    FROM it, (VALUES (1, 'tenant_registered', ''), (2, 'entitlement_granted', 'pro'),
        (3, 'code_issued', '')) AS v (number, action, detail)
)
SELECT 1;
