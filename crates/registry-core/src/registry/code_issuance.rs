//! Issuing an install code for a tenant: the steps that registration and re-issue share.

use crate::audit::{Action, AuditDetail};
use crate::clock::Timestamp;
use crate::entitlement::Entitlement;
use crate::id::{CodeId, MailId};
use crate::install_code::{CodeKind, InstallCode, PlainCode};
use crate::mail::{QueuedMail, QueuedMessage};
use crate::registry::{ChangeContext, Error, Registry, Settings};
use crate::results::Issued;
use crate::secret::{CodeDigest, DownloadLink, Sealed};
use crate::store::Write;
use crate::tenant::Tenant;

/// Handling of the tenant's earlier codes.
#[derive(Clone, Copy)]
pub(crate) enum PreviousCodes {
    /// The tenant has no earlier codes.
    None,
    /// Unused codes are replaced, and their unsent mails are discarded.
    Superseded {
        /// Reason in the audit entry.
        reason: Option<&'static str>,
    },
}

/// A code to be issued, with everything that is generated before the transaction.
pub(crate) struct PreparedCode {
    pub(crate) issued_code: PlainCode,
    pub(crate) expires_at: Timestamp,
    download: Option<DownloadLink>,
    code_id: CodeId,
    digest: CodeDigest,
    mail: Option<(MailId, Sealed)>,
}

impl Registry {
    /// Generates a code, seals it for its mail, and creates the download link.
    pub(crate) async fn prepare_code(
        &self,
        change: &mut ChangeContext,
        send_email: bool,
    ) -> Result<PreparedCode, Error> {
        let settings = &self.settings;
        let ports = &self.ports;
        let code = PlainCode::draw(&*ports.entropy, settings.codes.length);
        let code_id: CodeId = change.next_id();
        let mail = send_email.then(|| {
            let id: MailId = change.next_id();
            let nonce = crate::entropy::bytes(&*ports.entropy);
            (id, ports.vault.seal(&id.to_string(), nonce, code.expose()))
        });
        let digest = ports.vault.code_digests(&code).swap_remove(0);
        let link_expires_at = change.now + settings.downloads.lifetime;
        let release = ports.store.release_current(self.settings.downloads.channel.clone()).await?;
        let download = match release {
            None => None,
            // A registration must not fail because of a link: readiness reports the problem to the
            // operator, and the mail gets its own link when it is sent.
            Some(release) => self
                .download_link(&release, Some(code_id), change.now, link_expires_at)
                .await
                .ok()
                .flatten(),
        };
        let expires_at = change.now + settings.codes.lifetime;
        Ok(PreparedCode { issued_code: code, expires_at, download, code_id, digest, mail })
    }
}

impl PreparedCode {
    /// Returns the result of issuing the code.
    pub(crate) fn issued(&self, tenant: &Tenant) -> Issued {
        Issued {
            tenant_id: tenant.id,
            code: self.issued_code.clone(),
            expires_at: self.expires_at,
            download: self.download.clone(),
        }
    }

    /// Returns the writes that issue the code, with its mail and audit entry. The writes that
    /// replace earlier codes come first.
    pub(crate) fn writes(
        &self,
        change: &mut ChangeContext,
        (tenant, entitlement): (&Tenant, Option<&Entitlement>),
        settings: &Settings,
        previous: PreviousCodes,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        let (action, detail) = match previous {
            PreviousCodes::None => (Action::CodeIssued, AuditDetail::default()),
            PreviousCodes::Superseded { reason } => {
                writes.push(Write::SupersedeCodes { tenant: tenant.id, at: change.now });
                writes.push(Write::DiscardMails { tenant: tenant.id, at: change.now });
                (Action::CodeReissued, reason.map(AuditDetail::reason).unwrap_or_default())
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
            let message = QueuedMessage::InstallCode {
                code_id: self.code_id,
                company_name: tenant.company_name.clone(),
                contact_name: tenant.contact_name.clone(),
                edition: edition.clone(),
                code_expires_at: self.expires_at,
                reissued: matches!(previous, PreviousCodes::Superseded { .. }),
            };
            let (to, sealed) = (to.clone(), sealed.clone());
            let mail = QueuedMail::new(*id, tenant.id, to, message, sealed, change.now)
                .for_stranger(tenant.is_stranger() && entitlement.is_none());
            writes.push(Write::EnqueueMail(Box::new(mail)));
        }
        writes
    }
}
