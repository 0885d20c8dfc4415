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

/// Delivered mails contain codes, so they are deleted some time after their delivery.
#[tokio::test]
async fn old_mails_are_deleted() {
    let (mailer, folder) = mailer();
    let mailbox = folder.path().join("mailbox");
    mailer.send(&example("Old", None)).await.unwrap();
    let old = std::fs::read_dir(&mailbox).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    let week_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
    file.set_modified(week_ago).unwrap();
    std::fs::write(mailbox.join("notes.txt"), "not ours").unwrap();
    let before =
        |seconds: i64| registry_core::clock::Timestamp::from_timestamp(seconds, 0).unwrap();
    assert_eq!(mailer.delete_delivered(before(1_000)).await.unwrap(), 0);
    assert_eq!(mailer.delete_delivered(before(1_001)).await.unwrap(), 1);
    assert!(!old.exists() && mailbox.join("notes.txt").exists());
}
