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
    CheckInRequest, CheckInResponse, CheckInStatus, VerifyApplianceRequest, VerifyApplianceResponse,
};
pub use error::{ErrorCode, Problem};
pub use register::{
    IssuedCode, RegisterRequest, RegisterResponse, RegisterTenantRequest, ReissueRequest,
};
pub use subscription::{
    ClaimCodeRequest, ClaimCodeResponse, RevokeRequest, RevokeResponse, SignRequest, SignResponse,
};
pub use tenants::{
    ApplianceItem, Health, InstallCodeItem, Jwk, Jwks, ListTenantsQuery, ReadyPart, Readyz,
    TenantDetail, TenantEntitlement, TenantFields, TenantItem, TenantList,
};
