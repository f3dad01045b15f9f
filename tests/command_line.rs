//! The command line as a shell sees it: what is printed where, and the exit codes.

use std::path::Path;
use std::process::{Command, Output};

use breakwater::cluster::{Cluster, ClusterOptions};

/// Runs `breakwater` with nothing in its environment but these variables.
fn breakwater(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_breakwater")).args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_0_on_standard_output() {
    let wrong = breakwater(&["fry"], &[]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stdout(&wrong).is_empty() && !stderr(&wrong).is_empty());
    let help = breakwater(&["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("Exit codes"), "{help:?}");
}

#[test]
fn the_printed_example_is_sound_once_its_secrets_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breakwater.toml");
    std::fs::write(&file, breakwater(&["config", "example"], &[]).stdout).unwrap();
    let check = ["config", "check", "--config", file.to_str().unwrap()];
    let secrets = [("BREAKWATER_DATABASE_URL", "postgres://user:hunter2@host/db"), ("STRIPE_SECRET_KEY", "sk_test_secret")];

    let sound = breakwater(&check, &secrets);
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    assert!(stdout(&sound).contains("stripe_main"), "{sound:?}");

    let faulty = breakwater(&check, &[]);
    assert_eq!(faulty.status.code(), Some(1));
    assert!(stdout(&faulty).is_empty());
    for part in ["database.url", "channels[stripe_main].secret_key", "STRIPE_SECRET_KEY", "2 faults"] {
        assert!(stderr(&faulty).contains(part), "{part} in {}", stderr(&faulty));
    }

    let live = breakwater(&check, &[secrets[0], ("STRIPE_SECRET_KEY", "sk_live_secret")]);
    assert_eq!(live.status.code(), Some(1));
    for output in [&sound, &faulty, &live] {
        for secret in ["hunter2", "sk_test_secret", "sk_live_secret"] {
            assert!(!format!("{output:?}").contains(secret), "{output:?}");
        }
    }
}

#[test]
fn faults_in_json_are_one_line_on_standard_output() {
    let output = breakwater(&["config", "check", "--config", "no/such/file.toml", "--json"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(line["sound"], false);
    assert_eq!(line["faults"][0]["file"], "no/such/file.toml");
    assert_eq!(stdout(&output).lines().count(), 1);
}

#[test]
fn migrating_twice_makes_everything_the_first_time_and_nothing_the_second() {
    let options = ClusterOptions {
        guard_program: Path::new(env!("CARGO_BIN_EXE_breakwater")).to_owned(),
        fast_unsafe: true,
        shared_buffers_mb: 16,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_temporary(&options).unwrap();
    cluster.ensure_database("migrated").unwrap();
    let url = cluster.url("migrated");
    let migrate = || {
        let output = breakwater(&["migrate", "--json"], &[("BREAKWATER_DATABASE_URL", &url)]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let line: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
        line["partitions_made"].as_u64().unwrap()
    };
    assert!(migrate() > 0);
    assert_eq!(migrate(), 0);
    cluster.stop().unwrap();
}

#[test]
fn a_database_that_is_not_there_is_exit_code_1_and_its_password_is_not_printed() {
    let output = breakwater(&["migrate", "--database-url", "postgres://user:hunter2@localhost:1/none"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("check that the address is right"), "{output:?}");
    assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
    let output = breakwater(&["migrate", "--database-url", "not an address"], &[]);
    assert!(stderr(&output).contains("correct the address"), "{output:?}");
}

#[test]
fn the_fields_of_a_providers_account_are_listed_and_an_unknown_provider_is_told_the_known_ones() {
    let table = breakwater(&["channels", "fields", "alipay"], &[]);
    assert_eq!(table.status.code(), Some(0), "{table:?}");
    let row = stdout(&table).lines().find(|line| line.starts_with("private_key ")).unwrap();
    assert!(row.contains("yes") && row.contains("PEM"), "{row}");

    let json = breakwater(&["channels", "fields", "iso8583", "--json"], &[]);
    let list: serde_json::Value = serde_json::from_str(stdout(&json)).unwrap();
    let fields = list["data"].as_array().unwrap();
    assert!(fields.iter().all(|field| field["help"].as_str().is_some_and(|help| !help.is_empty())), "{list}");
    let sockets = fields.iter().find(|field| field["name"] == "sockets").unwrap();
    assert_eq!((&sockets["kind"], &sockets["required"]), (&"number".into(), &false.into()));

    assert!(stdout(&breakwater(&["channels", "fields", "stripe"], &[])).contains("secret_key"));
    let unknown = breakwater(&["channels", "fields", "alipey"], &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("alipay, iso8583, stripe"), "{unknown:?}");
}

#[test]
fn a_process_lets_itself_be_crashed_only_where_no_channel_is_live() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breakwater.toml");
    let channel = "[[channels]]\nid = \"stripe_live\"\nprovider = \"stripe\"\nmode = \"live\"\nsecret_key = { env = \"STRIPE_SECRET_KEY\" }\n";
    std::fs::write(&file, format!("[server]\nlisten = \"127.0.0.1:0\"\n{channel}")).unwrap();
    let serve = |crash_at| {
        let url = ("BREAKWATER_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
        breakwater(&["serve", "--config", file.to_str().unwrap()], &[url, ("STRIPE_SECRET_KEY", "sk_live_secret"), ("BREAKWATER_CRASH_AT", crash_at)])
    };
    let refused = serve("payment_written:3");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    for part in ["payment_written:3", "stripe_live", "unset BREAKWATER_CRASH_AT"] {
        assert!(stderr(&refused).contains(part), "{part} in {}", stderr(&refused));
    }
    let unknown = serve("lunch");
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(stderr(&unknown).contains("payment_written"), "the names are said: {}", stderr(&unknown));
    let help = breakwater(&["serve", "--help"], &[]);
    assert!(!stdout(&help).contains("CRASH"), "nobody stumbles over it");
}
