//! Releases.

use registry_core::blob::BlobKey;
use registry_core::release::Release;
use registry_core::store::ListedRelease;
use registry_core::text::Channel;

use super::{Read, Script, Session, and_is};
use crate::kind::{FoundRelease, listed};
use crate::statement::Statement;
use crate::table::Part as _;

/// Shows the current release of a channel.
pub struct CurrentRelease(pub Channel);

impl Script for CurrentRelease {
    type Output = Option<Release>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<Release>> {
        let row = Statement::new(format!(
            "SELECT {} FROM channels JOIN releases ON releases.id = channels.release_id \
             WHERE releases.yanked_at IS NULL AND channels.name = ",
            Release::columns("releases"),
        ));
        Ok(session.load(row.bind(self.0.as_str())).await?.pop())
    }
}

/// Lists the releases of a channel, or of all channels.
pub struct ListReleases(pub Option<Channel>);

impl Script for ListReleases {
    type Output = Vec<ListedRelease>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<ListedRelease>> {
        let rows = Statement::new(format!(
            "SELECT {} FROM releases LEFT JOIN channels ON channels.release_id = releases.id \
             CROSS JOIN (SELECT CAST(1 AS bigint) AS n) AS k WHERE 1 = 1",
            FoundRelease::columns(),
        ));
        let rows = and_is(rows, "releases.channel", self.0.as_ref().map(Channel::as_str));
        Ok(listed(session.load(rows).await?))
    }
}

/// Shows the release whose file has this key.
pub struct ReleaseOfFile(pub BlobKey);

impl Script for ReleaseOfFile {
    type Output = Option<Release>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<Release>> {
        let columns = Release::columns("releases");
        let row = Statement::new(format!("SELECT {columns} FROM releases WHERE blob_key = "));
        Ok(session.load(row.bind(self.0.as_str())).await?.pop())
    }
}
