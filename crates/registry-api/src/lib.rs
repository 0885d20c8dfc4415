//! The wire contract as types (`docs/wire-contract.md`): what clients send, what they read, and the
//! error form.
//!
//! Wire types are not domain types: they are converted by hand, so that a change inside never
//! changes the wire.

mod credential;
mod error;
mod register;
mod subscription;
mod tenants;

pub use credential::{
    CheckInAnswer, CheckInRequest, CheckInStatus, VerifyApplianceAnswer, VerifyApplianceRequest,
};
pub use error::{ErrorCode, Problem};
pub use register::{
    IssuedCode, RegisterAnswer, RegisterRequest, RegisterTenantRequest, ReissueRequest,
};
pub use subscription::{
    ClaimCodeAnswer, ClaimCodeRequest, RevokeAnswer, RevokeRequest, SignAnswer, SignRequest,
};
pub use tenants::{
    ApplianceItem, Health, InstallCodeItem, Jwk, Jwks, ListTenantsQuery, ReadyPart, Readyz,
    TenantDetail, TenantEntitlement, TenantFields, TenantItem, TenantList,
};
