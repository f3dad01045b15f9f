//! The envelope of an answer: `{"alipay_trade_query_response":{…},"sign":"…"}`. What is signed are the node's bytes *as they came*, from its
//! brace to the brace that ends it, so the body is not parsed first but walked over: a value may hold `"sign"`, braces or escapes inside its
//! strings, and a parser would not give the bytes back.
//!
//! It is the first thing that touches what a stranger sent. It looks at every byte at most once, keeps no stack, and refuses rather than guesses:
//! two nodes, two signatures, or a byte after the end are no envelope. It does not judge what is *inside* the node: that is the parser's turn, once
//! the signature is good.

/// The deepest nesting that is walked through; Alipay's own answers need four.
const DEPTH_MAX: u32 = 64;

/// The parts of an answer, as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// The name of the node: `alipay_trade_query_response`, or `error_response`.
    pub(super) node: &'a str,
    /// The node's object: what is signed.
    pub(super) object: &'a str,
    /// The signature's base64, if there is one.
    pub(super) sign: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// Opens it. `None` when it is not one.
    pub(super) fn open(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut walk = Walk { text, at: 0 };
        let (mut node, mut sign) = (None, None);
        walk.expect(b'{')?;
        if !walk.eats(b'}') {
            loop {
                let name = walk.string()?;
                walk.expect(b':')?;
                match name {
                    // Base64 needs no escape except `\/`, and Alipay does not write that: a signature with one does not decode, and is none.
                    "sign" => put(&mut sign, walk.string()?)?,
                    _ if name.ends_with("_response") => put(&mut node, (name, walk.object()?))?,
                    _ => walk.value()?,
                }
                if !walk.eats(b',') {
                    break;
                }
            }
            walk.expect(b'}')?;
        }
        let (node, object) = node?;
        walk.is_over().then_some(Self { node, object, sign })
    }
}

/// Fills a place once.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn eats(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eats(byte).then_some(())
    }

    fn is_over(&mut self) -> bool {
        self.skip_spaces();
        self.at == self.text.len()
    }

    /// A string's inside, escapes untouched.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let from = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
        // Both ends are at a quote, and every step was over whole characters or one byte of them: an escape of half a character ends outside, and
        // `get` says so.
        let inside = self.text.get(from..self.at)?;
        self.at += 1;
        Some(inside)
    }

    /// An object's bytes, its braces included.
    fn object(&mut self) -> Option<&'a str> {
        self.skip_spaces();
        let from = self.at;
        if self.peek() != Some(b'{') {
            return None;
        }
        self.nested()?;
        self.text.get(from..self.at)
    }

    fn value(&mut self) -> Option<()> {
        self.skip_spaces();
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => self.nested(),
            _ => {
                let from = self.at;
                while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')) {
                    self.at += 1;
                }
                (self.at > from).then_some(())
            }
        }
    }

    /// Over an object or array, to the bracket that ends it. Which bracket ends which is the parser's affair: the count alone decides where the
    /// bytes end, and bytes that end elsewhere than Alipay meant do not verify.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 0u32;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
            if depth > DEPTH_MAX {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(body: &str) -> Option<Envelope<'_>> {
        Envelope::open(body.as_bytes())
    }

    #[test]
    fn the_nodes_bytes_are_those_that_came() {
        let object = r#"{ "code" : "10000","note":"a \"sign\":\"x\"} {[ \\","deep":{"list":[{"a":"]"},[]]}, "u":"\u6d4b\/测" }"#;
        for body in [
            format!(r#"{{"alipay_trade_query_response":{object},"sign":"QUJD"}}"#),
            format!("\n{{ \"sign\" : \"QUJD\" ,\t\"alipay_cert_sn\":\"1b\", \"alipay_trade_query_response\" : {object} }} \r\n"),
            format!(r#"{{"other":[1,-2.5e3,true,null,{{"x":"]"}}],"alipay_trade_query_response":{object},"sign":"QUJD"}}"#),
        ] {
            assert_eq!(open(&body), Some(Envelope { node: "alipay_trade_query_response", object, sign: Some("QUJD") }), "{body}");
        }
    }

    #[test]
    fn an_answer_without_a_signature_is_an_envelope_without_one() {
        let body = r#"{"error_response":{"code":"40002"}}"#;
        assert_eq!(open(body), Some(Envelope { node: "error_response", object: r#"{"code":"40002"}"#, sign: None }));
    }

    #[test]
    fn what_is_ambiguous_or_cut_off_is_no_envelope() {
        for body in [
            "",
            "{}",
            "null",
            "<html>",
            r#"{"sign":"QUJD"}"#,
            r#"{"a_response":{},"b_response":{},"sign":"QUJD"}"#,
            r#"{"a_response":{},"a_response":{},"sign":"QUJD"}"#,
            r#"{"a_response":{},"sign":"QUJD","sign":"QUJE"}"#,
            r#"{"a_response":{},"sign":"QUJD"}x"#,
            r#"{"a_response":{},"sign":"QUJD"},"#,
            r#"{"a_response":{},"sign":"QUJD",}"#,
            r#"{"a_response":[],"sign":"QUJD"}"#,
            r#"{"a_response":"{}","sign":"QUJD"}"#,
            r#"{"a_response":{"b":1,"sign":"QUJD"}"#,
            r#"{"a_response":{},"sign":"QUJD"#,
            r#"{"a_response":{},"sign":QUJD}"#,
            "{\"a_response\":{\"b\":\"\u{1}\"},\"sign\":\"QUJD\"}",
        ] {
            assert_eq!(open(body), None, "{body}");
        }
        let deep = format!(r#"{{"a_response":{{"b":{}1{}}},"sign":"QUJD"}}"#, "[".repeat(65), "]".repeat(65));
        assert_eq!(open(&deep), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_for_it(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::open(&body);
        }

        #[test]
        fn no_text_of_its_own_letters_is_too_much_for_it(body in r#"[\{\}\[\]":,\\a测_ ]{0,80}"#) {
            let _ = open(&body);
        }

        #[test]
        fn no_cut_of_an_answer_is_an_answer(cut in 0usize..71) {
            let body = r#"{"a_response":{"code":"10000","b":"\"}测"},"alipay_cert_sn":"1","sign":"QUJD"}"#;
            prop_assert!(cut < body.len());
            prop_assert_eq!(Envelope::open(&body.as_bytes()[..cut]), None);
        }

        #[test]
        fn whatever_a_library_writes_is_found_to_the_byte(code in ".*", note in ".*", list in proptest::collection::vec(".*", 0..4)) {
            let object = serde_json::json!({"code": code, "note": note, "list": list, "deep": {"note": note}}).to_string();
            let body = format!(r#"{{"a_response":{object},"sign":"QUJD"}}"#);
            prop_assert_eq!(open(&body), Some(Envelope { node: "a_response", object: &object, sign: Some("QUJD") }));
        }
    }
}
