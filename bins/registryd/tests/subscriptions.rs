//! Tenants over HTTP: subscriptions, catalogues, re-issues, mails and links.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;

use common::{Server, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use external::{download_path, operate, operator, publish, unfolded};
use registry_core::id::TenantId;
use registry_core::registry::tenant_admin::TenantEdit;
use serde_json::{Value, json};

on_both_databases!(
    second_registration_changes_no_field,
    suspended_subscription_is_refused,
    signed_entitlement_is_bound_at_registration,
    revoked_subscription_gets_essentials_code,
    catalogues_are_configuration,
    mail_says_how_to_install,
    no_mail_is_sent_if_unwanted,
    link_expires_with_code,
    missing_image_costs_only_link,
    tenant_id_decides_reissue,
    reissue_of_revoked_tenant_is_essentials,
    adopted_tenant_gets_no_mail,
    active_entitlement_is_shown,
);

/// Registers a tenant with these fields instead of the usual ones.
fn register(server: &Server, fields: &Value) -> (u16, Value) {
    let mut body =
        json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post_as_service("/register-tenant", &body)
}

fn show(server: &Server, issued: &Value) -> Value {
    server.get_as_service(&format!("/tenants/{}", text(&issued["tenant_id"]))).1
}

/// R-register-tenant-4, R-register-tenant-5.
fn second_registration_changes_no_field(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, first) =
        register(&server, &json!({ "edition": "essentials", "stripe_sub_id": "sub_1" }));
    server.mails(1);
    let mut before = show(&server, &first);
    assert_eq!(before["entitlement"], Value::Null);
    let others = json!({
        "company_name": "Other", "contact_email": "other@example.com", "contact_name": "Eve",
        "product_code": "default", "deployment_type": "hosted", "region": "other", "seats": 7,
        "stripe_customer_id": "other", "stripe_sub_id": "sub_1",
    });
    let (status, second) = register(&server, &others);
    assert_eq!((status, &second["tenant_id"]), (200, &first["tenant_id"]));
    let mut after = show(&server, &second);
    assert_eq!(
        (&after["entitlement"]["active"], &after["entitlement"]["seats"]),
        (&json!(true), &json!(7)),
        "the missing entitlement is added"
    );
    // With it comes its edition.
    assert_eq!(after["tenant"]["edition"], "pro");
    for shown in [&mut before, &mut after] {
        let row = shown["tenant"].as_object_mut().unwrap();
        row.remove("edition").unwrap();
        row.remove("updated_at").unwrap();
    }
    assert_eq!(after["tenant"], before["tenant"]);
    let mails = server.mails(2);
    assert!(
        mails.iter().all(|mail| mail.contains("a@example.com") && !mail.contains("other@")),
        "the mail goes to the tenant's own contact"
    );
}

/// R-register-tenant-6, R-check-in-9.
fn suspended_subscription_is_refused(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    for edit in [TenantEdit::Suspend, TenantEdit::Cancel] {
        operate(data.path(), environment, async |registry| {
            let id = TenantId(tenant.parse().unwrap());
            registry.tenant_edit(id, edit, operator()).await.unwrap();
        });
        let (status, body) = register(&server, &json!({ "stripe_sub_id": "sub_1" }));
        assert_eq!((status, &body["code"]), (403, &json!("tenant_suspended")), "{body}");
        let (status, body) = server.reissue(&tenant);
        assert_eq!((status, &body["code"]), (403, &json!("tenant_suspended")), "{body}");
        let (status, body) = server.check_in(&credential);
        assert_eq!((status, &body["status"]), (200, &json!("revoked")), "{body}");
    }
}

/// R-register-tenant-7, R-register-8.
fn signed_entitlement_is_bound_at_registration(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, signed) = server.sign("sub_1", &json!(25));
    let (_, issued) =
        register(&server, &json!({ "edition": "essentials", "stripe_sub_id": "sub_1" }));
    let shown = show(&server, &issued);
    assert_eq!(shown["tenant"]["edition"], "pro", "the edition of the entitlement");
    assert_eq!(
        (&shown["entitlement"]["license_sub"], &shown["entitlement"]["seats"]),
        (&signed["sub"], &json!(25))
    );
    let (status, body) = server.redeem(&text(&issued["install_code"]));
    assert_eq!((status, &body["edition"]), (200, &json!("pro")));
}

/// R-register-tenant-13.
fn revoked_subscription_gets_essentials_code(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let first = server.subscribe("sub_1");
    server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let again = server.subscribe("sub_1");
    assert_eq!(again["tenant_id"], first["tenant_id"]);
    let (status, body) = server.redeem(&text(&again["install_code"]));
    assert_eq!((status, &body["edition"]), (200, &json!("essentials")), "{body}");
}

/// R-register-tenant-11.
fn catalogues_are_configuration(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let settings = [
        (
            "REGISTRY_EDITIONS",
            "[{ name = 'free' }, { name = 'gold', tier = 'max', aliases = ['golden'] }]",
        ),
        ("REGISTRY_PRODUCTS", "['box', 'rack']"),
    ];
    let server = start(data.path(), &with(environment, &settings));
    for (fields, edition, product) in [
        (json!({ "edition": "free" }), "free", "box"),
        (json!({ "edition": "golden", "product_code": "rack" }), "gold", "rack"),
    ] {
        let (status, issued) = register(&server, &fields);
        assert_eq!(status, 200, "{issued}");
        let row = show(&server, &issued)["tenant"].clone();
        assert_eq!((&row["edition"], &row["product_code"]), (&json!(edition), &json!(product)));
    }
    for (fields, field) in [
        (json!({ "edition": "pro" }), "edition"),
        (json!({ "edition": "free", "product_code": "unknown" }), "product_code"),
    ] {
        let (status, body) = register(&server, &fields);
        assert_eq!((status, &body["reason"]), (422, &json!(field)), "{body}");
    }
    drop(server);
    let defaults = start(data.path(), environment);
    let (_, issued) = register(&defaults, &json!({ "edition": "premium" }));
    let row = show(&defaults, &issued)["tenant"].clone();
    assert_eq!((&row["edition"], &row["product_code"]), (&json!("pro"), &json!("default")));
}

/// R-register-tenant-9, R-reissue-6.
fn mail_says_how_to_install(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let portal = [("REGISTRY_PORTAL_URL", "https://portal.example")];
    let settings = with(environment, &portal);
    let server = start(data.path(), &settings);
    publish(data.path(), &settings, b"the image");
    let (_, issued) = register(&server, &json!({}));
    let first = server.mails(1).remove(0);
    let (_, reissued) = server.reissue(&text(&issued["tenant_id"]));
    let second = server.mails(2).into_iter().find(|mail| *mail != first).unwrap();
    for (mail, issued) in [(first, issued), (second, reissued)] {
        let mail = unfolded(&mail);
        for part in [
            text(&issued["install_code"]).as_str(),
            &format!("{}/download/", server.url),
            "How to install",
            "https://portal.example",
        ] {
            assert!(mail.contains(part), "{part} is not in {mail}");
        }
        assert!(download_path(&mail).len() > "/download/".len());
        // The text part names the expiry of the code and of the link.
        let text = mail.split_once("text/html").unwrap().0;
        assert!(text.matches(" UTC").count() >= 2, "{text}");
    }
}

/// R-register-tenant-9.
fn no_mail_is_sent_if_unwanted(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, issued) = register(&server, &json!({ "send_email": false }));
    let body = json!({ "tenant_id": issued["tenant_id"], "send_email": false });
    assert_eq!(server.post_as_service("/install-codes/reissue", &body).0, 200);
    // Mails are sent in the order of their age, so an unwanted one would come first.
    server.register("Bolt", "pro");
    let mails = server.mails(1);
    assert!(mails.len() == 1 && mails[0].contains("bolt@example.com"), "{mails:?}");
}

/// R-register-tenant-10.
fn link_expires_with_code(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let expiries = |server: &Server| {
        let (_, issued) = register(server, &json!({}));
        let link = text(&issued["download_url"]);
        let (_, expires) = link.split_once("expires=").unwrap();
        let expires: i64 = expires.split('&').next().unwrap().parse().unwrap();
        (issued["expires_at"].as_i64().unwrap(), expires)
    };
    let is_near = |a: i64, b: i64| (-120..=120).contains(&(a - b));
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"the image");
    let (code, link) = expiries(&server);
    assert!(is_near(link, code), "by default: {link} {code}");
    drop(server);
    let server = start(data.path(), &with(environment, &[("REGISTRY_CODES_LIFETIME", "3d")]));
    let (shorter, link) = expiries(&server);
    assert!(is_near(link, shorter) && is_near(shorter, code - 4 * 86_400), "{link} {shorter}");
    drop(server);
    let server = start(data.path(), &with(environment, &[("REGISTRY_DOWNLOADS_LIFETIME", "1d")]));
    let (code, link) = expiries(&server);
    assert!(is_near(link, code - 6 * 86_400), "a setting: {link} {code}");
}

/// R-register-tenant-2, R-health-3: an image that is incomplete or missing is noticed within ten
/// seconds.
fn missing_image_costs_only_link(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    assert_eq!(register(&server, &json!({})).1["download_url"], "", "no release is published");
    publish(data.path(), environment, b"the image");
    let link = text(&register(&server, &json!({})).1["download_url"]);
    let key = link.split_once("/files/").unwrap().1.split_once('?').unwrap().0;
    let file = data.path().join("files").join(key);
    std::fs::write(&file, b"the im").unwrap();
    let issued = wait_for("a registration without a link to the incomplete image", || {
        let (status, issued) = register(&server, &json!({ "send_email": false }));
        assert_eq!(status, 200, "{issued}");
        let link = text(&issued["download_url"]);
        if link.is_empty() { Ok(issued) } else { Err(link) }
    });
    assert_eq!(server.redeem(&text(&issued["install_code"])).0, 200);
    let release = wait_for("readiness to report the image", || {
        let release = server.get_as_service("/readyz").1["parts"][4].clone();
        if release["state"] == "down" { Ok(release) } else { Err(release.to_string()) }
    });
    assert_eq!(release["required"], false);
    drop(server);
    std::fs::remove_file(&file).unwrap();
    let server = start(data.path(), environment);
    let (status, issued) = register(&server, &json!({}));
    assert_eq!((status, &issued["download_url"]), (200, &json!("")), "{issued}");
    let parts = server.get_as_service("/readyz").1["parts"].clone();
    assert_eq!(parts[4]["state"], "down", "{parts}");
}

/// R-reissue-3.
fn tenant_id_decides_reissue(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (acme, _) = server.register("Acme", "pro");
    server.register("Bolt", "pro");
    let both = json!({ "tenant_id": acme, "contact_email": "bolt@example.com" });
    let (status, issued) = server.post_as_service("/install-codes/reissue", &both);
    assert_eq!((status, text(&issued["tenant_id"])), (200, acme));
    let (status, body) =
        server.post_as_service("/install-codes/reissue", &json!({ "strict": true }));
    assert_eq!((status, &body["code"]), (422, &json!("invalid_request")), "{body}");
}

/// R-reissue-4.
fn reissue_of_revoked_tenant_is_essentials(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let issued = server.subscribe("sub_1");
    let tenant = text(&issued["tenant_id"]);
    let again = text(&server.reissue(&tenant).1["install_code"]);
    let (status, body) = server.redeem(&text(&issued["install_code"]));
    assert_eq!((status, &body["reason"]), (409, &json!("superseded")));
    let (_, body) = server.redeem(&again);
    assert_eq!((&body["edition"], &body["tenant_id"]), (&json!("pro"), &json!(tenant)));
    server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let last = text(&server.reissue(&tenant).1["install_code"]);
    let (_, body) = server.redeem(&last);
    assert_eq!((&body["edition"], &body["tenant_id"]), (&json!("essentials"), &json!(tenant)));
}

/// R-reissue-6: a tenant without a contact gets no mail.
fn adopted_tenant_gets_no_mail(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let tenant = "0b9b0a51-7d1e-4c3a-9b52-4f0e8d6a1c73";
    server.sign("sub_1", &Value::Null);
    let code = server.claim_code("sub_1");
    assert_eq!(server.activate(&code, &json!(tenant)).0, 200);
    let (status, reissued) = server.reissue(tenant);
    assert_eq!(status, 200, "{reissued}");
    // Mails are sent in the order of their age, so one to the tenant would come first.
    server.register("Bolt", "pro");
    let mails = server.mails(1);
    assert!(mails.len() == 1 && mails[0].contains("bolt@example.com"), "{mails:?}");
}

/// R-tenants-3, R-tenant-4.
fn active_entitlement_is_shown(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let issued = server.subscribe("sub_old");
    let shown = || {
        let item = server.get_as_service("/tenants").1["items"][0].clone();
        let entitlement = show(&server, &issued)["entitlement"].clone();
        assert_eq!(item["stripe_sub_id"], entitlement["stripe_sub_id"]);
        assert_eq!(item["entitlement_active"], entitlement["active"]);
        (text(&entitlement["stripe_sub_id"]), entitlement["active"] == true)
    };
    let revoke = |subscription: &str| {
        let revoked = server.post_as_service("/revoke", &json!({ "stripe_sub_id": subscription }));
        assert_eq!(revoked.0, 200, "{revoked:?}");
    };
    let sign = |subscription: &str| {
        let body = json!({
            "stripe_sub_id": subscription, "customer": "Acme", "tier": "pro",
            "transport": "connected", "tenant_id": issued["tenant_id"],
        });
        let signed = server.post_as_service("/sign", &body);
        assert_eq!(signed.0, 200, "{signed:?}");
    };
    assert_eq!(shown(), ("sub_old".to_owned(), true));
    revoke("sub_old");
    sign("sub_new");
    assert_eq!(shown(), ("sub_new".to_owned(), true));
    revoke("sub_new");
    assert_eq!(shown(), ("sub_new".to_owned(), false), "the newest, if none is active");
    sign("sub_old");
    assert_eq!(shown(), ("sub_old".to_owned(), true), "the active one, if it is older");
}
