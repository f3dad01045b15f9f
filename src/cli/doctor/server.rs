//! The database's server and schema.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use super::machine;
use super::{Check, Verdict};
use crate::app::pool_sizes;
use crate::cli::database::complaint;
use crate::clock::Clock;
use crate::cluster::EARLIEST_MAJOR;
use crate::config::Settings;
use crate::store::diagnosis::ServerFacts;
use crate::store::replica::ReplicaFacts;
use crate::store::schema::{self, Standing};
use crate::store::{PoolSizes, Store, StoreError};

/// Few, so that the doctor is let in where connections are scarce.
const SIZES: PoolSizes = PoolSizes { journal: 2, reads: 1, channels: 0 };
/// Clocks further apart than this make leases and expiries of several processes disagree visibly.
const APART_WARN: SignedDuration = SignedDuration::from_millis(500);
/// And further than this: signatures of notifications are refused as too old, and leases overlap.
const APART_FAIL: SignedDuration = SignedDuration::from_secs(5);

/// How long a replica may take to follow while somebody waits for the doctor; one that is allowed to be further behind is not waited for.
const REPLICA_PATIENCE: Duration = Duration::from_secs(10);

/// All there is to know about the database at `url`; `words` give the address to a command that is to be pasted.
pub(super) async fn checks(url: &str, words: &str, settings: Option<&Settings>) -> Vec<Check> {
    let runtime = tokio::runtime::Handle::current();
    let standing = match schema::standing(url, &runtime).await {
        Ok(standing) => standing,
        Err(StoreError::Standby(hosts)) => return vec![is_a_standby(&hosts, settings)],
        Err(error) => return vec![Check::fail("database", error.to_string(), "check that the address is right and the server runs")],
    };
    if standing == Standing::NoDatabase {
        return vec![missing(standing, url, words)];
    }
    let store = match Store::open(url, SIZES, &runtime).await {
        Ok(store) => store,
        Err(StoreError::Standby(hosts)) => return vec![is_a_standby(&hosts, settings)],
        Err(error) => return vec![Check::fail("database", error.to_string(), "free some connections of the server, and look again")],
    };
    let asked = Clock::system().wall();
    let facts = match store.server_facts().await {
        Ok(facts) => facts,
        Err(error) => return vec![Check::fail("database", error.to_string(), "check the server's log")],
    };
    let answered = Clock::system().wall();
    let mut checks = vec![reachable(&facts), version(&facts)];
    let fit = matches!(standing, Standing::Current | Standing::Ahead);
    checks.push(match standing {
        Standing::Current => Check::ok("schema", "every migration of this version has run"),
        Standing::Ahead => Check::warn("schema", "a later version has migrated it", "run that version, unless this one is on its way out"),
        _ => missing(standing, url, words),
    });
    if fit {
        checks.push(statements(&store).await);
        checks.push(operators(&store, words).await);
    } else {
        checks.push(Check::warn("statements", "not looked at: the schema is not this version's", "migrate first"));
    }
    if let Some(settings) = settings {
        checks.push(pools(&facts, settings));
        if let Some(url) = &settings.database.replica_url {
            let most = Duration::from_millis(settings.database.replica_max_lag_ms);
            checks.push(replica(&store.replica_facts(url.expose_secret(), most.min(REPLICA_PATIENCE)).await, most));
        }
    }
    checks.push(clocks(facts.clock, asked, answered));
    checks.push(durability(&facts));
    let disk = facts.data_directory.as_deref().and_then(|folder| machine::room(Path::new(folder)));
    checks.push(disk.unwrap_or_else(|| {
        Check::warn("disk", "the database's files are elsewhere, or this user may not see where", "watch their disk where they are")
    }));
    checks
}

fn missing(standing: Standing, url: &str, words: &str) -> Check {
    let complaint = complaint(standing, url, words).unwrap_or_default();
    let (found, next) = complaint.split_once("; ").unwrap_or((complaint.as_str(), ""));
    Check::fail("schema", found, next)
}

fn reachable(facts: &ServerFacts) -> Check {
    if facts.standby {
        return Check::fail("database", format!("{} answers, but is a standby, which takes no writes", facts.database), "name the primary");
    }
    Check::ok("database", format!("{} answers and takes writes", facts.database))
}

/// A replica where the primary belongs.
fn is_a_standby(hosts: &str, settings: Option<&Settings>) -> Check {
    let found = format!("{hosts} answers, but is a standby, which takes no writes");
    let its_place = match settings {
        Some(settings) if settings.database.replica_url.is_none() => "; a standby for lists belongs in replica_url",
        _ => "",
    };
    let next = format!("name the primary, or all hosts: postgres://host1,host2/name?target_session_attrs=read-write{its_place}");
    Check::fail("database", found, next)
}

/// The replica for lists: without it, or while it is too far behind, the primary is asked; so nothing of it keeps `serve` from starting, but one that
/// shows something else than the primary has.
fn replica(facts: &Result<ReplicaFacts, StoreError>, most: Duration) -> Check {
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => {
            return Check::warn("replica", format!("{error}; lists are read from the primary"), "check replica_url, and that the server runs");
        }
    };
    if !facts.standby {
        let next = "name a standby of the primary in replica_url, or leave it out";
        return Check::fail("replica", "it answers, but is no standby: it takes writes, and shows what it was told itself", next);
    }
    if facts.same_cluster == Some(false) {
        return Check::fail("replica", "it is a standby, but of another primary", "name a standby of this primary in replica_url");
    }
    match facts.followed_after {
        Some(after) => Check::ok("replica", format!("a standby that had all of the primary after {} ms", after.as_millis())),
        None => {
            let found = format!("a standby that is further behind than the {} ms after which lists are read from the primary", most.as_millis());
            Check::warn("replica", found, "see pg_stat_replication on the primary, or raise replica_max_lag_ms")
        }
    }
}

fn version(facts: &ServerFacts) -> Check {
    let found = format!("PostgreSQL {}", facts.version);
    if u32::try_from(facts.major).unwrap_or(0) < EARLIEST_MAJOR {
        return Check::fail("version", found, format!("move to PostgreSQL {EARLIEST_MAJOR} or later"));
    }
    Check::ok("version", found)
}

async fn statements(store: &Store) -> Check {
    match store.check_statements().await {
        Ok(unfit) if unfit.is_empty() => Check::ok("statements", format!("all {} can be prepared", crate::store::statements::ALL.len())),
        Ok(unfit) => {
            let (name, why) = &unfit[0];
            let found = format!("{} cannot be prepared, {name} first: {why}", unfit.len());
            Check::fail("statements", found, "run the version of breakwater that made the schema, and see who changed it by hand")
        }
        Err(error) => Check::fail("statements", error.to_string(), "check the server's log"),
    }
}

async fn operators(store: &Store, words: &str) -> Check {
    match store.has_operator().await {
        Ok(true) => Check::ok("operators", "there is one at least"),
        Ok(false) => {
            let next = format!("add the first: breakwater operators add --role admin NAME{words}");
            Check::warn("operators", "there is none, so nobody can see /ops", next)
        }
        Err(error) => Check::fail("operators", error.to_string(), "check the server's log"),
    }
}

/// The pools of all instances against what the server allows, beside what is held already.
fn pools(facts: &ServerFacts, settings: &Settings) -> Check {
    let one = i64::try_from(pool_sizes(settings, settings.channels.len()).sum()).unwrap_or(i64::MAX);
    let instances = settings.server.instances;
    let wanted = one.saturating_mul(i64::from(instances));
    let (allowed, held) = (i64::from(facts.allowed_connections), facts.held_connections);
    let more = if instances > 1 { format!(", {instances} instances {wanted}") } else { String::new() };
    let found = format!("one process takes up to {one} connections{more}; the server allows {allowed}, {held} are held now");
    if wanted > allowed {
        Check::fail("pools", found, "lower read_connections or channel_connections in [database], or raise the server's max_connections")
    } else if wanted.saturating_add(one) > allowed {
        // A process starts before another has ended: for a while there is one more.
        Check::warn("pools", format!("{found}: not enough for one process more"), "raise the server's max_connections")
    } else {
        Check::ok("pools", found)
    }
}

/// The server's clock was read between `asked` and `answered` by ours: only what lies outside is a difference.
fn clocks(server: Timestamp, asked: Timestamp, answered: Timestamp) -> Check {
    let apart = if server < asked { asked.duration_since(server) } else { server.duration_since(answered).max(SignedDuration::ZERO) };
    let found = format!("ours and the database's are {} ms apart", apart.as_millis());
    let next = "let NTP set both clocks";
    if apart >= APART_FAIL {
        Check::fail("clocks", found, next)
    } else if apart >= APART_WARN {
        Check::warn("clocks", found, next)
    } else {
        Check::ok("clocks", found)
    }
}

/// Whether what the server calls committed survives a loss of power.
fn durability(facts: &ServerFacts) -> Check {
    let found = format!("fsync {}, full_page_writes {}, synchronous_commit {}", facts.fsync, facts.full_page_writes, facts.synchronous_commit);
    let weak = match (facts.fsync.as_str(), facts.full_page_writes.as_str(), facts.synchronous_commit.as_str()) {
        ("on", "on", "on" | "remote_apply" | "remote_write") => None,
        ("on", "on", _) => Some("ALTER SYSTEM SET synchronous_commit = on"),
        ("on", _, _) => Some("ALTER SYSTEM SET full_page_writes = on (unless the disk cannot tear a page)"),
        _ => Some("ALTER SYSTEM SET fsync = on; a crash may destroy this database"),
    };
    match weak {
        None => Check::ok("durability", found),
        Some(next) => Check { name: "durability", verdict: Verdict::Fail, found, next: format!("{next}, then SELECT pg_reload_conf()") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            version: "17.2".to_owned(),
            major: 17,
            allowed_connections: 97,
            held_connections: 3,
            standby: false,
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            data_directory: None,
            clock: Timestamp::UNIX_EPOCH,
            database: "breakwater".to_owned(),
        }
    }

    #[test]
    fn a_server_that_may_lose_what_it_committed_fails() {
        assert_eq!(durability(&facts()).verdict, Verdict::Ok);
        for weak in [
            ServerFacts { fsync: "off".to_owned(), ..facts() },
            ServerFacts { full_page_writes: "off".to_owned(), ..facts() },
            ServerFacts { synchronous_commit: "off".to_owned(), ..facts() },
        ] {
            assert_eq!(durability(&weak).verdict, Verdict::Fail, "{weak:?}");
        }
    }

    #[test]
    fn clocks_are_apart_by_what_the_question_itself_does_not_explain() {
        let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
        let verdict = |server| clocks(at(server), at(10_000), at(11_000)).verdict;
        assert_eq!(verdict(10_500), Verdict::Ok);
        assert_eq!(verdict(11_400), Verdict::Ok);
        assert_eq!(verdict(11_500), Verdict::Warn);
        assert_eq!(verdict(9_400), Verdict::Warn);
        assert_eq!(verdict(5_000), Verdict::Fail);
        assert_eq!(verdict(16_000), Verdict::Fail);
    }

    #[test]
    fn pools_of_all_instances_must_fit_and_should_fit_once_more() {
        let verdict = |allowed| pools(&ServerFacts { allowed_connections: allowed, ..facts() }, &Settings::default()).verdict;
        assert_eq!(verdict(23), Verdict::Fail);
        assert_eq!(verdict(47), Verdict::Warn);
        assert_eq!(verdict(48), Verdict::Ok);
        let mut three = Settings::default();
        three.server.instances = 3;
        let verdict = |allowed| pools(&ServerFacts { allowed_connections: allowed, ..facts() }, &three).verdict;
        assert_eq!([71, 72, 95, 96].map(verdict), [Verdict::Fail, Verdict::Warn, Verdict::Warn, Verdict::Ok]);
    }

    #[test]
    fn a_replica_must_be_a_standby_of_this_primary_and_should_keep_up() {
        let sound = ReplicaFacts { standby: true, same_cluster: Some(true), followed_after: Some(Duration::from_millis(3)) };
        let verdict = |facts| replica(&facts, Duration::from_secs(2)).verdict;
        assert_eq!(verdict(Ok(sound)), Verdict::Ok);
        assert_eq!(verdict(Ok(ReplicaFacts { same_cluster: None, ..sound })), Verdict::Ok);
        assert_eq!(verdict(Ok(ReplicaFacts { followed_after: None, ..sound })), Verdict::Warn);
        assert_eq!(verdict(Ok(ReplicaFacts { standby: false, ..sound })), Verdict::Fail);
        assert_eq!(verdict(Ok(ReplicaFacts { same_cluster: Some(false), ..sound })), Verdict::Fail);
        assert_eq!(verdict(Err(StoreError::Away("refused".to_owned()))), Verdict::Warn);
    }

    #[test]
    fn a_replica_in_the_primarys_place_is_told_where_it_belongs() {
        let misplaced = is_a_standby("second:5432", Some(&Settings::default()));
        assert_eq!(misplaced.verdict, Verdict::Fail);
        assert!(misplaced.found.contains("second:5432") && misplaced.next.ends_with("belongs in replica_url"), "{misplaced:?}");
    }

    #[test]
    fn a_standby_and_an_old_server_fail() {
        assert_eq!(reachable(&ServerFacts { standby: true, ..facts() }).verdict, Verdict::Fail);
        assert_eq!(version(&ServerFacts { major: 14, ..facts() }).verdict, Verdict::Fail);
    }
}
