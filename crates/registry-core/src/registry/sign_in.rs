//! Signing in to the pages: a link is asked for, mailed, and exchanged for a session; a session ends.

use sha2::{Digest as _, Sha256};

use crate::audit::Actor;
use crate::guesses::Source;
use crate::id::{MailId, TenantId};
use crate::mail::{MailState, QueuedMail, QueuedMessage};
use crate::refusal::Refusal;
use crate::registry::directory::place;
use crate::registry::{Error, Registry};
use crate::secret::SignInToken;
use crate::sign_in::{NewSession, Role, SignIn, SignInKind, Visitor};
use crate::store::{TenantQuery, TenantRecord};
use crate::tenant::Tenant;
use crate::text::EmailAddress;

/// How many tenants of one contact a page shows.
const TENANTS: u32 = 20;

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
        let Some(newest) = self.newest_open(&contact).await? else { return Ok(()) };
        let mut stamp = self.stamp(Actor { name: "portal".to_owned(), source: source.to_string() });
        let token = SignInToken::draw(&*self.ports.entropy);
        let id: MailId = stamp.draw();
        let nonce = crate::entropy::bytes(&*self.ports.entropy);
        let expires_at = now + self.settings.sign_in_lifetime;
        let visitor = Visitor { role: Role::Customer, name: contact.folded() };
        let link = SignIn::new(token.digest(), SignInKind::Link, visitor, now, expires_at);
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

    /// Counts what anybody may ask for: each costs somebody a mail. A source that asks often is refused, and so is what is
    /// often asked for the same address, known or not.
    pub fn ask(&self, source: Source, contact: Option<&EmailAddress>) -> Result<(), Refusal> {
        let now = self.now();
        let for_contact = |contact: &EmailAddress| self.asks_for.note(Sha256::digest(contact.folded()).into(), now);
        let counted = self.asks.note(source, now).and_then(|()| contact.map_or(Ok(()), for_contact));
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

    /// Opens a session for an operator, who proved to be this one. With a name that is made of the operator's token, a
    /// session can end with the token.
    pub async fn operator_sign_in(&self, name: &str) -> Result<OpenedSession, Error> {
        let now = self.now();
        let token = SignInToken::draw(&*self.ports.entropy);
        let visitor = Visitor { role: Role::Operator, name: name.to_owned() };
        let expires_at = now + self.settings.session_lifetime;
        let session = SignIn::new(token.digest(), SignInKind::Session, visitor.clone(), now, expires_at);
        self.ports.store.sign_in_put(session, None).await?;
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

    /// A page of a contact's tenants, newest first, and what to ask for the next page with.
    pub async fn tenants_of(
        &self,
        contact: &EmailAddress,
        cursor: Option<&str>,
    ) -> Result<(Vec<TenantRecord>, Option<String>), Error> {
        let after = cursor.map(place).transpose()?;
        let contact = Some(contact.clone());
        self.tenant_page(TenantQuery { contact, limit: TENANTS, after, ..TenantQuery::default() }).await
    }

    /// A contact's tenant; `None` where it is another's, or none.
    pub async fn tenant_of(&self, contact: &EmailAddress, id: TenantId) -> Result<Option<TenantRecord>, Error> {
        let record = self.ports.store.tenant_show(id).await?;
        Ok(record.filter(|record| record.tenant.is_contact(contact)))
    }

    /// The newest tenant of a contact that is not closed: anybody may register others in the contact's name.
    pub async fn newest_open(&self, contact: &EmailAddress) -> Result<Option<Tenant>, Error> {
        let mut cursor = None;
        loop {
            let (tenants, next) = self.tenants_of(contact, cursor.as_deref()).await?;
            let open = tenants.into_iter().map(|record| record.tenant).find(|tenant| !tenant.status.is_closed());
            if open.is_some() || next.is_none() {
                return Ok(open);
            }
            cursor = next;
        }
    }
}
