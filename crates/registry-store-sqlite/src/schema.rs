//! The tables, as diesel sees them. Kept in step with `migrations/sqlite` by the tests, which use
//! every column.

diesel::table! {
    tenants (id) {
        id -> Text,
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
        registered_at -> BigInt,
        installed_at -> Nullable<BigInt>,
        updated_at -> BigInt,
    }
}

diesel::table! {
    entitlements (id) {
        id -> Text,
        tenant_id -> Nullable<Text>,
        subscription -> Nullable<Text>,
        customer -> Text,
        edition -> Text,
        seats -> Nullable<Integer>,
        license_sub -> Text,
        created_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    install_codes (id) {
        id -> Text,
        kind -> Text,
        tenant_id -> Nullable<Text>,
        entitlement_id -> Nullable<Text>,
        digest_key_id -> Text,
        digest -> Binary,
        last_four -> Text,
        issued_at -> BigInt,
        expires_at -> BigInt,
        consumed_at -> Nullable<BigInt>,
        consumed_by -> Nullable<Text>,
        superseded_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    appliances (tenant_id, id) {
        tenant_id -> Text,
        id -> Text,
        registered_at -> BigInt,
        last_check_in_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
        license_sub -> Nullable<Text>,
        license_customer -> Nullable<Text>,
        license_tier -> Nullable<Text>,
        license_seats -> Nullable<Integer>,
        license_expires_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    credentials (digest) {
        digest -> Binary,
        tenant_id -> Text,
        appliance_id -> Text,
        issued_at -> BigInt,
        first_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    mails (id) {
        id -> Text,
        tenant_id -> Text,
        recipient -> Text,
        message -> Text,
        sealed_key_id -> Nullable<Text>,
        sealed -> Nullable<Binary>,
        state -> Text,
        attempts -> Integer,
        queued_at -> BigInt,
        due_at -> BigInt,
        settled_at -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
    }
}

diesel::table! {
    audit (id) {
        id -> Text,
        at -> BigInt,
        actor -> Text,
        source -> Text,
        action -> Text,
        tenant_id -> Nullable<Text>,
        code_id -> Nullable<Text>,
        mail_id -> Nullable<Text>,
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
        recorded_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    releases (id) {
        id -> Text,
        channel -> Text,
        version -> Text,
        blob_key -> Text,
        file_name -> Text,
        size -> BigInt,
        sha256 -> Text,
        published_at -> BigInt,
        manifest -> Nullable<Text>,
        manifest_signature -> Nullable<Binary>,
        yanked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    channels (name) {
        name -> Text,
        release_id -> Text,
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
        issued_at -> BigInt,
        used_at -> BigInt,
        expires_at -> BigInt,
    }
}

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
