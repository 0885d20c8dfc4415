//! Releases.

use registry_core::blob::BlobKey;
use registry_core::release::Release;
use registry_core::store::ListedRelease;
use registry_core::text::Channel;

use super::{Script, Session, and_is};
use crate::kind::listed;
use crate::statement::{Record, Statement};
use crate::table::{Part as _, Read};
use crate::tables::{ChannelRow, ReleaseRow};

/// Shows the current release of a channel.
pub struct CurrentRelease(pub Channel);

impl Script for CurrentRelease {
    type Output = Option<Release>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<Release>> {
        let row = Statement::<ReleaseRow>::new(format!(
            "SELECT {} FROM channels JOIN releases ON releases.id = channels.release_id \
             WHERE releases.yanked_at IS NULL AND channels.name = ",
            ReleaseRow::columns("releases"),
        ));
        let row = session.load(row.bind(self.0.as_str())).await?.pop();
        row.map(Release::try_from).transpose()
    }
}

/// Lists the releases of a channel, or of all channels.
pub struct ListReleases(pub Option<Channel>);

type ReleaseOfChannel = (ReleaseRow, Option<ChannelRow>);

impl Record for ReleaseOfChannel {
    type Sql =
        (<ReleaseRow as Record>::Sql, diesel::sql_types::Nullable<<ChannelRow as Record>::Sql>);
}

impl Script for ListReleases {
    type Output = Vec<ListedRelease>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<ListedRelease>> {
        let rows = Statement::<ReleaseOfChannel>::new(format!(
            "SELECT {}, {} FROM releases LEFT JOIN channels ON channels.release_id = releases.id \
             WHERE 1 = 1",
            ReleaseRow::columns("releases"),
            ChannelRow::columns("channels"),
        ));
        let channel = self.0.as_ref().map(registry_core::text::Channel::as_str);
        let rows = and_is(rows, "releases.channel", channel);
        listed(session.load(rows).await?.into_iter())
    }
}

/// Shows the release whose file has this key.
pub struct ReleaseOfFile(pub BlobKey);

impl Script for ReleaseOfFile {
    type Output = Option<Release>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<Release>> {
        let columns = ReleaseRow::columns("releases");
        let row = Statement::new(format!("SELECT {columns} FROM releases WHERE blob_key = "));
        let row = session.load::<ReleaseRow>(row.bind(self.0.as_str())).await?.pop();
        row.map(Release::try_from).transpose()
    }
}
