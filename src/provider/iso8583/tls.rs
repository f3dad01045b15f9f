//! What secures a bank's sockets: its own authority, and our certificate, each from PEM or from a PKCS#12 store as banks hand them out.
//!
//! Half of a pair, or a pair without anybody to show it to, is a mistake and never a wish: it is told with the field's name.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;

use crate::keys::store::{KeyStore, trusted_from_pem};
use crate::provider::Account;
use crate::provider::socket::TlsMaterial;

/// Reads it from the account's fields; `None` where they have nothing of the kind, and the web's authorities are believed.
///
/// # Errors
/// A sentence that begins with the field's name.
pub(super) fn material(account: &Account) -> Result<Option<TlsMaterial>, String> {
    let ours = ours(account)?;
    match (authority(account)?, ours) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err("authority: it is missing, and a certificate of ours is only shown to a bank whose own is checked".to_owned()),
        (Some(authority), ours) => Ok(Some(TlsMaterial { authority, ours })),
    }
}

type Ours = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn ours(account: &Account) -> Result<Option<Ours>, String> {
    let store = account.bytes("key_store");
    let pair = (account.secret("certificate"), account.secret("certificate_key"));
    match (store, pair) {
        (None, (None, None)) => Ok(None),
        (None, (Some(certificate), Some(key))) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
            let chain = chain.map_err(|error| format!("certificate: it cannot be read as PEM: {error}"))?;
            if chain.is_empty() {
                return Err("certificate: it holds no certificate in PEM form".to_owned());
            }
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("certificate_key: it cannot be read as PEM: {error}"))?;
            Ok(Some((chain, key)))
        }
        (None, (Some(_), None)) => Err("certificate_key: it is missing beside certificate".to_owned()),
        (None, (None, Some(_))) => Err("certificate: it is missing beside certificate_key".to_owned()),
        (Some(_), (Some(_), _) | (_, Some(_))) => {
            Err("key_store: it is given beside certificate or certificate_key: remove one of the two".to_owned())
        }
        (Some(bytes), (None, None)) => {
            let opened = KeyStore::open(bytes, &password(account, "key_store_password"));
            let identity =
                opened.and_then(|store| store.identity(account.optional_text("key_name"))).map_err(|error| format!("key_store: {error}"))?;
            Ok(Some((identity.chain, PrivateKeyDer::Pkcs8(identity.key))))
        }
    }
}

fn authority(account: &Account) -> Result<Option<Vec<CertificateDer<'static>>>, String> {
    match (account.secret("authority"), account.bytes("trust_store")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err("trust_store: it is given beside authority: remove one of the two".to_owned()),
        (Some(pem), None) => trusted_from_pem(pem.as_bytes()).map(Some).map_err(|error| format!("authority: {error}")),
        (None, Some(bytes)) => {
            let opened = KeyStore::open(bytes, &password(account, "trust_store_password"));
            opened.and_then(|store| store.trusted()).map(Some).map_err(|error| format!("trust_store: {error}"))
        }
    }
}

/// A store without a password has the empty one.
fn password(account: &Account, field: &str) -> SecretString {
    SecretString::from(account.secret(field).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::bank::FIELDS;
    use super::*;

    const STORE: &[u8] = include_bytes!("../../../tests/vectors/keystores/legacy.p12");

    fn account(fields: &[(&str, &str)], stores: &[(&str, &[u8])]) -> Account {
        let field = |name: &str| FIELDS.iter().find(|field| field.name == name).expect("a field of ours");
        let mut account = Account::default();
        for (name, text) in fields {
            account.set_text(field(name), text).expect("a text");
        }
        for (name, bytes) in stores {
            account.set_bytes(field(name), bytes.to_vec()).expect("bytes");
        }
        account
    }

    fn told(account: &Account) -> String {
        material(account).map(|_| ()).expect_err("refused")
    }

    #[test]
    fn nothing_given_means_the_webs_authorities() {
        assert!(material(&account(&[], &[])).expect("sound").is_none());
    }

    #[test]
    fn half_of_a_pair_and_two_sources_of_one_thing_are_named() {
        assert!(told(&account(&[("certificate", "x")], &[])).starts_with("certificate_key: "));
        assert!(told(&account(&[("certificate_key", "x")], &[])).starts_with("certificate: "));
        assert!(told(&account(&[("certificate", "x")], &[("key_store", STORE)])).starts_with("key_store: "));
        assert!(told(&account(&[("certificate", "hello"), ("certificate_key", "x")], &[])).starts_with("certificate: "));
        assert!(told(&account(&[("authority", "hello")], &[])).starts_with("authority: "));
    }

    #[test]
    fn a_wrong_password_and_a_file_that_is_no_store_are_named() {
        assert!(told(&account(&[("key_store_password", "wrong")], &[("key_store", STORE)])).starts_with("key_store: the password"));
        assert!(told(&account(&[], &[("trust_store", b"hello")])).starts_with("trust_store: it is not a PKCS#12"));
    }

    #[test]
    fn a_banks_stores_give_our_chain_our_key_and_its_authority() {
        const TRUST: &[u8] = include_bytes!("../../../tests/vectors/keystores/trust.p12");
        let passwords = [("key_store_password", "breakwater"), ("trust_store_password", "breakwater")];
        let read = material(&account(&passwords, &[("key_store", STORE), ("trust_store", TRUST)])).expect("sound").expect("given");
        assert_eq!((read.authority.len(), read.ours.map(|(chain, _)| chain.len())), (2, Some(3)));
    }
}
