//! RSA2: SHA-256 with RSA, PKCS#1 v1.5, over the parameters in the order of their names' bytes, as `k=v` joined with `&`, values as they are and
//! not as they are encoded for the wire. Empty ones are left out, `sign` itself always, `sign_type` only in notices.
//! <https://opendocs.alipay.com/common/02mse7>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::keys::{PrivateKey, PublicKey};

/// The longest base64 of a signature: RSA of 8192 bits.
const SIGN_MAX: usize = 1_368;

/// The most parameters of a notice; Alipay's have about 25.
const PARAMETERS_MAX: usize = 100;

/// Parameters by name.
pub(super) type Parameters = BTreeMap<String, String>;

/// The text that is signed.
pub(super) fn content(parameters: &Parameters, left_out: &[&str]) -> String {
    let mut content = String::with_capacity(512);
    for (name, value) in parameters {
        if value.is_empty() || left_out.contains(&name.as_str()) {
            continue;
        }
        if !content.is_empty() {
            content.push('&');
        }
        content.push_str(name);
        content.push('=');
        content.push_str(value);
    }
    content
}

/// Signs a request's parameters. `None` when the system refuses to sign.
pub(super) fn sign(parameters: &Parameters, key: &PrivateKey) -> Option<String> {
    key.sign_sha256(content(parameters, &["sign"]).as_bytes()).ok().map(|signature| BASE64.encode(signature))
}

/// Whether `sign`, in base64, is this key's over `content`.
pub(super) fn verifies(content: &[u8], sign: &str, key: &PublicKey) -> bool {
    sign.len() <= SIGN_MAX && BASE64.decode(sign).is_ok_and(|signature| key.verifies_sha256(content, &signature))
}

/// The parameters as a form, or as a query.
pub(super) fn encoded(parameters: &Parameters) -> String {
    let mut form = String::with_capacity(1_024);
    for (name, value) in parameters {
        if !form.is_empty() {
            form.push('&');
        }
        encode(name, &mut form);
        form.push('=');
        encode(value, &mut form);
    }
    form
}

/// Percent-encoded to letters, digits, `_`, `-` and `.`: right for a form and a query alike.
fn encode(text: &str, form: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            form.push(char::from(byte));
        } else {
            form.push('%');
            form.push(char::from(HEX[usize::from(byte >> 4)]));
            form.push(char::from(HEX[usize::from(byte & 0xF)]));
        }
    }
}

/// Decodes a form, once. `None` when it is not one: a broken escape, a name twice, bytes that are not UTF-8, or too many parameters.
pub(super) fn decoded(form: &[u8]) -> Option<Parameters> {
    let mut parameters = Parameters::new();
    for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let new = parameters.insert(decode(&pair[..at])?, decode(&pair[at + 1..])?).is_none();
        if !new || parameters.len() > PARAMETERS_MAX {
            return None;
        }
    }
    Some(parameters)
}

fn decode(text: &[u8]) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                after
            }
            (b'%', _) => return None,
            (b'+', _) => {
                bytes.push(b' ');
                tail
            }
            (byte, _) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_signed_is_sorted_and_leaves_out_what_is_empty() {
        let parameters = Parameters::from(
            [("b", "2 &="), ("a", ""), ("sign", "x"), ("B", "1"), ("sign_type", "RSA2")].map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        assert_eq!(content(&parameters, &["sign"]), "B=1&b=2 &=&sign_type=RSA2");
        assert_eq!(content(&parameters, &["sign", "sign_type"]), "B=1&b=2 &=");
    }

    #[test]
    fn a_form_that_could_be_read_in_two_ways_is_not_read() {
        for form in ["a=1&a=2", "a", "a=%4", "a=%zz", "a=%ff", "%ff=1"] {
            assert_eq!(decoded(form.as_bytes()), None, "{form}");
        }
        assert_eq!(decoded(b"a=b+c%20d&&e=").map(|parameters| parameters["a"].clone()), Some("b c d".to_owned()));
        let many: String = (0..101).map(|n| format!("p{n}=1&")).collect();
        assert_eq!(decoded(many.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_the_same(parameters in proptest::collection::btree_map(".+", ".*", 0..8)) {
            prop_assert_eq!(decoded(encoded(&parameters).as_bytes()), Some(parameters));
        }

        #[test]
        fn no_form_is_too_much_for_it(form in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decoded(&form);
        }
    }
}
