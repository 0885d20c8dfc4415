//! Changes of a mail, of a sign-in, and of a channel's releases.

use std::cmp::Reverse;

use registry_core::entropy;
use registry_core::id::MailId;
use registry_core::mail::QueuedMail;
use registry_core::release::Release;
use registry_core::secret::SignInDigest;
use registry_core::sign_in::SignIn;
use registry_core::store::{ListedRelease, ReleaseFacts};
use registry_core::text::Channel;

use super::{Kind, Lock, Root, found};
use crate::lookup::{Join, Lookup};
use crate::tables::CurrentRelease;
use crate::value::{Value, ValueType};

found!(FoundMail { mails: QueuedMail });

impl Kind for MailId {
    type Facts = Option<QueuedMail>;
    type Output = QueuedMail;
    type Found = FoundMail;
    const LOOKUP: Lookup =
        Lookup { keys: &[("id", ValueType::Id)], joins: &[Join::one("mails", "mails.id = k.id")] };
    const BATCH_LOCKS: &'static [Lock] = &[Lock { alias: "mails", id: "id" }];

    fn keys(&self) -> Vec<Vec<Value>> {
        vec![vec![(*self).into()]]
    }

    fn facts(&self, mut found: Vec<FoundMail>) -> Option<QueuedMail> {
        found.pop().map(|it| it.mails)
    }

    fn roots(&self, facts: &Option<QueuedMail>) -> Vec<Root> {
        facts.iter().map(|mail| Root::new("mails", mail.id)).collect()
    }
}

found!(FoundSignIn { sign_ins: SignIn });

impl Kind for SignInDigest {
    type Facts = Option<SignIn>;
    type Output = SignIn;
    type Found = FoundSignIn;
    const LOOKUP: Lookup = Lookup {
        keys: &[("digest", ValueType::Bytes)],
        joins: &[
            Join::one("sign_ins", "sign_ins.digest = k.digest"),
            Join::all(
                "sign_ins",
                "others.role = sign_ins.role AND others.visitor = sign_ins.visitor",
            )
            .named("others"),
        ],
    };
    /// A change can end other sign-ins of the same principal, so it locks all of them.
    const BATCH_LOCKS: &'static [Lock] = &[Lock { alias: "others", id: "NULL::uuid" }];
    const SHARES: bool = false;

    fn keys(&self) -> Vec<Vec<Value>> {
        vec![vec![self.0.into()]]
    }

    fn facts(&self, mut found: Vec<FoundSignIn>) -> Option<SignIn> {
        found.pop().map(|it| it.sign_ins)
    }

    fn roots(&self, facts: &Option<SignIn>) -> Vec<Root> {
        let others = Root { alias: "others", id: None, detail: String::new() };
        facts.iter().map(|_| others.clone()).collect()
    }

    fn known_roots(&self) -> Vec<String> {
        vec![format!("sign_ins {}", entropy::hex(&self.0))]
    }
}

found!(FoundRelease { releases: Release, channels: Option<CurrentRelease> });

impl Kind for Channel {
    type Facts = ReleaseFacts;
    type Output = Release;
    type Found = FoundRelease;
    const LOOKUP: Lookup = Lookup {
        keys: &[("channel", ValueType::Text)],
        joins: &[
            Join::all("releases", "releases.channel = k.channel"),
            Join::optional(
                "channels",
                "channels.name = k.channel AND channels.release_id = releases.id",
            ),
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[Lock { alias: "releases", id: "id" }];

    fn keys(&self) -> Vec<Vec<Value>> {
        vec![vec![self.as_str().into()]]
    }

    fn facts(&self, found: Vec<FoundRelease>) -> ReleaseFacts {
        ReleaseFacts { releases: listed(found) }
    }

    fn roots(&self, facts: &ReleaseFacts) -> Vec<Root> {
        facts.releases.iter().map(|it| Root::new("releases", it.release.id)).collect()
    }

    fn known_roots(&self) -> Vec<String> {
        vec![format!("channel {self}")]
    }
}

/// Returns releases, newest first, each with whether it is the current one of its channel.
pub(crate) fn listed(found: Vec<FoundRelease>) -> Vec<ListedRelease> {
    let listed = found.into_iter().map(|it| ListedRelease {
        is_current: it.channels.is_some() && it.releases.yanked_at.is_none(),
        release: it.releases,
    });
    let mut listed: Vec<_> = listed.collect();
    listed.sort_by_key(|it| Reverse((it.release.published_at, it.release.id)));
    listed
}
