//! Users, an origin that notes for whom it answers what, and the rules by which a shared cache may hand its answers on.
//!
//! The rules are those of RFC 9111 and of this crate's documentation where that is stricter; nothing in here is taken
//! from the code. They say what is allowed, not what has to happen: a cache that never answers breaks none of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::Full;

use crate::dice::Dice;
use crate::support::TestBody;

/// Fields by name; no name occurs twice in these worlds.
pub(crate) type Fields = BTreeMap<&'static str, String>;

/// Who a request belongs to, as a layer outside has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant(pub(crate) Option<&'static str>);

/// A request as a user sends it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) fields: Fields,
    pub(crate) tenant: Tenant,
    /// The event at which it was sent.
    pub(crate) event: u64,
}

/// A call that reached the origin, and its response.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) asked: Asked,
    /// The event at which it arrived.
    pub(crate) event: u64,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    /// When the response was ready; known once it is.
    pub(crate) answered: Option<tokio::time::Instant>,
}

/// What the origin and the driver share.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) events: u64,
    pub(crate) asked: Vec<Asked>,
    pub(crate) made: Vec<Made>,
    /// Which call answered "not modified" for which.
    pub(crate) confirmed: Vec<(usize, usize)>,
    /// Purges and unsafe requests: the event, and the start of the URIs concerned (or a whole one).
    pub(crate) purges: Vec<(u64, String, bool)>,
}

impl Log {
    pub(crate) fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}

pub(crate) type Shared = Arc<Mutex<Log>>;

pub(crate) const CONTROLS: [&str; 28] = [
    "max-age=60",
    "max-age=60",
    "max-age=60",
    "max-age=60",
    "max-age=5",
    "max-age=5",
    "max-age=60, public",
    "max-age=60, public",
    "max-age=60, public",
    "s-maxage=60",
    "s-maxage=60",
    "s-maxage=60",
    "max-age=60, must-revalidate",
    "max-age=60, proxy-revalidate",
    "max-age=60, private",
    "max-age=60, private=\"x-secret\"",
    "max-age=60, no-store",
    "max-age=60, no-cache",
    "max-age=60, no-cache=\"x-secret\"",
    "max-age=60, public, no-cache=\"x-secret\"",
    "MAX-AGE=60, PRIVATE",
    "public, private, s-maxage=60",
    "max-age=60, no-store, must-understand",
    "max-age=0",
    "s-maxage=0, max-age=60",
    "public",
    "no-store, public",
    "max-age=60, unknown=\"public, s-maxage=9\"",
];

pub(crate) const VARIES: [&str; 9] =
    ["", "", "", "x-lang", "X-Lang, Accept", "cookie", "authorization", "x-lang, *", "Authorization, Cookie"];

/// Fields that users set at will; what the origin makes of them nobody knows.
pub(crate) const FORWARDED: [&str; 8] = [
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-host",
    "x-forwarded-server",
    "forwarded",
];

/// Fields by which a request means something other than its first line.
pub(crate) const DISGUISES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

/// A user's next request.
pub(crate) fn asks(dice: &mut Dice) -> Asked {
    let user = dice.pick(&["alice", "bob", "carol"]);
    let mut fields = Fields::new();
    let mut maybe = |times, name, value: String| {
        if dice.once_in(times) {
            fields.insert(name, value);
        }
    };
    maybe(4, "authorization", format!("Bearer {user}"));
    maybe(4, "cookie", format!("session={user}"));
    maybe(3, "x-lang", if user == "alice" { "de" } else { "en" }.to_owned());
    maybe(4, "accept", format!("text/{user}"));
    maybe(25, "cache-control", "no-cache".into());
    maybe(30, "cache-control", "no-store".into());
    maybe(40, "pragma", "no-cache".into());
    maybe(40, "content-length", "5".into());
    let value = match dice.below(2) {
        0 => "evil.example".to_owned(),
        _ => user.to_owned(),
    };
    if dice.once_in(12) {
        let name = dice.pick(&FORWARDED);
        fields.insert(
            name,
            if name == "forwarded" { format!("for=192.0.2.1;host={value}") } else { value.clone() },
        );
    }
    if dice.once_in(30) {
        fields.insert(dice.pick(&DISGUISES), "DELETE".into());
    }
    let method = match dice.below(40) {
        0 => Method::POST,
        1 => Method::DELETE,
        2..8 => Method::HEAD,
        _ => Method::GET,
    };
    let path = dice.pick(&["/a", "/a", "/a", "/a?page=2", "/b"]);
    let host = dice.pick(&["one.example", "one.example", "one.example", "two.example"]);
    // As an HTTP/1 server sees it, or as HTTP/2 and proxies do; with both they may differ.
    let uri = match dice.below(20) {
        0..5 => format!("http://{host}{path}"),
        5 => {
            fields.insert("host", dice.pick(&["one.example", "two.example"]).to_owned());
            format!("http://{host}{path}")
        }
        _ => {
            fields.insert("host", host.to_owned());
            path.to_owned()
        }
    };
    let tenant = Tenant(dice.pick(&[None, None, None, Some("red"), Some("blue")]));
    Asked { method, uri, fields, tenant, event: 0 }
}

impl Asked {
    pub(crate) fn request(&self) -> Request<Full<bytes::Bytes>> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.uri);
        for (name, value) in &self.fields {
            request = request.header(*name, value);
        }
        let mut request = request.body(Full::default()).unwrap();
        request.extensions_mut().insert(self.tenant.clone());
        request.extensions_mut().insert(Number(self.event));
        request
    }

    /// Scheme, host and path as RFC 9112 §3.3 puts them together.
    pub(crate) fn target(&self) -> String {
        match self.uri.strip_prefix('/') {
            Some(path) => format!("http://{}/{path}", self.fields["host"]),
            None => self.uri.clone(),
        }
    }

    /// What `Host` says beside a URI that says something else. RFC 9112 §3.2.2 wants it ignored; a handler that reads it
    /// does not.
    fn other_host(&self) -> Option<&String> {
        let authority = self.uri.strip_prefix("http://")?.split('/').next();
        self.fields.get("host").filter(|host| Some(host.as_str()) != authority)
    }

    fn is_disguised(&self) -> bool {
        DISGUISES.iter().any(|name| self.fields.contains_key(name))
            || self.fields.contains_key("content-length")
    }

    /// Whether both are the same to an origin that minds everything but what is meant for caches.
    fn is_alike(&self, other: &Self) -> bool {
        let minded = |fields: &Fields| {
            let mut fields = fields.clone();
            fields.retain(|name, _| !matches!(*name, "cache-control" | "pragma" | "host"));
            fields
        };
        self.method == other.method
            && self.tenant == other.tenant
            && self.target() == other.target()
            && self.other_host() == other.other_host()
            && minded(&self.fields) == minded(&other.fields)
    }

    pub(crate) fn says(&self, directive: &str) -> bool {
        let pragma = directive == "no-cache" && !self.fields.contains_key("cache-control");
        self.fields.get("cache-control").is_some_and(|value| value == directive)
            || pragma && self.fields.contains_key("pragma")
    }
}

/// By which the origin finds the request again that it is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

/// The directives of a response: those of the targeted field where there is one (RFC 9213 §2.2).
#[derive(Debug, Default)]
struct Control {
    names: BTreeMap<String, Option<String>>,
}

impl Control {
    fn of(fields: &Fields) -> Self {
        let line = fields.get("cdn-cache-control").or_else(|| fields.get("cache-control"));
        let mut names = BTreeMap::new();
        let mut rest = line.map_or("", String::as_str);
        while !rest.is_empty() {
            let mut quoted = false;
            let end = rest.find(|letter| {
                quoted ^= letter == '"';
                letter == ',' && !quoted
            });
            let (member, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after.strip_prefix(',').unwrap_or_default();
            let (name, value) =
                member.split_once('=').map_or((member, None), |(name, value)| (name, Some(value)));
            let value = value.map(|value| value.trim_matches('"').to_owned());
            names.entry(name.trim().to_ascii_lowercase()).or_insert(value);
        }
        Self { names }
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    fn seconds(&self, name: &str) -> Option<u64> {
        self.names.get(name)?.as_ref()?.parse().ok()
    }
}

/// Why the content of one response, or its fields, must not be the answer to this request, if there is a reason. `last`
/// is where its fields come from: the same response, or the one that confirmed it.
pub(crate) fn forbidden(
    log: &Log,
    made: &Made,
    last: &Made,
    now: &Asked,
    at: tokio::time::Instant,
) -> Option<&'static str> {
    let control = Control::of(&last.fields);
    let by = &made.asked;
    let shared_explicitly = control.has("public") || control.has("s-maxage");
    let differs = |name: &str| by.fields.get(name) != now.fields.get(name);
    let understood = control.has("must-understand") && made.status != 299;
    let vary = made.fields.get("vary").map_or("", String::as_str);
    let mut varies =
        vary.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty());
    let lifetime = control.seconds("s-maxage").or(control.seconds("max-age")).unwrap_or(0);
    let age = last.answered.map_or(Duration::ZERO, |answered| at - answered);
    let rules = [
        (!matches!(by.method, Method::GET | Method::HEAD), "RFC 9111 §4: the method does not match"),
        (!matches!(now.method, Method::GET | Method::HEAD), "RFC 9111 §4: the request is no GET or HEAD"),
        (by.target() != now.target(), "RFC 9111 §4: another URI"),
        (by.other_host() != now.other_host(), "a Host other than the URI's"),
        (by.tenant != now.tenant, "another partition"),
        (FORWARDED.iter().any(|name| differs(name)), "told by another name"),
        (by.is_disguised() || now.is_disguised(), "a request in disguise"),
        (by.says("no-store"), "RFC 9111 §5.2.1.5: the request said no-store"),
        (now.says("no-cache"), "RFC 9111 §5.2.1.4: the request says no-cache"),
        (control.has("no-store") && !understood, "RFC 9111 §5.2.2.5: no-store"),
        (control.has("must-understand") && made.status == 299, "RFC 9111 §5.2.2.3: not understood"),
        (control.has("private"), "RFC 9111 §5.2.2.7: private"),
        (control.names.get("no-cache") == Some(&None), "RFC 9111 §5.2.2.4: no-cache"),
        (
            by.fields.contains_key("authorization") && !shared_explicitly && !control.has("must-revalidate"),
            "RFC 9111 §3.5: the request was authenticated",
        ),
        (by.fields.contains_key("cookie") && !shared_explicitly, "the request carried cookies"),
        (
            (made.fields.contains_key("set-cookie") || last.fields.contains_key("set-cookie"))
                && !shared_explicitly,
            "the response sets a cookie",
        ),
        (varies.any(|name| name == "*" || differs(&name)), "RFC 9111 §4.1: Vary"),
        (age.as_secs() >= lifetime, "RFC 9111 §4.2: not fresh"),
        (
            log.purges.iter().any(|(event, start, whole)| {
                let target = by.target();
                let meant = if *whole { target == *start } else { target.starts_with(start) };
                meant && last.event < *event && *event < now.event
            }),
            "RFC 9111 §4.4: invalidated since",
        ),
    ];
    rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
}

/// The origin's response to call `number`, which asks whether that of call `known` still holds.
pub(crate) fn responds(
    dice: &mut Dice,
    number: usize,
    asked: &Asked,
    known: Option<&Made>,
) -> (u16, Fields, Response<TestBody>) {
    let mut fields = Fields::new();
    fields.insert("cache-control", dice.pick(&CONTROLS).to_owned());
    // All responses of one path have this field or none has, so that a confirmation never leaves an older one standing.
    if asked.target().ends_with("/b") {
        let targeted = ["max-age=60", "private", "no-store", "s-maxage=60", "no-cache", "max-age=60, public"];
        fields.insert("cdn-cache-control", dice.pick(&targeted).to_owned());
    }
    let vary = dice.pick(&VARIES);
    let confirmed = known.filter(|known| known.asked.is_alike(asked) && !dice.once_in(4));
    match confirmed {
        Some(known) => {
            let kept = known.fields.iter().filter(|(name, _)| matches!(**name, "etag" | "vary"));
            fields.extend(kept.map(|(name, value)| (*name, value.clone())));
        }
        None => {
            fields.insert("vary", vary.to_owned());
            if dice.once_in(2) {
                fields.insert("etag", format!("\"{number}\""));
            }
        }
    }
    if dice.once_in(8) {
        fields.insert("set-cookie", format!("session={number}"));
    }
    if dice.once_in(4) {
        fields.insert("connection", "x-hop".to_owned());
        fields.insert("x-hop", number.to_string());
    }
    fields.insert("x-secret", number.to_string());
    fields.insert("x-serial", number.to_string());
    let status = dice.pick(&[200, 200, 200, 200, 200, 404, 299, 302]);
    let status = if confirmed.is_some() { 304 } else { status };
    let mut response = Response::builder().status(status);
    for (name, value) in &fields {
        response = response.header(*name, value);
    }
    let empty = asked.method == Method::HEAD || confirmed.is_some();
    let body = if empty { String::new() } else { number.to_string() };
    (status, fields, response.body(TestBody::of(&[&body])).unwrap())
}
