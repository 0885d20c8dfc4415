use registry_core::clock::Timestamp;
use registry_core::secret::SignInDigest;
use registry_core::sign_in::{Principal, Role, SignIn, SignInKind};

use crate::table::table;

table!(
    SignIn of "sign_ins", key ["digest"] {
        digest: SignInDigest,
        kind: SignInKind,
        issued_at: Timestamp,
        used_at: Timestamp,
        expires_at: Timestamp,
    } and |sign_in| {
        role: Role = sign_in.principal.role,
        visitor: String = sign_in.principal.name,
    } as {
        principal: Principal { role, name: visitor },
    }
);
