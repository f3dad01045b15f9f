//! A mail's content, read as far as a person wants to: subject and text, decoded (RFC 5322, 2047, 2045). What is not understood stays as it came:
//! nobody decides by it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// What a person reads of a mail.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) message_id: Option<String>,
    pub(super) in_reply_to: Option<String>,
    pub(super) text: String,
}

/// Reads a mail with one part of text. Of one with several, the text is all parts with their headers.
pub(super) fn read(content: &[u8]) -> Letter {
    let content = String::from_utf8_lossy(content).replace("\r\n", "\n");
    let (head, body) = content.split_once("\n\n").unwrap_or((&content, ""));
    // A line that begins with a blank goes on with the one before.
    let head = head.replace("\n ", " ").replace("\n\t", " ");
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let encoding = header("Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
    let text = match encoding.as_str() {
        "quoted-printable" => unquoted(body, false),
        "base64" => base64(body).unwrap_or_else(|| body.to_owned()),
        _ => body.to_owned(),
    };
    Letter {
        subject: header("Subject").map(|subject| words(&subject)).unwrap_or_default(),
        message_id: header("Message-ID"),
        in_reply_to: header("In-Reply-To"),
        text: text.replace("\r\n", "\n"),
    }
}

fn base64(text: &str) -> Option<String> {
    let dense: String = text.split_ascii_whitespace().collect();
    Some(String::from_utf8_lossy(&BASE64.decode(dense).ok()?).into_owned())
}

/// Quoted-printable; in a header, `_` is a blank.
fn unquoted(text: &str, in_header: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        match (first, more) {
            (b'=', [b'\n', more @ ..]) => rest = more,
            (b'=', [high, low, more @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |digit: u8| (digit as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = more;
            }
            (b'_', _) if in_header => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Encoded words, `=?utf-8?b?…?=`. Blanks between two of them are none.
fn words(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some((before, word, after)) = next_word(rest) {
        if decoded.is_empty() || !before.trim().is_empty() {
            decoded.push_str(before);
        }
        decoded.push_str(&word);
        rest = after;
    }
    decoded + rest
}

/// What stands before the first encoded word, the word, and what follows.
fn next_word(text: &str) -> Option<(&str, String, &str)> {
    let (before, rest) = text.split_once("=?")?;
    let mut parts = rest.splitn(3, '?');
    let (_charset, kind, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (word, after) = rest.split_once("?=")?;
    let word = match kind {
        "b" | "B" => base64(word)?,
        "q" | "Q" => unquoted(word, true),
        _ => return None,
    };
    Some((before, word, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_mail_is_read_and_a_folded_header_is_one_line() {
        let letter = read(b"Subject: [PAGE] bank_a:\r\n 5 failures\r\nMessage-ID: <a@b>\r\nIn-Reply-To: <c@d>\r\n\r\nIMPACT NOW\r\nnone\r\n");
        assert_eq!((letter.subject.as_str(), letter.text.as_str()), ("[PAGE] bank_a: 5 failures", "IMPACT NOW\nnone\n"));
        assert_eq!((letter.message_id.as_deref(), letter.in_reply_to.as_deref()), (Some("<a@b>"), Some("<c@d>")));
    }

    #[test]
    fn what_is_encoded_for_the_wire_is_decoded() {
        let quoted = read(
            b"subject: =?utf-8?b?5rig?= =?utf-8?q?=E9=81=93_a?= x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na =E2=80=A6 b=3D=\r\nc\r\n",
        );
        assert_eq!((quoted.subject.as_str(), quoted.text.as_str()), ("渠道 a x", "a … b=c\n"));
        let base = read("Content-Transfer-Encoding: base64\r\n\r\n5rig6YGT\r\nCg==\r\n".as_bytes());
        assert_eq!(base.text, "渠道\n");
    }

    #[test]
    fn what_is_not_understood_stays_as_it_came() {
        let letter = read(b"Subject: =?utf-8?x?abc?= =?\r\nContent-Transfer-Encoding: base64\r\n\r\n***\r\n");
        assert_eq!((letter.subject.as_str(), letter.text.as_str()), ("=?utf-8?x?abc?= =?", "***\n"));
        assert_eq!(read(b"\xff\x00"), Letter::default());
    }
}
