use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::channel::guard::GuardSettings;
use crate::domain::MethodKind;

fn providers(name: &str) -> Option<ProviderDefaults> {
    (name == "stripe").then(|| ProviderDefaults {
        address: "https://api.stripe.com".to_owned(),
        timeout: Duration::from_secs(3),
        methods: &[],
        wallets: &[],
        account_fields: &[],
        needs_secret_key: true,
    })
}

fn environment(name: &str) -> Option<String> {
    match name {
        DATABASE_URL => Some("postgres://breakwater:hunter2@localhost/breakwater".to_owned()),
        "STRIPE_SECRET_KEY" => Some("sk_test_from_environment\n".to_owned()),
        "STRIPE_LIVE_KEY" => Some("sk_live_from_environment".to_owned()),
        "EMPTY" => Some(" \n".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Settings, Vec<Fault>> {
    read_from(text, "breakwater.toml")
}

fn read_from(text: &str, origin: &str) -> Result<Settings, Vec<Fault>> {
    let faults = Faults::of(origin);
    let settings = Settings::read(text, &environment, &providers, &faults);
    let found = faults.into_found();
    if found.is_empty() { Ok(settings) } else { Err(found) }
}

/// The places of the faults that `text` has.
fn faulty(text: &str) -> Vec<String> {
    read(text).unwrap_err().into_iter().map(|fault| fault.field).collect()
}

fn channel(lines: &str) -> String {
    format!("[[channels]]\nid = \"a\"\nprovider = \"stripe\"\nmode = \"test\"\nsecret_key = \"sk_test_1\"\n{lines}")
}

#[test]
fn the_example_says_what_the_defaults_are() {
    let mut example = read(EXAMPLE).unwrap();
    let channel = example.channels.pop().unwrap();
    assert_eq!(format!("{example:?}"), format!("{:?}", Settings::default()), "the address is masked in both");
    let default = ChannelSettings::test("stripe_main", "stripe", "https://api.stripe.com", "sk_test_from_environment");
    assert_eq!(format!("{channel:?}"), format!("{default:?}"));
    assert_eq!(channel.secret_key.expose_secret(), default.secret_key.expose_secret(), "and the line end of the variable is cut off");
}

#[test]
fn the_example_mentions_every_field_under_its_own_table_and_documents_it() {
    let faults = Faults::of("example.toml");
    Settings::read(EXAMPLE, &environment, &providers, &faults);
    let mut fields: Vec<String> = faults.asked().into_iter().map(|field| field.replace("channels[stripe_main]", "channels")).collect();
    fields.extend(fields_of_guard("").into_iter().map(|field| format!("channels.guard.{field}")));
    fields.extend(fields_of_guard("[pay]\n").into_iter().map(|field| format!("channels.guard.pay.{field}")));
    assert!(fields.len() > 50, "{fields:?}");
    for field in fields {
        assert!(mentions(EXAMPLE, &field), "the example does not mention {field}");
    }
    assert!(!mentions(EXAMPLE, "server.nonsense"), "the check can fail");
    assert!(!mentions(EXAMPLE, "log.workers"), "and it looks under the right table");
}

/// The names that a table of the guard's settings takes, as its own deserializer lists them.
fn fields_of_guard(table: &str) -> Vec<String> {
    let error = toml::from_str::<GuardSettings>(&format!("{table}nonsense = 1")).unwrap_err();
    error.message().split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// Whether the field stands under its table, perhaps as a comment, with a comment above it; a table is mentioned by its head.
fn mentions(example: &str, field: &str) -> bool {
    if ["[", "[["].iter().any(|open| example.contains(&format!("{open}{field}]"))) {
        return true;
    }
    let Some((table, name)) = field.rsplit_once('.') else { return false };
    let lines: Vec<&str> = example.lines().collect();
    let Some(head) = lines.iter().position(|line| *line == format!("[{table}]") || *line == format!("[[{table}]]")) else { return false };
    let length = lines[head + 1..].iter().position(|line| line.starts_with('[')).unwrap_or(lines.len() - head - 1);
    let body = &lines[head..=head + length];
    body.windows(2).any(|pair| pair[0].starts_with("# ") && pair[1].trim_start_matches("# ").starts_with(&format!("{name} = ")))
}

#[test]
fn every_fault_of_a_file_is_reported_at_once() {
    let text = r#"
        colour = "red"
        [server]
        workers = 0
        listen = "localhost"
        worker = 3
        answer_within_ms = "soon"
        [database]
        url = { env = "NOT_SET" }
        journal_connections = 1
        [log]
        level = "loud"
        [[channels]]
        id = "a"
        provider = "strype"
        mode = "test"
        secret_key = "sk_test_1"
        [[channels]]
        id = "a"
        provider = "stripe"
        mode = "live"
        secret_key = { file = "no/such/file" }
        pool_size = 100000
        currencies = ["EUR", "eur"]
        [channels.guard]
        max_in_flight = 1
        [[channels]]
        id = "Loud"
    "#;
    let faulty = faulty(text);
    let expected = [
        "server.listen",
        "server.workers",
        "server.answer_within_ms",
        "server.worker",
        "database.url",
        "database.journal_connections",
        "log.level",
        "channels[a].provider",
        "channels[a].secret_key",
        "channels[a].currencies[1]",
        "channels[a].pool_size",
        "channels[a].guard.max_in_flight",
        "channels[a].id",
        "channels[2].id",
        "channels[2].provider",
        "channels[2].mode",
        "channels[2].secret_key",
        "colour",
    ];
    assert_eq!(faulty, expected);
}

#[test]
fn a_fault_says_file_field_what_and_what_to_do() {
    let faults = read("[server]\nworkers = 65").unwrap_err();
    assert_eq!(faults[0].to_string(), "breakwater.toml: server.workers: it is 65: give a number from 1 to 64");
    let faults = read("[server]\nworkres = 4").unwrap_err();
    assert!(faults[0].to_string().starts_with("breakwater.toml: server.workres: there is no such field: "), "{}", faults[0]);
    assert!(faults[0].next.contains("workers"), "{}", faults[0]);
}

#[test]
fn what_is_not_toml_is_named_by_its_line_and_not_repeated() {
    let faults = read("[server]\n\n[[channels]]\nsecret_key = \"sk_test_secret\n").unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].what.starts_with("line 4 "), "{}", faults[0]);
    assert!(!faults[0].to_string().contains("sk_test_secret"), "{}", faults[0]);
}

#[test]
fn a_file_that_is_not_there_is_a_fault_that_says_how_to_write_one() {
    let faults = Settings::load(Path::new("no/such/breakwater.toml")).unwrap_err();
    assert!(faults[0].to_string().contains("breakwater config example"), "{}", faults[0]);
}

#[test]
fn no_secret_is_in_the_debug_form_nor_in_any_fault() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hook"), "whsec_in_file\n").unwrap();
    let origin = folder.path().join("breakwater.toml").display().to_string();
    let text = channel("notification_secrets = [\"whsec_literal\", { file = \"hook\" }]");
    let settings = read_from(&text, &origin).unwrap();
    let secrets: Vec<&str> = settings.channels[0].notification_secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, ["whsec_literal", "whsec_in_file"], "newest first, as in the file");
    let shown = format!("{settings:?} {:?}", settings.channels[0].credentials());
    for secret in ["sk_test_1", "whsec_literal", "whsec_in_file", "hunter2"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }

    let wrong = r#"
        [database]
        url = "postgres://user:hunter2@host:notaport/db"
        [[channels]]
        id = "a"
        provider = "stripe"
        mode = "live"
        secret_key = "sk_live_literal"
        notification_secrets = [["whsec_nested"], { env = "EMPTY" }, { key = "whsec_field" }]
    "#;
    let faults = read(wrong).unwrap_err();
    assert_eq!(faults.len(), 5, "{faults:?}");
    for secret in ["hunter2", "sk_live_literal", "whsec_nested", "whsec_field"] {
        assert!(!format!("{faults:?}").contains(secret), "{secret} in {faults:?}");
    }
}

#[test]
fn a_key_of_the_other_mode_is_refused_both_ways() {
    let live = channel("").replace("\"sk_test_1\"", "{ env = \"STRIPE_LIVE_KEY\" }");
    assert_eq!(faulty(&live), ["channels[a].secret_key"]);
    assert!(read(&live.replace("\"test\"", "\"live\"")).is_ok());
    let test = channel("").replace("\"test\"", "\"live\"").replace("\"sk_test_1\"", "{ env = \"STRIPE_SECRET_KEY\" }");
    assert_eq!(faulty(&test), ["channels[a].secret_key"]);
    assert_eq!(faulty(&channel("").replace("sk_test_1", "rk_live_1")), ["channels[a].secret_key"]);
}

#[test]
fn a_live_channel_does_not_send_its_key_in_the_clear() {
    let live = |address: &str| {
        channel(&format!("address = \"{address}\"")).replace("\"test\"", "\"live\"").replace("\"sk_test_1\"", "{ env = \"STRIPE_LIVE_KEY\" }")
    };
    assert_eq!(faulty(&live("http://localhost:12111")), ["channels[a].address"]);
    assert!(read(&live("https://localhost:12111")).is_ok());
    assert_eq!(read(&channel("address = \"http://localhost:12111/\"")).unwrap().channels[0].address, "http://localhost:12111");
    for address in ["localhost:12111", "ftp://host", "https://user@host", "https://host/v1", "https://host/?a", ""] {
        assert_eq!(faulty(&channel(&format!("address = \"{address}\""))), ["channels[a].address"], "{address}");
    }
}

#[test]
fn a_channels_id_is_lower_case_and_at_most_32_long() {
    let named = |id: &str| channel("").replace("\"a\"", &format!("\"{id}\""));
    for id in ["a", "stripe_main", "a2345678901234567890123456789012"] {
        assert!(read(&named(id)).is_ok(), "{id}");
    }
    for id in ["", "A", "2a", "_a", "a-b", "ä", "a23456789012345678901234567890123"] {
        assert_eq!(faulty(&named(id)), ["channels[0].id"], "{id}");
    }
}

#[test]
fn a_breakers_timeout_follows_the_channels_and_is_never_below_it() {
    let settings = read(&channel("timeout_ms = 8000\n[channels.guard.refund]\ncall_timeout_ms = 9000")).unwrap();
    let guard = &settings.channels[0].guard;
    let timeouts = [&guard.pay, &guard.resolve, &guard.refund].map(|breaker| breaker.call_timeout_ms);
    assert_eq!(timeouts, [8_000, 8_000, 9_000]);
    assert_eq!(faulty(&channel("timeout_ms = 8000\n[channels.guard.pay]\ncall_timeout_ms = 7999")), ["channels[a].guard.pay.call_timeout_ms"]);
}

#[test]
fn every_fault_of_a_guard_is_reported_at_once() {
    let text = channel("[channels.guard]\nmax = 3\n[channels.guard.pay]\nprobes = \"three\"\n[channels.guard.refund]\nnonsense = 1");
    let mut faulty = faulty(&text);
    faulty.sort();
    assert_eq!(faulty, ["channels[a].guard.max", "channels[a].guard.pay.probes", "channels[a].guard.refund.nonsense"]);
    assert_eq!(self::faulty(&channel("[channels.guard.pay]\nprobes = 9")), ["channels[a].guard.pay.probes"]);
}

#[test]
fn operations_are_served_apart_unless_the_file_says_otherwise() {
    let operations = |text: &str| read(text).unwrap().server.operations_listen;
    assert_eq!(operations("").map(|address| address.port()), Some(9090));
    assert_eq!(operations("[server]\noperations_on_main = true"), None);
    assert_eq!(operations("[server]\noperations_listen = \"[::1]:1\"").map(|address| address.port()), Some(1));
    assert_eq!(faulty("[server]\noperations_on_main = true\noperations_listen = \"127.0.0.1:1\""), ["server.operations_on_main"]);
    assert_eq!(faulty("[server]\nlisten = \"127.0.0.1:9090\""), ["server.operations_listen"]);
}

#[test]
fn settings_that_do_not_fit_each_other_are_faults() {
    assert_eq!(faulty("[server]\ndeadline_ms = 9999"), ["server.deadline_ms"]);
    assert_eq!(faulty(&channel("timeout_ms = 15000")), ["poller.lease_ms"]);
    assert_eq!(faulty(&channel("methods = []")), ["channels[a].methods"]);
}

#[test]
fn the_databases_address_comes_from_the_file_or_else_the_environment() {
    let url = |text: &str| read(text).unwrap().database.url.expose_secret().to_owned();
    assert!(url("").contains("hunter2"));
    assert_eq!(url("[database]\nurl = \"postgres:///mine\""), "postgres:///mine");
    let without = Settings::from_toml("", "breakwater.toml", &|_| None).unwrap_err();
    assert_eq!(without.len(), 1);
    assert!(without[0].to_string().contains(DATABASE_URL), "{}", without[0]);
}

#[test]
fn lists_are_parsed_into_the_domains_words() {
    let channel = read(&channel("methods = [\"card_token\", \"qr\"]\nwallets = [\"alipay\"]\ncurrencies = [\"JPY\"]\npriority = -5"))
        .unwrap()
        .channels
        .remove(0);
    assert_eq!(channel.methods, Some(vec![MethodKind::CardToken, MethodKind::Qr]));
    assert_eq!(channel.wallets, [crate::domain::Wallet::Alipay]);
    assert_eq!(channel.currencies[0].code(), "JPY");
    assert_eq!(channel.priority, -5);
    assert_eq!(faulty(&self::channel("methods = [\"cash\", 7]")), ["channels[a].methods[0]", "channels[a].methods[1]"]);
}

#[test]
fn what_a_channel_may_do_must_leave_each_instance_its_part() {
    let divided = |instances: u32, lines: &str| format!("[server]\ninstances = {instances}\n{}", channel(lines));
    let given = "address = \"http://localhost:1\"\n[channels.guard]\nmax_in_flight = 30\n[channels.guard.pay]\nrate_per_second = 10";
    assert_eq!(read(&divided(10, given)).unwrap().server.instances, 10);
    assert_eq!(faulty(&divided(11, given)), ["channels[a].guard.max_in_flight", "channels[a].guard.pay.rate_per_second"]);
    let fault = read(&divided(11, given)).unwrap_err().remove(1).to_string();
    assert!(fault.contains("it is 10: divided by the 11 of server.instances it leaves none"), "{fault}");
    assert_eq!(faulty(&divided(22, "address = \"http://localhost:1\"")), ["channels[a].guard.max_in_flight"], "no more calls than connections");
    assert!(read(&divided(3, "")).is_ok());
    assert_eq!(faulty(&divided(4, "")), ["channels[a].guard.refund.rate_per_second"], "Stripe documents three a second");
    assert_eq!(faulty("[server]\ninstances = 0"), ["server.instances"]);
    assert_eq!(faulty("[server]\ninstances = 65"), ["server.instances"]);
}

#[test]
fn an_instances_guard_is_its_part_of_the_least_of_room_and_connections() {
    let provider = crate::provider::find("stripe").unwrap();
    let lines = "pool_size = 40\n[channels.guard]\nmax_in_flight = 50\n[channels.guard.pay]\nrate_per_second = 9\nburst = 7";
    let channel = read(&channel(lines)).unwrap().channels.remove(0);
    let whole = channel.guard_of(provider, 1).unwrap();
    assert_eq!((whole.max_in_flight, whole.pay.rate(), whole.resolve.rate()), (40, Some((9, 7)), Some((5, 1))));
    let part = channel.guard_of(provider, 2).unwrap();
    assert_eq!((part.max_in_flight, part.pay.rate(), part.resolve.rate()), (20, Some((4, 3)), Some((2, 1))));
}
