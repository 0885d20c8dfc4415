//! The tables, as diesel sees them. Kept in step with `migrations/postgres` by the tests, which use
//! every column.

diesel::table! {
    tenants (id) {
        id -> Uuid,
        company_name -> Text,
        contact_name -> Nullable<Text>,
        contact_email -> Nullable<Text>,
        contact_email_folded -> Nullable<Text>,
        search_text -> Text,
        edition -> Text,
        product -> Text,
        deployment -> Text,
        status -> Text,
        subscription -> Nullable<Text>,
        billing_customer -> Nullable<Text>,
        region -> Nullable<Text>,
        registered_at -> Timestamptz,
        installed_at -> Nullable<Timestamptz>,
        updated_at -> Timestamptz,
        version -> BigInt,
    }
}

diesel::table! {
    entitlements (id) {
        id -> Uuid,
        tenant_id -> Nullable<Uuid>,
        subscription -> Nullable<Text>,
        customer -> Text,
        edition -> Text,
        seats -> Nullable<Integer>,
        license_sub -> Text,
        created_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        version -> BigInt,
    }
}

diesel::table! {
    install_codes (id) {
        id -> Uuid,
        kind -> Text,
        tenant_id -> Nullable<Uuid>,
        entitlement_id -> Nullable<Uuid>,
        digest_key_id -> Text,
        digest -> Binary,
        last_four -> Text,
        issued_at -> Timestamptz,
        expires_at -> Timestamptz,
        consumed_at -> Nullable<Timestamptz>,
        consumed_by -> Nullable<Text>,
        superseded_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    appliances (tenant_id, id) {
        tenant_id -> Uuid,
        id -> Text,
        registered_at -> Timestamptz,
        last_check_in_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        license_sub -> Nullable<Text>,
        license_customer -> Nullable<Text>,
        license_tier -> Nullable<Text>,
        license_seats -> Nullable<Integer>,
        license_expires_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    credentials (digest) {
        digest -> Binary,
        tenant_id -> Uuid,
        appliance_id -> Text,
        issued_at -> Timestamptz,
        first_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    mails (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        recipient -> Text,
        message -> Text,
        sealed_key_id -> Nullable<Text>,
        sealed -> Nullable<Binary>,
        state -> Text,
        attempts -> Integer,
        queued_at -> Timestamptz,
        due_at -> Timestamptz,
        settled_at -> Nullable<Timestamptz>,
        last_error -> Nullable<Text>,
    }
}

diesel::table! {
    audit (id) {
        id -> Uuid,
        at -> Timestamptz,
        actor -> Text,
        source -> Text,
        action -> Text,
        tenant_id -> Nullable<Uuid>,
        code_id -> Nullable<Uuid>,
        mail_id -> Nullable<Uuid>,
        detail -> Text,
        count -> Integer,
    }
}

diesel::table! {
    replays (scope, key_digest) {
        scope -> Text,
        key_digest -> Binary,
        fingerprint -> Binary,
        sealed_key_id -> Text,
        sealed -> Binary,
        recorded_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    releases (id) {
        id -> Uuid,
        channel -> Text,
        version -> Text,
        blob_key -> Text,
        file_name -> Text,
        size -> BigInt,
        sha256 -> Text,
        published_at -> Timestamptz,
        manifest -> Nullable<Text>,
        manifest_signature -> Nullable<Binary>,
        yanked_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    channels (name) {
        name -> Text,
        release_id -> Uuid,
    }
}

diesel::table! {
    probes (id) {
        id -> Integer,
        writes -> BigInt,
    }
}

diesel::table! {
    rings (id) {
        id -> Integer,
        key_id -> Text,
    }
}

diesel::table! {
    sign_ins (digest) {
        digest -> Binary,
        kind -> Text,
        role -> Text,
        visitor -> Text,
        issued_at -> Timestamptz,
        used_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::joinable!(channels -> releases (release_id));

diesel::allow_tables_to_appear_in_same_query!(
    appliances,
    audit,
    channels,
    credentials,
    entitlements,
    install_codes,
    mails,
    releases,
    replays,
    tenants
);
