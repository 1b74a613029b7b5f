//! Baggage as the W3C's examples and OpenTelemetry's libraries write it.

use tower_correlation::trace::{Baggage, BaggageLimits};

fn parse(lines: &[&str]) -> Option<Baggage> {
    Baggage::parse(lines.iter().map(|line| line.as_bytes()), BaggageLimits::default())
}

fn kept(lines: &[&str]) -> Option<String> {
    parse(lines).map(|baggage| baggage.as_str().to_owned())
}

#[test]
fn values_are_read_as_others_wrote_them() {
    let cases = [
        ("Key=Value", "Key", "Value"),
        ("Key=Value=with=more", "Key", "Value=with=more"),
        ("Key=", "Key", ""),
        ("Key \t = \t Value \t ; \t Property \t , \t Other = 2", "Key", "Value"),
        ("Key \t = \t Value \t ; \t Property \t , \t Other = 2", "Other", "2"),
        ("userId =   alice", "userId", "alice"),
        ("userId=alice,serverNode=DF%2028,isProduction=false", "serverNode", "DF 28"),
        ("userId=Am%C3%A9lie", "userId", "Amélie"),
        ("k=val%252", "k", "val%2"),
        ("k=%09%20%22%27%3B%3D%21%40%23%24%25%5E%26%2A%28%29", "k", "\t \"';=!@#$%^&*()"),
        // An escape that is none stays; octets that are no UTF-8 become the replacement character (§3.3.1.2).
        ("k=a%4", "k", "a%4"),
        ("k=%zz%20", "k", "%zz "),
        ("k=a%FFb", "k", "a\u{fffd}b"),
        // Names are tokens with a case, and may be there twice.
        ("k=1,K=2", "K", "2"),
        ("k=1,k=2", "k", "1"),
    ];
    for (line, key, value) in cases {
        assert_eq!(parse(&[line]).unwrap().get(key).as_deref(), Some(value), "{line}");
    }
    assert_eq!(parse(&["k=1"]).unwrap().get("other"), None);
    for member in ["k y=v", "=v", "=", "k;p=1", "k=v;", "k=v;;p", "k=v;p q", "k=v;=1", "header"] {
        assert_eq!(kept(&[member, "a=1"]).as_deref(), Some("a=1"), "{member}");
    }
    for separator in "()<>@:\\\"/[]?{} \t".chars() {
        assert_eq!(kept(&[&format!("k{separator}y=v")]), None, "{separator:?}");
    }
    for letter in "!#$%&'*+-.^_`|~".chars() {
        assert!(kept(&[&format!("k{letter}y=v")]).is_some(), "{letter:?}");
    }
}

#[test]
fn what_everybody_passes_on_is_passed_on_and_no_member_is_cut() {
    let many = |count: usize| (0..count).map(|i| format!("key{i}=value")).collect::<Vec<_>>().join(",");
    assert_eq!(kept(&[&many(64)]), Some(many(64)));
    assert_eq!(kept(&[&many(65)]), Some(many(64)));
    assert_eq!(kept(&[&many(3000)]), Some(many(64)));
    let long = |key: &str, bytes: usize| format!("{key}={}", "v".repeat(bytes - key.len() - 1));
    assert_eq!(kept(&[&long("k", 8192)]), Some(long("k", 8192)));
    assert_eq!(kept(&[&long("k", 8193)]), None);
    assert_eq!(kept(&[&long("k", 8192), &long("y", 8192)]), Some(long("k", 8192)));
    let two = [long("k", 4096), long("y", 4095)];
    assert_eq!(kept(&[&two[0], &two[1]]), Some(two.join(",")));
    assert_eq!(kept(&[&two[0], &long("y", 4096)]), Some(two[0].clone()), "the comma counts");
    assert_eq!(kept(&["a=1,b=2", &long("c", 9000), "d=4"]).as_deref(), Some("a=1,b=2"));
    assert_eq!(kept(&["", "", "a=1"]).as_deref(), Some("a=1"));
}

#[test]
fn values_are_written_so_that_others_read_them() {
    let cases = [
        ("val1,val2", "val1%2Cval2"),
        ("mess,me%up", "mess%2Cme%25up"),
        ("val3=4", "val3=4"),
        ("a b;c\\\"", "a%20b%3Bc%5C%22"),
        ("ü\u{202e}", "%C3%BC%E2%80%AE"),
        ("a\r\nSet-Cookie: x", "a%0D%0ASet-Cookie:%20x"),
    ];
    for (value, written) in cases {
        let baggage = Baggage::with(None, "k", value).unwrap();
        assert_eq!(baggage.as_str(), format!("k={written}"));
        assert_eq!(parse(&[baggage.as_str()]).unwrap().get("k").as_deref(), Some(value));
    }
    // Others keep their properties; all of the name give way to the new one.
    let old = parse(&["a=1;p=2, k = 1 ,b=3,k=2;q"]).unwrap();
    assert_eq!(Baggage::with(Some(&old), "k", "9").unwrap().as_str(), "k=9,a=1;p=2,b=3");
    for key in ["", "k y", "k,y", "k;y", "kü", "k\r\n"] {
        assert_eq!(Baggage::with(None, key, "1"), None, "{key:?}");
    }
}
