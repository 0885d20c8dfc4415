//! Loading the facts of changes that concern one row, or one channel.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::id::MailId;
use registry_core::mail::QueuedMail;
use registry_core::secret::SignInDigest;
use registry_core::sign_in::SignIn;
use registry_core::store::ReleaseFacts;
use registry_core::text::Channel;

use crate::facts::Load;
use crate::failure::ChangeError;
use crate::records;
use crate::rows::{MailRow, SignInRow};
use crate::schema::{mails, releases, sign_ins};
use crate::writes::LockSet;

/// The channel whose releases are changed: they are held, since none of them has a version.
pub(crate) struct OfChannel(pub(crate) Channel);

impl Load for OfChannel {
    type Facts = ReleaseFacts;

    fn reads_roots_first(&self) -> bool {
        false
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(ReleaseFacts, LockSet), ChangeError> {
        let held = releases::table
            .filter(releases::channel.eq(self.0.as_str()))
            .select(releases::id)
            .for_update();
        held.load::<uuid::Uuid>(connection).await?;
        let releases = records::releases(connection, Some(&self.0)).await?;
        Ok((ReleaseFacts { releases }, LockSet::default()))
    }
}

impl Load for MailId {
    type Facts = Option<QueuedMail>;

    fn reads_roots_first(&self) -> bool {
        false
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(Option<QueuedMail>, LockSet), ChangeError> {
        let row = mails::table.find(self.0).select(MailRow::as_select()).for_update();
        let row = row.first(connection).await.optional()?;
        Ok((row.map(QueuedMail::try_from).transpose()?, LockSet::default()))
    }
}

impl Load for SignInDigest {
    type Facts = Option<SignIn>;

    fn reads_roots_first(&self) -> bool {
        false
    }

    async fn load(
        &self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(Option<SignIn>, LockSet), ChangeError> {
        let row = sign_ins::table.find(self.0.to_vec()).select(SignInRow::as_select()).for_update();
        let row: Option<SignInRow> = row.first(connection).await.optional()?;
        Ok((row.map(SignIn::try_from).transpose()?, LockSet::default()))
    }
}
