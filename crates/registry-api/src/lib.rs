//! Types of the wire contract (`docs/wire-contract.md`): requests, responses and errors. Their doc
//! comments are the descriptions in the OpenAPI document.
//!
//! Wire types are separate from domain types and are converted explicitly: a change of the domain
//! cannot change the wire by accident.

mod credential;
mod error;
mod rate_limits;
mod register;
mod subscription;
mod tenants;

pub use credential::{
    CheckInRequest, CheckInResponse, CheckInStatus, VerifyApplianceRequest, VerifyApplianceResponse,
};
pub use error::{ErrorCode, Problem};
pub use rate_limits::{CountedNetworkItem, RateLimitItem, RateLimits, RateLimitsCleared};
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
