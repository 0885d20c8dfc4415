//! Offline redemption: an appliance without a network writes a request, an operator brings it here
//! and takes the signed response back.

use sha2::{Digest as _, Sha256};

use crate::audit::Actor;
use crate::offline::{OfflineAnswer, OfflineRequest};
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::redeem::{Redeem, RedemptionChannel, Requester};
use crate::registry::{Error, Registry};
use crate::secret::{AnswerToken, TypedCode};
use crate::store::DecideError;

impl Registry {
    /// Redeems a code for an appliance without a network, and signs the response. The same request
    /// with the same code gets the same result within the replay window.
    pub async fn offline_answer(
        &self,
        typed_code: TypedCode,
        request: OfflineRequest,
        actor: Actor,
    ) -> Result<AnswerToken, Error> {
        let fingerprint = format!("{} {}", request.appliance_id, request.key_thumbprint);
        let key = IdempotencyKey {
            scope: "offline".to_owned(),
            digest: Sha256::digest(&request.nonce).into(),
            fingerprint: Sha256::digest(fingerprint).into(),
        };
        let redeem = Redeem {
            typed_code,
            appliance_id: request.appliance_id.clone(),
            requester: Requester::FirstBoot,
            channel: RedemptionChannel::Operator(actor),
            key: Some(key),
        };
        let redeemed = self.code_redeem(redeem).await?;
        let issuer = self.settings.license.issuer.clone();
        let answer = OfflineAnswer { issuer, request, issued_at: self.now(), redeemed };
        Ok(self.ports.signer.sign_answer(&answer).map_err(DecideError::from)?)
    }
}
