//! Cases of the limiter.

use std::sync::Arc;

use super::*;

fn source(text: &str) -> Source {
    Source::of(text.parse().unwrap())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn limiter(limit: u32, total: u32) -> RateLimiter {
    let policy = RateLimit { limit, window: TimeDelta::seconds(60), total };
    RateLimiter::new(Limited::UnknownCodes, policy)
}

fn reserved(limiter: &RateLimiter, who: Source, now: Timestamp) -> Reservation<'_> {
    match limiter.attempt(who, now) {
        Attempt::Reserved(reservation) => reservation,
        Attempt::Busy | Attempt::Refused(_) => panic!("{who} has no room"),
    }
}

fn wait(seconds: i64) -> Result<(), Refusal> {
    let retry_after = TimeDelta::seconds(seconds);
    Err(Refusal::RateLimited { limited: Limited::UnknownCodes, retry_after })
}

/// R-guessing-2.
#[test]
fn limit_lasts_until_the_window_ends() {
    let (limiter, eve) = (limiter(3, 100), source("203.0.113.7"));
    for second in 0..3 {
        assert!(limiter.check(eve, at(second)).is_ok());
        assert_eq!(limiter.record(eve, at(second)), Ok(()));
    }
    assert!(limiter.check(eve, at(3)).is_err());
    assert_eq!(limiter.record(eve, at(3)), wait(57));
    assert_eq!(limiter.record(source("203.0.113.8"), at(3)), Ok(()));
    assert_eq!(limiter.record(eve, at(60)), Ok(()));
}

#[test]
fn clock_that_is_set_back_locks_nobody_out() {
    let (limiter, eve) = (limiter(1, 100), source("203.0.113.7"));
    limiter.record(eve, at(172_800)).unwrap();
    assert!(limiter.check(eve, at(172_801)).is_err());
    assert_eq!(limiter.record(eve, at(0)), Ok(()));
    assert_eq!(limiter.record(eve, at(1)), wait(59), "the limit holds after the step, too");
    // A concurrent request that took its time a moment earlier does not begin a new window.
    let mallory = source("203.0.113.8");
    limiter.record(mallory, at(10)).unwrap();
    assert_eq!(limiter.record(mallory, at(9)), wait(60));
}

#[test]
fn what_is_given_back_was_no_event() {
    let (limiter, office) = (limiter(2, 100), source("203.0.113.7"));
    for _ in 0..50 {
        drop(reserved(&limiter, office, at(0)));
    }
    assert_eq!(limiter.figures(), Figures::default());
    assert!(limiter.state().counters.is_empty(), "a source without an event takes no memory");
    reserved(&limiter, office, at(0)).count();
    assert_eq!(limiter.counted(at(0), 9)[0].count, 1);
}

/// R-guessing-2: of a burst, no more than the limit are looked up at once.
#[tokio::test]
async fn burst_waits_for_what_may_be_given_back() {
    let (limiter, office) = (Arc::new(limiter(3, 100)), source("203.0.113.7"));
    let held: Vec<_> = (0..3).map(|_| reserved(&limiter, office, at(0))).collect();
    assert!(matches!(limiter.attempt(office, at(0)), Attempt::Busy));
    let waiting = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.reserve(office, at(0)).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let mut held = held.into_iter();
    drop(held.next().unwrap());
    assert_eq!(waiting.await.unwrap(), Ok(()));
    // The rest were wrong guesses, and so is one more.
    held.for_each(Reservation::count);
    assert_eq!(limiter.record(office, at(0)), Ok(()));
    assert_eq!(limiter.reserve(office, at(0)).await.map(drop), wait(60));
}

#[test]
fn networks_are_limited_too() {
    let limiter = limiter(2, 1_000);
    let refused = |count: usize, address: &dyn Fn(usize) -> String| {
        let records = (0..count).map(|number| limiter.record(source(&address(number)), at(0)));
        records.filter(Result::is_err).count()
    };
    assert_eq!(refused(40, &|number| format!("203.0.113.{number}")), 24, "16 of a /24");
    assert_eq!(refused(20, &|number| format!("2001:db8:0:ff{number:02x}::1")), 12, "8 of a /56");
    assert_eq!(refused(80, &|number| format!("2001:db8:1:{number:x}00::1")), 48, "32 of a /48");
}

/// A total that a flood has used up is no reason to refuse a source without an event.
#[test]
fn total_leaves_room_for_the_innocent() {
    let limiter = limiter(5, 10);
    let stranger = |number: usize| source(&format!("10.{number}.0.1"));
    for number in 0..5 {
        limiter.record(stranger(number), at(0)).unwrap();
        limiter.record(stranger(number), at(0)).unwrap();
    }
    let overloaded = Err(Refusal::Overloaded { retry_after: TimeDelta::seconds(50) });
    assert_eq!(limiter.record(stranger(0), at(10)), overloaded);
    let customer = source("198.51.100.1");
    for _ in 0..20 {
        drop(reserved(&limiter, customer, at(10)));
    }
    // A burst of one source has one event of the reserve at a time.
    let burst = source("198.51.100.9");
    let held = reserved(&limiter, burst, at(10));
    assert!(matches!(limiter.attempt(burst, at(10)), Attempt::Busy));
    drop(held);
    // The reserve is used up by first guesses only.
    for number in 10..15 {
        limiter.record(stranger(number), at(10)).unwrap();
    }
    assert_eq!(limiter.record(customer, at(10)), overloaded);
    assert_eq!(limiter.figures().overloaded, 2);
    assert_eq!(limiter.record(customer, at(60)), Ok(()));
}

/// R-guessing-5: memory is bounded, and no flood makes the limiter forget a source.
#[test]
fn flood_frees_no_guilty_source() {
    let (limiter, eve) = (limiter(2, 300), source("203.0.113.7"));
    (0..2).for_each(|_| limiter.record(eve, at(0)).unwrap());
    for number in 0..100_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number * 256);
        drop(limiter.record(Source::of(address.into()), at(1)));
    }
    assert_eq!(limiter.record(eve, at(2)), wait(58));
    assert_eq!(limiter.state().counters.len(), 2 * 448 + 2, "two networks each");
    // Ended windows are forgotten a few at a time.
    for _ in 0..200 {
        drop(reserved(&limiter, eve, at(120)));
    }
    assert!(limiter.state().counters.is_empty() && limiter.state().windows.is_empty());
}

#[test]
fn operator_sees_and_clears_what_was_counted() {
    let (limiter, eve) = (limiter(2, 300), source("203.0.113.7"));
    (0..2).for_each(|_| limiter.record(eve, at(0)).unwrap());
    let seen: Vec<_> = limiter.counted(at(10), 9);
    let seen: Vec<_> = seen.iter().map(|it| (&*it.network, it.count, it.limit)).collect();
    assert_eq!(seen, [("203.0.113.0/24", 2, 16), ("203.0.113.7/32", 2, 2)]);
    assert_eq!(limiter.clear(Some("203.0.113.7/32")), 1);
    assert_eq!(limiter.record(eve, at(10)), Ok(()));
    assert_eq!(limiter.clear(None), 2);
    assert!(limiter.counted(at(10), 9).is_empty());
}
