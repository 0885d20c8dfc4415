//! A fleet after an outage: simulated appliances with the real schedule and the registry's real
//! responses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use appliance_install::{
    CheckInOutcome, Identity, LicenseState, Licensed, SecretText, ServiceError,
};
use chrono::TimeDelta;
use registry_core::rate_limit::Source;
use registry_core::registry::check_in::CheckIn;
use registry_core::results::LicenseStatus;
use registry_core::secret::PlainCredential;
use registry_testkit::World;

const FLEET: usize = 1_000;
const OUTAGE: u64 = 6 * 60 * 60;
const WINDOW: u64 = 60 * 60;

async fn appliance(world: &World, number: usize) -> LicenseState {
    let issued = world.register(&format!("Acme {number}"), "pro").await;
    let redeemed = world.redeem(&issued.code, "appliance-1").await.unwrap();
    let licensed = redeemed.licensed.unwrap();
    let identity = Identity {
        tenant_id: redeemed.tenant_id.0,
        edition: "pro".to_owned(),
        licensed: Some(Licensed {
            license: SecretText::new(licensed.token.expose().to_owned()),
            sub: String::new(),
            expires_at: 0,
            credential: SecretText::new(licensed.credential.expose().to_owned()),
            check_in_url: licensed.check_in_url,
        }),
    };
    LicenseState::from_identity(&identity, "appliance-1").unwrap()
}

/// Checks in at the registry.
async fn check_in(world: &World, license_state: &LicenseState) -> CheckInOutcome {
    let credential = PlainCredential::new(license_state.licensed.credential.expose().to_owned());
    let request = CheckIn {
        credential,
        sequence: None,
        current_license_sub: None,
        source: Source::of([192, 0, 2, 1].into()),
        key: None,
    };
    let checked_in = world.registry.check_in(request).await.unwrap();
    let next_check_in = (checked_in.next_check_in_at - checked_in.now).to_std().ok();
    match checked_in.status {
        LicenseStatus::Licensed(Some((token, expires_at))) => CheckInOutcome::Renewed {
            license: SecretText::new(token.expose().to_owned()),
            sub: String::new(),
            expires_at: expires_at.timestamp().try_into().unwrap(),
            next_check_in,
        },
        LicenseStatus::Licensed(None) => CheckInOutcome::Current { next_check_in },
        LicenseStatus::Revoked => CheckInOutcome::Revoked { next_check_in },
    }
}

/// Returns the ratio of peak to mean, for slots of `slot` seconds.
fn peak_over_mean(moments: &[u64], slot: u64) -> f64 {
    let mut slots = vec![0_u32; usize::try_from(WINDOW / slot).unwrap()];
    for moment in moments {
        slots[usize::try_from((moment - 1) / slot).unwrap()] += 1;
    }
    let float = |count: usize| f64::from(u32::try_from(count).unwrap());
    f64::from(*slots.iter().max().unwrap()) * float(slots.len()) / float(moments.len())
}

#[tokio::test]
async fn fleet_returns_spread_over_an_hour() {
    let world = World::in_memory();
    let mut fleet = Vec::new();
    for number in 0..FLEET {
        fleet.push(appliance(&world, number).await);
    }
    // Worst case: all appliances are due in the second in which the outage begins.
    let start: u64 = world.now().timestamp().try_into().unwrap();
    let end = start + OUTAGE;
    let mut due: BinaryHeap<_> = (0..FLEET).map(|number| Reverse((start, number))).collect();
    let mut jitter = 1_u64;
    let mut draw = || {
        jitter =
            jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u16::try_from(jitter >> 48).unwrap()
    };
    let (mut returned, mut now) = (Vec::new(), start);
    while let Some(Reverse((at, number))) = due.pop() {
        world.clock.advance(TimeDelta::seconds((at - now).try_into().unwrap()));
        now = at;
        let license_state = &mut fleet[number];
        if now < end {
            let timed_out = CheckInOutcome::ServiceError(ServiceError::TimedOut);
            license_state.apply(timed_out, now, draw());
            due.push(Reverse((license_state.schedule.due_at, number)));
        } else {
            let outcome = check_in(&world, license_state).await;
            license_state.apply(outcome, now, draw());
            returned.push(now - end + 1);
        }
    }
    assert_eq!(returned.len(), FLEET);
    assert!(returned.iter().all(|&after| after <= WINDOW), "the longest pause is an hour");
    let (by_minute, by_five) = (peak_over_mean(&returned, 60), peak_over_mean(&returned, 300));
    println!(
        "{FLEET} appliances after {:?}: peak/mean {by_minute:.2} per minute, \
         {by_five:.2} per five minutes",
        Duration::from_secs(OUTAGE)
    );
    assert!(by_five < 2.0, "{by_five}");
    // The next check-ins are spread over twelve hours.
    let spread = fleet.iter().map(|license_state| license_state.schedule.due_at);
    assert!(spread.clone().max().unwrap() - spread.min().unwrap() > 11 * 60 * 60);
}
