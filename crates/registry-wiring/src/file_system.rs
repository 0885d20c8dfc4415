//! File systems on which SQLite loses data. Its write-ahead log needs memory that all processes share
//! and locks that work, and a network file system has neither (SQLite documentation, "Write-Ahead
//! Logging", section 2).

use std::path::Path;

use anyhow::{Context as _, bail};

/// Magic numbers of network file systems (`statfs(2)`, `linux/magic.h`).
const NETWORK: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0102_1997, "9P"),
    (0x7461_636f, "OCFS2"),
];

/// Fails if a folder is on a network file system.
pub(crate) fn check(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let status = rustix::fs::statfs(folder);
    let status = status.with_context(|| format!("{shown} cannot be read"))?;
    #[expect(clippy::cast_sign_loss, reason = "the magic number is a bit pattern")]
    let magic = status.f_type as u64 & 0xffff_ffff;
    if let Some(name) = name(magic) {
        bail!(
            "{shown} is on a network file system ({name}), on which SQLite loses data: set `data` to \
             a folder on a local disk, or use PostgreSQL (`database.url`)"
        );
    }
    Ok(())
}

fn name(magic: u64) -> Option<&'static str> {
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known() {
        assert_eq!(name(0x6969), Some("NFS"));
        assert_eq!(name(0xff53_4d42), Some("CIFS"));
        for (local, what) in [(0xef53, "ext4"), (0x0102_1994, "tmpfs"), (0x794c_7630, "overlayfs")]
        {
            assert_eq!(name(local), None, "{what}");
        }
        check(&std::env::temp_dir()).unwrap();
    }
}
