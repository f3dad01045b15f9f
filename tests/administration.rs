//! An installation set up from nothing over the command line, as an operator would: one database a test, in a private cluster, and the real
//! program for every step.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use breakwater::cli::client;
use breakwater::cluster::{Cluster, ClusterOptions};
use breakwater::sandbox::{Sandbox, SandboxSettings};
use serde_json::Value;

/// A database that nobody has touched.
struct Empty {
    cluster: Cluster,
    url: String,
}

impl Empty {
    fn new() -> Self {
        Self::with(true)
    }

    /// One whose server keeps what it committed, as a real one must.
    fn durable() -> Self {
        Self::with(false)
    }

    fn with(fast_unsafe: bool) -> Self {
        let guard_program = Path::new(env!("CARGO_BIN_EXE_breakwater")).to_owned();
        let options = ClusterOptions { guard_program, fast_unsafe, shared_buffers_mb: 16, ..ClusterOptions::default() };
        let cluster = Cluster::start_temporary(&options).unwrap();
        cluster.ensure_database("shop").unwrap();
        let url = cluster.url("shop");
        Self { cluster, url }
    }

    fn migrated() -> Self {
        let empty = Self::new();
        empty.done(&["migrate"]);
        empty
    }

    fn run(&self, arguments: &[&str]) -> Output {
        breakwater(arguments, &[("BREAKWATER_DATABASE_URL", &self.url)])
    }

    /// What it printed, having done as asked.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output).to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What it complained of, having changed nothing.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(stdout(&output).is_empty(), "{output:?}");
        stderr(&output).to_owned()
    }

    /// Looks into the tables: the first column of each row, as text.
    fn look(&self, query: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let messages = client.simple_query(query).await.unwrap();
            let row = |message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            };
            messages.into_iter().filter_map(row).collect()
        })
    }
}

/// Runs `breakwater` with nothing in its environment but these variables, in a folder without settings.
fn breakwater(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_breakwater"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn an_installation_is_set_up_from_nothing_and_every_act_is_on_record() {
    let shop = Empty::new();
    assert!(shop.refused(&["merchants", "ls"]).contains("run: breakwater migrate"));
    shop.done(&["migrate"]);
    assert!(shop.done(&["operators", "ls"]).contains("breakwater operators add --role admin NAME"));

    let operator = shop.json(&["operators", "add", "--role", "admin", "alice"]);
    assert!(text(&operator["token"]).starts_with("bwo_"));
    let merchant = shop.json(&["merchants", "add", "Sample Shop"]);
    assert_eq!(merchant["mode"], "test");
    let key = shop.run(&["keys", "add", "Sample Shop"]);
    assert!(stdout(&key).starts_with("bwk_test_") && stdout(&key).lines().count() == 1, "the key alone can be piped: {key:?}");
    let live = shop.json(&["merchants", "add", "Sample Shop", "--mode", "live", "--why", "contract signed"]);
    assert_ne!(live["id"], merchant["id"]);
    let live_key = shop.json(&["keys", "add", text(&live["id"])]);
    assert!(text(&live_key["key"]).starts_with("bwk_live_"));

    let acts = shop.look("SELECT act FROM audit ORDER BY id");
    assert_eq!(acts, ["operator.add", "merchant.add", "key.add", "merchant.add", "key.add"]);
    assert!(shop.look("SELECT who FROM audit").iter().all(|who| who.starts_with("os:")));
    assert_eq!(shop.look("SELECT why FROM audit WHERE why IS NOT NULL"), ["contract signed"]);
    let secrets = [stdout(&key).trim(), text(&live_key["key"]), text(&operator["token"])];
    let everything = shop.look("SELECT a::text FROM audit a UNION ALL SELECT k::text FROM api_key k UNION ALL SELECT o::text FROM operator o");
    assert!(everything.len() == 8, "{everything:?}");
    for secret in secrets {
        assert!(!everything.iter().any(|row| row.contains(&secret[9..])), "a secret is stored");
        assert!(!shop.done(&["keys", "ls"]).contains(secret) && !shop.done(&["operators", "ls", "--json"]).contains(secret));
    }
    let listed = shop.json(&["merchants", "ls"]);
    assert_eq!(listed["data"].as_array().unwrap().iter().map(|row| row["keys"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 1]);
    shop.cluster.stop().unwrap();
}

#[test]
fn a_mistake_changes_nothing_and_says_what_to_do() {
    let shop = Empty::migrated();
    shop.done(&["merchants", "add", "Sample Shop"]);
    shop.done(&["operators", "add", "--role", "viewer", "alice"]);
    let before = shop.look("SELECT count(*) FROM audit");

    assert!(shop.refused(&["keys", "add", "Sampel Shop"]).contains("near it: \"Sample Shop\""));
    assert!(shop.refused(&["keys", "add", "Sample Shop", "--mode", "live"]).contains("only one of the other mode"));
    assert!(shop.refused(&["merchants", "add", "Sample Shop"]).contains("already"));
    assert!(shop.refused(&["merchants", "add", "a\nb"]).contains("control characters"));
    assert!(shop.refused(&["operators", "add", "--role", "admin", "alice"]).contains("taken"));
    assert!(shop.refused(&["operators", "revoke", "alcie"]).contains("near it: alice"));
    assert!(shop.refused(&["keys", "revoke", "key_000000000000"]).contains("breakwater keys ls"));
    let whole = format!("bwk_test_{}", "0".repeat(64));
    assert!(!shop.refused(&["keys", "revoke", &whole]).contains(&whole), "what may be a key is not repeated");
    let role = shop.run(&["operators", "add", "--role", "king", "bob"]);
    assert_eq!(role.status.code(), Some(2));
    assert!(stderr(&role).contains("viewer, operator, admin"), "{role:?}");
    assert_eq!(shop.run(&["keys", "rotate", "key_000000000000", "--grace", "soon"]).status.code(), Some(2));

    assert_eq!(shop.look("SELECT count(*) FROM audit"), before);
    shop.cluster.stop().unwrap();
}

#[test]
fn a_rotated_key_ends_by_itself_after_its_grace_and_a_revoked_one_at_once() {
    let shop = Empty::migrated();
    shop.done(&["merchants", "add", "Shop"]);
    let first = shop.json(&["keys", "add", "Shop"]);
    let state = |id: &Value| {
        let keys = shop.json(&["keys", "ls", "Shop"]);
        let row = keys["data"].as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap().clone();
        text(&row["state"]).to_owned()
    };

    let second = shop.json(&["keys", "rotate", text(&first["id"])]);
    assert_eq!(second["replaces"], first["id"]);
    assert_eq!(state(&first["id"]), "expiring");
    assert_eq!(shop.look("SELECT expires_at - (SELECT max(at) FROM audit) = interval '24 hours' FROM api_key WHERE expires_at IS NOT NULL"), ["t"]);

    let third = shop.json(&["keys", "rotate", text(&second["hint"]), "--grace", "0s"]);
    assert_eq!(state(&second["id"]), "revoked");
    assert!(shop.refused(&["keys", "rotate", text(&second["id"])]).contains("is revoked"));

    assert!(shop.done(&["keys", "revoke", text(&third["key"]), "--why", "leaked"]).starts_with("Revoked key_"));
    assert!(shop.done(&["keys", "revoke", text(&third["id"])]).contains("already"));
    assert_eq!(state(&third["id"]), "revoked");

    shop.look("UPDATE api_key SET expires_at = now() - interval '1 second' WHERE revoked_at IS NULL");
    assert_eq!(state(&first["id"]), "expired");
    let acts = shop.look("SELECT act FROM audit WHERE act LIKE 'key.%' ORDER BY id");
    assert_eq!(acts, ["key.add", "key.rotate", "key.rotate", "key.revoke"], "what changed nothing is not an act");
    shop.cluster.stop().unwrap();
}

#[test]
fn an_operator_is_one_name_for_ever_with_tokens_that_change() {
    let shop = Empty::migrated();
    shop.done(&["operators", "add", "--role", "admin", "alice"]);
    shop.done(&["operators", "rotate", "alice"]);
    assert_eq!(shop.look("SELECT (previous_until > now() + interval '23 hours')::text FROM operator"), ["true"]);
    shop.done(&["operators", "rotate", "alice", "--grace", "0s"]);
    assert_eq!(shop.look("SELECT count(*) FROM operator WHERE previous_digest IS NULL"), ["1"]);
    let revoked = shop.run(&["operators", "revoke", "alice"]);
    assert!(stderr(&revoked).contains("No admin is left"), "{revoked:?}");
    assert!(shop.refused(&["operators", "rotate", "alice"]).contains("was revoked"));
    assert!(shop.refused(&["operators", "add", "--role", "admin", "alice"]).contains("choose another"));
    shop.cluster.stop().unwrap();
}

#[test]
fn the_audit_is_only_ever_appended_to() {
    let shop = Empty::migrated();
    shop.done(&["merchants", "add", "Shop"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&shop.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for statement in ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"] {
            let refusal = client.execute(statement, &[]).await.unwrap_err();
            assert!(refusal.as_db_error().unwrap().message().contains("only ever appended"), "{refusal:?}");
        }
    });
    assert_eq!(shop.look("SELECT count(*) FROM audit"), ["1"]);
    shop.cluster.stop().unwrap();
}

fn verdicts(doctor: &Output) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(stdout(doctor)).unwrap_or_else(|_| panic!("{doctor:?}"));
    assert_eq!(report["healthy"] == true, doctor.status.code() == Some(0), "{report}");
    let checks = report["checks"].as_array().unwrap().iter();
    let pair = |check: &Value| (text(&check["check"]).to_owned(), text(&check["verdict"]).to_owned());
    checks.inspect(|check| assert!(check["verdict"] == "OK" || check["next"].is_string(), "{check} does not say what to do")).map(pair).collect()
}

fn failed(doctor: &Output) -> Vec<String> {
    verdicts(doctor).into_iter().filter(|(_, verdict)| verdict == "FAIL").map(|(check, _)| check).collect()
}

#[test]
fn the_doctor_finds_a_sound_installation_sound() {
    let shop = Empty::durable();
    shop.done(&["migrate"]);
    shop.done(&["operators", "add", "--role", "admin", "alice"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breakwater.toml");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:0\"\noperations_listen = \"127.0.0.1:0\"\n").unwrap();

    let doctor = shop.run(&["doctor", "--json", "--config", file.to_str().unwrap()]);
    let verdicts = verdicts(&doctor);
    assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
    for name in ["settings", "programs", "database", "version", "schema", "statements", "operators", "pools", "clocks", "durability", "open files"] {
        assert!(verdicts.iter().any(|(check, verdict)| check == name && verdict == "OK"), "{name} in {doctor:?}");
    }
    let table = shop.done(&["doctor", "--config", file.to_str().unwrap()]);
    assert!(table.contains("OK    schema") && table.contains("0 failed") && !table.contains('\x1b'), "{table}");
    shop.cluster.stop().unwrap();
}

#[test]
fn the_doctor_names_each_fault_and_what_to_do() {
    let shop = Empty::new();
    assert_eq!(failed(&shop.run(&["doctor", "--json"])), ["schema", "durability"], "not migrated, on a server that may lose data");
    let table = shop.run(&["doctor"]);
    assert!(stdout(&table).contains("→ run: breakwater migrate"), "{table:?}");

    let nobody = breakwater(&["doctor", "--json", "--database-url", "postgres://user:hunter2@localhost:1/none"], &[]);
    assert_eq!(failed(&nobody), ["database"]);
    assert!(!format!("{nobody:?}").contains("hunter2"));
    assert_eq!(failed(&breakwater(&["doctor", "--json"], &[])), ["database"]);

    let missing = shop.url.replace("shop", "shed");
    let doctor = breakwater(&["doctor", "--database-url", &missing], &[]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(stdout(&doctor).contains("createdb shed"), "{doctor:?}");

    shop.done(&["migrate"]);
    shop.look("ALTER TABLE merchant RENAME COLUMN livemode TO live");
    assert!(failed(&shop.run(&["doctor", "--json"])).contains(&"statements".to_owned()));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breakwater.toml");
    std::fs::write(&file, "[server]\nworkers = 0\n[log]\nlevel = \"loud\"\n").unwrap();
    let faults = shop.run(&["doctor", "--json", "--config", file.to_str().unwrap()]);
    assert_eq!(failed(&faults).iter().filter(|check| *check == "settings").count(), 2, "{faults:?}");
    shop.cluster.stop().unwrap();
}

#[test]
fn a_completion_script_names_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = breakwater(&["completions", shell], &[]);
        assert_eq!(script.status.code(), Some(0), "{script:?}");
        for command in ["serve", "doctor", "merchants", "rotate", "timeline"] {
            assert!(stdout(&script).contains(command), "{command} for {shell}");
        }
    }
}

/// A `serve` that runs, with its log.
struct Serving {
    child: Child,
    url: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    fn start(database_url: &str, config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_breakwater"))
            .args(["serve", "--config", config.to_str().unwrap()])
            .env_clear()
            .env("BREAKWATER_DATABASE_URL", database_url)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
        let mut serving = Self { child, url: String::new(), log };
        let ready: Value = serde_json::from_str(&serving.says("\"ready\"")).unwrap();
        serving.url = format!("http://{}", text(&ready["address"]));
        serving
    }

    /// The first line of the log that holds `words`, once it is there.
    fn says(&mut self, words: &str) -> String {
        for _ in 0..600 {
            let found = self.log.lock().unwrap().iter().find(|line| line.contains(words)).cloned();
            if let Some(line) = found {
                return line;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {:?}", self.log.lock().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("it never said {words}: {:?}", self.log.lock().unwrap())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.child.wait().unwrap().success(), "{:?}", self.log.lock().unwrap());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A test that failed leaves nothing running; one that did not has stopped it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A payment of a new order with this key, and the status of its answer.
async fn pay(url: &str, key: &str, order: &str, channel: Option<&str>) -> (u16, Value) {
    let body = serde_json::json!({
        "amount": 1250, "currency": "CNY", "merchant_order_id": order, "channel": channel,
        "payment_method": {"type": "card_token", "token": "pm_card_visa"},
    });
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", order), ("content-type", "application/json")];
    let answer = client::send("POST", &format!("{url}/v1/payments"), &headers, &body.to_string()).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn a_served_installation_keeps_merchants_channels_apart_and_tells_a_payment_from_its_rows() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shop = Empty::migrated();
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox_settings = SandboxSettings::new(folder.path());
    sandbox_settings.notifications = false;
    let accounts = sandbox_settings.accounts.clone();
    let sandbox = runtime.block_on(Sandbox::start(sandbox_settings)).unwrap();
    let config = folder.path().join("breakwater.toml");
    let write = |owner: &str, level: &str| {
        let mut file = format!("[server]\nlisten = \"127.0.0.1:0\"\noperations_on_main = true\n[log]\nlevel = \"{level}\"\n");
        for (place, account) in accounts.iter().enumerate() {
            let (id, secret, address) = (&account.id, &account.secret_key, sandbox.channel_url(&account.id).unwrap());
            let owners = if place == 0 { owner } else { "" };
            file += &format!(
                "[[channels]]\nid = \"{id}\"\nprovider = \"stripe\"\nmode = \"test\"\naddress = \"{address}\"\nsecret_key = \"{secret}\"\n\
                 priority = {place}\nmerchants = [{owners}]\n"
            );
        }
        std::fs::write(&config, file).unwrap();
    };
    let (theirs, shared) = (accounts[0].id.as_str(), accounts[1].id.as_str());

    write("\"Nieghbour\"", "info");
    for name in ["Shop", "Neighbour"] {
        shop.done(&["merchants", "add", name]);
    }
    let refusal = shop.refused(&["serve", "--config", config.to_str().unwrap()]);
    assert!(refusal.contains(&format!("channels[{theirs}].merchants")) && refusal.contains("near it: \"Neighbour\""), "{refusal}");

    write("\"Neighbour\"", "info");
    let mut serving = Serving::start(&shop.url, &config);
    serving.says("breakwater operators add --role admin NAME");
    let url = serving.url.clone();
    let key = |arguments: &[&str]| text(&shop.json(arguments)["key"]).to_owned();
    let (ours, neighbours) = (key(&["keys", "add", "Shop"]), key(&["keys", "add", "Neighbour"]));

    let pay = |key: &str, order: &str, channel: Option<&str>| runtime.block_on(pay(&url, key, order, channel));
    let (status, paid) = pay(&neighbours, "N-1", None);
    assert_eq!((status, text(&paid["channel"])), (201, theirs), "the first in order, and its owner's: {paid}");
    let (status, paid) = pay(&ours, "A-1", None);
    assert_eq!((status, text(&paid["channel"])), (201, shared), "{paid}");
    let (status, foreign) = pay(&ours, "A-2", Some(theirs));
    let (_, absent) = pay(&ours, "A-3", Some("no_such"));
    assert_eq!((status, &foreign["code"]), (422, &absent["code"]), "what belongs to others is not there: {foreign}");

    let shown = shop.done(&["payments", "get", text(&paid["id"]), "--timeline"]);
    for part in ["succeeded, approved", "1250 CNY", "merchant  Shop, order A-1", shared, "payment.created", "payment.succeeded", "+"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    let whole = shop.json(&["payments", "get", text(&paid["id"]), "--timeline"]);
    assert_eq!(whole["payment"]["amount_captured"], 1250);
    assert_eq!(whole["attempts"][0]["channel"], shared);
    assert!(whole["attempts"][0]["reply_ms"].is_number(), "{whole}");
    assert_eq!(whole["events"][0]["type"], "payment.created");
    let absent = format!("pay_{}", "0".repeat(32));
    assert!(shop.refused(&["payments", "get", &absent]).contains("has no payment"));

    // A key in its grace works beside the new one. Processes remember keys for a while, so the ones that must not work were never seen.
    let renewed = key(&["keys", "rotate", &ours]);
    for (key, order) in [(&ours, "A-4"), (&renewed, "A-5")] {
        assert_eq!(pay(key, order, None).0, 201);
    }
    let unseen = key(&["keys", "add", "Shop"]);
    let instead = key(&["keys", "rotate", &unseen, "--grace", "0s"]);
    assert_eq!(pay(&unseen, "A-6", None).0, 401);
    assert_eq!(pay(&instead, "A-6", None).0, 201);
    let brief = key(&["keys", "add", "Shop"]);
    key(&["keys", "rotate", &brief]);
    shop.look("UPDATE api_key SET expires_at = now() - interval '1 second' WHERE created_at = (SELECT max(created_at) FROM api_key WHERE expires_at IS NOT NULL)");
    assert_eq!(pay(&brief, "A-7", None).0, 401, "its grace is over");

    let operator = |arguments: &[&str]| text(&shop.json(arguments)["token"]).to_owned();
    let first = operator(&["operators", "add", "--role", "admin", "alice"]);
    let second = operator(&["operators", "rotate", "alice"]);
    let third = operator(&["operators", "rotate", "alice"]);
    for (token, status) in [(&first, 401), (&second, 200), (&third, 200), (&ours, 403)] {
        let authorization = format!("Bearer {token}");
        let asking = async { client::send("GET", &format!("{url}/ops/v1/channels"), &[("authorization", &authorization)], "").await };
        assert_eq!(runtime.block_on(asking).unwrap().status, status, "the newest two open the door");
    }

    write("\"Neighbour\", \"Shop\"", "debug");
    serving.signal(rustix::process::Signal::HUP);
    serving.says("the log's level was changed");
    assert!(serving.says("count from the next start").contains(&format!("channels[{theirs}]")));
    std::fs::write(&config, "[log]\nlevel = \"loud\"").unwrap();
    serving.signal(rustix::process::Signal::HUP);
    assert!(serving.says("nothing was changed").contains("log.level"));
    serving.stop();
    drop(sandbox);
    shop.cluster.stop().unwrap();
}

#[test]
fn a_channel_is_switched_off_and_on_by_command_and_the_audit_says_who_and_why() {
    let shop = Empty::migrated();
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("breakwater.toml");
    std::fs::write(&settings, "[[channels]]\nid = \"stripe_main\"\n").unwrap();
    let settings = settings.to_str().unwrap();
    let off = |more: &[&'static str]| {
        let usual = ["channels", "off", "stripe_main", "--reason", "the bank asked us to", "--config", settings, "--database-url", &shop.url];
        usual.into_iter().chain(more.iter().copied()).collect::<Vec<&str>>()
    };

    assert!(shop.refused(&off(&["--for", "25h"])).contains("more than 24 hours"));
    assert!(shop.refused(&off(&["--until", "2020-01-01T00:00:00Z"])).contains("not in the future"));
    assert!(shop.refused(&off(&["--daily", "23:30", "--zone", "UTC"])).contains("23:30-00:30"));
    assert!(shop.refused(&off(&["--daily", "23:30-00:30", "--zone", "Mars/Base"])).contains("no time zone"));
    assert_eq!(shop.run(&off(&[])).status.code(), Some(2), "an end is needed");
    assert_eq!(shop.run(&["channels", "off", "stripe_main", "--for", "1h"]).status.code(), Some(2), "a reason is needed");
    let unknown =
        shop.refused(&["channels", "off", "stripe_mein", "--reason", "a", "--for", "1h", "--config", settings, "--database-url", &shop.url]);
    assert!(unknown.contains("no channel \"stripe_mein\" (near it: stripe_main)"), "{unknown}");
    let blind = ["channels", "off", "stripe_mein", "--reason", "a", "--for", "1h"];
    for address in [&[][..], &["--database-url", shop.url.as_str()][..]] {
        let unknown = shop.refused(&[&blind[..], address].concat());
        let parts = ["channel \"stripe_mein\" is not known", "nothing was changed", "--config FILE", "--unchecked"];
        assert!(parts.iter().all(|part| unknown.contains(part)), "the database alone does not name the channels: {unknown}");
    }
    assert!(shop.look("SELECT 1 FROM channel_override").is_empty() && shop.look("SELECT 1 FROM audit").is_empty(), "nothing was changed");

    let one = shop.json(&off(&["--for", "30m", "--drain"]));
    assert_eq!((text(&one["mode"]), text(&one["operation"]), text(&one["channel"])), ("drain", "pay", "stripe_main"));
    assert!(text(&one["author"]).starts_with("os:"));
    assert!(shop.done(&off(&["--for", "2h"])).contains("stripe_main is off for pay, until"));
    let daily = shop.json(&off(&["--daily", "23:30-00:30", "--zone", "UTC", "--days", "mon,sun", "--drain"]));
    assert_eq!(daily["recurs"]["days"], serde_json::json!(["mon", "sun"]));
    let list = shop.done(&["channels", "overrides"]);
    assert!(list.lines().count() == 3 && list.contains("23:30-00:30 on mon,sun UTC") && list.contains("the bank asked us to"), "{list}");

    assert!(shop.done(&["channels", "on", "stripe_main", "--reason", "it is well"]).contains("The forced_open of stripe_main for pay has ended"));
    assert!(shop.done(&["channels", "on", "stripe_main"]).contains("nothing was changed"));
    assert!(shop.done(&["channels", "on", "stripe_main", "--id", text(&daily["id"])]).contains("The drain of stripe_main"));
    assert!(shop.done(&["channels", "overrides"]).contains("No override stands"));
    let on = |channel: &'static str| ["channels", "on", channel, "--config", settings, "--database-url", &shop.url];
    assert!(shop.refused(&on("stripe_mein")).contains("no channel \"stripe_mein\""));
    assert!(shop.done(&on("stripe_main")).contains("nothing was changed"));

    // From a machine without the settings, by somebody who is sure; and a mistake is taken back, also past the settings.
    assert!(shop.done(&[&blind[..], &["--unchecked"][..]].concat()).contains("stripe_mein is off for pay"));
    assert!(shop.done(&on("stripe_mein")).contains("The forced_open of stripe_mein for pay has ended"));
    assert_eq!(shop.json(&["channels", "overrides", "--all"])["data"].as_array().unwrap().len(), 4);

    let acts = shop.json(&["audit", "ls", "--subject", "channel:stripe_main"]);
    let acts = acts["data"].as_array().unwrap();
    assert_eq!(acts.iter().filter(|act| act["act"] == "channel.override").count(), 3);
    assert_eq!(acts.iter().find(|act| act["why"] == "it is well").map(|act| act["act"].clone()), Some("channel.override_end".into()));
    assert_eq!(acts[0]["before"]["mode"], "drain");
    let table = shop.done(&["audit", "ls", "--subject", "channel:stripe_main", "--limit", "2"]);
    assert!(table.lines().count() == 3 && table.contains("channel:stripe_main"), "{table}");
    assert!(shop.done(&["audit", "ls", "--who", "operator:nobody"]).contains("No such act"));
}

#[test]
fn an_operators_role_is_changed_by_name_and_told_in_the_audit() {
    let shop = Empty::migrated();
    shop.done(&["operators", "add", "--role", "admin", "alice"]);
    assert!(shop.refused(&["operators", "role", "alise", "viewer"]).contains("near it: alice"));
    let changed = shop.run(&["operators", "role", "alice", "viewer", "--why", "moved to another team"]);
    assert!(stdout(&changed).contains("alice is viewer from now on, and was admin"), "{changed:?}");
    assert!(stderr(&changed).contains("No admin is left"));
    assert!(shop.done(&["operators", "role", "alice", "viewer"]).contains("nothing was changed"));
    let acts = shop.json(&["audit", "ls", "--act", "operator.role"]);
    let act = &acts["data"].as_array().unwrap()[0];
    assert_eq!((&act["before"]["role"], &act["after"]["role"], &act["why"]), (&"admin".into(), &"viewer".into(), &"moved to another team".into()));
    shop.done(&["operators", "revoke", "alice"]);
    assert!(shop.refused(&["operators", "role", "alice", "admin"]).contains("was revoked"));
}

#[test]
fn signing_secrets_are_sealed_anew_under_a_new_key_and_what_no_key_opens_is_named() {
    use breakwater::domain::WebhookEndpointId;
    use breakwater::notifier::seal::Sealer;
    use breakwater::notifier::signature::Secret;

    const FIRST: &str = "the first sealing key, of 32 letters and more";
    const SECOND: &str = "the second sealing key, of 32 letters and more";
    let shop = Empty::migrated();
    let merchant = shop.json(&["merchants", "add", "Sample Shop"]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let installation = [7; 32];
    shop.look(&format!("INSERT INTO installation (fingerprint_secret) VALUES ('\\x{}')", hex(&installation)));
    let secret = Secret::generate().unwrap();
    let sealed_by = [None, Some(FIRST), Some(SECOND), Some("a key that is lost, of 32 letters and more")];
    let mut ids = Vec::new();
    for (n, key) in sealed_by.into_iter().enumerate() {
        let id = WebhookEndpointId(uuid::Uuid::from_u128(n as u128 + 1));
        let sealed = hex(&Sealer::new(&installation, key).unwrap().seal(id, &secret).unwrap());
        shop.look(&format!(
            "INSERT INTO webhook_endpoint (id, merchant_id, url, types, enabled, secret, previous_secret, previous_until, created_at, updated_at) \
             VALUES ('{}', '{}', 'https://shop.example/hook', '{{}}', true, '\\x{sealed}', '\\x{sealed}', now(), now(), now())",
            id.0,
            text(&merchant["id"])
        ));
        ids.push(id);
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("breakwater.toml");
    let keys = "[webhooks]\nsealing_key = { env = \"NOW\" }\nprevious_sealing_key = { env = \"BEFORE\" }\n";
    std::fs::write(&settings, format!("[database]\nurl = \"{}\"\n{keys}", shop.url)).unwrap();
    let reseal = || breakwater(&["webhooks", "reseal", "--json", "--config", settings.to_str().unwrap()], &[("NOW", SECOND), ("BEFORE", FIRST)]);

    let first = reseal();
    assert_eq!(first.status.code(), Some(1), "one stays shut: {first:?}");
    let told: Value = serde_json::from_str(stdout(&first)).unwrap();
    assert_eq!((&told["resealed"], &told["left_alone"], &told["shut"]), (&2.into(), &1.into(), &serde_json::json!([ids[3].to_string()])));
    assert!(stderr(&first).contains("previous_sealing_key"));
    let rows = shop.look("SELECT encode(secret, 'hex') || ' ' || encode(previous_secret, 'hex') FROM webhook_endpoint ORDER BY id");
    let now_alone = Sealer::new(&installation, Some(SECOND)).unwrap();
    for (row, id) in rows.iter().zip(&ids).take(3) {
        for sealed in row.split(' ') {
            let bytes: Vec<u8> = (0..sealed.len()).step_by(2).map(|at| u8::from_str_radix(&sealed[at..at + 2], 16).unwrap()).collect();
            assert_eq!(now_alone.open(*id, &bytes), Ok(secret.clone()));
        }
    }
    let again: Value = serde_json::from_str(stdout(&reseal())).unwrap();
    assert_eq!((&again["resealed"], &again["left_alone"]), (&0.into(), &3.into()), "again, it changes nothing");
    assert_eq!(shop.look("SELECT count(*) FROM audit WHERE act = 'webhook.reseal'"), ["2"]);
}

#[test]
fn after_card_numbers_were_sealed_anew_the_old_key_may_go_and_not_before() {
    use breakwater::keys::SealingKeys;

    const CARD: &[u8] = b"4111111111111111";
    const OLD: (&str, &str) = ("OLD", "the old sealing key, of 32 letters and more");
    const NEW: (&str, &str) = ("NEW", "the new sealing key, of 32 letters and more");
    let ring = |names: &[(&str, &str)]| {
        SealingKeys::new(names.iter().map(|(name, secret)| (name.to_lowercase(), secrecy::SecretString::from(*secret))).collect()).unwrap()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let shop = Empty::migrated();
    for (n, key) in [OLD, OLD, NEW].into_iter().enumerate() {
        let payment = uuid::Uuid::from_u128(n as u128 + 1);
        let (name, sealed) = ring(&[key]).seal(payment.as_bytes(), CARD).unwrap();
        shop.look(&format!(
            "INSERT INTO sealed_card (payment_id, key_name, sealed, created_at, erase_at) VALUES ('{payment}', '{name}', '\\x{}', now(), now() + interval '1 day')",
            hex(&sealed)
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("breakwater.toml");
    let reseal = |keys: &str| {
        std::fs::write(&settings, format!("[database]\nurl = \"{}\"\n[cards]\n{keys}\n", shop.url)).unwrap();
        breakwater(&["cards", "reseal", "--json", "--why", "yearly", "--config", settings.to_str().unwrap()], &[OLD, NEW])
    };

    let none = reseal("");
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("nothing was changed"), "{none:?}");
    let early = reseal("sealing_keys = { new = { env = \"NEW\" } }");
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    assert!(stderr(&early).contains("no longer in [cards] sealing_keys: put it back"), "{early:?}");
    let both = "newest_key = \"new\"\nsealing_keys = { old = { env = \"OLD\" }, new = { env = \"NEW\" } }";
    for resealed in [2, 0] {
        let done = reseal(both);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let told: Value = serde_json::from_str(stdout(&done)).unwrap();
        assert_eq!((&told["newest_key"], &told["resealed"]), (&"new".into(), &resealed.into()));
    }

    for (n, row) in shop.look("SELECT key_name || ' ' || encode(sealed, 'hex') FROM sealed_card ORDER BY payment_id").iter().enumerate() {
        let (name, sealed) = row.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..sealed.len()).step_by(2).map(|at| u8::from_str_radix(&sealed[at..at + 2], 16).unwrap()).collect();
        let payment = uuid::Uuid::from_u128(n as u128 + 1);
        assert_eq!(ring(&[NEW]).open(name, payment.as_bytes(), &bytes).as_deref(), Ok(CARD));
    }
    assert_eq!(
        shop.look("SELECT after ->> 'state' || coalesce(after ->> 'resealed', '') || why FROM audit WHERE act = 'card.reseal' ORDER BY id"),
        ["orderedyearly", "stoppedyearly", "orderedyearly", "done2yearly", "orderedyearly", "done0yearly"]
    );
}
