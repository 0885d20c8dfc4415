//! Signing in to the pages: a link is asked for, mailed, and exchanged for a session; a session
//! ends.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::audit::{Action, Actor, AuditEntry};
use crate::clock::Timestamp;
use crate::id::{MailId, TenantId};
use crate::mail::{MailState, QueuedMail, QueuedMessage};
use crate::rate_limit::Source;
use crate::refusal::Refusal;
use crate::registry::directory::after;
use crate::registry::{Error, Registry, refuse};
use crate::secret::SignInToken;
use crate::sign_in::{Principal, Role, SignIn, SignInKind};
use crate::store::{Decision, SignInWrite, TenantQuery, TenantRecord, Write};
use crate::tenant::Tenant;
use crate::text::EmailAddress;

/// How many tenants of one contact a page shows.
const TENANTS: u32 = 20;

/// What is asked for: it is mailed to this address. Each kind is counted by itself, so that what
/// anybody asks for in a customer's name keeps the customer from nothing else.
#[derive(Clone, Copy, Debug)]
pub enum MailRequest<'a> {
    /// A registration.
    Registration(&'a EmailAddress),
    /// A link that signs in: each of those that were mailed does, so whoever has the inbox is not
    /// kept out.
    Link(&'a EmailAddress),
    /// A fresh code, in a session of the customer: from where does not count.
    Reissue(&'a EmailAddress),
}

/// An open session, and what its browser keeps.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    /// The session's token.
    pub token: SignInToken,
    /// Whose it is.
    pub principal: Principal,
}

/// What is counted here is no guess at a code.
fn too_often(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::TooManyGuesses { retry_after } => Refusal::TooOften { retry_after },
        other => other,
    }
}

impl Registry {
    /// Mails a link that signs in, where the address is a contact's, also one of closed tenants;
    /// else does nothing. Whoever asked learns neither: the caller MUST answer the same, and
    /// without waiting for this, and [`ask`](Self::ask) first.
    pub async fn sign_in_mail(&self, contact: EmailAddress, source: Source) -> Result<(), Error> {
        let Some(newest) = self.newest(&contact).await? else { return Ok(()) };
        let mut change =
            self.change_context(Actor { name: "portal".to_owned(), source: source.to_string() });
        let token = SignInToken::draw(&*self.ports.entropy);
        let id: MailId = change.draw();
        let nonce = crate::entropy::bytes(&*self.ports.entropy);
        let expires_at = change.now + self.settings.sign_in_lifetime;
        let principal = Principal { role: Role::Customer, name: contact.folded() };
        let link = SignIn::new(token.digest(), SignInKind::Link, principal, change.now, expires_at);
        let mail = QueuedMail {
            id,
            tenant_id: newest.id,
            // As it was registered, and not as somebody types it.
            to: newest.contact_email.unwrap_or(contact),
            message: QueuedMessage::PortalLink { expires_at },
            sealed: Some(self.ports.vault.seal(&id.to_string(), nonce, token.expose())),
            state: MailState::Queued,
            attempts: 0,
            queued_at: change.now,
            due_at: change.now,
            settled_at: None,
            last_error: None,
        };
        let asked = AuditEntry {
            mail_id: Some(id),
            ..change.audit(Action::SignInAsked, Some(newest.id), "")
        };
        self.sign_in_new(link, vec![Write::EnqueueMail(Box::new(mail)), Write::audit(asked)])
            .await
            .map(drop)
    }

    /// Keeps a link or a session that was made now, together with other writes.
    async fn sign_in_new(&self, new: SignIn, others: Vec<Write>) -> Result<SignIn, Error> {
        let digest = new.digest;
        let decide = move |_: &Option<SignIn>| {
            let writes = std::iter::once(SignInWrite::Insert(Box::new(new.clone())).into())
                .chain(others.clone())
                .collect();
            Decision::Commit { writes, outcome: Ok(new.clone()) }
        };
        self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result()
    }

    /// Counts what anybody may ask for: each costs somebody a mail. A source that asks often is
    /// refused, and so is what is often asked for the same address, known or not. A form that was
    /// counted before (`form` is the digest of its mark and of what is in it) is not counted again:
    /// sent twice, it is answered as it was, and costs no further mail.
    pub fn count_mail_request(
        &self,
        source: Source,
        asked: MailRequest<'_>,
        form: Option<[u8; 32]>,
    ) -> Result<(), Refusal> {
        let now = self.now();
        if form.is_some_and(|form| self.forms.check(form, now).is_err()) {
            return Ok(());
        }
        let (what, contact, from) = match asked {
            MailRequest::Registration(contact) => ("registration", contact, Some(source)),
            MailRequest::Link(contact) => ("link", contact, Some(source)),
            MailRequest::Reissue(contact) => ("reissue", contact, None),
        };
        let digest = Sha256::digest(format!("{what} {}", contact.folded())).into();
        let counted = from.map_or(Ok(()), |from| self.asks.note(from, now));
        counted.and_then(|()| self.asks_for.note(digest, now)).map_err(too_often)?;
        form.map_or(Ok(()), |form| self.forms.note(form, now)).map_err(too_often)
    }

    /// Counts a token at the operators' door that is none of ours; a source that goes on is
    /// refused. What customers ask for from there is counted by itself.
    pub fn count_failed_operator_login(&self, source: Source) -> Result<(), Refusal> {
        self.proofs.note(source, self.now()).map_err(too_often)
    }

    /// Exchanges a link's token for a session. The contact's other links end, and so does the
    /// session that the browser had `previous`: nobody could end that one any more.
    pub async fn sign_in(
        &self,
        link: &SignInToken,
        previous: Option<&SignInToken>,
        source: Source,
    ) -> Result<OpenedSession, Error> {
        let digest = link.digest();
        let found = self
            .ports
            .store
            .sign_in_show(digest)
            .await?
            .filter(|link| link.is_open_link(self.now()));
        let principal = found.ok_or(Refusal::SignInLinkInvalid)?.principal;
        let tenant = self.tenant_for(&principal).await?;
        let change = self.change_context(Actor::customer(&principal.name, source));
        let (token, session) = self.session_for(principal.clone(), change.now);
        let previous = previous.map(SignInToken::digest);
        let decide = move |link: &Option<SignIn>| {
            if !link.as_ref().is_some_and(|link| link.is_open_link(change.now)) {
                return refuse(Refusal::SignInLinkInvalid, None);
            }
            let links = SignInWrite::DeleteAll {
                principal: session.principal.clone(),
                kind: Some(SignInKind::Link),
            };
            let entry = Write::audit(change.clone().audit(Action::SignedIn, tenant, ""));
            let session_write = SignInWrite::Insert(Box::new(session.clone()));
            let mut writes = vec![links.into(), session_write.into(), entry];
            writes.extend(previous.map(|previous| SignInWrite::Delete(previous).into()));
            Decision::Commit { writes, outcome: Ok(session.clone()) }
        };
        self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result()?;
        Ok(OpenedSession { token, principal })
    }

    fn session_for(&self, principal: Principal, now: Timestamp) -> (SignInToken, SignIn) {
        let token = SignInToken::draw(&*self.ports.entropy);
        let expires_at = now + self.settings.session_lifetime;
        let session = SignIn::new(token.digest(), SignInKind::Session, principal, now, expires_at);
        (token, session)
    }

    /// The tenant whose timeline tells of a principal's sign-ins.
    async fn tenant_for(&self, principal: &Principal) -> Result<Option<TenantId>, Error> {
        match principal.role {
            Role::Customer => {
                let newest =
                    self.newest(&EmailAddress::from_stored(principal.name.clone())).await?;
                Ok(newest.map(|tenant| tenant.id))
            }
            Role::Operator => Ok(None),
        }
    }

    /// Opens a session for an operator, who proved to be this one. With a name that is made of the
    /// operator's token, a session can end with the token. The session that the browser had
    /// `previous` ends.
    pub async fn operator_sign_in(
        &self,
        name: &str,
        previous: Option<&SignInToken>,
        actor: Actor,
    ) -> Result<OpenedSession, Error> {
        let mut change = self.change_context(actor);
        let principal = Principal { role: Role::Operator, name: name.to_owned() };
        let (token, session) = self.session_for(principal.clone(), change.now);
        let entry = Write::audit(change.audit(Action::SignedIn, None, ""));
        let previous = previous.map(|previous| SignInWrite::Delete(previous.digest()).into());
        self.sign_in_new(session, previous.into_iter().chain([entry]).collect()).await?;
        Ok(OpenedSession { token, principal })
    }

    /// Whose session this is; `None` where it has ended.
    pub async fn session(&self, token: &SignInToken) -> Result<Option<Principal>, Error> {
        let (now, idle, digest) = (self.now(), self.settings.session_idle, token.digest());
        let found = self.ports.store.sign_in_show(digest).await?;
        let Some(session) = found.filter(|it| it.is_live_session(now, idle)) else {
            return Ok(None);
        };
        if session.is_used_anew(now) {
            let decide = move |session: &Option<SignIn>| {
                let Some(session) = session else {
                    return refuse(Refusal::SignInLinkInvalid, None);
                };
                let writes = vec![SignInWrite::Use { session: digest, at: now }.into()];
                Decision::Commit { writes, outcome: Ok(session.clone()) }
            };
            match self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result() {
                Err(Error::Refused(_)) => return Ok(None),
                used => used?,
            };
        }
        Ok(Some(session.principal))
    }

    /// Ends a session of a principal; or everywhere, with the links that were not used yet.
    pub async fn sign_out(
        &self,
        token: &SignInToken,
        principal: Principal,
        everywhere: bool,
        actor: Actor,
    ) -> Result<(), Error> {
        let (digest, change, tenant) =
            (token.digest(), self.change_context(actor), self.tenant_for(&principal).await?);
        let decide = move |session: &Option<SignIn>| {
            let Some(session) = session else { return refuse(Refusal::SignInLinkInvalid, None) };
            let (end, detail) = if everywhere {
                (SignInWrite::DeleteAll { principal: principal.clone(), kind: None }, "everywhere")
            } else {
                (SignInWrite::Delete(digest), "")
            };
            let entry = Write::audit(change.clone().audit(Action::SignedOut, tenant, detail));
            Decision::Commit { writes: vec![end.into(), entry], outcome: Ok(session.clone()) }
        };
        match self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result() {
            // It is over already.
            Err(Error::Refused(_)) => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// A page of a contact's tenants, newest first, and what to ask for the next page with.
    pub async fn tenants_of(
        &self,
        contact: &EmailAddress,
        cursor: Option<&str>,
    ) -> Result<(Vec<TenantRecord>, Option<String>), Error> {
        let after = cursor.map(after).transpose()?;
        let contact = Some(contact.clone());
        self.tenant_page(TenantQuery { contact, limit: TENANTS, after, ..TenantQuery::default() })
            .await
    }

    /// A contact's tenant; `None` where it is another's, or none.
    pub async fn tenant_of(
        &self,
        contact: &EmailAddress,
        id: TenantId,
    ) -> Result<Option<TenantRecord>, Error> {
        let record = self.ports.store.tenant_show(id).await?;
        Ok(record.filter(|record| record.tenant.is_contact(contact)))
    }

    /// The newest tenant of a contact.
    async fn newest(&self, contact: &EmailAddress) -> Result<Option<Tenant>, Error> {
        let query =
            TenantQuery { contact: Some(contact.clone()), limit: 1, ..TenantQuery::default() };
        Ok(self.ports.store.tenant_list(query).await?.pop().map(|record| record.tenant))
    }

    /// The newest tenant of a contact that is not closed: anybody may register others in the
    /// contact's name.
    pub(crate) async fn newest_open(
        &self,
        contact: &EmailAddress,
    ) -> Result<Option<TenantRecord>, Error> {
        let mut cursor = None;
        loop {
            let (tenants, next) = self.tenants_of(contact, cursor.as_deref()).await?;
            let open = tenants.into_iter().find(|record| !record.tenant.status.is_closed());
            if open.is_some() || next.is_none() {
                return Ok(open);
            }
            cursor = next;
        }
    }
}
