\set k :k + 1
\set n :first + :client_id * :each + :k - 1
UPDATE appliances SET last_check_in_at = now()
FROM (
    SELECT * FROM credentials
    WHERE digest = sha256(convert_to(lpad(to_hex(:n::bigint), 64, '0'), 'UTF8'))
    LIMIT 1
) c
CROSS JOIN LATERAL (SELECT * FROM tenants WHERE id = c.tenant_id LIMIT 1) t
LEFT JOIN LATERAL (
    SELECT * FROM entitlements WHERE tenant_id = t.id AND revoked_at IS NULL LIMIT 1
) e ON true
WHERE appliances.tenant_id = c.tenant_id AND appliances.id = c.appliance_id
RETURNING c.first_used_at, appliances.*, t.*, e.*;
