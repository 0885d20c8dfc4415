//! Requests and responses for appliances without a network. An operator carries them.

use crate::clock::Timestamp;
use crate::results::Redeemed;

/// A request of an appliance without a network, after its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineRequest {
    /// The appliance's own name for itself.
    pub appliance_id: String,
    /// Random value of this request. The response contains it, and is valid for no other request.
    pub nonce: String,
    /// Thumbprint (RFC 7638) of the key that signed the request.
    pub key_thumbprint: String,
}

/// The response to an offline request.
#[derive(Clone, Debug)]
pub struct OfflineAnswer {
    /// The registry, as in the `iss` of its licenses.
    pub issuer: String,
    /// The request.
    pub request: OfflineRequest,
    /// Time of the response, signed in whole seconds.
    pub issued_at: Timestamp,
    /// The result of the redemption.
    pub redeemed: Redeemed,
}
