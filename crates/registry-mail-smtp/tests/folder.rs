//! The folder against the mail port's docs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use registry_core::mail::{MailError, Mailer as _};
use registry_mail_smtp::{Brand, BrandSettings, FolderMailer, Renderer, Sender};
use registry_testkit::conformance::mail::example;

fn mailer() -> (FolderMailer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let sender = Sender {
        address: "registry@vendor.example".into(),
        brand: Brand::new(BrandSettings {
            product: "Vendor, Inc. <appliance>".into(),
            ..BrandSettings::default()
        })
        .unwrap(),
    };
    (
        FolderMailer::open(folder.path().join("mailbox"), Renderer::new(sender, None).unwrap())
            .unwrap(),
        folder,
    )
}

fn fresh() -> (FolderMailer, impl Fn() -> Vec<Vec<u8>>) {
    let (mailer, folder) = mailer();
    let inbox = move || {
        let files = std::fs::read_dir(folder.path().join("mailbox")).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    };
    (mailer, inbox)
}

registry_testkit::mail_conformance!(fresh());

#[tokio::test]
async fn a_mail_is_a_file_named_by_its_id() {
    let (mailer, folder) = mailer();
    let mail = example("Acme", None);
    mailer.send(&mail).await.unwrap();
    assert!(folder.path().join("mailbox").join(format!("{}.eml", mail.id)).is_file());
}

#[tokio::test]
async fn a_folder_that_is_gone_is_made_again_and_one_that_cannot_be_is_a_transient_failure() {
    let (mailer, folder) = mailer();
    let mailbox = folder.path().join("mailbox");
    std::fs::remove_dir(&mailbox).unwrap();
    assert!(matches!(mailer.probe().await, Err(MailError::Unavailable(_))));
    mailer.send(&example("Acme", None)).await.unwrap();
    std::fs::remove_dir_all(&mailbox).unwrap();
    std::fs::write(&mailbox, "in the way").unwrap();
    assert!(matches!(mailer.send(&example("Acme", None)).await, Err(MailError::Unavailable(_))));
}
