//! Files and folders that only their owner may read: those of the service and of the appliance.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Creates a folder, and the folders above it, with mode 0700. A folder that exists keeps its mode.
///
/// # Errors
/// If a folder cannot be created.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// True if users beside the owner have any permission, other than the members of a group that the
/// process belongs to: Kubernetes gives mounted secrets and volumes to the group of their pod.
#[must_use]
pub fn is_exposed(file: &Metadata) -> bool {
    let is_own_group = || {
        let group = file.gid();
        rustix::process::getegid().as_raw() == group
            || rustix::process::getgroups()
                .is_ok_and(|groups| groups.iter().any(|it| it.as_raw() == group))
    };
    let mode = file.permissions().mode();
    mode & 0o007 != 0 || (mode & 0o070 != 0 && !is_own_group())
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn only_own_groups_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        create_folder(&path).unwrap();
        let own = rustix::process::getegid().as_raw();
        for (mode, group, expected) in [
            (0o700, own, false),
            (0o750, own, false),
            (0o704, own, true),
            (0o700, 54_321, false),
            (0o740, 54_321, true),
        ] {
            // Only root can give a folder to a group of others.
            if group == own || rustix::process::geteuid().is_root() {
                set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                chown(&path, None, Some(group)).unwrap();
                assert_eq!(is_exposed(&path.metadata().unwrap()), expected, "{mode:o} {group}");
            }
        }
        let above = path.parent().unwrap().metadata().unwrap();
        assert_eq!(above.permissions().mode() & 0o777, 0o700);
    }
}
