//! Who sits at the terminal, and why: what the audit keeps of an act of the command line.
//!
//! The name is the operating system's, not one that the user could claim: an operator's name stands in the audit only where a token proved it.
//! `sudo` says who asked it, and root could say anything anyway, so that is kept beside.

use clap::Args;
use jiff::Timestamp;

use crate::store::administration::Actor;

/// Why somebody acts.
#[derive(Debug, Args)]
pub struct Why {
    /// Why, in your own words: kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

impl Why {
    /// The actor of an act at `at`; `who` is [`who`].
    pub(super) fn actor<'a>(&'a self, who: &'a str, at: Timestamp) -> Actor<'a> {
        Actor { at, who, why: self.why.as_deref().filter(|why| !why.trim().is_empty()) }
    }
}

/// The user that this process runs as: `os:alice`, `os:root (sudo: alice)`, or `os:uid 1000` where the user has no name.
pub(super) fn who() -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let sudo = std::env::var("SUDO_USER").ok();
    described(rustix::process::geteuid().as_raw(), &users, sudo.as_deref())
}

fn described(uid: u32, users: &str, sudo: Option<&str>) -> String {
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let name = named.unwrap_or_else(|| format!("uid {uid}"));
    match sudo.filter(|_| uid == 0) {
        Some(sudo) => format!("os:{name} (sudo: {})", sudo.chars().filter(|letter| !letter.is_control()).take(64).collect::<String>()),
        None => format!("os:{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_named_as_the_system_names_them() {
        let users = "root:x:0:0:root:/home/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(described(1000, users, Some("bob")), "os:alice");
        assert_eq!(described(0, users, Some("alice")), "os:root (sudo: alice)");
        assert_eq!(described(7, users, None), "os:uid 7");
    }
}
