//! Where a cluster lives and who runs it: the account, the folders, and whether the account can pass to them.
//!
//! PostgreSQL refuses to run as root. When we are root (a container), it runs as the account that owns the existing data, else `postgres`,
//! else `nobody`. That account must be able to *pass* every folder above the data. We give passage through folders that we create (mode
//! 0711) and never change the mode of one that we did not: when somebody else's folder is in the way, as root's own home always is, the
//! data go to `/var/lib/breakwater/<random>` instead, and the file `place` in the asked-for folder says so. Access lists beyond the mode
//! bits are not read: at worst the data move needlessly.
//!
//! The socket has a path limit of 107 bytes, and its path goes into URLs: when the data's own folder is too long or has unusual characters,
//! the socket gets `/tmp/bwpg-<hash>`. Whoever can open the socket is the database's superuser, so its folder is 0700 and is refused
//! when somebody else made it first.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::error::ClusterError;

/// `sockaddr_un` holds 108 bytes on Linux, 104 on macOS, one of them the final zero.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Port is only a part of the socket's file name here. Always said, so that nobody's `PGPORT` is meant instead.
pub(super) const PORT: u16 = 5432;

/// The account that runs PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
    /// For messages.
    pub name: String,
    /// Whether it is another than ours.
    pub switch: bool,
}

impl Account {
    /// The account for a cluster whose data, if any, are at `data`.
    pub(super) fn choose(data: &Path) -> Result<Self, ClusterError> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let owner = fs::metadata(data).ok().map(|data| (data.uid(), data.gid()));
        match owner {
            Some((owner, _)) if uid != 0 && owner != uid => Err(ClusterError::NotOurs {
                path: data.to_path_buf(),
                what: format!("belongs to another account (uid {owner}, ours is {uid})"),
                next: "run as that account, or choose another folder with --data-dir".to_owned(),
            }),
            _ if uid != 0 => Ok(Self { uid, gid, name: format!("uid {uid}"), switch: false }),
            Some((uid, gid)) if uid != 0 => Ok(Self { uid, gid, name: format!("uid {uid}"), switch: true }),
            _ => Self::from_passwd(&fs::read_to_string("/etc/passwd").unwrap_or_default()),
        }
    }

    /// `postgres` or `nobody` from the lines of `/etc/passwd`.
    fn from_passwd(passwd: &str) -> Result<Self, ClusterError> {
        for wanted in ["postgres", "_postgres", "nobody"] {
            for line in passwd.lines() {
                let mut fields = line.split(':');
                let (name, _, uid, gid) = (fields.next(), fields.next(), fields.next(), fields.next());
                let number = |field: Option<&str>| field.and_then(|field| field.parse::<u32>().ok()).filter(|id| *id != 0);
                if let (Some(name), Some(uid), Some(gid)) = (name, number(uid), number(gid))
                    && name == wanted
                {
                    return Ok(Self { uid, gid, name: name.to_owned(), switch: true });
                }
            }
        }
        Err(ClusterError::NotOurs {
            path: PathBuf::from("/etc/passwd"),
            what: "has neither postgres nor nobody, and PostgreSQL refuses to run as root".to_owned(),
            next: "useradd --system postgres, or run as an ordinary account".to_owned(),
        })
    }

    /// The first folder on the way to `path`, itself included, that this account may not pass.
    pub(super) fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        if !self.switch {
            return None;
        }
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let ancestors: Vec<_> = path.ancestors().collect();
        ancestors.into_iter().rev().find(|folder| !fs::metadata(folder).is_ok_and(|folder| self.may_pass(&folder))).map(Path::to_path_buf)
    }

    fn may_pass(&self, folder: &Metadata) -> bool {
        let bit = if folder.uid() == self.uid {
            0o100
        } else if folder.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        folder.mode() & bit != 0
    }
}

/// The folders of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Holds the data and the settings. The asked-for folder, or where the file `place` in it points to.
    pub root: PathBuf,
    pub account: Account,
}

impl Place {
    /// Where the cluster of the folder `dir` is or is to be. `dir` exists.
    pub(super) fn of(dir: &Path) -> Result<Self, ClusterError> {
        let pointer = dir.join("place");
        if let Some(root) = Self::pointed_to(dir)? {
            check_owner(&root, &[rustix::process::geteuid().as_raw()])?;
            let account = Account::choose(&root.join("data"))?;
            return Ok(Self { root, account });
        }
        let account = Account::choose(&dir.join("data"))?;
        let Some(blocked_at) = account.blocked_at(dir) else {
            return Ok(Self { root: dir.to_path_buf(), account });
        };
        let base = ["/var/lib", "/var/tmp"].into_iter().map(Path::new).find(|base| base.is_dir() && account.blocked_at(base).is_none());
        let (false, Some(base)) = (dir.join("data").exists(), base) else {
            return Err(ClusterError::NotPassable {
                path: dir.join("data"),
                next: format!("chmod o+x {}, or choose a folder below /var/lib with --data-dir", blocked_at.display()),
                blocked_at,
                account: account.name,
            });
        };
        let root = base.join("breakwater").join(uuid::Uuid::new_v4().simple().to_string());
        create_folder(&root, 0o711)?;
        check_owner(&base.join("breakwater"), &[rustix::process::geteuid().as_raw()])?;
        // Only a complete line counts (see `pointed_to`), so a crash in the middle costs an empty folder.
        fs::write(&pointer, format!("{}\n", root.display())).map_err(ClusterError::io("write", &pointer))?;
        Ok(Self { root, account })
    }

    /// The content of the file `place`, when the data are elsewhere.
    pub(super) fn pointed_to(dir: &Path) -> Result<Option<PathBuf>, ClusterError> {
        let pointer = dir.join("place");
        match fs::read_to_string(&pointer) {
            Ok(text) => Ok(text.strip_suffix('\n').map(PathBuf::from).filter(|root| root.is_dir())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ClusterError::io("read", &pointer)(error)),
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The folder for the socket, made and checked.
    pub(super) fn socket_folder(&self) -> Result<PathBuf, ClusterError> {
        let folder = socket_folder_name(&self.root);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                check_owner(&folder, &[rustix::process::geteuid().as_raw(), self.account.uid])?;
            }
            Err(error) => return Err(ClusterError::io("create the folder", &folder)(error)),
        }
        self.hand_over(&folder)?;
        Ok(folder)
    }

    /// An empty folder for `initdb`, whatever an earlier one has left there.
    pub(super) fn fresh_folder(&self, folder: &Path) -> Result<(), ClusterError> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(ClusterError::io("remove", folder)(error));
            }
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(folder).map_err(ClusterError::io("create the folder", folder))?;
        self.hand_over(folder)
    }

    fn hand_over(&self, folder: &Path) -> Result<(), ClusterError> {
        if !self.account.switch {
            return Ok(());
        }
        lchown(folder, Some(self.account.uid), Some(self.account.gid)).map_err(ClusterError::io("change the owner of", folder))
    }
}

/// Creates `folder` and what is missing above it, each with `mode` whatever the umask; folders that exist are left as they are.
pub(super) fn create_folder(folder: &Path, mode: u32) -> Result<(), ClusterError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(ClusterError::io("set the mode of", folder)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(ClusterError::io("create the folder", folder)(error)),
    }
}

/// Fails unless `folder` is a real folder, of one of `owners`, that nobody else can write: `/tmp` and `/var/tmp` are everybody's.
fn check_owner(folder: &Path, owners: &[u32]) -> Result<(), ClusterError> {
    let found = fs::symlink_metadata(folder).map_err(ClusterError::io("look at", folder))?;
    if found.is_dir() && owners.contains(&found.uid()) && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(ClusterError::NotOurs {
        path: folder.to_path_buf(),
        what: "is not a folder that only we can write: somebody else made it".to_owned(),
        next: format!("look at it, then remove it: ls -ld {0}; rm -r {0}", folder.display()),
    })
}

/// `root/socket` if that is short and plain enough, else a name below `/tmp` that is the same at each start.
fn socket_folder_name(root: &Path) -> PathBuf {
    let own = root.join("socket");
    let bytes = own.as_os_str().as_bytes();
    let plain = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte));
    if plain && bytes.len() + format!("/.s.PGSQL.{PORT}").len() <= SOCKET_PATH_LIMIT {
        return own;
    }
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    // Two containers may share a /tmp and the path of their data, but not the folder itself.
    if let Ok(found) = fs::metadata(root) {
        (found.dev(), found.ino()).hash(&mut hasher);
    }
    PathBuf::from(format!("/tmp/bwpg-{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_unusual_path_gets_a_short_plain_socket_folder() {
        assert_eq!(socket_folder_name(Path::new("/srv/breakwater")), Path::new("/srv/breakwater/socket"));
        for root in [format!("/srv/{}", "long/".repeat(20)), "/srv/a folder".to_owned(), "/srv/ö".to_owned()] {
            let folder = socket_folder_name(Path::new(&root));
            assert!(folder.starts_with("/tmp") && folder.as_os_str().len() < 40, "{}", folder.display());
            assert_eq!(folder, socket_folder_name(Path::new(&root)), "the same at each start");
        }
    }

    #[test]
    fn root_hands_over_to_postgres_before_nobody_and_never_to_root() {
        let name = |passwd: &str| Account::from_passwd(passwd).map(|account| (account.name, account.uid, account.gid)).ok();
        let nobody = "nobody:x:65534:65533::/:/bin/false\n";
        assert_eq!(name(nobody), Some(("nobody".to_owned(), 65534, 65533)));
        assert_eq!(name(&format!("{nobody}postgres:x:101:104::/:/bin/sh\n")), Some(("postgres".to_owned(), 101, 104)));
        assert_eq!(name("postgres:x:0:0::/:/bin/sh\n"), None);
    }

    #[test]
    fn a_folder_is_passable_by_the_bits_that_apply_to_the_account() {
        let stranger = Account { uid: 4_000_001, gid: 4_000_001, name: String::new(), switch: true };
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(stranger.blocked_at(&below), Some(folder.path().canonicalize().unwrap()));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        assert_eq!(stranger.blocked_at(&below), None);
    }
}
