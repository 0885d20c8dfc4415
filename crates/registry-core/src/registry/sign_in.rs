//! Sign-in to the web pages: a link is requested, mailed, and exchanged for a session, which ends.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::audit::{Action, Actor, AuditDetail, AuditEntry};
use crate::clock::Timestamp;
use crate::id::{MailId, TenantId};
use crate::mail::{QueuedMail, QueuedMessage};
use crate::rate_limit::Source;
use crate::refusal::Refusal;
use crate::registry::directory::parse_cursor;
use crate::registry::{Error, Registry, refuse};
use crate::secret::SignInToken;
use crate::sign_in::{Principal, Role, SignIn, SignInKind};
use crate::store::{Decision, SignInWrite, TenantQuery, TenantRecord, Write};
use crate::tenant::Tenant;
use crate::text::EmailAddress;

/// Number of tenants on a page of one contact's tenants.
const TENANTS: u32 = 20;

/// A request for a mail to this address. Per recipient, each kind has a separate rate limit:
/// otherwise a stranger who requests one kind in a customer's name could use up the customer's
/// limit of the others. Per source, registrations and sign-in links share one limit.
#[derive(Clone, Copy, Debug)]
pub enum MailRequest<'a> {
    /// A registration.
    Registration(&'a EmailAddress),
    /// A sign-in link. Every mailed link signs in, so too many requests by a stranger do not lock
    /// the owner of the mailbox out.
    Link(&'a EmailAddress),
    /// A new code, requested in a session of the customer. Only the address is rate-limited, not
    /// the source.
    Reissue(&'a EmailAddress),
}

/// A new session, with the token for the browser's cookie.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    /// Token of the session.
    pub token: SignInToken,
    /// The person who signed in.
    pub principal: Principal,
}

impl Registry {
    /// Mails a sign-in link if the address is a contact of a tenant, even of a suspended or
    /// cancelled one. Otherwise does nothing. A stranger must not learn which of the two happened:
    /// the caller MUST respond the same in both cases, without waiting for this call, and MUST call
    /// [`count_mail_request`](Self::count_mail_request) first.
    pub async fn sign_in_mail(&self, contact: EmailAddress, source: Source) -> Result<(), Error> {
        let Some(newest) = self.newest(&contact).await? else { return Ok(()) };
        let mut change =
            self.change_context(Actor { name: "portal".to_owned(), source: source.to_string() });
        let token = SignInToken::draw(&*self.ports.entropy);
        let id: MailId = change.next_id();
        let nonce = crate::entropy::bytes(&*self.ports.entropy);
        let expires_at = change.now + self.settings.sign_in.link_lifetime;
        let principal = Principal { role: Role::Customer, name: contact.folded() };
        let link = SignIn::new(token.digest(), SignInKind::Link, principal, change.now, expires_at);
        let is_stranger = newest.is_stranger();
        // The address as registered, not as it was typed now.
        let to = newest.contact_email.unwrap_or(contact);
        let message = QueuedMessage::PortalLink { expires_at };
        let sealed = self.ports.vault.seal(&id.to_string(), nonce, token.expose());
        let mail = QueuedMail::new(id, newest.id, to, message, sealed, change.now)
            .for_stranger(is_stranger);
        let entry = AuditEntry {
            mail_id: Some(id),
            ..change.audit(Action::SignInRequested, Some(newest.id), AuditDetail::default())
        };
        self.sign_in_insert(link, vec![Write::EnqueueMail(Box::new(mail)), Write::audit(entry)])
            .await
            .map(drop)
    }

    /// Stores a new link or session, together with other writes.
    async fn sign_in_insert(&self, new: SignIn, others: Vec<Write>) -> Result<SignIn, Error> {
        let digest = new.digest;
        let decide = move |_: &Option<SignIn>| {
            let writes = std::iter::once(SignInWrite::Insert(Box::new(new.clone())).into())
                .chain(others.clone())
                .collect();
            Decision::commit(writes, Ok(new.clone()))
        };
        self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result()
    }

    /// Counts a request that leads to a mail, against the limits of its source and of its address.
    /// Both are refused if they have too many, and unknown addresses count like known ones. `form`
    /// is the digest of a form's id and its content. The same form sent again is not counted again:
    /// it gets the first response and causes no second mail.
    pub fn count_mail_request(
        &self,
        source: Source,
        request: MailRequest<'_>,
        form: Option<[u8; 32]>,
    ) -> Result<(), Refusal> {
        let now = self.now();
        if form.is_some_and(|form| self.form_dedupe.check(form, now).is_err()) {
            return Ok(());
        }
        let (kind, contact, by_source) = match request {
            MailRequest::Registration(contact) => {
                ("registration", contact, Some((&self.mail_by_source, &self.link_by_source)))
            }
            MailRequest::Link(contact) => {
                ("link", contact, Some((&self.link_by_source, &self.mail_by_source)))
            }
            MailRequest::Reissue(contact) => ("reissue", contact, None),
        };
        let digest = Sha256::digest(format!("{kind} {}", contact.inbox())).into();
        let counted = by_source.map_or(Ok(()), |(own, other)| {
            other.check(source, now).and_then(|()| own.record(source, now))
        });
        counted.and_then(|()| self.mail_by_recipient.record(digest, now))?;
        form.map_or(Ok(()), |form| self.form_dedupe.record(form, now))
    }

    /// Counts a sign-in with an unknown operator token, and refuses the source if it has too many.
    /// Mail requests from the same source are counted separately.
    pub fn count_failed_operator_login(&self, source: Source) -> Result<(), Refusal> {
        self.operator_login.record(source, self.now())
    }

    /// Exchanges a link's token for a session. The contact's other links end. The browser's
    /// `previous` session ends too: the browser forgets its token, so nobody could sign it out.
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
            let entry = Write::audit(change.clone().audit(
                Action::SignedIn,
                tenant,
                AuditDetail::default(),
            ));
            let session_write = SignInWrite::Insert(Box::new(session.clone()));
            let mut writes = vec![links.into(), session_write.into(), entry];
            writes.extend(previous.map(|previous| SignInWrite::Delete(previous).into()));
            Decision::commit(writes, Ok(session.clone()))
        };
        self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result()?;
        Ok(OpenedSession { token, principal })
    }

    fn session_for(&self, principal: Principal, now: Timestamp) -> (SignInToken, SignIn) {
        let token = SignInToken::draw(&*self.ports.entropy);
        let expires_at = now + self.settings.sign_in.session_lifetime;
        let session = SignIn::new(token.digest(), SignInKind::Session, principal, now, expires_at);
        (token, session)
    }

    /// Returns the tenant whose timeline shows a principal's sign-ins.
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

    /// Opens a session for an operator whose token the caller has verified. If `name` is derived
    /// from the token, the session can be ended together with the token. The browser's `previous`
    /// session ends.
    pub async fn operator_sign_in(
        &self,
        name: &str,
        previous: Option<&SignInToken>,
        actor: Actor,
    ) -> Result<OpenedSession, Error> {
        let mut change = self.change_context(actor);
        let principal = Principal { role: Role::Operator, name: name.to_owned() };
        let (token, session) = self.session_for(principal.clone(), change.now);
        let entry = Write::audit(change.audit(Action::SignedIn, None, AuditDetail::default()));
        let previous = previous.map(|previous| SignInWrite::Delete(previous.digest()).into());
        self.sign_in_insert(session, previous.into_iter().chain([entry]).collect()).await?;
        Ok(OpenedSession { token, principal })
    }

    /// Returns the principal of a session, or `None` if the session has ended.
    pub async fn session(&self, token: &SignInToken) -> Result<Option<Principal>, Error> {
        let (now, idle, digest) = (self.now(), self.settings.sign_in.session_idle, token.digest());
        let found = self.ports.store.sign_in_show(digest).await?;
        let Some(session) = found.filter(|it| it.is_live_session(now, idle)) else {
            return Ok(None);
        };
        if session.must_record_use(now) {
            let decide = move |session: &Option<SignIn>| {
                let Some(session) = session else {
                    return refuse(Refusal::SignInLinkInvalid, None);
                };
                let writes = vec![SignInWrite::Use { session: digest, at: now }.into()];
                Decision::commit(writes, Ok(session.clone()))
            };
            match self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result() {
                Err(Error::Refused(_)) => return Ok(None),
                used => used?,
            };
        }
        Ok(Some(session.principal))
    }

    /// Ends one session of a principal. If `everywhere` is set, ends all of the principal's
    /// sessions, and the sign-in links that were not used yet.
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
                let all = SignInWrite::DeleteAll { principal: principal.clone(), kind: None };
                (all, AuditDetail::reason("everywhere"))
            } else {
                (SignInWrite::Delete(digest), AuditDetail::default())
            };
            let entry = Write::audit(change.clone().audit(Action::SignedOut, tenant, detail));
            Decision::commit(vec![end.into(), entry], Ok(session.clone()))
        };
        match self.ports.store.sign_in_change(digest, Arc::new(decide)).await?.into_result() {
            // The session has already ended.
            Err(Error::Refused(_)) => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// Returns a page of a contact's tenants, newest first, and the cursor of the next page.
    pub async fn tenants_of(
        &self,
        contact: &EmailAddress,
        cursor: Option<&str>,
    ) -> Result<(Vec<TenantRecord>, Option<String>), Error> {
        let after = cursor.map(parse_cursor).transpose()?;
        let contact = Some(contact.clone());
        self.tenant_page(TenantQuery { contact, limit: TENANTS, after, ..TenantQuery::default() })
            .await
    }

    /// Returns a contact's tenant that is neither suspended nor cancelled. Somebody else's tenant
    /// is refused like one that does not exist.
    pub async fn open_tenant_of(
        &self,
        contact: &EmailAddress,
        id: TenantId,
    ) -> Result<TenantRecord, Error> {
        let record = self.ports.store.tenant_show(id).await?;
        let record = record.filter(|record| record.tenant.is_contact(contact));
        open(record.ok_or(Refusal::TenantNotFound)?)
    }

    /// Returns a tenant that can get a new code: neither suspended nor cancelled.
    pub async fn open_tenant(&self, id: TenantId) -> Result<TenantRecord, Error> {
        open(self.ports.store.tenant_show(id).await?.ok_or(Refusal::TenantNotFound)?)
    }

    /// Returns the newest tenant of a contact.
    async fn newest(&self, contact: &EmailAddress) -> Result<Option<Tenant>, Error> {
        let query =
            TenantQuery { contact: Some(contact.clone()), limit: 1, ..TenantQuery::default() };
        Ok(self.ports.store.tenant_list(query).await?.pop().map(|record| record.tenant))
    }

    /// Returns the newest tenant of a contact that is neither suspended nor cancelled. Closed ones
    /// are skipped, because anybody may register further tenants in the contact's name.
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

fn open(record: TenantRecord) -> Result<TenantRecord, Error> {
    record.tenant.check_open()?;
    Ok(record)
}
