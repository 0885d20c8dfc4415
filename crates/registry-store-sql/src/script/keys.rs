//! Master keys, sign-ins by their digest, and the health of the database.

use registry_core::secret::{KeyId, SignInDigest};
use registry_core::sign_in::SignIn;

use super::{Read, Script, Session};
use crate::statement::Statement;
use crate::table::Part as _;

/// Lists the ids of the master keys behind unused codes and unsent mails.
pub struct KeyIdsInUse;

impl Script for KeyIdsInUse {
    type Output = Vec<KeyId>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<KeyId>> {
        let ids = Statement::new(
            "SELECT digest_key_id FROM install_codes \
             WHERE consumed_at IS NULL AND superseded_at IS NULL \
             UNION SELECT sealed_key_id FROM mails WHERE sealed_key_id IS NOT NULL ORDER BY 1",
        );
        let ids = session.load::<Option<String>>(ids).await?;
        Ok(ids.into_iter().flatten().map(KeyId).collect())
    }
}

/// Records the first key of a ring, unless the recorded key is not in the ring: then returns that.
pub struct RegisterMasterKey(pub Vec<KeyId>);

impl Script for RegisterMasterKey {
    type Output = Option<KeyId>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<KeyId>> {
        let Some(KeyId(current)) = self.0.first() else { return Ok(None) };
        let first = Statement::new("INSERT INTO rings (id, key_id) VALUES (1, ")
            .bind(current.as_str())
            .sql(") ON CONFLICT DO NOTHING");
        if session.execute(first).await? == 1 {
            return Ok(None);
        }
        let mut update =
            Statement::new("UPDATE rings SET key_id = ").bind(current.as_str()).sql(" WHERE ");
        for (position, key) in self.0.iter().enumerate() {
            let start = if position == 0 { "key_id = " } else { " OR key_id = " };
            update = update.sql(start).bind(key.0.as_str());
        }
        if session.execute(update).await? == 1 {
            return Ok(None);
        }
        let other = Statement::new("SELECT key_id FROM rings");
        let other = session.load::<Option<String>>(other).await?;
        Ok(other.into_iter().flatten().next().map(KeyId))
    }
}

/// Writes to the database.
pub struct Probe;

impl Script for Probe {
    type Output = ();

    async fn run<S: Session>(&self, session: &mut S) -> Read<()> {
        let count = "INSERT INTO probes (id, writes) VALUES (1, 1) \
                     ON CONFLICT (id) DO UPDATE SET writes = probes.writes + 1";
        session.execute(Statement::new(count)).await.map(drop)
    }
}

/// Shows a sign-in link or session.
pub struct ShowSignIn(pub SignInDigest);

impl Script for ShowSignIn {
    type Output = Option<SignIn>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<SignIn>> {
        let columns = SignIn::columns("sign_ins");
        let row = Statement::new(format!("SELECT {columns} FROM sign_ins WHERE digest = "));
        Ok(session.load(row.bind(self.0.0)).await?.pop())
    }
}
