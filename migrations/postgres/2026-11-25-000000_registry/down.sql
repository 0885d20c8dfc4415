DROP TABLE rings, probes, channels, releases, replays, audit, mails, credentials, appliances, install_codes, entitlements, tenants;
