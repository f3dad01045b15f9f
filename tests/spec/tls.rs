//! The merchants' listener with a certificate of its own: TLS and nothing else, renewed while it runs, and refused at the start when it is no good.

use std::path::Path;
use std::sync::Arc;

use breakwater::config::{CertificateFiles, Settings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::World;

/// A self-signed certificate of `localhost` from `from` days to `to` days from now, and its key, under these names.
fn issue(folder: &Path, name: &str, from: i64, to: i64) -> CertificateFiles {
    let day = |days: i64| {
        let at = jiff::Timestamp::now().as_second() + days * 86_400;
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(at.unsigned_abs())
    };
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    (parameters.not_before, parameters.not_after) = (day(from), day(to));
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let files = CertificateFiles { certificate_file: folder.join(format!("{name}.pem")), key_file: folder.join(format!("{name}.key")) };
    std::fs::write(&files.certificate_file, certificate.pem()).expect("written");
    std::fs::write(&files.key_file, key.serialize_pem()).expect("written");
    files
}

/// Asks merchants' listener over TLS, believing this certificate and no other.
async fn ask(world: &World, believed: &Path) -> Result<String, std::io::Error> {
    get(&world.url, "/v1/payments", &world.key, believed).await
}

async fn get(url: &str, path: &str, key: &str, believed: &Path) -> Result<String, std::io::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(believed).expect("PEM")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = url.strip_prefix("http://").expect("an address");
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_with_a_certificate_speaks_tls_only_and_shows_the_new_one_after_a_hangup() {
    let folder = tempfile::tempdir().expect("a directory");
    let files = issue(folder.path(), "shown", -1, 90);
    let world = World::with(|setup| setup.settings.server.tls = Some(files.clone())).await;
    let old = folder.path().join("old.pem");
    std::fs::copy(&files.certificate_file, &old).expect("copied");
    let answer = ask(&world, &old).await.expect("over TLS");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"object\":\"list\""), "{answer}");
    let plain = breakwater::cli::client::send("GET", &format!("{}/livez", world.url), &[], "").await;
    assert!(plain.is_err(), "it answered in the clear: {plain:?}");

    // A file with a fault changes nothing.
    let renewed = issue(folder.path(), "renewed", -1, 90);
    std::fs::copy(&renewed.certificate_file, &files.certificate_file).expect("copied");
    hang_up();
    for _ in 0..10 {
        assert!(ask(&world, &old).await.is_ok(), "the key is the old one's: the old certificate stays");
    }
    std::fs::copy(&renewed.key_file, &files.key_file).expect("copied");
    hang_up();
    let mut seen = false;
    for _ in 0..400 {
        seen = ask(&world, &renewed.certificate_file).await.is_ok();
        if seen {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(seen, "the new certificate is never shown");
    assert!(ask(&world, &old).await.is_err(), "and the old one no longer");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_have_a_certificate_of_their_own_on_a_listener_of_their_own() {
    let folder = tempfile::tempdir().expect("a directory");
    let files = issue(folder.path(), "operations", -1, 90);
    let world = World::with(|setup| {
        setup.operators_apart = true;
        setup.settings.server.operations_tls = Some(files.clone());
    })
    .await;
    let url = world.operations_url.clone().expect("apart");
    let answer = get(&url, "/metrics", "none", &files.certificate_file).await.expect("over TLS");
    let told = answer.lines().any(|line| {
        line.strip_prefix("breakwater_tls_certificate_end_timestamp_seconds{listener=\"server.operations_tls\"} ")
            .is_some_and(|end| end.trim() != "0")
    });
    assert!(answer.starts_with("HTTP/1.1 200") && told, "it says when its certificate ends");
    assert!(breakwater::cli::client::send("GET", &format!("{url}/livez"), &[], "").await.is_err(), "it answered in the clear");
    assert_eq!(world.send("GET", "/livez", &[], "").await.status, 200, "the merchants' listener has none, and speaks in the clear");
    assert_eq!(world.send("GET", "/metrics", &[], "").await.status, 404, "and knows nothing of operators");
    world.close().await;
}

/// Whoever runs in this process and listens for it reads its certificates again; the world above listens before it is ready.
fn hang_up() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
}

/// What reading a settings file with this table says.
fn faults(folder: &Path, table: &str) -> Vec<String> {
    let path = folder.join("breakwater.toml");
    std::fs::write(&path, format!("[database]\nurl = \"postgres:///db\"\n{table}")).expect("written");
    Settings::load(&path).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_certificate_that_is_no_good_is_refused_with_the_settings_by_file_and_field() {
    let folder = tempfile::tempdir().expect("a directory");
    let folder = folder.path();
    issue(folder, "good", -1, 90);
    issue(folder, "other", -1, 90);
    issue(folder, "expired", -90, -1);
    let table = |certificate: &str, key: &str| format!("[server.tls]\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n");
    assert_eq!(faults(folder, &table("good.pem", "good.key")), [] as [String; 0], "paths start beside the settings");
    for (certificate, key, field, says, next) in [
        ("expired.pem", "expired.key", "certificate_file", "expired at", "renew it"),
        ("good.pem", "other.key", "key_file", "do not go together", "name the key"),
        ("absent.pem", "good.key", "certificate_file", "absent.pem cannot be read", "put it there"),
        ("good.key", "good.key", "certificate_file", "holds no certificate", "BEGIN CERTIFICATE"),
        ("good.pem", "good.pem", "key_file", "holds no private key", "BEGIN PRIVATE KEY"),
    ] {
        let found = faults(folder, &table(certificate, key));
        let place = format!("breakwater.toml: server.tls.{field}: ");
        assert!(matches!(&found[..], [one] if one.contains(&place) && one.contains(says) && one.contains(next)), "{certificate} {key}: {found:?}");
    }
    let half = faults(folder, "[server.tls]\ncertificate_file = \"good.pem\"\n");
    assert!(matches!(&half[..], [one] if one.contains("server.tls.key_file: it is missing")), "{half:?}");
    let idle = "[server]\noperations_on_main = true\n[server.operations_tls]\ncertificate_file = \"good.pem\"\nkey_file = \"good.key\"\n";
    assert!(faults(folder, idle)[0].contains("server.operations_tls: operators have no listener"), "{:?}", faults(folder, idle));
}
