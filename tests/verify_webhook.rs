//! `breakwater webhooks verify`, as a merchant's engineer runs it.

use std::path::Path;
use std::process::{Command, Output};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = r#"{"type":"payment.succeeded"}"#;

/// Writes a body and its headers, signed now, into `folder`.
fn write_webhook(folder: &Path) {
    let now = jiff::Timestamp::now().as_second();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&SECRET["whsec_".len()..]).unwrap());
    let tag = hmac::sign(&key, format!("evt_1.{now}.{BODY}").as_bytes());
    let headers = format!(
        "POST /hooks HTTP/1.1\nWebhook-Id: evt_1\nwebhook-timestamp: {now}\nwebhook-signature: v1,AAAA v1,{}\n",
        STANDARD.encode(tag.as_ref())
    );
    std::fs::write(folder.join("headers"), headers).unwrap();
    std::fs::write(folder.join("body"), BODY).unwrap();
}

fn verify(folder: &Path, secret: Option<&str>, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakwater"));
    command.args(["webhooks", "verify", "--body", "body", "--headers", "headers"]).args(more).env_clear().current_dir(folder);
    secret.map(|secret| command.env("BREAKWATER_WEBHOOK_SECRET", secret));
    command.output().unwrap()
}

#[test]
fn an_authentic_webhook_is_exit_code_0_and_a_changed_one_is_1() {
    let folder = tempfile::tempdir().unwrap();
    write_webhook(folder.path());
    let sound = verify(folder.path(), Some(SECRET), &[]);
    assert_eq!((sound.status.code(), sound.stdout.as_slice()), (Some(0), b"authentic: evt_1\n".as_slice()), "{sound:?}");
    let other = verify(folder.path(), Some("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), &["--json"]);
    assert_eq!(other.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!((&told["authentic"], &told["id"]), (&serde_json::json!(false), &serde_json::json!("evt_1")));
    std::fs::write(folder.path().join("body"), BODY.replace("succeeded", "failed")).unwrap();
    assert_eq!(verify(folder.path(), Some(SECRET), &[]).status.code(), Some(1));
}

#[test]
fn an_old_webhook_is_refused_unless_its_age_is_tolerated() {
    let folder = tempfile::tempdir().unwrap();
    write_webhook(folder.path());
    let old = verify(folder.path(), Some(SECRET), &["--timestamp", "1000000000"]);
    assert_eq!(old.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&old.stdout).contains("more than is tolerated"), "{old:?}");
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    write_webhook(folder.path());
    let without = verify(folder.path(), None, &[]);
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("BREAKWATER_WEBHOOK_SECRET"), "{without:?}");
    std::fs::write(folder.path().join("headers"), "webhook-id: evt_1\n").unwrap();
    let without = verify(folder.path(), Some(SECRET), &[]);
    assert!(String::from_utf8_lossy(&without.stderr).contains("webhook-timestamp"), "{without:?}");
}
