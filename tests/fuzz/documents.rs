//! Documents of merchants, operators and wallets: bodies in JSON, settings in TOML, maps in XML, key stores.

use breakwater::config::Settings;
use breakwater::http::{body, idempotency};
use breakwater::keys::store::{KeyStore, trusted_from_pem};
use breakwater::provider::xml;
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use crate::fuzz;
use crate::material::Material;

#[test]
fn a_body_is_read_or_refused_and_written_another_way_it_has_the_same_fingerprint() {
    let documents = [
        r#"{"amount":8888,"currency":"CNY","merchant_order_id":"BW-1","payment_method":{"type":"card_token","token":"pm_card_visa"},"metadata":{"k":"v","测":"试"}}"#,
        r#"{ "amount" : 1, "list": [1, -25, null, true, {"a": "\u6d4b\n\"\\"}], "empty": {} }"#,
    ];
    let words = &[
        "\"",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "1e400",
        "-0",
        "18446744073709551616",
        "1.0",
        "null",
        "{",
        "}",
        "[",
        "]",
        ",\"amount\":1",
        "\u{0}",
        "é",
        "[[[[[[[[[[[[[[[[",
    ];
    let material = Material::of(documents, words);
    let claim =
        |object: &serde_json::Map<String, Value>| idempotency::claim(&[7; 32], Uuid::nil(), "key", "POST", "/v1/payments", object).fingerprint;
    fuzz!(8_000, |recipe: &[u8]| {
        let Ok(object) = body::parse(&material.cook(recipe)) else { return };
        // serde_json reads a fraction to within one unit in its last place, so what it wrote may read as the neighbour. No field of ours takes one.
        if object.values().any(has_fraction) {
            return;
        }
        let pretty = serde_json::to_vec_pretty(&Value::Object(object.clone())).expect("written");
        let again = body::parse(&pretty).expect("what was read can be read again");
        assert_eq!(claim(&again), claim(&object), "{object:?}");
    });
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(object) => object.values().any(has_fraction),
        _ => false,
    }
}

#[test]
fn settings_are_read_or_refused_with_at_least_one_fault() {
    let example = include_str!("../../src/config/example.toml");
    let small = "[database]\nurl = { env = \"DATABASE_URL\" }\n[[channels]]\nid = \"stripe_cn\"\nprovider = \"stripe\"\nsecret_key = { env = \"KEY\" }\n[channels.breaker]\n";
    let words = &[
        "[",
        "]",
        "[[channels]]",
        "=",
        "\n",
        "{",
        "}",
        "\"",
        "'''",
        "-1",
        "0",
        "1e308",
        "nan",
        "inf",
        "9223372036854775807",
        "true",
        "1979-05-27",
        "id = ",
        "provider = \"iso8583\"",
        "env = ",
        "url = \"\"",
        "timeout_ms = 1",
        "\u{0}",
        "é",
        "#",
    ];
    let material = Material::of([example, small, small, small], words);
    let env = |name: &str| Some(format!("{name}_value"));
    fuzz!(2_000, |recipe: &[u8]| {
        let text = String::from_utf8_lossy(&material.cook(recipe)).into_owned();
        // Files are the operator's affair: no input names one.
        if text.contains("file") && !text.contains(example) {
            return;
        }
        if let Err(faults) = Settings::from_toml(&text, "breakwater.toml", &env) {
            assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.to_string().is_empty()));
        }
    });
}

#[test]
fn xml_is_read_or_refused_by_place_and_what_is_read_can_be_written() {
    let documents = [
        "<xml><return_code><![CDATA[SUCCESS]]></return_code><total_fee>88</total_fee><attach/></xml>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xml>\n <a>1 &lt; 2</a>\n <b><![CDATA[x]]>]]&gt;<![CDATA[y]]></b>\n</xml>\n",
    ];
    let words = &[
        "<",
        ">",
        "/",
        "&",
        ";",
        "]]>",
        "<![CDATA[",
        "<!--",
        "-->",
        "<?",
        "?>",
        "<!DOCTYPE x [<!ENTITY a \"b\">]>",
        "&a;",
        "&amp;",
        "&#0;",
        "&#x41;",
        " x=\"1\"",
        "<a>",
        "</a>",
        "<a/>",
        "<xml>",
        "</xml>",
        "\r",
        "\n",
        "\u{0}",
        "\u{feff}",
        "xmlns:",
        "<b",
        "测",
    ];
    let material = Material::of(documents, words);
    fuzz!(10_000, |recipe: &[u8]| {
        let document = material.cook(recipe);
        match xml::decode("xml", &document) {
            Ok(fields) => {
                let text = String::from_utf8_lossy(&document);
                assert!(!text.contains("<!--") || text.contains("CDATA"), "{text}");
                let again = xml::encode("xml", &fields).expect("what was read can be written");
                assert_eq!(xml::decode("xml", &again), Ok(fields));
            }
            Err(error) => assert!(error.at <= document.len(), "{error}"),
        }
    });
}

#[test]
fn a_key_store_is_opened_or_refused_without_a_panic() {
    let stores: [&[u8]; 3] = [
        include_bytes!("../vectors/keystores/bare.p12"),
        include_bytes!("../vectors/keystores/no_mac.p12"),
        include_bytes!("../vectors/keystores/java_trust.p12"),
    ];
    let mut documents = vec![stores[0].to_vec(); 6];
    documents.extend(stores[1..].iter().map(|store| store.to_vec()));
    let material = Material::of(documents, &["\0", "\u{1}", "0\0", "0", "\u{2}\u{1}\u{3}", "\u{4}\0", "\u{7f}", "\u{6}\0", "1\0"]);
    let password = SecretString::from("breakwater");
    fuzz!(400, |recipe: &[u8]| {
        if let Ok(store) = KeyStore::open(&material.cook(recipe), &password) {
            let names = store.key_names();
            if let Ok(identity) = store.identity(names.first().map(String::as_str)) {
                assert!(!identity.chain.is_empty());
            }
            let _ = store.trusted();
        }
    });
}

#[test]
fn a_trust_store_in_pem_is_read_or_refused_without_a_panic() {
    let text = include_str!("../vectors/keystores/chain.pem");
    let words =
        &["-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----", "-----", "\n", "=", "A", "\r\n", "\u{0}"];
    let material = Material::of([text], words);
    fuzz!(2_000, |recipe: &[u8]| {
        if let Ok(certificates) = trusted_from_pem(&material.cook(recipe)) {
            assert!(!certificates.is_empty());
        }
    });
}
