//! Signing in to the pages, from the mail to the end of the session.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chrono::TimeDelta;
use registry_core::audit::{Action, Actor};
use registry_core::guesses::Source;
use registry_core::registry::sign_in::OpenedSession;
use registry_core::secret::SignInToken;
use registry_core::sign_in::Role;
use registry_core::text::EmailAddress;
use registry_core::{Error, Refusal};
use registry_testkit::World;

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
    let link = world.mailer.sent().into_iter().rfind(|mail| mail.code.is_empty()).unwrap().link.unwrap();
    SignInToken::new(link.strip_prefix("https://registry.example/portal/sign-in/").unwrap().to_owned())
}

async fn signed_in(world: &World, email: &str) -> OpenedSession {
    let link = asked(world, email).await;
    world.registry.sign_in(&link, source()).await.unwrap()
}

async fn lives(world: &World, session: &OpenedSession) -> bool {
    world.registry.session(&session.token).await.unwrap().is_some()
}

fn customer() -> Actor {
    Actor { name: "customer:acme@example.com".to_owned(), source: source().to_string() }
}

async fn audited(world: &World) -> Vec<(Action, String, String)> {
    let lines = world.ports.store.audit_list(None).await.unwrap().into_iter();
    let ours = lines.filter(|it| matches!(it.action, Action::SignInAsked | Action::SignedIn | Action::SignedOut));
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
    world.registry.sign_in_mail(EmailAddress::parse("nobody@example.com").unwrap(), source()).await.unwrap();
    assert!(world.deliver().await.is_empty(), "an unknown address gets nothing");

    let (older, link) = (asked(&world, "acme@example.com").await, asked(&world, "ACME@example.com").await);
    let session = world.registry.sign_in(&link, source()).await.unwrap();
    assert_eq!((session.visitor.role, session.visitor.name.as_str()), (Role::Customer, "acme@example.com"));
    assert!(is_refused(&world.registry.sign_in(&link, source()).await), "used");
    assert!(is_refused(&world.registry.sign_in(&older, source()).await), "a used one ends the others");
    assert!(is_refused(&world.registry.sign_in(&session.token, source()).await), "a session is no link");
    assert!(world.registry.session(&asked(&world, "acme@example.com").await).await.unwrap().is_none());

    world.registry.sign_out(&session.token, session.visitor.clone(), false, customer()).await.unwrap();
    world.registry.sign_out(&session.token, session.visitor.clone(), false, customer()).await.unwrap();
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
    let timeline = world.registry.tenant_timeline(tenant).await.unwrap();
    assert!(timeline.iter().any(|it| it.action == Action::SignedIn), "{timeline:?}");
}

#[tokio::test]
async fn a_late_link_opens_nothing_and_a_session_ends_idle_and_at_its_end() {
    let world = World::in_memory();
    world.register("Acme", "essentials").await;
    let link = asked(&world, "acme@example.com").await;
    world.clock.advance(TimeDelta::minutes(15));
    assert!(is_refused(&world.registry.sign_in(&link, source()).await));

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
    let (first, second) = (signed_in(&world, "acme@example.com").await, signed_in(&world, "acme@example.com").await);
    let other = signed_in(&world, "bolt@example.com").await;
    let ann = Actor { name: "operator:ann".to_owned(), source: source().to_string() };
    let operator = world.registry.operator_sign_in("acme@example.com", ann).await.unwrap();
    let link = asked(&world, "acme@example.com").await;
    world.registry.sign_out(&first.token, first.visitor.clone(), true, customer()).await.unwrap();
    assert!(!lives(&world, &first).await && !lives(&world, &second).await);
    assert!(lives(&world, &other).await && lives(&world, &operator).await);
    assert!(is_refused(&world.registry.sign_in(&link, source()).await));
    let lines = audited(&world).await;
    let named = |name: &str, detail: &str| lines.iter().any(|(_, it, why)| it == name && why == detail);
    assert!(named("customer:acme@example.com", "everywhere") && named("operator:ann", ""), "{lines:?}");
}

#[tokio::test]
async fn wrong_tokens_and_mails_that_are_asked_for_are_counted_apart() {
    let world = World::in_memory();
    while world.registry.operator_refused(source()).is_ok() {}
    let refused = world.registry.operator_refused(source()).unwrap_err();
    assert!(matches!(refused, Refusal::TooOften { .. }), "{refused:?}");
    assert_eq!(world.registry.ask(source(), None), Ok(()));
}
