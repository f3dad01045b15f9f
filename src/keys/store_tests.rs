use p12_keystore::{KeyStore as Maker, KeyStoreEntry, PrivateKeyChain};

use super::*;
use crate::keys::PublicKey;

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/vectors/keystores/", $name)).as_slice()
    };
}

fn password(text: &str) -> SecretString {
    SecretString::from(text)
}

fn opened(bytes: &[u8]) -> KeyStore {
    KeyStore::open(bytes, &password("breakwater")).expect("opened")
}

fn refusal(bytes: &[u8]) -> StoreError {
    KeyStore::open(bytes, &password("breakwater")).expect_err("must be refused")
}

fn signs_for_its_certificate(identity: &Identity) {
    let signature = identity.signing_key().expect("an RSA key").sign_sha256(b"txnAmt=8888").expect("signed");
    let public = PublicKey::from_certificate(&identity.chain[0]).expect("its public key");
    assert!(public.verifies_sha256(b"txnAmt=8888", &signature), "{identity:?}");
}

#[test]
fn a_store_of_modern_and_of_old_encryption_gives_the_same_key_and_chain() {
    let modern = opened(vector!("modern.p12")).identity(None).expect("one key");
    let legacy = opened(vector!("legacy.p12")).identity(None).expect("one key");
    for identity in [&modern, &legacy] {
        assert_eq!(identity.name, "shop");
        assert_eq!(identity.chain.len(), 3, "its own, the one between, the root");
        signs_for_its_certificate(identity);
    }
    assert_eq!(modern.chain, legacy.chain);
    assert_eq!(modern.chain[1..], trusted_from_pem(vector!("chain.pem")).expect("two"), "the issuers, nearest first");
    assert_eq!(modern.key.secret_pkcs8_der(), legacy.key.secret_pkcs8_der());
}

#[test]
fn a_store_without_password_check_sum_or_encryption_and_one_with_accents_is_opened() {
    let shop = opened(vector!("modern.p12")).identity(None).expect("one key");
    let cases = [
        (vector!("no_password.p12"), ""),
        (vector!("no_mac.p12"), "breakwater"),
        (vector!("open.p12"), "breakwater"),
        (vector!("accents.p12"), "p\u{e4}ssw\u{f6}rd"),
    ];
    for (bytes, word) in cases {
        let identity = KeyStore::open(bytes, &password(word)).expect(word).identity(None).expect(word);
        assert_eq!(identity.chain[0], shop.chain[0]);
        assert!(identity.name.contains("CN=shop"), "without a name it is known by its subject: {}", identity.name);
        signs_for_its_certificate(&identity);
    }
}

#[test]
fn of_several_keys_one_must_be_named() {
    let store = opened(vector!("two.p12"));
    let mut names = store.key_names();
    names.sort();
    assert_eq!(names, ["other", "shop"]);
    assert!(matches!(store.identity(None), Err(StoreError::SeveralKeys(names)) if names.len() == 2));
    for name in ["shop", "other"] {
        let identity = store.identity(Some(name)).expect(name);
        assert_eq!(identity.name, name);
        signs_for_its_certificate(&identity);
    }
    let unknown = store.identity(Some("till")).expect_err("no such key").to_string();
    assert!(unknown.starts_with("the store holds no private key named till; it holds "), "{unknown}");
}

#[test]
fn another_password_is_told_from_a_file_that_is_no_store() {
    for bytes in [vector!("modern.p12"), vector!("legacy.p12"), vector!("no_mac.p12"), vector!("open.p12"), vector!("java_trust.p12")] {
        for word in ["Breakwater", "", "breakwater "] {
            let refusal = KeyStore::open(bytes, &password(word)).expect_err("another password");
            assert!(matches!(refusal, StoreError::WrongPassword), "{refusal}");
        }
    }
    let not = |bytes| matches!(refusal(bytes), StoreError::NotAStore(_));
    let certificate = trusted_from_pem(vector!("chain.pem")).expect("two").remove(0);
    assert!(not(b"") && not(b"hello") && not(vector!("chain.pem")) && not(&certificate) && not(&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2]));
    assert!(refusal(vector!("chain.pem")).to_string().contains("PEM"));
    assert_eq!(refusal(&[0x30, 0x80, 0x02, 0x01, 0x03]), StoreError::Unsupported("indefinite lengths (BER)"));
    assert_eq!(refusal(&vec![0; STORE_MAX + 1]), StoreError::TooLarge);
}

#[test]
fn a_cut_or_altered_store_is_refused() {
    let whole = vector!("modern.p12");
    for length in [10, 100, 1000, whole.len() - 1] {
        assert_eq!(refusal(&whole[..length]), StoreError::Damaged, "{length} bytes");
    }
    assert_eq!(refusal(&[whole, b"\0"].concat()), StoreError::Damaged, "something follows it");
    let mut altered = whole.to_vec();
    altered[1500] ^= 1;
    assert_eq!(refusal(&altered), StoreError::WrongPassword, "the check sum cannot tell the two apart");
}

#[test]
fn a_trust_store_has_certificates_and_no_key() {
    let chain = trusted_from_pem(vector!("chain.pem")).expect("two");
    let mut trusted = opened(vector!("trust.p12")).trusted().expect("two");
    trusted.sort_by_key(|certificate| chain.iter().position(|known| known == certificate));
    assert_eq!(trusted, chain);
    assert_eq!(opened(vector!("java_trust.p12")).trusted().expect("one"), chain[1..]);
    assert_eq!(opened(vector!("trust.p12")).identity(None).expect_err("no key"), StoreError::NoKey(2));
    assert_eq!(opened(vector!("modern.p12")).trusted(), Err(StoreError::NoTrusted), "a key's chain is not thereby trusted");
}

#[test]
fn a_pem_trust_store_takes_certificates_with_text_between_and_nothing_else() {
    let text = String::from_utf8(vector!("chain.pem").to_vec()).expect("text");
    let with_text = format!("# Root\n{text}\nsubject=CN=middle\n{text}");
    assert_eq!(trusted_from_pem(with_text.as_bytes()).expect("four").len(), 4);
    assert_eq!(trusted_from_pem(b"hello"), Err(StoreError::NoTrusted));
    let bad = format!("{text}-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n");
    assert_eq!(trusted_from_pem(bad.as_bytes()), Err(StoreError::BadCertificate(3)));
    let cut = &text[..text.len() - 40];
    assert!(matches!(trusted_from_pem(cut.as_bytes()), Err(StoreError::BadCertificate(_))), "the last block does not end");
    let key = format!("{text}-----BEGIN PRIVATE KEY-----\nMAMCAQU=\n-----END PRIVATE KEY-----\n");
    assert_eq!(trusted_from_pem(key.as_bytes()), Err(StoreError::KeyAmongTrusted));
    assert_eq!(trusted_from_pem(&vec![b'\n'; STORE_MAX + 1]), Err(StoreError::TooLarge));
}

/// A store with the key of `shop` and this chain: no tool would write one that does not fit.
fn made(chain: &[&CertificateDer<'_>]) -> KeyStore {
    let shop = opened(vector!("modern.p12"));
    let certificates = chain.iter().map(|one| Certificate::from_der(one).expect("a certificate"));
    let mut maker = Maker::new();
    let key = shop.archive.keys[0].key.clone();
    maker.add_entry("shop", KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new("1", key, certificates)));
    opened(&maker.writer("breakwater").encryption_iterations(1).mac_iterations(1).write().expect("written"))
}

#[test]
fn a_key_whose_certificate_is_anothers_or_missing_is_of_no_use() {
    let shop = opened(vector!("modern.p12")).identity(None).expect("one key");
    let other = opened(vector!("two.p12")).identity(Some("other")).expect("the other");
    assert_eq!(made(&[&shop.chain[0]]).identity(None).expect("its own").chain.len(), 1);
    assert_eq!(made(&[&other.chain[0]]).identity(None).expect_err("another's"), StoreError::Mismatch("shop".to_owned()));
    assert_eq!(made(&[]).identity(None).expect_err("none"), StoreError::NoCertificate("shop".to_owned()));
}

#[test]
fn nothing_secret_is_shown() {
    let store = opened(vector!("modern.p12"));
    let identity = store.identity(None).expect("one key");
    assert_eq!(format!("{store:?} {identity:?}"), "KeyStore(1 keys, 3 certificates) Identity(shop, 3 certificates)");
}
