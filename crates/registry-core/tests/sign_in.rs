//! Sign-in to the web pages, from the mail to the end of the session.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chrono::TimeDelta;
use registry_core::audit::{Action, Actor};
use registry_core::rate_limit::{Limited, Source};
use registry_core::registry::reissue::Reissue;
use registry_core::registry::sign_in::{MailRequest, OpenedSession};
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::registry::timeline::Event;
use registry_core::secret::SignInToken;
use registry_core::sign_in::Role;
use registry_core::store::{TenantSelector, Write};
use registry_core::text::EmailAddress;
use registry_core::{Error, Refusal};
use registry_testkit::{World, actor, audit};

fn source() -> Source {
    Source::of([192, 0, 2, 1].into())
}

/// Requests a sign-in link, and returns the token from the mail.
async fn mailed_link(world: &World, email: &str) -> SignInToken {
    // Audit entries of the same time have no defined order, so each request gets its own time.
    world.clock.advance(TimeDelta::seconds(1));
    world.registry.sign_in_mail(EmailAddress::parse(email).unwrap(), source()).await.unwrap();
    world.deliver().await;
    world.clock.advance(TimeDelta::seconds(1));
    let link =
        world.mailer.sent().into_iter().rfind(|mail| mail.code.is_empty()).unwrap().link.unwrap();
    SignInToken::new(
        link.strip_prefix("https://registry.example/portal/sign-in/").unwrap().to_owned(),
    )
}

async fn signed_in(world: &World, email: &str) -> OpenedSession {
    let link = mailed_link(world, email).await;
    world.registry.sign_in(&link, None, source()).await.unwrap()
}

async fn is_open(world: &World, session: &OpenedSession) -> bool {
    world.registry.session(&session.token).await.unwrap().is_some()
}

fn customer() -> Actor {
    Actor { name: "customer:acme@example.com".to_owned(), source: source().to_string() }
}

/// Returns the audit entries about sign-ins: action, actor and detail.
async fn sign_in_audit(world: &World) -> Vec<(Action, String, String)> {
    let entries = audit(&*world.ports.store, None).await.into_iter();
    let about_sign_in = entries.filter(|it| {
        matches!(it.action, Action::SignInRequested | Action::SignedIn | Action::SignedOut)
    });
    about_sign_in.map(|it| (it.action, it.actor.name, it.detail.to_string())).collect()
}

fn is_refused(opened: &Result<OpenedSession, Error>) -> bool {
    matches!(opened, Err(Error::Refused(Refusal::SignInLinkInvalid)))
}

#[tokio::test]
async fn unknown_address_gets_no_link() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    world.deliver().await;
    let unknown = EmailAddress::parse("nobody@example.com").unwrap();
    world.registry.sign_in_mail(unknown, source()).await.unwrap();
    assert!(world.deliver().await.is_empty());
    assert_eq!(sign_in_audit(&world).await, [], "an unknown address leaves no audit entry");
}

#[tokio::test]
async fn link_signs_in_once() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let older = mailed_link(&world, "acme@example.com").await;
    let link = mailed_link(&world, "ACME@example.com").await;
    let session = world.registry.sign_in(&link, None, source()).await.unwrap();
    assert_eq!(
        (session.principal.role, session.principal.name.as_str()),
        (Role::Customer, "acme@example.com")
    );
    assert!(is_refused(&world.registry.sign_in(&link, None, source()).await), "used");
    assert!(
        is_refused(&world.registry.sign_in(&older, None, source()).await),
        "using a link ends the contact's other links"
    );
    assert!(
        is_refused(&world.registry.sign_in(&session.token, None, source()).await),
        "a session's token is not a link"
    );
    let audit = sign_in_audit(&world).await;
    let actions: Vec<_> = audit.iter().map(|(action, _, _)| *action).collect();
    assert_eq!(
        actions,
        [Action::SignInRequested, Action::SignInRequested, Action::SignedIn],
        "a refused link leaves no audit entry"
    );
    let unused = mailed_link(&world, "acme@example.com").await;
    assert!(
        world.registry.session(&unused).await.unwrap().is_none(),
        "a link's token is not a session"
    );
}

#[tokio::test]
async fn sign_in_and_sign_out_are_audited() {
    let world = World::in_memory();
    let tenant = world.register("Acme", "essentials").await.tenant_id;
    let session = signed_in(&world, "acme@example.com").await;
    world.clock.advance(TimeDelta::seconds(1));
    // The second sign-out has no effect.
    for _ in 0..2 {
        world
            .registry
            .sign_out(&session.token, session.principal.clone(), false, customer())
            .await
            .unwrap();
    }
    assert!(!is_open(&world, &session).await);
    mailed_link(&world, "acme@example.com").await;
    let entry = |action, name: &str| (action, name.to_owned(), String::new());
    let expected = [
        entry(Action::SignInRequested, "portal"),
        entry(Action::SignedIn, "customer:acme@example.com"),
        entry(Action::SignedOut, "customer:acme@example.com"),
        entry(Action::SignInRequested, "portal"),
    ];
    assert_eq!(sign_in_audit(&world).await, expected);
    let (timeline, next) = world.registry.tenant_timeline(tenant, 100, None).await.unwrap();
    let shows = |action| {
        timeline.iter().any(|it| matches!(it, Event::Audited(entry) if entry.action == action))
    };
    assert!(shows(Action::SignedIn) && next.is_none(), "{timeline:?}");
    let mails = timeline.iter().filter(|it| matches!(it, Event::Mailed(_)));
    assert_eq!(mails.count(), 3, "the code, and two links");
}

#[tokio::test]
async fn link_expires_after_fifteen_minutes() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let link = mailed_link(&world, "acme@example.com").await;
    world.clock.advance(TimeDelta::minutes(15));
    assert!(is_refused(&world.registry.sign_in(&link, None, source()).await));
}

#[tokio::test]
async fn session_ends_when_idle_or_old() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let session = signed_in(&world, "acme@example.com").await;
    for _ in 0..23 {
        world.clock.advance(TimeDelta::minutes(30));
        assert!(is_open(&world, &session).await, "each use extends the session by half an hour");
    }
    world.clock.advance(TimeDelta::minutes(30));
    assert!(!is_open(&world, &session).await, "the session is twelve hours old");
    let session = signed_in(&world, "acme@example.com").await;
    world.clock.advance(TimeDelta::minutes(31));
    assert!(!is_open(&world, &session).await, "the session was idle for 31 minutes");
}

#[tokio::test]
async fn sign_out_everywhere_spares_other_principals() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    world.register("Bolt", "essentials").await;
    let (first, second) =
        (signed_in(&world, "acme@example.com").await, signed_in(&world, "acme@example.com").await);
    let other = signed_in(&world, "bolt@example.com").await;
    let ann = Actor { name: "operator:ann".to_owned(), source: source().to_string() };
    let operator = world.registry.operator_sign_in("acme@example.com", None, ann).await.unwrap();
    let link = mailed_link(&world, "acme@example.com").await;
    world.registry.sign_out(&first.token, first.principal.clone(), true, customer()).await.unwrap();
    assert!(!is_open(&world, &first).await && !is_open(&world, &second).await);
    assert!(is_open(&world, &other).await && is_open(&world, &operator).await);
    assert!(is_refused(&world.registry.sign_in(&link, None, source()).await));
    let entries = sign_in_audit(&world).await;
    let has_entry = |actor: &str, detail: &str| {
        entries.iter().any(|(_, name, text)| name == actor && text == detail)
    };
    assert!(
        has_entry("customer:acme@example.com", "everywhere") && has_entry("operator:ann", ""),
        "{entries:?}"
    );
}

#[tokio::test]
async fn failed_logins_do_not_limit_mails() {
    let world = World::in_memory();
    while world.registry.count_failed_operator_login(source()).is_ok() {}
    let refused = world.registry.count_failed_operator_login(source()).unwrap_err();
    assert!(
        matches!(refused, Refusal::RateLimited { limited: Limited::Requests, .. }),
        "{refused:?}"
    );
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    assert_eq!(
        world.registry.count_mail_request(source(), MailRequest::Link(&contact), None),
        Ok(())
    );
}

#[tokio::test]
async fn form_is_counted_once() {
    let world = World::in_memory();
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    let from = |last: u8| Source::of([198, 51, 100, last].into());
    for _ in 0..50 {
        assert_eq!(
            world.registry.count_mail_request(from(1), MailRequest::Link(&contact), Some([7; 32])),
            Ok(()),
            "the same form again"
        );
    }
    for last in 2..11 {
        assert_eq!(
            world.registry.count_mail_request(from(last), MailRequest::Link(&contact), None),
            Ok(())
        );
    }
    let late = world
        .registry
        .count_mail_request(from(11), MailRequest::Link(&contact), Some([8; 32]))
        .unwrap_err();
    assert!(matches!(late, Refusal::RateLimited { limited: Limited::Requests, .. }), "{late:?}");
    let again = world
        .registry
        .count_mail_request(from(11), MailRequest::Link(&contact), Some([8; 32]))
        .unwrap_err();
    assert!(
        matches!(again, Refusal::RateLimited { limited: Limited::Requests, .. }),
        "a refused form does not count as a counted one: {again:?}"
    );
}

#[tokio::test]
async fn each_kind_of_mail_has_its_limit() {
    let world = World::in_memory();
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    let from = |last: u8| Source::of([198, 51, 100, last].into());
    for last in 1..11 {
        assert_eq!(
            world.registry.count_mail_request(from(last), MailRequest::Link(&contact), None),
            Ok(())
        );
    }
    let links = world.registry.count_mail_request(from(11), MailRequest::Link(&contact), None);
    assert!(
        matches!(links, Err(Refusal::RateLimited { limited: Limited::Requests, .. })),
        "{links:?}"
    );
    assert_eq!(
        world.registry.count_mail_request(from(12), MailRequest::Registration(&contact), None),
        Ok(())
    );
    // Re-issues are requested in a session: the address is limited, and the source is not.
    for _ in 0..10 {
        assert_eq!(
            world.registry.count_mail_request(from(11), MailRequest::Reissue(&contact), None),
            Ok(())
        );
    }
    let many = world
        .registry
        .count_mail_request(from(13), MailRequest::Reissue(&contact), None)
        .unwrap_err();
    assert!(matches!(many, Refusal::RateLimited { limited: Limited::Requests, .. }), "{many:?}");
}

#[tokio::test]
async fn sign_in_ends_the_browsers_previous_session() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let (other, first) =
        (signed_in(&world, "acme@example.com").await, signed_in(&world, "acme@example.com").await);
    let link = mailed_link(&world, "acme@example.com").await;
    let again = world.registry.sign_in(&link, Some(&first.token), source()).await.unwrap();
    assert!(!is_open(&world, &first).await);
    assert!(is_open(&world, &other).await && is_open(&world, &again).await);
}

#[tokio::test]
async fn suspended_customer_signs_in_without_downloads() {
    let world = World::in_memory();
    let tenant = world.register("Acme", "essentials").await.tenant_id;
    world.registry.tenant_edit(tenant, TenantEdit::Suspend, customer()).await.unwrap();
    assert!(is_open(&world, &signed_in(&world, "acme@example.com").await).await);
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    world.publish("1.0", b"content").await.unwrap();
    let refused = world.registry.portal_download(&contact, source()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::TenantSuspended { .. })), "{refused:?}");
}

#[tokio::test]
async fn portal_downloads_are_audited() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    let refused = world.registry.portal_download(&contact, source()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::NothingToDownload)), "{refused:?}");
    world.publish("1.0", b"content").await.unwrap();
    for _ in 0..2 {
        world.registry.portal_download(&contact, source()).await.unwrap();
    }
    let entries = audit(&*world.ports.store, None).await;
    let started = entries.iter().find(|it| it.action == Action::DownloadStarted).unwrap();
    assert_eq!(
        (started.count, started.detail.to_string().as_str(), started.code_id.is_some()),
        (2, "1.0", true)
    );
}

#[tokio::test]
async fn mail_only_reissue_needs_a_contact() {
    let world = World::in_memory();
    let issued = world.register("Acme", "essentials").await;
    let reissue = |tenant, mail_only| Reissue {
        selector: TenantSelector::Id(tenant),
        strict: false,
        send_email: true,
        mail_only,
        key: None,
    };
    world.registry.code_reissue(reissue(issued.tenant_id, true), actor()).await.unwrap();
    // An adopted tenant has no contact.
    let mut tenant = world.registry.tenant_show(issued.tenant_id).await.unwrap().record.tenant;
    (tenant.id, tenant.contact_email) = (world.registry.new_id().into(), None);
    let id = tenant.id;
    world.write(vec![Write::InsertTenant(Box::new(tenant))]).await.unwrap();
    let refused = world.registry.code_reissue(reissue(id, true), actor()).await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused(Refusal::Invalid { field: "contact_email", .. })),
        "{refused:?}"
    );
    world.registry.code_reissue(reissue(id, false), actor()).await.unwrap();
}
