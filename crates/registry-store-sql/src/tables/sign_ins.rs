//! Sign-in links and sessions. Only digests are stored.

use registry_core::secret::SignInDigest;
use registry_core::sign_in::{Principal, Role, SignIn, SignInKind};
use registry_core::store::StoreError;

use crate::table::{Read, corrupt, digest, table};
use crate::types::SqlTime;

table!(
    /// A row of `sign_ins`.
    SignInRow of "sign_ins", key ["digest"] {
        digest: Vec<u8>,
        kind: String,
        role: String,
        visitor: String,
        issued_at: SqlTime,
        used_at: SqlTime,
        expires_at: SqlTime,
    }
);

impl From<&SignIn> for SignInRow {
    fn from(sign_in: &SignIn) -> Self {
        Self {
            digest: sign_in.digest.0.to_vec(),
            kind: sign_in.kind.as_str().to_owned(),
            role: sign_in.principal.role.as_str().to_owned(),
            visitor: sign_in.principal.name.clone(),
            issued_at: sign_in.issued_at.into(),
            used_at: sign_in.used_at.into(),
            expires_at: sign_in.expires_at.into(),
        }
    }
}

impl TryFrom<SignInRow> for SignIn {
    type Error = StoreError;

    fn try_from(row: SignInRow) -> Read<Self> {
        let role = Role::from_name(&row.role).ok_or_else(|| corrupt("role"))?;
        Ok(Self {
            digest: SignInDigest(digest(&row.digest)?),
            kind: SignInKind::from_name(&row.kind).ok_or_else(|| corrupt("kind"))?,
            principal: Principal { role, name: row.visitor },
            issued_at: row.issued_at.into(),
            used_at: row.used_at.into(),
            expires_at: row.expires_at.into(),
        })
    }
}
