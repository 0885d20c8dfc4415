//! What is carried between a registry and an appliance without a network.

use crate::clock::Timestamp;
use crate::results::Redeemed;

/// What an appliance asked for, its signature verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineRequest {
    /// What the appliance calls itself.
    pub appliance_id: String,
    /// Drawn for this request: the answer fits no other.
    pub nonce: String,
    /// The thumbprint (RFC 7638) of the key that it is signed with.
    pub key_thumbprint: String,
}

/// What it is answered.
#[derive(Clone, Debug)]
pub struct OfflineAnswer {
    /// The registry, as in its licenses.
    pub issuer: String,
    /// What was asked for.
    pub request: OfflineRequest,
    /// When, in whole seconds when signed.
    pub issued_at: Timestamp,
    /// What the code brought.
    pub redeemed: Redeemed,
}
