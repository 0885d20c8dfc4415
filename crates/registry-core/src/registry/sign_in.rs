//! Signing in to the pages: a link is asked for, mailed, and exchanged for a session; a session ends.

use crate::audit::Actor;
use crate::guesses::Source;
use crate::id::MailId;
use crate::mail::{MailState, QueuedMail, QueuedMessage};
use crate::refusal::Refusal;
use crate::registry::{Error, Registry};
use crate::secret::SignInToken;
use crate::sign_in::{NewSession, Role, SignIn, SignInKind, Visitor};
use crate::store::{TenantQuery, TenantRecord};
use crate::text::EmailAddress;

/// The most tenants of one contact that a page shows.
const TENANTS: u32 = 100;

/// An open session, and what its browser keeps.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    /// The session's token.
    pub token: SignInToken,
    /// Whose it is.
    pub visitor: Visitor,
}

impl Registry {
    /// Mails a link that signs in, where the address is a contact's; else does nothing. Whoever asked learns neither: the
    /// caller MUST answer the same, and without waiting for this, and [`ask`](Self::ask) first.
    pub async fn sign_in_mail(&self, contact: EmailAddress, source: Source) -> Result<(), Error> {
        let now = self.now();
        let tenants = self.tenants_of(&contact).await?;
        let Some(newest) = tenants.into_iter().map(|record| record.tenant).find(|tenant| !tenant.status.is_closed())
        else {
            return Ok(());
        };
        let mut stamp = self.stamp(Actor { name: "portal".to_owned(), source: source.to_string() });
        let token = SignInToken::draw(&*self.ports.entropy);
        let id: MailId = stamp.draw();
        let nonce = crate::entropy::bytes(&*self.ports.entropy);
        let expires_at = now + self.settings.sign_in_lifetime;
        let link = SignIn {
            digest: token.digest(),
            kind: SignInKind::Link,
            visitor: Visitor { role: Role::Customer, name: contact.folded() },
            issued_at: now,
            used_at: now,
            expires_at,
        };
        let mail = QueuedMail {
            id,
            tenant_id: newest.id,
            // As it was registered, and not as somebody types it.
            to: newest.contact_email.unwrap_or(contact),
            message: QueuedMessage::PortalLink { expires_at },
            sealed: Some(self.ports.vault.seal(&id.to_string(), nonce, token.expose())),
            state: MailState::Queued,
            attempts: 0,
            queued_at: now,
            due_at: now,
            settled_at: None,
            last_error: None,
        };
        Ok(self.ports.store.sign_in_put(link, Some(mail)).await?)
    }

    /// Counts what anybody may ask for: each costs somebody a mail. A source that asks often is refused.
    pub fn ask(&self, source: Source) -> Result<(), Refusal> {
        let now = self.now();
        let counted = self.asks.check(source, now).and_then(|()| self.asks.note(source, now));
        counted.map_err(|refusal| match refusal {
            Refusal::TooManyGuesses { retry_after } => Refusal::TooOften { retry_after },
            other => other,
        })
    }

    /// Exchanges a link's token for a session.
    pub async fn sign_in(&self, link: &SignInToken) -> Result<OpenedSession, Error> {
        let now = self.now();
        let token = SignInToken::draw(&*self.ports.entropy);
        let session = NewSession { digest: token.digest(), expires_at: now + self.settings.session_lifetime };
        let opened = self.ports.store.sign_in_open(link.digest(), session, now).await?;
        let visitor = opened.ok_or(Refusal::SignInLinkInvalid)?.visitor;
        Ok(OpenedSession { token, visitor })
    }

    /// Whose session this is; `None` where it has ended.
    pub async fn session(&self, token: &SignInToken) -> Result<Option<Visitor>, Error> {
        let now = self.now();
        let idle_since = now - self.settings.session_idle;
        let found = self.ports.store.session_use(token.digest(), now, idle_since).await?;
        Ok(found.map(|session| session.visitor))
    }

    /// Ends a session.
    pub async fn sign_out(&self, token: &SignInToken) -> Result<(), Error> {
        Ok(self.ports.store.session_end(token.digest()).await?)
    }

    /// Ends all sessions of a visitor, and the links that were not used yet.
    pub async fn sign_out_everywhere(&self, visitor: Visitor) -> Result<(), Error> {
        Ok(self.ports.store.sessions_end(visitor).await?)
    }

    /// The tenants of a contact, newest first.
    pub async fn tenants_of(&self, contact: &EmailAddress) -> Result<Vec<TenantRecord>, Error> {
        let query = TenantQuery { contact: Some(contact.clone()), limit: TENANTS, ..TenantQuery::default() };
        Ok(self.ports.store.tenant_list(query).await?)
    }
}
