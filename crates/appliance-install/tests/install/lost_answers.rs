//! Answers that are lost after the registry has done its part, for longer than people wait.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::served::{Served, install};
use appliance_install::{
    Client, Identity, RedeemClient, RedeemOutcome, RedeemRequest, ServiceError, Step,
    UnverifiedIdentity,
};
use async_trait::async_trait;

/// A registry whose answers are lost, the first few times; it has done its part then.
struct Losing<'a> {
    client: &'a Client,
    times: AtomicU32,
}

#[async_trait]
impl RedeemClient for Losing<'_> {
    async fn redeem(&self, request: &RedeemRequest) -> RedeemOutcome {
        let outcome = self.client.redeem(request).await;
        let lost = self.times.load(Ordering::Relaxed);
        if lost == 0 {
            return outcome;
        }
        self.times.store(lost - 1, Ordering::Relaxed);
        RedeemOutcome::ServiceError(ServiceError::BrokeOff)
    }

    async fn believe(&self, claimed: &UnverifiedIdentity) -> Result<Identity, ServiceError> {
        self.client.believe(claimed).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_answers_are_lost_for_hours_still_brings_the_one_identity() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let issued = served.world.register("Acme", "pro").await;
    let client = served.client(&served.url, folder.path());
    let losing = Losing { client: &client, times: 5.into() };
    let waited = Cell::new(0);
    // Half an hour between two tries: a network that comes and goes.
    let install = install(folder.path(), &losing, &issued.code, |_| {
        served.time.pass(30 * 60);
        waited.set(waited.get() + 30);
    });
    let install = install.await;
    assert_eq!(*install.step(), Step::Done { tenant_id: Some(issued.tenant_id.0) });
    assert_eq!(waited.get(), 150, "minutes");
    let record = served.world.registry.tenant_show(issued.tenant_id).await.unwrap().record;
    assert_eq!((record.codes.len(), record.appliances.len()), (1, 1), "one code, one appliance");
}
