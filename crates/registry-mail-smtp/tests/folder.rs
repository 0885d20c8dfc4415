//! The mail port's conformance suite for the folder, and cases of the folder alone.

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

fn new_mailer() -> (FolderMailer, impl Fn() -> Vec<Vec<u8>>) {
    let (mailer, folder) = mailer();
    let inbox = move || {
        let files = std::fs::read_dir(folder.path().join("mailbox")).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    };
    (mailer, inbox)
}

registry_testkit::mail_conformance!(new_mailer());

#[tokio::test]
async fn file_is_named_by_the_mails_id() {
    let (mailer, folder) = mailer();
    let mail = example("Acme", None);
    mailer.send(&mail).await.unwrap();
    assert!(folder.path().join("mailbox").join(format!("{}.eml", mail.id)).is_file());
}

#[tokio::test]
async fn missing_folder_is_created_again() {
    let (mailer, folder) = mailer();
    let mailbox = folder.path().join("mailbox");
    std::fs::remove_dir(&mailbox).unwrap();
    assert!(matches!(mailer.probe().await, Err(MailError::Unavailable(_))));
    mailer.send(&example("Acme", None)).await.unwrap();
    std::fs::remove_dir_all(&mailbox).unwrap();
    std::fs::write(&mailbox, "a file instead of the folder").unwrap();
    assert!(matches!(mailer.send(&example("Acme", None)).await, Err(MailError::Unavailable(_))));
}
