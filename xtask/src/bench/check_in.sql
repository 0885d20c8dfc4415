\set k :k + 1
\set n :first + :client_id * :each + :k - 1
UPDATE appliances SET last_check_in_at = now()
FROM credentials
JOIN tenants ON tenants.id = credentials.tenant_id
LEFT JOIN entitlements ON entitlements.tenant_id = tenants.id AND entitlements.revoked_at IS NULL
WHERE appliances.tenant_id = credentials.tenant_id AND appliances.id = credentials.appliance_id
    AND credentials.digest = sha256(convert_to(lpad(to_hex(:n::bigint), 64, '0'), 'UTF8'))
RETURNING credentials.first_used_at, appliances.*, tenants.*, entitlements.*;
