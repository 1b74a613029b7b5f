//! Trace context: what a service that stands on the two layers sends on, for what it receives.

use std::convert::Infallible;

use http::{HeaderMap, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_correlation::trace::{Baggage, BaggageLimits, TraceParent, TraceState};
use tower_correlation::{Correlation, CorrelationLayer, PropagateLayer, Trust};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

type Fields<'a> = &'a [(&'static str, &'a str)];

/// One request through server layer, handler, client layer; gives the headers of `calls` outbound calls.
async fn relay(layer: CorrelationLayer, fields: Fields<'_>, calls: usize) -> Vec<HeaderMap> {
    let upstream =
        service_fn(async |request: Request<()>| Ok::<_, Infallible>(request.into_parts().0.headers));
    let client = PropagateLayer::new().layer(upstream);
    let handler = service_fn(move |request: Request<()>| {
        let client = client.clone();
        async move {
            let correlation = request.extensions().get::<Correlation>().unwrap().clone();
            let mut sent = Vec::new();
            for _ in 0..calls {
                let mut outbound = Request::new(());
                outbound.extensions_mut().insert(correlation.clone());
                sent.push(client.clone().oneshot(outbound).await.unwrap());
            }
            let mut response = Response::new(());
            response.extensions_mut().insert(sent);
            Ok::<_, Infallible>(response)
        }
    });
    let mut request = Request::new(());
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let mut response = layer.layer(handler).oneshot(request).await.unwrap();
    response.extensions_mut().remove::<Vec<HeaderMap>>().unwrap()
}

async fn sent(fields: Fields<'_>) -> (TraceParent, Option<String>) {
    let headers = relay(CorrelationLayer::new(), fields, 1).await.remove(0);
    assert_eq!(headers.get_all("traceparent").iter().count(), 1);
    assert!(headers.get_all("tracestate").iter().count() <= 1);
    let parent = TraceParent::parse(headers["traceparent"].as_bytes()).unwrap();
    (parent, headers.get("tracestate").map(|state| state.to_str().unwrap().to_owned()))
}

fn trace_id() -> u128 {
    u128::from_str_radix(TRACE, 16).unwrap()
}

/// Values that continue the caller's trace.
#[tokio::test]
async fn good_parents_are_continued_under_a_new_span() {
    let cases = [
        format!("00-{TRACE}-{SPAN}-00"),
        format!("00-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-02"),
        format!("00-{TRACE}-{SPAN}-03"),
        format!("00-{TRACE}-{SPAN}-ff"),
        format!("  00-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-01 \t"),
        format!("\t 00-{TRACE}-{SPAN}-01 \t"),
        format!("01-{TRACE}-{SPAN}-01"),
        format!("01-{TRACE}-{SPAN}-01-"),
        format!("cc-{TRACE}-{SPAN}-01-more-to-come"),
        format!("fe-{TRACE}-{SPAN}-09"),
    ];
    for value in &cases {
        let (parent, _) = sent(&[("traceparent", value)]).await;
        assert_eq!(parent.trace_id(), trace_id(), "{value}");
        assert_ne!(parent.parent_id(), u64::from_str_radix(SPAN, 16).unwrap(), "{value}");
        let flags = value.trim().split('-').nth(3).unwrap();
        assert_eq!(parent.flags(), u8::from_str_radix(flags, 16).unwrap() & 3, "{value}");
    }
    let (parent, _) = sent(&[("TraceParent", &cases[1])]).await;
    assert_eq!(parent.trace_id(), trace_id(), "field names have no case");
}

/// Values that start a new trace: each differs from a good one in one thing.
#[tokio::test]
async fn bad_parents_start_a_new_trace_with_the_random_flag() {
    let cases = [
        String::new(),
        "-".into(),
        "00".into(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-001"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("00-{TRACE}-{SPAN}-01."),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-.0"),
        format!("00-{TRACE}-{SPAN}-0."),
        format!("00-{TRACE}-{SPAN}-0A"),
        format!("cc-{TRACE}-{SPAN}-01.more"),
        format!("cc-{TRACE}-{SPAN}-01more"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("FE-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("000-{TRACE}-{SPAN}-01"),
        format!("0000-{TRACE}-{SPAN}-01"),
        format!(".0-{TRACE}-{SPAN}-01"),
        format!("0.-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{TRACE}1-{SPAN}-01"),
        format!("00-.{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{}.-{SPAN}-01", &TRACE[1..]),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{SPAN}1-01"),
        format!("00-{TRACE}-.{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{}.-01", &SPAN[1..]),
        format!("00_{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}_{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}_01"),
        format!("\"00-{TRACE}-{SPAN}-01\""),
        format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"),
    ];
    for value in &cases {
        let (parent, state) = sent(&[("traceparent", value), ("tracestate", "a=1")]).await;
        assert_ne!(parent.trace_id(), trace_id(), "{value}");
        assert!(parent.random(), "{value}");
        assert_eq!(state, None, "the state of a trace that is not continued: {value}");
    }
    let good = format!("00-{TRACE}-{SPAN}-01");
    for name in ["trace-parent", "trace.parent"] {
        assert_ne!(sent(&[(name, &good)]).await.0.trace_id(), trace_id());
    }
    let other = good.replace("4bf", "5bf");
    for second in [&good, &other] {
        let (parent, _) = sent(&[("traceparent", &good), ("traceparent", second)]).await;
        assert_ne!(parent.trace_id(), trace_id(), "two of them, even if equal, are none");
    }
    assert!(sent(&[]).await.0.random());
    assert_eq!(sent(&[("tracestate", "foo=1")]).await.1, None, "a state without a parent");
}

#[tokio::test]
async fn good_states_are_sent_on() {
    let all_values: String = (b' '..=b'~').filter(|c| !b",=".contains(c)).map(char::from).collect();
    let all_keys = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let member = |i: usize| format!("m{i:02}={i}");
    let many: Vec<String> = (0..32).map(member).collect();
    let (first, second) = (many[..20].join(","), many[20..].join(","));
    let long = format!("{}=1", "z".repeat(256));
    let tenant = format!("{}@{}=1", "t".repeat(241), "v".repeat(14));
    let cases: Vec<(Vec<String>, String)> = vec![
        (vec!["foo=1,bar=2".into()], "foo=1,bar=2".into()),
        (vec!["foo=1".into(), "bar=2".into(), "baz=3".into()], "foo=1,bar=2,baz=3".into()),
        (vec!["foo=1".into(), String::new()], "foo=1".into()),
        (vec![String::new(), "foo=1".into()], "foo=1".into()),
        (vec![",foo=1,,bar=2,".into()], "foo=1,bar=2".into()),
        (vec!["foo=1 \t , \t bar=2, \t baz=3".into()], "foo=1,bar=2,baz=3".into()),
        (vec!["\tfoo=1\t \t,\t \tbar=2 ".into()], "foo=1,bar=2".into()),
        (vec![format!("{all_keys}={all_values}")], format!("{all_keys}={all_values}")),
        (vec![format!("{all_keys}@a-z0-9_-*/={all_values}")], format!("{all_keys}@a-z0-9_-*/={all_values}")),
        (vec!["foo= 1".into()], "foo= 1".into()),
        (vec!["0t@v=1".into()], "0t@v=1".into()),
        (vec!["1foo=1".into()], "1foo=1".into()),
        // Level 2: the at sign is a character like others, though not the first (§3.3.1.3.1).
        (vec!["foo@=1,bar=2".into()], "foo@=1,bar=2".into()),
        (vec!["foo@@bar=1,bar=2".into()], "foo@@bar=1,bar=2".into()),
        (vec!["foo@bar@baz=1,bar=2".into()], "foo@bar@baz=1,bar=2".into()),
        (vec!["foo@1bar=1".into()], "foo@1bar=1".into()),
        (vec![format!("foo=1,{}@v=1", "t".repeat(242))], format!("foo=1,{}@v=1", "t".repeat(242))),
        (vec![format!("foo=1,t@{}=1", "v".repeat(254))], format!("foo=1,t@{}=1", "v".repeat(254))),
        // The first of equal keys is the latest.
        (vec!["foo=1,foo=1".into()], "foo=1".into()),
        (vec!["foo=1,bar=2,foo=3".into()], "foo=1,bar=2".into()),
        (vec!["foo=1".into(), "foo=2".into()], "foo=1".into()),
        (vec!["foo=1".into(), "bar=2,foo=1,foo=4".into()], "foo=1,bar=2".into()),
        (vec![first, second], many.join(",")),
        (vec!["foo=1".into(), long.clone()], format!("foo=1,{long}")),
        (vec!["foo=1".into(), tenant.clone()], format!("foo=1,{tenant}")),
        (vec![format!("foo={}", "v".repeat(256))], format!("foo={}", "v".repeat(256))),
    ];
    for (lines, expected) in cases {
        let parent = format!("00-{TRACE}-{SPAN}-00");
        let mut fields = vec![("traceparent", parent.as_str())];
        fields.extend(lines.iter().map(|line| ("tracestate", line.as_str())));
        let (parent, state) = sent(&fields).await;
        assert_eq!(parent.trace_id(), trace_id());
        assert_eq!(state.as_deref(), Some(expected.as_str()), "{lines:?}");
    }
}

#[tokio::test]
async fn a_bad_state_is_dropped_whole_and_the_trace_goes_on() {
    let many: Vec<String> = (0..33).map(|i| format!("m{i:02}={i}")).collect();
    let cases = [
        String::new(),
        ",".into(),
        " ".into(),
        "ok=1,foo".into(),
        "ok=1,=1".into(),
        "ok=1,foo=".into(),
        "ok=1,foo=a=b".into(),
        "ok=1,foo=\u{7f}".into(),
        "ok=1,FOO=1".into(),
        "ok=1,foo =1".into(),
        "ok=1,foo.bar=1".into(),
        "ok=1,_foo=1".into(),
        "ok=1,@foo=1".into(),
        many.join(","),
        format!("ok=1,{}=1", "z".repeat(257)),
        format!("ok=1,{}@{}=1", "t".repeat(242), "v".repeat(14)),
        format!("ok=1,foo={}", "v".repeat(257)),
    ];
    let parent = format!("00-{TRACE}-{SPAN}-01");
    for value in &cases {
        let Ok(_) = value.parse::<http::HeaderValue>() else { continue };
        let (parent, state) = sent(&[("traceparent", &parent), ("tracestate", value)]).await;
        assert_eq!((parent.trace_id(), state), (trace_id(), None), "{value}");
    }
    for name in ["trace-state", "trace.state"] {
        assert_eq!(sent(&[("traceparent", &parent), (name, "ok=1")]).await.1, None);
    }
}

#[test]
fn a_long_state_is_cut_to_512_bytes_of_whole_members() {
    let parse = |list: &str| TraceState::parse([list.as_bytes()]).unwrap();
    let short: Vec<String> = (0..9).map(|i| format!("s{i}={}", "v".repeat(50))).collect();
    let exact = format!("{},x={}", short.join(","), "v".repeat(512 - short.join(",").len() - 3));
    assert_eq!(exact.len(), 512);
    assert_eq!(parse(&exact).as_str(), exact, "512 bytes are passed on");
    let over = exact.replace("x=", "x=v");
    assert_eq!(parse(&over).as_str(), short.join(","), "the last member leaves");
    let with_long = format!("big={},{}", "v".repeat(200), short.join(","));
    assert_eq!(parse(&with_long).as_str(), short.join(","), "a member of more than 128 bytes leaves first");
    let sized = |key: &str, bytes: usize| format!("{key}={}", "v".repeat(bytes - key.len() - 1));
    let rest = short[..8].join(",");
    let (fits, long) = (sized("fits", 128), sized("long", 129));
    assert_eq!(
        parse(&format!("{fits},{rest}")).as_str(),
        format!("{fits},{}", short[..7].join(",")),
        "128 bytes stay"
    );
    assert_eq!(parse(&format!("{long},{rest}")).as_str(), rest, "129 do not");
    let (new, old) = (sized("new", 200), sized("old", 200));
    let both = format!("{new},a=1,{old},{}", short[..2].join(","));
    assert_eq!(
        parse(&both).as_str(),
        format!("{new},a=1,{}", short[..2].join(",")),
        "of two long ones the older"
    );
}

/// It is the newest; where there is no room for all, others leave, long ones first.
#[test]
fn a_member_that_is_put_in_is_in_the_list() {
    let state = |list: &str| TraceState::parse([list.as_bytes()]).unwrap();
    let others = format!("a={},b={},c={}", "1".repeat(200), "2".repeat(100), "3".repeat(100));
    let with = |value: usize| TraceState::with(Some(&state(&others)), "us", &"x".repeat(value)).unwrap();
    assert_eq!(with(90).as_str(), format!("us={},{others}", "x".repeat(90)));
    let rest = &others[203..];
    assert_eq!(with(130).as_str(), format!("us={},{rest}", "x".repeat(130)));
    assert_eq!(with(256).as_str(), format!("us={},{rest}", "x".repeat(256)));
    let full = "x".repeat(256);
    let long = TraceState::with(Some(&state("a=1")), &"k".repeat(255), &full).unwrap();
    assert_eq!(long.as_str(), format!("{}={full}", "k".repeat(255)), "512 bytes");
    assert_eq!(TraceState::with(Some(&state("a=1")), &"k".repeat(256), &full), None, "513 bytes");
}

#[test]
fn a_changed_member_comes_first() {
    let state = TraceState::parse([&b"a=1,b=2,c=3"[..]]).unwrap();
    assert_eq!(TraceState::with(Some(&state), "b", "9").unwrap().as_str(), "b=9,a=1,c=3");
    assert_eq!(TraceState::with(Some(&state), "d", "4").unwrap().as_str(), "d=4,a=1,b=2,c=3");
    assert_eq!(TraceState::with(None, "d", "4").unwrap().as_str(), "d=4");
    assert_eq!(state.without("b").unwrap().as_str(), "a=1,c=3");
    assert_eq!(TraceState::with(None, "d", "4").unwrap().without("d"), None);
    assert_eq!(TraceState::with(None, "d@e@", "4").unwrap().as_str(), "d@e@=4");
    for (key, value) in
        [("D", "4"), ("@d", "4"), ("", "4"), ("d", ""), ("d", "a,b"), ("d", "a=b"), ("d", "4 ")]
    {
        assert_eq!(TraceState::with(Some(&state), key, value), None, "{key}={value}");
    }
    let full: Vec<String> = (0..32).map(|i| format!("m{i}=1")).collect();
    let full = TraceState::parse([full.join(",").as_bytes()]).unwrap();
    let more = TraceState::with(Some(&full), "new", "1").unwrap();
    assert_eq!((more.iter().count(), more.get("m31"), more.get("new")), (32, None, Some("1")));
}

/// Samplers that do as their caller does record a trace that begins here only where that is said; one that is continued
/// is the caller's.
#[tokio::test]
async fn a_trace_that_begins_here_is_sampled_where_that_is_said() {
    let flags = async |sampled: bool, fields: Fields<'_>| {
        let headers = relay(CorrelationLayer::new().sampled(sampled), fields, 1).await.remove(0);
        TraceParent::parse(headers["traceparent"].as_bytes()).unwrap().flags()
    };
    let continued = [format!("00-{TRACE}-{SPAN}-00"), format!("00-{TRACE}-{SPAN}-01")];
    for (sampled, flag) in [(false, 0), (true, 1)] {
        assert_eq!(flags(sampled, &[]).await, 2 | flag);
        assert_eq!(flags(sampled, &[("traceparent", "00-bad")]).await, 2 | flag);
        assert_eq!(flags(sampled, &[("x-request-id", "from-an-id")]).await, flag, "its bits are not random");
        assert_eq!(flags(sampled, &[("traceparent", &continued[0])]).await, 0);
        assert_eq!(flags(sampled, &[("traceparent", &continued[1])]).await, 1);
    }
    assert_eq!(sent(&[]).await.0.flags(), 2, "nobody has recorded it");
}

#[tokio::test]
async fn calls_of_one_request_have_spans_of_their_own() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    for fields in [&[("traceparent", parent.as_str())][..], &[], &[("traceparent", "00-bad")]] {
        let all: Vec<_> = relay(CorrelationLayer::new(), fields, 3)
            .await
            .iter()
            .map(|headers| TraceParent::parse(headers["traceparent"].as_bytes()).unwrap())
            .collect();
        assert!(all.iter().all(|parent| parent.trace_id() == all[0].trace_id()));
        let mut spans: Vec<_> = all.iter().map(TraceParent::parent_id).collect();
        spans.sort_unstable();
        spans.dedup();
        assert_eq!(spans.len(), 3);
    }
}

#[tokio::test]
async fn an_untrusted_peer_does_not_draw_us_into_its_trace() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let fields = [("traceparent", parent.as_str()), ("tracestate", "a=1"), ("baggage", "user=1")];
    let trusted = relay(CorrelationLayer::new(), &fields, 1).await.remove(0);
    assert!(trusted["tracestate"] == "a=1" && trusted["baggage"] == "user=1");
    let sent = relay(CorrelationLayer::new().trust(Trust::Never), &fields, 1).await.remove(0);
    assert!(!sent["traceparent"].to_str().unwrap().contains(TRACE));
    assert!(!sent.contains_key("tracestate") && !sent.contains_key("baggage"));
}

#[tokio::test]
async fn a_span_of_another_sdk_is_used_on_both_sides() {
    let own = TraceParent::new(7, 8, 1).unwrap();
    let handler = service_fn(async |request: Request<()>| {
        assert_eq!(
            request.extensions().get::<Correlation>().unwrap().trace(),
            TraceParent::new(7, 8, 1).unwrap()
        );
        Ok::<_, Infallible>(Response::new(()))
    });
    let mut request = Request::new(());
    request.extensions_mut().insert(own);
    let response = CorrelationLayer::new().traceresponse(true).layer(handler).oneshot(request).await.unwrap();
    let value = "00-00000000000000000000000000000007-0000000000000008-01";
    assert_eq!(response.headers()["traceresponse"], value);
    let upstream =
        service_fn(async |request: Request<()>| Ok::<_, Infallible>(request.into_parts().0.headers));
    let mut request = Request::new(());
    request.extensions_mut().insert(own);
    let headers = PropagateLayer::new().layer(upstream).oneshot(request).await.unwrap();
    assert_eq!(headers["traceparent"], value);
    assert_eq!((TraceParent::new(0, 8, 1), TraceParent::new(7, 0, 1)), (None, None));
}

#[test]
fn baggage_keeps_what_is_valid_within_its_limits() {
    let parse = |lines: &[&str], limits| {
        Baggage::parse(lines.iter().map(|line| line.as_bytes()), limits).map(|b| b.as_str().to_owned())
    };
    let default = BaggageLimits::default();
    let cases: [(&[&str], Option<&str>); 17] = [
        (&["a=1"], Some("a=1")),
        (&["a=1, b=2 ", "c=3"], Some("a=1,b=2,c=3")),
        (&["a=1;ttl=3;hidden"], Some("a=1;ttl=3;hidden")),
        (&["a=%20x"], Some("a=%20x")),
        (&["a="], Some("a=")),
        (&["a=1,b"], Some("a=1")),
        (&["a b=1,c=3"], Some("c=3")),
        (&["a=x y,c=3"], Some("c=3")),
        (&["a=\"x\",c=3"], Some("c=3")),
        (&["a=\\,c=3"], Some("c=3")),
        (&["", ","], None),
        (&["a\t= 1 ;\tp = 2"], Some("a\t= 1 ;\tp = 2")),
        // White space of Unicode's is none of HTTP's, and what is not valid is not repaired.
        (&["\u{a0}a=1,c=3"], Some("c=3")),
        (&["a\u{a0}=1,c=3"], Some("c=3")),
        (&["a=1\u{2028},c=3"], Some("c=3")),
        (&["a=1;\u{85}p,c=3"], Some("c=3")),
        (&["a=1;,b=1;p=\"x\",c=3"], Some("c=3")),
    ];
    for (lines, expected) in cases {
        assert_eq!(parse(lines, default).as_deref(), expected, "{lines:?}");
    }
    assert_eq!(parse(&["a=1,b=2,c=3"], default.members(2)).as_deref(), Some("a=1,b=2"));
    assert_eq!(parse(&["a=1,b=2,c=3"], default.bytes(7)).as_deref(), Some("a=1,b=2"));
    assert_eq!(parse(&["a=1,b=2,c=3"], default.bytes(6)).as_deref(), Some("a=1"));
    let baggage = Baggage::with(None, "user", "Zoë, 1").unwrap();
    assert_eq!(baggage.as_str(), "user=Zo%C3%AB%2C%201");
    assert_eq!(baggage.get("user").as_deref(), Some("Zoë, 1"));
    for value in ["50%", "%41", "a;b=c", "\\ \"", "\u{0}\n\u{7f}", ""] {
        let made = Baggage::with(None, "k", value).unwrap();
        assert_eq!(made.get("k").as_deref(), Some(value));
        assert_eq!(parse(&[made.as_str()], default).as_deref(), Some(made.as_str()));
    }
    let both = Baggage::with(Some(&baggage), "b", "2").unwrap();
    assert_eq!(Baggage::with(Some(&both), "user", "x").unwrap().as_str(), "user=x,b=2");
    assert_eq!(Baggage::with(None, "a=b", "1"), None);
    let full: Vec<String> = (0..64).map(|i| format!("m{i}=1")).collect();
    let full = Baggage::parse([full.join(",").as_bytes()], default).unwrap();
    assert!(Baggage::with(Some(&full), "m7", "2").is_some(), "64 members are allowed");
    assert_eq!(Baggage::with(Some(&full), "new", "2"), None, "65 are not");
    assert_eq!(Baggage::with(None, "a", &"x".repeat(8192)), None);
}
