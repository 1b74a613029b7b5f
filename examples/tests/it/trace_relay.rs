//! The trace relay as the W3C's validation suite for Trace Context sees it: 41 cases at specification level 2 and
//! strictness 2, in our own words. Bytes on a socket in, bytes on a socket out: no HTTP library in this file repairs
//! anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

type Fields = Vec<(String, String)>;

/// The binary, as it is run for the suite.
struct Relay {
    address: SocketAddr,
    _process: Child,
}

impl Relay {
    async fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_trace-relay"))
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let address = line.rsplit('/').next().unwrap().parse().unwrap();
        Self { address, _process: process }
    }

    /// Asks for so many calls to `harness` and gives the answer.
    async fn ask(&self, fields: &[(&str, String)], harness: SocketAddr, calls: usize) -> String {
        let body: Vec<String> = (0..calls)
            .map(|call| format!(r#"{{"url":"http://{harness}/{call}","arguments":[{call}]}}"#))
            .collect();
        let body = format!("[{}]", body.join(","));
        let mut request = String::from("POST /test HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n");
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// Answers every call with 200 and tells the fields it came with.
async fn harness() -> (SocketAddr, mpsc::UnboundedReceiver<Fields>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, sender.clone()));
        }
    });
    (address, receiver)
}

async fn serve(stream: TcpStream, sender: mpsc::UnboundedSender<Fields>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut fields, mut length) = (Fields::new(), 0);
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        loop {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap();
            }
            fields.push((name.to_owned(), value.to_owned()));
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let _ = sender.send(fields);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    }
}

/// What must come of a request.
enum Expect {
    /// Another trace, and no `tracestate`.
    Restarts,
    /// The same trace under a new span.
    Continues,
    /// The same, with this `tracestate`.
    Carries(String),
    /// The same, without a `tracestate`.
    Drops,
    /// The same, with these flags.
    Flags(&'static str),
}

use Expect::{Carries, Continues, Drops, Flags, Restarts};

type Case = (&'static str, Vec<(&'static str, String)>, Expect);

fn parent(value: impl Into<String>) -> Vec<(&'static str, String)> {
    vec![("traceparent", value.into())]
}

fn good() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// A good parent and these lines of `tracestate`.
fn states<const N: usize>(lines: [&str; N]) -> Vec<(&'static str, String)> {
    let lines = lines.into_iter().map(|line| ("tracestate", line.to_owned()));
    parent(good()).into_iter().chain(lines).collect()
}

fn parents() -> Vec<Case> {
    let (trace, span) = (&TRACE[1..], &SPAN[1..]);
    let zeros = "0".repeat(32);
    vec![
        ("neither field", vec![], Restarts),
        ("a parent alone", parent(good()), Continues),
        ("two parents", [parent(good()), parent(good().replace("4bf9", "5bf9"))].concat(), Restarts),
        ("a misspelt name", vec![("trace-parent", good())], Restarts),
        ("a misspelt name", vec![("trace.parent", good())], Restarts),
        ("a name in any case", vec![("TraceParent", good())], Continues),
        ("a name in any case", vec![("tRaCePaReNt", good())], Continues),
        ("a name in any case", vec![("TRACEPARENT", good())], Continues),
        ("version 00 with more behind", parent(good() + "."), Restarts),
        ("version 00 with more behind", parent(good() + "-tomorrow"), Restarts),
        ("a version to come", parent(format!("cc-{TRACE}-{SPAN}-01")), Continues),
        ("a version to come", parent(format!("cc-{TRACE}-{SPAN}-01-tomorrow")), Continues),
        ("a version to come", parent(format!("cc-{TRACE}-{SPAN}-01.tomorrow")), Restarts),
        ("version ff", parent(format!("ff-{TRACE}-{SPAN}-01")), Restarts),
        ("a version that is no number", parent(format!(".0-{TRACE}-{SPAN}-01")), Restarts),
        ("a version that is no number", parent(format!("0.-{TRACE}-{SPAN}-01")), Restarts),
        ("a version too long", parent(format!("000-{TRACE}-{SPAN}-01")), Restarts),
        ("a version too long", parent(format!("0000-{TRACE}-{SPAN}-01")), Restarts),
        ("a version too short", parent(format!("0-{TRACE}-{SPAN}-01")), Restarts),
        ("a trace id of zeros", parent(format!("00-{zeros}-{SPAN}-01")), Restarts),
        ("a trace id that is no number", parent(format!("00-.{trace}-{SPAN}-01")), Restarts),
        ("a trace id that is no number", parent(format!("00-{trace}.-{SPAN}-01")), Restarts),
        ("a trace id too long", parent(format!("00-{TRACE}7-{SPAN}-01")), Restarts),
        ("a trace id too long", parent(format!("00-7{TRACE}-{SPAN}-01")), Restarts),
        ("a trace id too short", parent(format!("00-{trace}-{SPAN}-01")), Restarts),
        ("a parent id of zeros", parent(format!("00-{TRACE}-{}-01", &zeros[16..])), Restarts),
        ("a parent id that is no number", parent(format!("00-{TRACE}-.{span}-01")), Restarts),
        ("a parent id that is no number", parent(format!("00-{TRACE}-{span}.-01")), Restarts),
        ("a parent id too long", parent(format!("00-{TRACE}-{SPAN}7-01")), Restarts),
        ("a parent id too short", parent(format!("00-{TRACE}-{span}-01")), Restarts),
        ("flags that are no number", parent(format!("00-{TRACE}-{SPAN}-.0")), Restarts),
        ("flags that are no number", parent(format!("00-{TRACE}-{SPAN}-0.")), Restarts),
        ("flags too long", parent(format!("00-{TRACE}-{SPAN}-001")), Restarts),
        ("flags too short", parent(format!("00-{TRACE}-{SPAN}-1")), Restarts),
        ("white space around a parent", parent(format!(" {}", good())), Continues),
        ("white space around a parent", parent(format!("\t{}", good())), Continues),
        ("white space around a parent", parent(format!("{} ", good())), Continues),
        ("white space around a parent", parent(format!("{}\t", good())), Continues),
        ("white space around a parent", parent(format!("\t {} \t", good())), Continues),
        ("the random flag", parent(format!("00-{TRACE}-{SPAN}-00")), Flags("00")),
        ("the random flag", parent(format!("00-{TRACE}-{SPAN}-02")), Flags("02")),
        ("the random flag", parent(format!("00-{TRACE}-{SPAN}-03")), Flags("03")),
    ]
}

fn tracestates() -> Vec<Case> {
    let carries = |list: &str| Carries(list.to_owned());
    let simple = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
    let (alone, tenant) = (format!("{simple}={value}"), format!("{simple}@a-z0-9_-*/={value}"));
    let members =
        |from: usize, to: usize| (from..=to).map(|i| format!("m{i}={i}")).collect::<Vec<_>>().join(",");
    let thirds = [members(1, 11), members(12, 22), members(23, 32)];
    let [one, two, three] = [0, 1, 2].map(|third| thirds[third].as_str());
    let (z256, z257) = (format!("{}=1", "z".repeat(256)), format!("{}=1", "z".repeat(257)));
    let tenant_of = |t: usize, v: usize| format!("{}@{}=1", "t".repeat(t), "v".repeat(v));
    let carried = |member: &str| -> Case {
        ("keys as long as may be", states(["foo=1", member]), Carries(format!("foo=1,{member}")))
    };
    vec![
        ("a state without a parent", vec![("tracestate", "foo=1,bar=2".into())], Restarts),
        ("a state with a parent", states(["foo=1,bar=2"]), carries("foo=1,bar=2")),
        (
            "a state by a misspelt name",
            [parent(good()), vec![("trace-state", "foo=1".into())]].concat(),
            Drops,
        ),
        (
            "a state by a misspelt name",
            [parent(good()), vec![("trace.state", "foo=1".into())]].concat(),
            Drops,
        ),
        (
            "a state's name in any case",
            [parent(good()), vec![("TraceState", "a=1".into())]].concat(),
            carries("a=1"),
        ),
        (
            "a state's name in any case",
            [parent(good()), vec![("tRaCeStAtE", "a=1".into())]].concat(),
            carries("a=1"),
        ),
        (
            "a state's name in any case",
            [parent(good()), vec![("TRACESTATE", "a=1".into())]].concat(),
            carries("a=1"),
        ),
        ("an empty state", states([""]), Drops),
        ("an empty state", states(["foo=1", ""]), carries("foo=1")),
        ("an empty state", states(["", "foo=1"]), carries("foo=1")),
        (
            "several lines of state",
            states(["foo=1,bar=2", "rojo=1,congo=2", "baz=3"]),
            carries("foo=1,bar=2,rojo=1,congo=2,baz=3"),
        ),
        ("a key twice", states(["foo=1,foo=1"]), carries("foo=1")),
        ("a key twice", states(["foo=1,foo=2"]), carries("foo=1")),
        ("a key twice", states(["foo=1", "foo=1"]), carries("foo=1")),
        ("a key twice", states(["foo=1", "foo=2"]), carries("foo=1")),
        ("every character that is allowed", states([&alone]), carries(&alone)),
        ("every character that is allowed", states([&tenant]), carries(&tenant)),
        (
            "white space around members",
            states(["foo=1 \t , \t bar=2, \t baz=3"]),
            carries("foo=1,bar=2,baz=3"),
        ),
        (
            "white space around members",
            states(["foo=1\t \t,\t \tbar=2,\t \tbaz=3"]),
            carries("foo=1,bar=2,baz=3"),
        ),
        ("white space around members", states([" foo=1"]), carries("foo=1")),
        ("white space around members", states(["\tfoo=1"]), carries("foo=1")),
        ("white space around members", states(["foo=1 "]), carries("foo=1")),
        ("white space around members", states(["foo=1\t"]), carries("foo=1")),
        ("white space around members", states(["\t foo=1 \t"]), carries("foo=1")),
        ("a key of other characters", states(["foo =1"]), Drops),
        ("a key of other characters", states(["FOO=1"]), Drops),
        ("a key of other characters", states(["foo.bar=1"]), Drops),
        ("at signs in keys", states(["foo@=1,bar=2"]), carries("foo@=1,bar=2")),
        ("at signs in keys", states(["@foo=1,bar=2"]), Drops),
        ("at signs in keys", states(["foo@@bar=1,bar=2"]), carries("foo@@bar=1,bar=2")),
        ("at signs in keys", states(["foo@bar@baz=1,bar=2"]), carries("foo@bar@baz=1,bar=2")),
        ("32 members and 33", states([one, two, three]), carries(&thirds.join(","))),
        ("32 members and 33", states([one, two, three, "m33=33"]), Drops),
        carried(&z256),
        ("keys as long as may be", states(["foo=1", &z257]), Drops),
        carried(&tenant_of(241, 14)),
        carried(&tenant_of(242, 1)),
        carried(&tenant_of(1, 15)),
        ("keys as long as may be", states(["foo=1", &tenant_of(242, 14)]), Drops),
        ("a value of other characters", states(["foo=bar=baz"]), Drops),
        ("a value of other characters", states(["foo=,bar=3"]), Drops),
    ]
}

/// The one `traceparent` in its four parts, and the `tracestate`, of which there is at most one and none empty.
fn sent(fields: &Fields) -> (Vec<String>, Option<String>) {
    let all = |name: &str| -> Vec<&String> {
        fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| &field.1).collect()
    };
    let parents = all("traceparent");
    assert_eq!(parents.len(), 1);
    let parts: Vec<String> = parents[0].split('-').map(str::to_owned).collect();
    assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [2, 32, 16, 2], "{parents:?}");
    assert!(parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))));
    assert!(
        parts[0] == "00" && !parts[1].trim_matches('0').is_empty() && !parts[2].trim_matches('0').is_empty()
    );
    let states = all("tracestate");
    assert!(states.len() <= 1 && states.iter().all(|state| !state.is_empty()));
    (parts, states.first().map(|state| (*state).clone()))
}

fn check(name: &str, expect: &Expect, fields: &Fields) {
    let (parts, state) = sent(fields);
    if matches!(expect, Restarts) {
        assert!(!parts[1].contains(&TRACE[1..]), "{name}");
        assert_eq!(parts[3], "02", "{name}: a new trace has a random id");
        assert_eq!(state, None, "{name}");
        return;
    }
    assert_eq!(parts[1], TRACE, "{name}");
    assert_ne!(parts[2], SPAN, "{name}");
    match expect {
        Carries(list) => assert_eq!(state.as_deref(), Some(list.as_str()), "{name}"),
        Flags(flags) => assert_eq!(parts[3], *flags, "{name}"),
        Continues | Drops | Restarts => assert_eq!(state, None, "{name}"),
    }
}

#[tokio::test]
async fn the_41_cases_of_the_validation_suite() {
    let relay = Relay::start().await;
    let (harness, mut received) = harness().await;
    let mut names = BTreeSet::new();
    for (name, fields, expect) in parents().into_iter().chain(tracestates()) {
        names.insert(name);
        let answer = relay.ask(&fields, harness, 1).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nnull"), "{answer}");
        check(name, &expect, &received.recv().await.unwrap());
    }
    let zeros = format!("00-{}-{SPAN}-01", "0".repeat(32));
    let several = [
        ("three calls in a trace", parent(good())),
        ("three calls, no parent", vec![]),
        ("three calls, bad parent", parent(zeros)),
    ];
    for (name, fields) in several {
        names.insert(name);
        relay.ask(&fields, harness, 3).await;
        let mut spans = BTreeSet::new();
        let mut traces = BTreeSet::new();
        for _ in 0..3 {
            let (parts, _) = sent(&received.recv().await.unwrap());
            traces.insert(parts[1].clone());
            spans.insert(parts[2].clone());
        }
        assert_eq!((traces.len(), spans.len()), (1, 3), "{name}: one trace, a span for each call");
        assert_eq!(traces.contains(TRACE), name == "three calls in a trace");
    }
    assert_eq!(names.len(), 41, "{names:#?}");
}

#[tokio::test]
async fn what_is_no_list_of_calls_is_refused() {
    let relay = Relay::start().await;
    let (harness, _received) = harness().await;
    assert!(relay.ask(&[], harness, 1).await.starts_with("HTTP/1.1 200"));
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    let request = "POST /test HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
