//! Fields of answers are read strictly: what is malformed says nothing.

use tower_versioning::client::NoticeKind;

use crate::client::{PAST, SUNSET, answered, kind, notices, noticing};

#[tokio::test]
async fn references_are_resolved() {
    for (reference, target) in [
        ("http://o/x", "http://o/x"),
        ("//o/x", "http://o/x"),
        ("/x?y#z", "http://h:1/x?y#z"),
        ("x", "http://h:1/a/x"),
        ("./x/.", "http://h:1/a/x/"),
        ("../../x", "http://h:1/x"),
        ("?y", "http://h:1/a/b?y"),
        ("#z", "http://h:1/a/b?q#z"),
        ("", "http://h:1/a/b?q"),
        ("1:2", "http://h:1/a/1:2"),
    ] {
        let (layer, told) = noticing();
        let link = format!("<{reference}>; rel=a");
        answered(&layer, "http://h:1/a/b?q", &[("deprecation", PAST), ("link", &link)]).await;
        assert_eq!(told.lock().unwrap()[0].links[0].target, target, "{reference}");
    }
}

/// RFC 9745 §2.1, RFC 9651 §3.1.2, §3.3.7, §4.2.
#[tokio::test]
async fn a_deprecation_is_read_strictly() {
    assert_eq!(kind(&[("deprecation", PAST)]).await, Some(NoticeKind::Deprecated));
    for good in [
        "@0",
        "@-1",
        "  @1  ",
        "@1;a",
        "@1; a=1;b=?0;*c=\"x;\\\"\"",
        "@1;a=:YQ==:;b=t/k:x;c=-1.25;d=@-3",
        "@000000000000001",
        "@1;a;a=2",
        "@1;a=%\"f%c3%bc\"",
    ] {
        assert_eq!(kind(&[("deprecation", good)]).await, Some(NoticeKind::Deprecated), "{good}");
    }
    for bad in [
        "true",
        "?1",
        "4320000",
        "\"@1\"",
        "@",
        "@-",
        "@1.5",
        "@1.0",
        "@ 1",
        "@1 ;a",
        "@1;A",
        "@1;",
        "@1;a=",
        "@1;a= 1",
        "@1;a=1.2345",
        "@1;a=\"x",
        "@1;a=\"\\x\"",
        "@1;a=:*:",
        "@1;a=?2",
        "@1x",
        "@1, @2",
        "@1,",
        "@1000000000000000",
        "@+1",
        "--1",
        "@--1",
        "@1\t",
        "Fri, 20 Feb 1970 00:00:00 GMT",
        "",
        "@1;a=1234567890123456",
    ] {
        assert_eq!(kind(&[("deprecation", bad)]).await, None, "{bad}");
    }
    assert_eq!(kind(&[("deprecation", PAST), ("deprecation", PAST)]).await, None);
}

/// RFC 8594 §3, RFC 9110 §5.6.7.
#[tokio::test]
async fn a_sunset_is_an_http_date() {
    for good in [SUNSET, "Sunday, 31-May-70 00:00:00 GMT", "Sun May 31 00:00:00 1970"] {
        assert_eq!(kind(&[("sunset", good)]).await, Some(NoticeKind::WillBeSunset), "{good}");
    }
    for bad in [
        "",
        "@12960000",
        "Sun, 31 May 1970 00:00:00 +0100",
        "1970-05-31T00:00:00Z",
        "soon",
        "Sun, 32 May 1970 00:00:00 GMT",
    ] {
        assert_eq!(kind(&[("sunset", bad)]).await, None, "{bad}");
    }
    assert_eq!(kind(&[("sunset", SUNSET), ("sunset", SUNSET)]).await, None);
}

/// RFC 8288 §3.
#[tokio::test]
async fn links_are_read_strictly_line_by_line() {
    for (line, expected) in [
        ("<a>; rel=b", vec!["b"]),
        ("<a>;rel=\"B c\";rel=d", vec!["b", "c"]),
        ("<a> ; title=\"x, <y>; rel=z\" ; rel = b", vec!["b"]),
        ("<a>; rel=\"b\\\"c\"", vec!["b\"c"]),
        (",, <a>; rel=b ,", vec!["b"]),
        ("<a>; crossorigin; rel=b", vec!["b"]),
        ("<a>; title*=UTF-8'de'x; rel=b", vec!["b"]),
        ("<a>", vec![]),
        ("<a>; rel", vec![]),
        ("<a>; rel=b; anchor=\"/other\"", vec![]),
        ("<a; rel=b", vec![]),
        ("a; rel=b", vec![]),
        ("<a b>; rel=b", vec![]),
        ("<a>; rel=", vec![]),
        ("<a>; rel=\"b", vec![]),
        ("<a>; =b", vec![]),
        ("<a>; rel=b c", vec![]),
        ("<a>; rel=b <c>; rel=d", vec![]),
        ("<a>; rel=http://x", vec![]),
    ] {
        let found = notices(&[("deprecation", PAST), ("link", line)]).await.remove(0).links;
        let relations: Vec<_> = found.iter().flat_map(|link| &link.relations).collect();
        assert_eq!(relations, expected, "{line}");
    }
    // A malformed line says nothing; the others still do.
    let found = notices(&[("deprecation", PAST), ("link", "<x"), ("link", "<a>; rel=b")]).await.remove(0);
    assert_eq!(found.links.len(), 1);
}

proptest::proptest! {
    /// The pieces that the three fields are made of, in any order.
    #[test]
    fn no_announcement_makes_it_panic(
        lines in proptest::collection::vec(
            ("[dsl]", "(@|-|[0-9]{1,16}|;|a=|\"|\\\\|\\?1|:|,|<|>|rel=|anchor|/|\\.\\.|#|%| |Sun, 31 May 1970 00:00:00 GMT|é|[a-z]{1,3}){0,9}"),
            0..4,
        ),
    ) {
        let (layer, told) = noticing();
        let fields = lines.iter().map(|(field, line)| match &**field {
            "d" => ("deprecation", &**line),
            "s" => ("sunset", &**line),
            _ => ("link", &**line),
        });
        let fields: Vec<_> = fields.chain([("api-deprecated-versions", "1")]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(answered(&layer, "http://h/a/b?c", &fields));
        // Whatever else the answer says, version 1 is one of the deprecated ones, or the answer says worse.
        let told = told.lock().unwrap();
        proptest::prop_assert_eq!(told.len(), 1);
        for link in &told[0].links {
            proptest::prop_assert!(!link.relations.is_empty());
            proptest::prop_assert!(link.target.contains(':') && !link.target.contains(['<', '>', '"', ' ']));
        }
    }
}
