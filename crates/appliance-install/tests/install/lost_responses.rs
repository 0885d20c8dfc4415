//! Responses that are lost for hours, after the registry has redeemed the code.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::served::{Served, install};
use appliance_install::{
    Client, Identity, RedeemClient, RedeemOutcome, RedeemRequest, ServiceError, Step,
    UnverifiedIdentity,
};
use async_trait::async_trait;

/// A client that loses the first responses. The registry has processed the requests.
struct LossyClient<'a> {
    client: &'a Client,
    losses: AtomicU32,
}

#[async_trait]
impl RedeemClient for LossyClient<'_> {
    async fn redeem(&self, request: &RedeemRequest) -> RedeemOutcome {
        let outcome = self.client.redeem(request).await;
        let losses = self.losses.load(Ordering::Relaxed);
        if losses == 0 {
            return outcome;
        }
        self.losses.store(losses - 1, Ordering::Relaxed);
        RedeemOutcome::ServiceError(ServiceError::Disconnected)
    }

    async fn verify(&self, unverified: &UnverifiedIdentity) -> Result<Identity, ServiceError> {
        self.client.verify(unverified).await
    }
}

/// R-idempotency-2.
#[tokio::test(flavor = "multi_thread")]
async fn lost_responses_bring_one_identity() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let issued = served.world.register("Acme", "pro").await;
    let client = served.client(&served.url, folder.path());
    let lossy = LossyClient { client: &client, losses: 5.into() };
    let minutes = Cell::new(0);
    let install = install(folder.path(), &lossy, &issued.code, |_| {
        served.time.advance(30 * 60);
        minutes.set(minutes.get() + 30);
    });
    let install = install.await;
    assert_eq!(*install.step(), Step::Done { tenant_id: Some(issued.tenant_id.0) });
    assert_eq!(minutes.get(), 150, "half an hour between two attempts");
    let record = served.world.registry.tenant_show(issued.tenant_id).await.unwrap().record;
    assert_eq!((record.codes.len(), record.appliances.len()), (1, 1), "one code, one appliance");
}
