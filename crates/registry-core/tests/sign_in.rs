//! Signing in to the pages, from the mail to the end of the session.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chrono::TimeDelta;
use registry_core::audit::{Action, Actor};
use registry_core::rate_limit::Source;
use registry_core::registry::reissue::Reissue;
use registry_core::registry::sign_in::{Asked, OpenedSession};
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

/// Asks for a link, and takes it out of the mail.
async fn asked(world: &World, email: &str) -> SignInToken {
    // Lines of the audit at the same time stand in any order.
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
    let link = asked(world, email).await;
    world.registry.sign_in(&link, None, source()).await.unwrap()
}

async fn lives(world: &World, session: &OpenedSession) -> bool {
    world.registry.session(&session.token).await.unwrap().is_some()
}

fn customer() -> Actor {
    Actor { name: "customer:acme@example.com".to_owned(), source: source().to_string() }
}

async fn audited(world: &World) -> Vec<(Action, String, String)> {
    let lines = audit(&*world.ports.store, None).await.into_iter();
    let ours = lines.filter(|it| {
        matches!(it.action, Action::SignInAsked | Action::SignedIn | Action::SignedOut)
    });
    ours.map(|it| (it.action, it.actor.name, it.detail)).collect()
}

fn is_refused(opened: &Result<OpenedSession, Error>) -> bool {
    matches!(opened, Err(Error::Refused(Refusal::SignInLinkInvalid)))
}

#[tokio::test]
async fn a_link_signs_in_once_ends_the_others_and_every_step_is_audited() {
    let world = World::in_memory();
    let tenant = world.register("Acme", "essentials").await.tenant_id;
    world.deliver().await;
    world
        .registry
        .sign_in_mail(EmailAddress::parse("nobody@example.com").unwrap(), source())
        .await
        .unwrap();
    assert!(world.deliver().await.is_empty(), "an unknown address gets nothing");

    let (older, link) =
        (asked(&world, "acme@example.com").await, asked(&world, "ACME@example.com").await);
    let session = world.registry.sign_in(&link, None, source()).await.unwrap();
    assert_eq!(
        (session.principal.role, session.principal.name.as_str()),
        (Role::Customer, "acme@example.com")
    );
    assert!(is_refused(&world.registry.sign_in(&link, None, source()).await), "used");
    assert!(
        is_refused(&world.registry.sign_in(&older, None, source()).await),
        "a used one ends the others"
    );
    assert!(
        is_refused(&world.registry.sign_in(&session.token, None, source()).await),
        "a session is no link"
    );
    assert!(
        world.registry.session(&asked(&world, "acme@example.com").await).await.unwrap().is_none()
    );

    world
        .registry
        .sign_out(&session.token, session.principal.clone(), false, customer())
        .await
        .unwrap();
    world
        .registry
        .sign_out(&session.token, session.principal.clone(), false, customer())
        .await
        .unwrap();
    assert!(!lives(&world, &session).await);
    let said = |action, name: &str| (action, name.to_owned(), String::new());
    let expected = [
        said(Action::SignInAsked, "portal"),
        said(Action::SignInAsked, "portal"),
        said(Action::SignedIn, "customer:acme@example.com"),
        said(Action::SignInAsked, "portal"),
        said(Action::SignedOut, "customer:acme@example.com"),
    ];
    assert_eq!(audited(&world).await, expected);
    let (timeline, next) = world.registry.tenant_timeline(tenant, 100, None).await.unwrap();
    let is_told = |action| {
        timeline.iter().any(|it| matches!(it, Event::Audited(entry) if entry.action == action))
    };
    assert!(is_told(Action::SignedIn) && next.is_none(), "{timeline:?}");
    let mails = timeline.iter().filter(|it| matches!(it, Event::Mailed(_)));
    assert_eq!(mails.count(), 4, "the code, and the links");
}

#[tokio::test]
async fn a_late_link_opens_nothing_and_a_session_ends_idle_and_at_its_end() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let link = asked(&world, "acme@example.com").await;
    world.clock.advance(TimeDelta::minutes(15));
    assert!(is_refused(&world.registry.sign_in(&link, None, source()).await));

    let session = signed_in(&world, "acme@example.com").await;
    for _ in 0..23 {
        world.clock.advance(TimeDelta::minutes(30));
        assert!(lives(&world, &session).await, "each use keeps it for half an hour");
    }
    world.clock.advance(TimeDelta::minutes(30));
    assert!(!lives(&world, &session).await, "it is twelve hours old");
    let session = signed_in(&world, "acme@example.com").await;
    world.clock.advance(TimeDelta::minutes(31));
    assert!(!lives(&world, &session).await, "nobody used it");
}

#[tokio::test]
async fn signing_out_everywhere_ends_the_contacts_sessions_and_links_and_no_others() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    world.register("Bolt", "essentials").await;
    let (first, second) =
        (signed_in(&world, "acme@example.com").await, signed_in(&world, "acme@example.com").await);
    let other = signed_in(&world, "bolt@example.com").await;
    let ann = Actor { name: "operator:ann".to_owned(), source: source().to_string() };
    let operator = world.registry.operator_sign_in("acme@example.com", None, ann).await.unwrap();
    let link = asked(&world, "acme@example.com").await;
    world.registry.sign_out(&first.token, first.principal.clone(), true, customer()).await.unwrap();
    assert!(!lives(&world, &first).await && !lives(&world, &second).await);
    assert!(lives(&world, &other).await && lives(&world, &operator).await);
    assert!(is_refused(&world.registry.sign_in(&link, None, source()).await));
    let lines = audited(&world).await;
    let named =
        |name: &str, detail: &str| lines.iter().any(|(_, it, why)| it == name && why == detail);
    assert!(
        named("customer:acme@example.com", "everywhere") && named("operator:ann", ""),
        "{lines:?}"
    );
}

#[tokio::test]
async fn wrong_tokens_and_mails_that_are_asked_for_are_counted_apart() {
    let world = World::in_memory();
    while world.registry.count_failed_operator_login(source()).is_ok() {}
    let refused = world.registry.count_failed_operator_login(source()).unwrap_err();
    assert!(matches!(refused, Refusal::TooOften { .. }), "{refused:?}");
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    assert_eq!(
        world.registry.count_mail_request(source(), MailRequest::Link(&contact), None),
        Ok(())
    );
}

#[tokio::test]
async fn a_form_is_counted_once_and_a_customers_reissues_apart_from_what_others_ask_for() {
    let world = World::in_memory();
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    let from = |last: u8| Source::of([198, 51, 100, last].into());
    for _ in 0..50 {
        assert_eq!(
            world.registry.count_mail_request(from(1), MailRequest::Link(&contact), Some([7; 32])),
            Ok(()),
            "it is the same form"
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
    assert!(matches!(late, Refusal::TooOften { .. }), "{late:?}");
    let again = world
        .registry
        .count_mail_request(from(11), MailRequest::Link(&contact), Some([8; 32]))
        .unwrap_err();
    assert!(
        matches!(again, Refusal::TooOften { .. }),
        "what was refused is no form that was counted: {again:?}"
    );
    // Each kind is counted by itself, and a session's wherever it comes from.
    assert_eq!(
        world.registry.count_mail_request(from(12), MailRequest::Registration(&contact), None),
        Ok(())
    );
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
    assert!(matches!(many, Refusal::TooOften { .. }), "{many:?}");
}

#[tokio::test]
async fn signing_in_again_ends_the_browsers_earlier_session_and_closed_tenants_may_be_looked_at() {
    let world = World::in_memory();
    let tenant = world.register("Acme", "essentials").await.tenant_id;
    let (other, first) =
        (signed_in(&world, "acme@example.com").await, signed_in(&world, "acme@example.com").await);
    let link = asked(&world, "acme@example.com").await;
    let again = world.registry.sign_in(&link, Some(&first.token), source()).await.unwrap();
    assert!(
        !lives(&world, &first).await && lives(&world, &other).await && lives(&world, &again).await
    );
    world.registry.tenant_edit(tenant, TenantEdit::Suspend, customer()).await.unwrap();
    assert!(
        lives(&world, &signed_in(&world, "acme@example.com").await).await,
        "who is suspended may look"
    );
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    world.publish("1.0", b"content").await.unwrap();
    let refused = world.registry.download_offered(&contact, source()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::TenantSuspended)), "{refused:?}");
}

#[tokio::test]
async fn what_is_downloaded_from_the_portal_is_audited() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let contact = EmailAddress::parse("acme@example.com").unwrap();
    let refused = world.registry.download_offered(&contact, source()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::NothingToDownload)), "{refused:?}");
    world.publish("1.0", b"content").await.unwrap();
    for _ in 0..2 {
        world.registry.download_offered(&contact, source()).await.unwrap();
    }
    let lines = audit(&*world.ports.store, None).await;
    let started = lines.iter().find(|it| it.action == Action::DownloadStarted).unwrap();
    assert_eq!(
        (started.count, started.detail.as_str(), started.code_id.is_some()),
        (2, "1.0", true)
    );
}

#[tokio::test]
async fn a_code_that_only_a_mail_would_show_is_not_minted_for_nobody() {
    let world = World::in_memory();
    let mut new = World::new_tenant("Acme", "essentials");
    let issued = world.registry.tenant_register(new.clone(), actor()).await.unwrap();
    let reissue = |tenant, mail_only| Reissue {
        selector: TenantSelector::Id(tenant),
        strict: false,
        send_email: true,
        mail_only,
        key: None,
    };
    world.registry.code_reissue(reissue(issued.tenant_id, true), actor()).await.unwrap();
    new.company_name = "Adopted".to_owned();
    let mut tenant = world.registry.tenant_show(issued.tenant_id).await.unwrap().record.tenant;
    (tenant.id, tenant.contact_email) = (world.registry.draw_id().into(), None);
    let id = tenant.id;
    world.write(vec![Write::PutTenant(Box::new(tenant))]).await.unwrap();
    let refused = world.registry.code_reissue(reissue(id, true), actor()).await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused(Refusal::Invalid { field: "contact_email", .. })),
        "{refused:?}"
    );
    world.registry.code_reissue(reissue(id, false), actor()).await.unwrap();
}
