//! Minting a code for a tenant: what registering and re-issuing have in common.

use crate::audit::Action;
use crate::clock::Timestamp;
use crate::entitlement::Entitlement;
use crate::id::{CodeId, MailId};
use crate::install_code::{CodeKind, InstallCode, PlainCode};
use crate::mail::{MailState, QueuedMail, QueuedMessage};
use crate::registry::{ChangeContext, Error, Registry, Settings};
use crate::results::Issued;
use crate::secret::{CodeDigest, DownloadLink, Sealed};
use crate::store::Write;
use crate::tenant::Tenant;

/// What becomes of a tenant's earlier codes.
#[derive(Clone, Copy)]
pub(crate) enum PreviousCodes {
    /// There are none.
    None,
    /// The unused ones die, and so do their unsent mails.
    Superseded {
        /// What the audit should say about it.
        detail: &'static str,
    },
}

/// A code about to be minted, with all that had to be drawn or made before the transaction.
pub(crate) struct PreparedCode {
    pub(crate) issued_code: PlainCode,
    pub(crate) expires_at: Timestamp,
    download: Option<DownloadLink>,
    code_id: CodeId,
    digest: CodeDigest,
    mail: Option<(MailId, Sealed)>,
}

impl Registry {
    /// Draws a code, seals it for its mail, and makes the download link.
    pub(crate) async fn prepare_code(
        &self,
        change: &mut ChangeContext,
        send_email: bool,
    ) -> Result<PreparedCode, Error> {
        let Settings { code_length, code_lifetime, link_lifetime, .. } = *self.settings;
        let ports = &self.ports;
        let code = PlainCode::draw(&*ports.entropy, code_length);
        let mail = send_email.then(|| {
            let id: MailId = change.draw();
            let nonce = crate::entropy::bytes(&*ports.entropy);
            (id, ports.vault.seal(&id.to_string(), nonce, code.expose()))
        });
        let digest = ports.vault.code_digests(&code).swap_remove(0);
        let link_expires_at = change.now + link_lifetime;
        let release = ports.store.release_current(self.settings.channel.clone()).await?;
        let download = match release {
            None => None,
            // An install must not fail for a link: readiness tells the operator, and the mail makes
            // its own link.
            Some(release) => {
                self.download_link(&release, change.now, link_expires_at).await.ok().flatten()
            }
        };
        let expires_at = change.now + code_lifetime;
        Ok(PreparedCode {
            issued_code: code,
            expires_at,
            download,
            code_id: change.draw(),
            digest,
            mail,
        })
    }
}

impl PreparedCode {
    /// What minting answers.
    pub(crate) fn issued(&self, tenant: &Tenant) -> Issued {
        Issued {
            tenant_id: tenant.id,
            code: self.issued_code.clone(),
            expires_at: self.expires_at,
            download: self.download.clone(),
        }
    }

    /// The code with its mail and audit line, after what becomes of the earlier ones.
    pub(crate) fn writes(
        &self,
        change: &mut ChangeContext,
        (tenant, entitlement): (&Tenant, Option<&Entitlement>),
        settings: &Settings,
        previous: PreviousCodes,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        let (action, detail) = match previous {
            PreviousCodes::None => (Action::CodeIssued, ""),
            PreviousCodes::Superseded { detail } => {
                writes.push(Write::SupersedeCodes { tenant: tenant.id, at: change.now });
                writes.push(Write::DiscardMails { tenant: tenant.id, at: change.now });
                (Action::CodeReissued, detail)
            }
        };
        writes.push(Write::InsertCode(Box::new(InstallCode {
            id: self.code_id,
            kind: CodeKind::Install,
            tenant_id: Some(tenant.id),
            entitlement_id: entitlement.map(|entitlement| entitlement.id),
            digest: self.digest.clone(),
            last_four: self.issued_code.last_four(),
            issued_at: change.now,
            expires_at: self.expires_at,
            consumed: None,
            superseded_at: None,
        })));
        let mut entry = change.audit(action, Some(tenant.id), detail);
        entry.code_id = Some(self.code_id);
        let mail = self.mail.as_ref().zip(tenant.contact_email.as_ref());
        entry.mail_id = mail.map(|((id, _), _)| *id);
        writes.push(Write::audit(entry));
        let edition =
            entitlement.map_or(settings.editions.free(), |entitlement| &entitlement.edition);
        if let Some(((id, sealed), to)) = mail {
            writes.push(Write::EnqueueMail(Box::new(QueuedMail {
                id: *id,
                tenant_id: tenant.id,
                to: to.clone(),
                message: QueuedMessage::InstallCode {
                    code_id: self.code_id,
                    company_name: tenant.company_name.clone(),
                    contact_name: tenant.contact_name.clone(),
                    edition: edition.clone(),
                    code_expires_at: self.expires_at,
                    link_expires_at: self.expires_at,
                    reissued: matches!(previous, PreviousCodes::Superseded { .. }),
                },
                sealed: Some(sealed.clone()),
                state: MailState::Queued,
                attempts: 0,
                queued_at: change.now,
                due_at: change.now,
                settled_at: None,
                last_error: None,
            })));
        }
        writes
    }
}
