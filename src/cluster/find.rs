//! Finding PostgreSQL's programs. The order is from the most deliberate to the most general: a folder that the user names
//! (`BREAKWATER_PG_BIN`), the `PATH`, `pg_config --bindir`, then the folders where Debian, the PGDG packages and Homebrew put versions side
//! by side (off the `PATH`), newest first.
//!
//! A named folder is an instruction: if it will not do, the search ends with an error and nothing else is tried in its place. Any other
//! place that will not do is passed over but remembered, so that the error can say what was looked at and what was there.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ClusterError;

/// The first major version that will do: `wal_compression = lz4` and `UNIQUE NULLS NOT DISTINCT` came with it.
pub const EARLIEST_MAJOR: u32 = 15;
/// The newest major version that this code was written for. Newer ones are accepted: refusing tomorrow's would help nobody.
pub const LATEST_TRIED_MAJOR: u32 = 18;

/// The programs of one PostgreSQL installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The folder that holds `postgres` and `initdb`, links resolved where both are still side by side.
    pub folder: PathBuf,
    /// Major version, such as 17.
    pub major: u32,
    /// The version as `postgres --version` prints it, such as `17.2 (Debian 17.2-1)`.
    pub version: String,
    /// How it was found, in words, for `doctor`.
    pub found_by: String,
}

impl Binaries {
    /// The path of one program of this installation, such as `initdb`. `psql` may be missing: some packages split it off.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether this build can compress its write-ahead log by lz4. `pg_config` tells; without it the answer is no.
    pub(super) fn has_lz4(&self) -> bool {
        let configured = Command::new(self.program("pg_config")).arg("--configure").output();
        configured.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("lz4"))
    }
}

/// A place that was searched, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The folder, and why it was looked at.
    pub place: String,
    /// What was there.
    pub found: Found,
}

/// What a searched place held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No program named `postgres`.
    Nothing,
    /// A version that will not do.
    Version(String),
    /// A `postgres` that cannot be used, and why.
    Unusable(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Nothing => f.write_str("no postgres there"),
            Found::Version(version) => write!(f, "version {version}"),
            Found::Unusable(why) => f.write_str(why),
        }
    }
}

/// Where to look. [`Search::from_environment`] is the real one; a test narrows it.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The folder that the user insists on: then no other is looked at.
    pub pinned: Option<PathBuf>,
    /// Folders of the `PATH`, in its order; `pg_config` is looked for here too.
    pub path: Vec<PathBuf>,
    /// Folders with one folder a major version in them, each with a `bin`: `/usr/lib/postgresql`.
    pub side_by_side: Vec<PathBuf>,
}

impl Search {
    /// `$BREAKWATER_PG_BIN`, `$PATH`, and the packages' usual folders.
    pub fn from_environment() -> Self {
        let folders = |value: OsString| std::env::split_paths(&value).filter(|folder| folder.is_absolute()).collect();
        Self {
            pinned: std::env::var_os("BREAKWATER_PG_BIN").filter(|value| !value.is_empty()).map(PathBuf::from),
            path: std::env::var_os("PATH").map(folders).unwrap_or_default(),
            side_by_side: [
                "/usr/lib/postgresql",
                "/usr/libexec/postgresql",
                "/usr/local/opt",
                "/opt/homebrew/opt",
                "/home/linuxbrew/.linuxbrew/opt",
                "/Library/PostgreSQL",
            ]
            .map(PathBuf::from)
            .to_vec(),
        }
    }

    /// The first installation that will do: of version `wanted` exactly, or of any supported one.
    ///
    /// # Errors
    /// [`ClusterError::NoBinaries`] with everything that was looked at.
    pub fn find(&self, wanted: Option<u32>) -> Result<Binaries, ClusterError> {
        let mut looked = Vec::new();
        for (folder, found_by) in self.candidates(&mut looked) {
            let place = format!("{} ({found_by})", folder.display());
            match examine(&folder, found_by) {
                Ok(binaries) if wanted.map_or(binaries.major >= EARLIEST_MAJOR, |major| binaries.major == major) => {
                    return Ok(binaries);
                }
                Ok(binaries) => looked.push(Looked { place, found: Found::Version(binaries.version) }),
                Err(found) => looked.push(Looked { place, found }),
            }
        }
        Err(ClusterError::NoBinaries { looked, wanted })
    }

    /// Folders worth examining, best first; places that are empty go to `looked` at once.
    fn candidates(&self, looked: &mut Vec<Looked>) -> Vec<(PathBuf, String)> {
        if let Some(pinned) = &self.pinned {
            return vec![(pinned.clone(), "named by BREAKWATER_PG_BIN".to_owned())];
        }
        let mut folders = Vec::new();
        let mut none = |place: String| looked.push(Looked { place, found: Found::Nothing });

        let on_path: Vec<_> = self.path.iter().filter(|folder| folder.join("postgres").is_file()).collect();
        if on_path.is_empty() {
            none(format!("PATH ({} folders)", self.path.len()));
        }
        folders.extend(on_path.into_iter().map(|folder| (folder.clone(), "on the PATH".to_owned())));

        match self.path.iter().map(|folder| folder.join("pg_config")).find(|program| program.is_file()) {
            None => none("pg_config --bindir (no pg_config on the PATH)".to_owned()),
            Some(program) => match Command::new(&program).arg("--bindir").output() {
                Ok(output) if output.status.success() => {
                    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
                    folders.push((folder, "by pg_config --bindir".to_owned()));
                }
                _ => none(format!("pg_config --bindir ({} failed)", program.display())),
            },
        }

        for root in &self.side_by_side {
            let versions = versions_under(root);
            if versions.is_empty() {
                none(format!("{}/*/bin", root.display()));
            }
            folders.extend(versions.into_iter().map(|folder| (folder, "a package's folder".to_owned())));
        }
        let mut seen = Vec::new();
        folders.retain(|(folder, _)| {
            // Two names of one folder are one candidate.
            let real = folder.join("postgres").canonicalize().unwrap_or_else(|_| folder.clone());
            let fresh = !seen.contains(&real);
            seen.push(real);
            fresh
        });
        folders
    }
}

/// The machine's PostgreSQL: `Search::from_environment().find(None)`.
///
/// # Errors
/// [`ClusterError::NoBinaries`].
pub fn find_binaries() -> Result<Binaries, ClusterError> {
    Search::from_environment().find(None)
}

/// `root/17/bin` and `root/postgresql@17/bin`, newest first; a folder without a number (`postgresql`) comes last.
fn versions_under(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let digits = name.strip_prefix("postgresql").unwrap_or(&name).trim_start_matches('@');
            let major = if digits.is_empty() { 0 } else { digits.parse().ok()? };
            let bin = entry.path().join("bin");
            bin.join("postgres").is_file().then_some((major, bin))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

/// Asks the `postgres` in `folder` for its version, and checks that what is needed is beside it.
fn examine(folder: &Path, found_by: String) -> Result<Binaries, Found> {
    let named = folder.join("postgres");
    let Ok(real) = named.canonicalize() else {
        return Err(Found::Nothing);
    };
    // A link on the PATH leads to the installation's own folder, where psql and pg_config are too.
    let folder = match real.parent() {
        Some(parent) if parent.join("initdb").is_file() && parent.join("postgres").is_file() => parent.to_path_buf(),
        _ => folder.to_path_buf(),
    };
    let unusable = |why: String| Found::Unusable(format!("a postgres, but {why}"));
    let output = Command::new(&named).arg("--version").output().map_err(|error| unusable(format!("it does not start: {error}")))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let (major, version) = parse_version(printed.trim()).ok_or_else(|| unusable("it does not tell its version".to_owned()))?;
    if !folder.join("initdb").is_file() {
        return Err(unusable(format!("no initdb beside it (version {version})")));
    }
    Ok(Binaries { folder, major, version, found_by })
}

/// `postgres (PostgreSQL) 17.2 (Debian 17.2-1)` is `(17, "17.2 (Debian 17.2-1)")`; also `18beta1`.
fn parse_version(printed: &str) -> Option<(u32, String)> {
    let version = printed.strip_prefix("postgres (")?.split_once(") ")?.1;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    Some((version[..digits].parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn the_major_version_is_read_from_releases_and_previews_alike() {
        let major = |printed| parse_version(printed).map(|(major, _)| major);
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major("something else 17"), None);
    }
}
