//! Queries: lists, pages and single records.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::blob::BlobKey;
use registry_core::id::{CodeId, TenantId};
use registry_core::registry::directory::{ListTenants, NewestCode};
use registry_core::registry::reissue::Reissue;
use registry_core::registry::timeline::Event;
use registry_core::secret::KeyId;
use registry_core::store::{Store, TenantSelector, Write};
use registry_core::tenant::TenantStatus;
use registry_core::text::EmailAddress;
use registry_core::{Error, Refusal};

use crate::World;
use crate::world::{actor, audit};

async fn names(world: &World, parameters: ListTenants) -> Vec<String> {
    let page = world.registry.tenant_list(parameters).await.unwrap();
    page.items.iter().map(|item| item.record.tenant.company_name.to_string()).collect()
}

/// The pages of the audit, of one tenant or all of it, have each entry once, newest first. Entries
/// of the same time are not skipped or repeated either.
pub async fn audit_is_paged_newest_first(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let acme = world.register("Acme", "essentials").await.tenant_id;
    world.register("Bolt", "essentials").await;
    world.clock.advance(TimeDelta::seconds(1));
    for _ in 0..3 {
        world.reissue(acme).await.unwrap();
    }
    for tenant in [None, Some(acme)] {
        let mut all = audit(&*store, tenant).await;
        all.reverse();
        assert_eq!(all.len(), if tenant.is_some() { 5 } else { 7 });
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let (page, next) =
                world.registry.audit_page(tenant, None, 2, cursor.as_deref()).await.unwrap();
            seen.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }
}

/// The pages of a timeline have each audit entry and each mail of the tenant once, newest first.
/// Events of the same time are not skipped or repeated either.
pub async fn timeline_has_every_event_once(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let tenant = world.register("Acme", "essentials").await.tenant_id;
    world.register("Bolt", "essentials").await;
    for number in 0..6 {
        world.reissue(tenant).await.unwrap();
        world.clock.advance(TimeDelta::seconds(number % 2));
    }
    let (entries, mails) =
        (audit(&*store, Some(tenant)).await.len(), world.mails(tenant).await.len());
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let (page, next) =
            world.registry.tenant_timeline(tenant, 3, cursor.as_deref()).await.unwrap();
        assert!(page.len() == 3 || next.is_none());
        seen.extend(page);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(seen.is_sorted_by(|earlier, later| earlier.at() >= later.at()), "newest first");
    let is_mail = |event: &&Event| matches!(event, Event::Mailed(_));
    assert_eq!(
        (seen.len() - seen.iter().filter(is_mail).count(), seen.iter().filter(is_mail).count()),
        (entries, mails)
    );
    for (position, event) in seen.iter().enumerate() {
        assert!(!seen[position + 1..].contains(event), "twice: {event:?}");
    }
}

/// The pages of a tenant list neither skip nor repeat a tenant, even if several were registered at
/// the same time, or new ones are registered between two pages. R-tenants-5.
pub async fn pages_neither_skip_nor_repeat(store: Arc<dyn Store>) {
    let world = World::over(store);
    for number in 0..25 {
        world.register(&format!("Company {number:02}"), "essentials").await;
        if number % 5 == 4 {
            world.clock.advance(TimeDelta::seconds(1));
        }
    }
    let everything =
        names(&world, ListTenants { limit: Some("200".to_owned()), ..ListTenants::default() })
            .await;
    assert_eq!(everything.len(), 25);
    assert!(everything[0].starts_with("Company 2"), "newest first");
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let parameters =
            ListTenants { limit: Some("7".to_owned()), cursor, ..ListTenants::default() };
        let page = world.registry.tenant_list(parameters).await.unwrap();
        assert!(page.items.len() == 7 || page.next_cursor.is_none());
        seen.extend(page.items.iter().map(|item| item.record.tenant.company_name.to_string()));
        world.register("Latecomer", "essentials").await;
        let Some(next) = page.next_cursor else { break };
        cursor = Some(next);
    }
    assert_eq!(seen, everything);
}

/// A filter selects the tenants with exactly its value. A search finds parts of company name and
/// address, in any case, and takes `%`, `_` and quotes literally.
pub async fn filters_and_search_select_tenants(store: Arc<dyn Store>) {
    let world = World::over(store);
    for (company, edition) in
        [("Müller & Söhne", "pro"), ("100% Acme_Corp", "essentials"), ("Bolt", "essentials")]
    {
        let mut new = World::new_tenant(company, edition);
        new.contact_email = format!("{}@Example.COM", &edition[..3]);
        if company == "Bolt" {
            new.deployment_type = Some("hosted".to_owned());
        }
        world.registry.tenant_register(new, actor()).await.unwrap();
        world.clock.advance(TimeDelta::seconds(1));
    }
    let query = |text: &str| ListTenants { query: Some(text.to_owned()), ..ListTenants::default() };
    assert_eq!(names(&world, query("MÜLLER")).await, ["Müller & Söhne"]);
    assert_eq!(names(&world, query("pro@example")).await, ["Müller & Söhne"]);
    assert_eq!(names(&world, query("100%")).await, ["100% Acme_Corp"]);
    assert_eq!(names(&world, query("e_c")).await, ["100% Acme_Corp"]);
    assert_eq!(names(&world, query("%")).await, ["100% Acme_Corp"]);
    assert_eq!(names(&world, query("'; DROP TABLE tenants; --")).await, [""; 0]);
    let by = |change: fn(&mut ListTenants)| {
        let mut parameters = ListTenants::default();
        change(&mut parameters);
        parameters
    };
    assert_eq!(
        names(&world, by(|it| it.edition = Some("premium".into()))).await,
        ["Müller & Söhne"]
    );
    assert_eq!(names(&world, by(|it| it.deployment_type = Some("hosted".into()))).await, ["Bolt"]);
    assert_eq!(names(&world, by(|it| it.status = Some("installed".into()))).await, [""; 0]);
    assert_eq!(names(&world, by(|it| it.product_code = Some("default".into()))).await.len(), 3);
    assert_eq!(names(&world, by(|it| it.product_code = Some("other".into()))).await, [""; 0]);
}

/// A contact, in any case, selects its newest tenant that is not cancelled. `strict` refuses a
/// contact with several such tenants. R-reissue-1, R-reissue-2.
pub async fn contact_selects_newest_uncancelled_tenant(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut tenants = Vec::new();
    for company in ["Old", "New", "Cancelled"] {
        let mut new = World::new_tenant(company, "essentials");
        new.contact_email = "Ada@Example.com".to_owned();
        tenants.push(world.registry.tenant_register(new, actor()).await.unwrap().tenant_id);
        world.clock.advance(TimeDelta::seconds(1));
    }
    let cancel = async |id: TenantId| {
        let mut tenant = store.tenant_show(id).await.unwrap().unwrap().tenant;
        tenant.status = TenantStatus::Cancelled;
        world.write(vec![Write::UpdateTenant(Box::new(tenant))]).await.unwrap();
    };
    cancel(tenants[2]).await;
    let reissue = async |strict| {
        let contact = EmailAddress::parse("ADA@example.COM").unwrap();
        let reissue = Reissue {
            selector: TenantSelector::Contact(contact),
            strict,
            send_email: false,
            mail_only: false,
            key: None,
        };
        world.registry.code_reissue(reissue, actor()).await
    };
    assert_eq!(reissue(false).await.unwrap().tenant_id, tenants[1]);
    assert!(matches!(reissue(true).await, Err(Error::Refused(Refusal::AmbiguousContact))));
    cancel(tenants[1]).await;
    assert_eq!(reissue(true).await.unwrap().tenant_id, tenants[0]);
    cancel(tenants[0]).await;
    assert!(matches!(reissue(false).await, Err(Error::Refused(Refusal::TenantNotFound))));
}

/// A tenant is shown with all of its fields, entitlements, codes and appliances. A list shows only
/// its newest install code.
pub async fn tenant_is_shown_in_full(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut new = World::new_tenant("Acme", "pro");
    new.contact_name = Some("Ada Lovelace".to_owned());
    new.billing_customer_id = Some("cus_1".to_owned());
    new.subscription_id = Some("sub_1".to_owned());
    (new.seats, new.region) = (Some(25), Some("eu".to_owned()));
    let issued = world.registry.tenant_register(new, actor()).await.unwrap();
    world.clock.advance(TimeDelta::seconds(1));
    world.redeem(&issued.code, "appliance-1").await.unwrap();
    world.clock.advance(TimeDelta::seconds(1));
    world.reissue(issued.tenant_id).await.unwrap();
    let shown = world.registry.tenant_show(issued.tenant_id).await.unwrap();
    let tenant = &shown.record.tenant;
    assert_eq!(tenant.contact_name.as_ref().unwrap().as_str(), "Ada Lovelace");
    assert_eq!(tenant.billing_customer.as_ref().unwrap().as_str(), "cus_1");
    assert_eq!(tenant.region.as_ref().unwrap().as_str(), "eu");
    let entitlement = shown.entitlement.as_ref().unwrap();
    assert_eq!(
        (entitlement.subscription.as_ref().unwrap().as_str(), entitlement.seats),
        ("sub_1", Some(25))
    );
    assert!(shown.connected && shown.has_current_token);
    assert_eq!((shown.tier.as_deref(), shown.code_state), (Some("pro"), NewestCode::Live));
    let issued_at: Vec<_> = shown.record.codes.iter().map(|code| code.issued_at).collect();
    assert!(issued_at.len() == 2 && issued_at[0] > issued_at[1], "newest first");
    let listed = world.registry.tenant_list(ListTenants::default()).await.unwrap().items.remove(0);
    assert_eq!((listed.record.codes.len(), listed.code_state), (1, NewestCode::Live));
    assert_eq!(listed.record.appliances, shown.record.appliances);
}

/// The store lists the master keys that it needs: those of unconsumed codes and of unsent mails.
pub async fn master_keys_in_use_are_listed(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    assert_eq!(store.key_ids_in_use().await.unwrap(), []);
    let issued = world.register("Acme", "essentials").await;
    let key =
        store.tenant_show(issued.tenant_id).await.unwrap().unwrap().codes[0].digest.key_id.clone();
    assert_eq!(store.key_ids_in_use().await.unwrap(), [key]);
    world.deliver().await;
    world.redeem(&issued.code, "a").await.unwrap();
    assert_eq!(store.key_ids_in_use().await.unwrap(), []);
}

/// A process cannot register its master key if it does not have the key registered before: all
/// processes must share one key ring.
pub async fn unknown_master_key_is_not_registered(store: Arc<dyn Store>) {
    let ring = |ids: &[&str]| ids.iter().map(|&id| KeyId(id.to_owned())).collect::<Vec<_>>();
    let register = async |ids| store.register_master_key(ring(ids)).await.unwrap();
    assert_eq!(register(&["one"]).await, None);
    assert_eq!(register(&["one"]).await, None, "the same key again");
    assert_eq!(register(&["two"]).await, Some(KeyId("one".to_owned())));
    assert_eq!(register(&["two", "one"]).await, None, "a rotation");
    assert_eq!(register(&["two"]).await, None, "after the rotation");
    assert_eq!(register(&["one"]).await, Some(KeyId("two".to_owned())));
}

/// A missing row is an empty result, not an error.
pub async fn missing_rows_are_not_errors(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let unknown = TenantId(world.registry.new_id());
    assert_eq!(store.tenant_show(unknown).await.unwrap(), None);
    assert!(matches!(world.reissue(unknown).await, Err(Error::Refused(Refusal::TenantNotFound))));
    assert_eq!(names(&world, ListTenants::default()).await, [""; 0]);
    assert_eq!(store.mail_lease(world.now(), world.now()).await.unwrap(), None);
    assert_eq!(store.release_list(None).await.unwrap(), []);
    assert_eq!(store.code_show(CodeId(world.registry.new_id())).await.unwrap(), None);
    assert_eq!(
        store.release_of_file(BlobKey::parse("stable/1/image.iso").unwrap()).await.unwrap(),
        None
    );
    store.probe().await.unwrap();
}
