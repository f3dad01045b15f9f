use proptest::prelude::*;

use super::*;

fn map(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(document: &str) -> Result<BTreeMap<String, String>, XmlError> {
    decode("xml", document.as_bytes())
}

fn refusal(document: &str) -> String {
    read(document).expect_err(document).to_string()
}

#[test]
fn a_map_is_written_as_the_wallets_write_it() {
    let written = encode("xml", &map(&[("return_code", "SUCCESS"), ("appid", "wx1"), ("attach", "a]]>b")])).expect("written");
    let expected =
        "<xml><appid><![CDATA[wx1]]></appid><attach><![CDATA[a]]]]><![CDATA[>b]]></attach><return_code><![CDATA[SUCCESS]]></return_code></xml>";
    assert_eq!(String::from_utf8(written).expect("UTF-8"), expected);
}

#[test]
fn a_reply_is_read_with_cdata_plain_text_references_and_white_space_between() {
    let document = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<xml>\n  <return_code><![CDATA[SUCCESS]]></return_code>\r\n  <total_fee>88</total_fee>\n  \
                    <body>a &lt;&amp;&gt; &quot;b&apos;<![CDATA[<c>&amp;]]></body><attach/><detail></detail><note>一\r\n二\r三</note ></xml>\n";
    let expected = map(&[
        ("return_code", "SUCCESS"),
        ("total_fee", "88"),
        ("body", "a <&> \"b'<c>&amp;"),
        ("attach", ""),
        ("detail", ""),
        ("note", "一\n二\n三"),
    ]);
    assert_eq!(read(document), Ok(expected));
    assert_eq!(read("<xml></xml>"), Ok(BTreeMap::new()));
    assert_eq!(read("<xml/>"), Ok(BTreeMap::new()));
}

#[test]
fn a_document_type_is_refused_before_anything_could_be_expanded() {
    let file = "<!DOCTYPE xml [<!ENTITY x SYSTEM \"file:///etc/hostname\">]><xml><a>&x;</a></xml>";
    let laughs = "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><xml><a>&b;</a></xml>";
    assert_eq!(refusal(file), "byte 0: a document type has no place here");
    assert_eq!(refusal(laughs), "byte 21: a document type has no place here");
    assert_eq!(refusal("<xml><a>&x;</a></xml>"), "byte 8: a reference other than the five of XML");
    assert_eq!(refusal("<xml><a>&#13;</a></xml>"), "byte 8: a reference other than the five of XML");
}

#[test]
fn what_a_flat_map_does_not_need_is_refused_by_name_and_place() {
    let cases = [
        ("<xml><a>1</a><a>2</a></xml>", "byte 13: the field a stands there twice"),
        ("<xml><a>1</a><a/></xml>", "byte 13: the field a stands there twice"),
        ("<xml><a><b>1</b></a></xml>", "byte 8: an element within the field a"),
        ("<xml><a><b/></a></xml>", "byte 8: an element within the field a"),
        ("<xml><a x=\"1\">1</a></xml>", "byte 5: an attribute has no place here"),
        ("<xml xmlns=\"u\"><a>1</a></xml>", "byte 0: an attribute has no place here"),
        ("<xml><!-- <a>2</a> --><a>1</a></xml>", "byte 5: a comment has no place here"),
        ("<xml><a>1<!-- 2 -->3</a></xml>", "byte 9: a comment has no place here"),
        ("<xml><?php 1 ?></xml>", "byte 5: a processing instruction has no place here"),
        (" <?xml version=\"1.0\"?><xml/>", "byte 1: a declaration after the beginning has no place here"),
        ("<?xml version=\"1.1\"?><xml/>", "byte 0: another version of XML than 1.0 has no place here"),
        ("<?xml version=\"1.0\" encoding=\"GBK\"?><xml/>", "byte 0: this is not UTF-8 without a byte order mark"),
        ("<?xml version=\"1.0\" standalone=\"maybe\"?><xml/>", "byte 0: not well-formed: the declaration"),
        ("<xml>1<a>1</a></xml>", "byte 5: text outside of any field"),
        ("<xml><![CDATA[]]><a>1</a></xml>", "byte 5: text outside of any field"),
        ("<xml>&amp;</xml>", "byte 5: text outside of any field"),
        ("<xml><a>1]]>2</a></xml>", "byte 8: ]]> outside of CDATA has no place here"),
        ("<map><a>1</a></map>", "byte 0: the root is not xml"),
        ("<xml/><xml/>", "byte 6: something follows the root"),
        ("<xml></xml>x", "byte 11: something follows the root"),
        ("<xml></xml></xml>", "byte 11: not well-formed: what is closed was not open"),
        ("<xml><a>1</b></xml>", "byte 9: not well-formed: an element is closed by another name"),
        ("", "byte 0: the document ends before its root does"),
        ("<xml><a>1</a>", "byte 13: the document ends before its root does"),
        ("\u{feff}<xml/>", "byte 0: this is not UTF-8 without a byte order mark"),
        ("<xml><a>\u{1}</a></xml>", "byte 8: the character U+0001 cannot be carried"),
    ];
    for (document, why) in cases {
        assert_eq!(refusal(document), why, "{document}");
    }
    assert_eq!(refusal("<xml><a>a&b</a></xml>"), "byte 9: not well-formed: an & that begins no reference");
    for cut in ["<xml><a>1</a", "<xml><a>a&b</a></xml>", "<xml><a><![CDATA[1</a></xml>", "<", "<xml><a>1</a><!", "<?xml", "< xml/>"] {
        assert!(read(cut).is_err(), "{cut}");
    }
    assert_eq!(decode("xml", b"<xml><a>\xff</a></xml>").expect_err("no UTF-8"), XmlError { at: 8, why: Fault::Encoding });
}

#[test]
fn names_are_ascii_without_namespaces_both_ways() {
    let long = "a".repeat(NAME_MAX + 1);
    for name in ["", "1a", "a:b", "é", "a b", "a>", "-a", long.as_str()] {
        assert_eq!(encode("xml", &map(&[(name, "1")])).expect_err(name).why, Fault::Name, "{name}");
        assert_eq!(encode(name, &map(&[])).expect_err(name).why, Fault::Name, "{name}");
        assert!(read(&format!("<xml><{name}>1</{name}></xml>")).is_err(), "{name}");
    }
    let longest = "a".repeat(NAME_MAX);
    assert!(read(&format!("<xml><{longest}>1</{longest}></xml>")).is_ok());
}

#[test]
fn every_bound_holds_both_ways() {
    let many: BTreeMap<_, _> = (0..=FIELDS_MAX).map(|number| (format!("f{number}"), String::new())).collect();
    assert_eq!(encode("xml", &many).expect_err("too many").why, Fault::TooManyFields);
    let document: String = many.keys().map(|name| format!("<{name}/>")).collect();
    assert_eq!(read(&format!("<xml>{document}</xml>")).expect_err("too many").why, Fault::TooManyFields);

    let long = "x".repeat(VALUE_MAX + 1);
    assert_eq!(encode("xml", &map(&[("a", &long)])).expect_err("too long").why, Fault::ValueTooLong("a".to_owned()));
    let in_two = format!("<xml><a>{}<![CDATA[{}]]></a></xml>", &long[1..], "y");
    assert_eq!(read(&in_two).expect_err("too long").why, Fault::ValueTooLong("a".to_owned()));
    assert!(read(&format!("<xml><a>{}</a></xml>", &long[1..])).is_ok());

    let wide = &long[1..];
    assert_eq!(encode("xml", &map(&[("a", wide), ("b", wide), ("c", wide)])).expect_err("too long").why, Fault::TooLong);
    let padded = format!("<xml/>{}", " ".repeat(DOCUMENT_MAX));
    assert_eq!(read(&padded).expect_err("too long").why, Fault::TooLong);
}

#[test]
fn a_value_that_would_not_come_back_as_it_is_is_not_written() {
    for value in ["a\rb", "a\r\nb", "\u{0}", "\u{b}", "\u{ffff}"] {
        assert!(matches!(encode("xml", &map(&[("a", value)])).expect_err(value).why, Fault::Character(_)), "{value:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(fields in proptest::collection::btree_map("[A-Za-z_][A-Za-z0-9_.-]{0,20}", "[\\PC\\n\\t\\]>&<]{0,40}", 0..12)) {
        let written = encode("xml", &fields).expect("all of it can be carried");
        prop_assert_eq!(decode("xml", &written), Ok(fields));
    }

    #[test]
    fn one_changed_byte_never_reads_as_the_same_map_with_a_field_less(at in 0_usize..200, byte: u8) {
        let fields = map(&[("appid", "wx1"), ("sign", "AB"), ("total_fee", "88")]);
        let mut document = encode("xml", &fields).expect("written");
        let at = at % document.len();
        document[at] = byte;
        if let Ok(read) = decode("xml", &document) {
            prop_assert_eq!(read.len(), fields.len());
        }
    }

    #[test]
    fn whatever_is_read_can_be_written_and_read_again(document in "<xml>(<[ab]>(x|&amp;|&lt;|<!\\[CDATA\\[[\\]>&x]{0,5}\\]\\]>|\n){0,4}</[ab]>){0,3}</xml>") {
        if let Ok(fields) = read(&document) {
            let again = encode("xml", &fields).expect("what was read can be carried");
            prop_assert_eq!(decode("xml", &again), Ok(fields));
        }
    }
}
