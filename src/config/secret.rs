//! Where secrets come from: an environment variable, a file, or, where nothing real is at stake, the settings file itself.
//!
//! A secret is read once, at start, and held as a [`SecretString`], whose `Debug` shows nothing. No fault repeats it.

use std::path::Path;

use secrecy::SecretString;
use toml::Value;

use super::fault::Faults;

/// Longer than any key or certificate that belongs here; a path that names a log or a device is a mistake.
const LONGEST: u64 = 64 * 1024;
/// Longer than any key store that belongs here.
const LARGEST: u64 = 1024 * 1024;

/// What a secret may be given as.
pub(super) const SOURCES: &str = "give { env = \"NAME\" } or { file = \"/path\" }";

/// Where secrets are looked for.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// The environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the settings file may hold it as it is.
    pub(super) literal: bool,
}

/// Reads the secret that `value` names, or reports why not, at `place`. Files are looked for beside the settings file, unless the path is
/// absolute; spaces and line ends around a secret are cut off, because editors and `echo` leave them.
pub(super) fn read(value: &Value, place: &str, sources: Sources<'_>, faults: &Faults<'_>) -> Option<SecretString> {
    let found = match value {
        Value::String(_) if !sources.literal => {
            faults.add(place, "a secret of real money stands in the settings file", SOURCES);
            return None;
        }
        Value::String(text) => text.clone(),
        Value::Table(table) if table.len() == 1 => match (table.get("env"), table.get("file")) {
            (Some(Value::String(name)), None) => from_env(name, place, sources, faults)?,
            (None, Some(Value::String(path))) => from_file(path, place, faults)?,
            _ => {
                faults.add(place, "it names no source of a secret", SOURCES);
                return None;
            }
        },
        _ => {
            faults.add(place, "it names no source of a secret", SOURCES);
            return None;
        }
    };
    let secret = found.trim();
    if secret.is_empty() {
        faults.add(place, "the secret is empty", "put the secret where this field points, or remove the field");
        return None;
    }
    Some(SecretString::from(secret))
}

fn from_env(name: &str, place: &str, sources: Sources<'_>, faults: &Faults<'_>) -> Option<String> {
    let value = (sources.env)(name);
    if value.is_none() {
        faults.add(place, format!("the environment variable {name} is not set"), format!("set {name}, or name another source"));
    }
    value
}

/// Reads the bytes of the file that `value` names, for what is no text.
pub(super) fn read_bytes(value: &Value, place: &str, faults: &Faults<'_>) -> Option<Vec<u8>> {
    let Some(path) = value.as_table().filter(|table| table.len() == 1).and_then(|table| table.get("file")).and_then(Value::as_str) else {
        faults.add(place, "it names no file", "give { file = \"/path\" }");
        return None;
    };
    let path = Path::new(faults.file()).parent().unwrap_or(Path::new("")).join(path);
    let read = std::fs::metadata(&path).and_then(|metadata| match metadata.len() {
        ..=LARGEST => std::fs::read(&path),
        longer => Err(std::io::Error::other(format!("it has {longer} bytes, more than any store"))),
    });
    let told = |error: std::io::Error| {
        let what = format!("the file {} cannot be read: {error}", path.display());
        faults.add(place, what, "put the store there, readable for the user that runs breakwater");
    };
    read.map_err(told).ok()
}

fn from_file(path: &str, place: &str, faults: &Faults<'_>) -> Option<String> {
    let path = Path::new(faults.file()).parent().unwrap_or(Path::new("")).join(path);
    let read = std::fs::metadata(&path).and_then(|metadata| match metadata.len() {
        ..=LONGEST => std::fs::read_to_string(&path),
        longer => Err(std::io::Error::other(format!("it has {longer} bytes, more than any secret"))),
    });
    match read {
        Ok(text) => Some(text),
        Err(error) => {
            let what = format!("the file {} cannot be read: {error}", path.display());
            faults.add(place, what, "put the secret there, readable for the user that runs breakwater, or name another source");
            None
        }
    }
}
