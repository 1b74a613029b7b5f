//! What others test in parsers of the three fields: dates and parameters of structured fields (the cases of the HTTP working
//! group's structured-field-tests, where they can stand in `Deprecation`), references of RFC 3986 §5.4, links of RFC 8288 and
//! of Asp.Versioning, dates of RFC 9110.

use tower_versioning::client::NoticeKind;

use crate::client::{PAST, answered, kind, notices, noticing};

async fn is_date(value: &str) -> bool {
    kind(&[("deprecation", value)]).await.is_some()
}

/// Numbers of every length, as dates and as values of a parameter.
#[tokio::test]
async fn numbers_of_every_length() {
    for length in 1..=20 {
        for digit in ["0", "1", "9"] {
            let digits = digit.repeat(length);
            for number in [digits.clone(), format!("-{digits}")] {
                assert_eq!(is_date(&format!("@{number}")).await, length <= 15, "@{number}");
                for value in [format!("@1;a={number}"), format!("@1;a=@{number}")] {
                    assert_eq!(is_date(&value).await, length <= 15, "{value}");
                }
            }
        }
        // A decimal has at most twelve digits before its point and at most three after it; a date has none.
        for decimals in 0..=5 {
            let number = format!("{}.{}", "1".repeat(length), "1".repeat(decimals));
            let good = length <= 12 && (1..=3).contains(&decimals);
            assert_eq!(is_date(&format!("@1;a={number}")).await, good, "{number}");
            assert!(!is_date(&format!("@{number}")).await, "@{number}");
            assert!(!is_date(&format!("@1;a=@{number}")).await, "{number}");
        }
    }
}

#[tokio::test]
async fn dates_as_items() {
    for good in [
        "@0",
        "@1659578233",
        "@-1659578233",
        "@2147483648",
        "@4294967296",
        "@00",
        "@-0",
        "@042",
        "@-042",
        "  @1",
        "@1  ",
        "  @1  ",
    ] {
        assert!(is_date(good).await, "{good}");
    }
    for bad in [
        "@1659578233.12",
        "@1234567890123456",
        "@0x62EB2779",
        "@",
        "@-",
        "@--0",
        "@-a23",
        "@4-2",
        "@2,3",
        "@1.5.4",
        "@1..4",
        "@+1",
        "@ 1",
        "@1 2",
        "@1;",
        "@@1",
        "1",
        "",
        " ",
        "(@1)",
        "@1, @2",
        "a=@1",
    ] {
        assert!(!is_date(bad).await, "{bad}");
    }
}

/// Each visible character in each place of a key, a token and a string; the expectation is the grammar's (RFC 9651 §3).
#[tokio::test]
async fn characters_of_keys_tokens_and_strings() {
    for code in 0x20..=0x7e_u8 {
        let c = char::from(code);
        // What ends the key or the value is looked at below.
        if !matches!(c, ';' | '=' | ' ') {
            let starts = c.is_ascii_lowercase() || c == '*';
            let continues = starts || c.is_ascii_digit() || "_-.".contains(c);
            assert_eq!(is_date(&format!("@1;{c}")).await, starts, "key {c}");
            assert_eq!(is_date(&format!("@1; {c}a=1")).await, starts, "key {c}a");
            assert_eq!(is_date(&format!("@1;a{c}a")).await, continues, "key a{c}a");
            assert_eq!(is_date(&format!("@1;a{c}=1")).await, continues, "key a{c}");
        }
        if !matches!(c, ';' | ' ') {
            let starts = c.is_ascii_alphabetic() || c == '*';
            let continues = c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
            assert_eq!(is_date(&format!("@1;a={c}x")).await, starts, "token {c}x");
            assert_eq!(is_date(&format!("@1;a=x{c}y")).await, continues, "token x{c}y");
        }
        let plain = !matches!(c, '"' | '\\');
        assert_eq!(is_date(&format!("@1;a=\"{c}\"")).await, plain, "string {c}");
        assert_eq!(is_date(&format!("@1;a=\"\\{c}\"")).await, !plain, "string \\{c}");
        // RFC 9651 §3.3.8: a quote ends a display string and a percent sign begins two digits; a backslash is a backslash.
        let shown = !matches!(c, '"' | '%');
        assert_eq!(is_date(&format!("@1;a=%\"{c}\"")).await, shown, "display string {c}");
        let digit = c.is_ascii_digit() || ('a'..='f').contains(&c);
        let ascii = |high: char| high.is_digit(8);
        assert_eq!(is_date(&format!("@1;a=%\"%{c}1\"")).await, digit && ascii(c), "display string %{c}1");
        assert_eq!(is_date(&format!("@1;a=%\"%2{c}\"")).await, digit, "display string %2{c}");
    }
}

#[tokio::test]
async fn values_of_parameters() {
    for good in [
        r#""foo \"bar\"""#,
        r#""""#,
        ":aGVsbG8=:",
        "::",
        ":iZ==:",
        ":+/8=:",
        "?0",
        "?1",
        "a_b-c.d3:f%00/*",
        "FooBar",
        "*a",
        r#"%"foo bar""#,
        r##"%" !%22#$%25&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghijklmnopqrstuvwxyz{|}~""##,
        r#"%"f%c3%bc%c3%bc""#,
        r#"%"foo %22bar%22 \ baz""#,
        r#"%"BOM: %ef%bb%bf""#,
        "1;b",
        "1;b=2;  c",
        "1;a=2",
    ] {
        let field = format!("@1;a={good}");
        assert!(is_date(&field).await, "{field}");
    }
    for bad in [
        "'foo'",
        "\"foo",
        "\"foo \\,\"",
        "\"foo \\",
        ":aGVsbG8=",
        ":aGVsb G8=:",
        ":aGVsbG!8=:",
        ":aGVsbG8=!:",
        ":aGVsbG8-:",
        "?",
        "?Q",
        "? 1",
        "?11",
        "?T",
        "?true",
        r#"%"f%C3%BC%C3%BC""#,
        r#"%"%c3%28""#,
        r#"%"%a0%a1""#,
        r#"%"%e2%28%a1""#,
        r#"%"%f0%28%8c%28""#,
        r#"%"%ed%a0%80""#,
        r#"%"%c0%af""#,
        "%'foo'",
        "%foo",
        "%foo\"",
        "%\"foo",
        "%\"foo %a",
        "%\"foo %a\"",
        "(1 2)",
        "1,",
        "1 ;b",
        "1;;b",
        " 1",
        "",
        "é",
        "\"é\"",
        "%\"é\"",
    ] {
        let field = format!("@1;a={bad}");
        assert!(!is_date(&field).await, "{field}");
    }
    assert!(!is_date("@1 ;a").await && !is_date("@1;a =1").await && !is_date("@1;").await);
}

/// RFC 3986 §5.4.1 and §5.4.2.
#[tokio::test]
async fn references_of_rfc_3986() {
    for (reference, target) in [
        ("g:h", "g:h"),
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        ("g?y#s", "http://a/b/c/g?y#s"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y#s"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("g#s/./x", "http://a/b/c/g#s/./x"),
        ("g#s/../x", "http://a/b/c/g#s/../x"),
        ("http:g", "http:g"),
    ] {
        let (layer, told) = noticing();
        let link = format!("<{reference}>; rel=a");
        answered(&layer, "http://a/b/c/d;p?q", &[("deprecation", PAST), ("link", &link)]).await;
        assert_eq!(told.lock().unwrap()[0].links[0].target, target, "{reference}");
    }
}

/// Targets and relations, as `target rel rel`, of the links of one line.
async fn links(line: &str) -> Vec<String> {
    let found = notices(&[("deprecation", PAST), ("link", line)]).await.remove(0).links;
    found.iter().map(|link| format!("{} {}", link.target, link.relations.join(" "))).collect()
}

/// RFC 8288 §3.5 and appendix B, RFC 9745 §3, RFC 8594 §6, RFC 5988's examples, and what Asp.Versioning reads.
#[tokio::test]
async fn links_of_others() {
    for (line, expected) in [
        (
            r#"<http://example.com/TheBook/chapter2>; rel="previous"; title="previous chapter""#,
            vec!["http://example.com/TheBook/chapter2 previous"],
        ),
        ("</>; rel=\"http://example.net/foo\"", vec!["http://h/ http://example.net/foo"]),
        ("</terms>; rel=\"copyright\"; anchor=\"#foo\"", vec![]),
        (
            "</TheBook/chapter2>; rel=\"previous\"; title*=UTF-8'de'letztes%20Kapitel, </TheBook/chapter4>; rel=\"next\"; title*=UTF-8'de'n%c3%a4chstes%20Kapitel",
            vec!["http://h/TheBook/chapter2 previous", "http://h/TheBook/chapter4 next"],
        ),
        (
            "<http://example.org/>; rel=\"start http://example.net/relation/other\"",
            vec!["http://example.org/ start http://example.net/relation/other"],
        ),
        (
            "<https://developer.example.com/deprecation>; rel=\"deprecation\"; type=\"text/html\"",
            vec!["https://developer.example.com/deprecation deprecation"],
        ),
        (
            "<http://example.net/sunset>;rel=\"sunset\";type=\"text/html\"",
            vec!["http://example.net/sunset sunset"],
        ),
        (
            "<http://tempuri.org/test>; rel=\"test\"; hreflang=\"en\"; hreflang=\"es\"; media=\"screen\"; title=\"Test Case\"; type=\"text/plain\"; api-version=\"2\"",
            vec!["http://tempuri.org/test test"],
        ),
        // Empty parameters (RFC 8288 appendix B.3, RFC 9110 §5.6.6) and white space at every place where it may be.
        (" <http://tempuri.org/test> ; rel = \"test\" ; ", vec!["http://tempuri.org/test test"]),
        ("<a>;;rel=b;,<c>;rel=d", vec!["http://h/orders/a b", "http://h/orders/c d"]),
        ("<a>; rel=\"b\";", vec!["http://h/orders/a b"]),
        // A quoted string may hold octets beyond ASCII (RFC 9110 §5.6.4), a target may not.
        ("<a>; rel=b; title=\"nächstes\"", vec!["http://h/orders/a b"]),
        ("<ä>; rel=b", vec![]),
        ("</test>", vec![]),
        ("</test>; ", vec![]),
        ("<a>; type=\"application/json\" title=\"OpenAPI\"; rel=b", vec![]),
        ("<>; rel=self", vec!["http://h/orders/7 self"]),
        ("<a>; REL=B", vec!["http://h/orders/a b"]),
        ("<a>; rel=b; rel=c", vec!["http://h/orders/a b"]),
        ("<a>; rel=\"\\b\"", vec!["http://h/orders/a b"]),
    ] {
        assert_eq!(links(line).await, expected, "{line}");
    }
    let title = "\\a".repeat(100_000);
    let line = format!("<a>; rel=b; title=\"{title}\"");
    assert_eq!(links(&line).await, ["http://h/orders/a b"]);
}

/// RFC 9110 §5.6.7: the three forms, and texts that are near them.
#[tokio::test]
async fn dates_of_http() {
    let sunset =
        async |text: &str| notices(&[("sunset", text)]).await.first().and_then(|notice| notice.sunset);
    for good in
        ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    {
        assert_eq!(sunset(good).await.map(tower_versioning::Moment::unix), Some(784_111_777), "{good}");
    }
    assert!(sunset("Wed, 11 Nov 2026 11:11:11 GMT").await.is_some());
    assert!(sunset("Mon, 31 Dec 2018 23:59:59 GMT").await.is_some());
    for bad in [
        // The example of RFC 8594 §3: that day was a Monday, and nobody knows which of both is meant.
        "Sat, 31 Dec 2018 23:59:59 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 29 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "06 Nov 1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
        "784111777",
        "@784111777",
        "0",
        "-1",
    ] {
        assert_eq!(sunset(bad).await, None, "{bad}");
    }
    assert_eq!(kind(&[("sunset", "Sun, 06 Nov 1994 08:49:37 GMT")]).await, Some(NoticeKind::WillBeSunset));
}
