//! RFC 9111 §4.2, §5.2 and RFC 5861 in whole sentences, for one user, one URI and a clock: what a cache must, may and
//! must not answer with what it has. Written from the RFCs; nothing in here is taken from the code.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

pub(crate) type Fields = BTreeMap<&'static str, String>;

/// The members of a `Cache-Control` line: of equal names the first (§4.2.1), arguments without quotes (§5.2).
#[derive(Debug, Default, Clone)]
pub(crate) struct Control(BTreeMap<String, Option<String>>);

/// The argument of a directive that wants seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Missing,
    Wrong,
    Seconds(u64),
}

impl Control {
    pub(crate) fn of(line: Option<&String>) -> Self {
        let mut names = BTreeMap::new();
        let mut quoted = false;
        let line = line.map_or("", String::as_str);
        let members = line.split(|letter| {
            quoted ^= letter == '"';
            letter == ',' && !quoted
        });
        for member in members.filter(|member| !member.trim().is_empty()) {
            let (name, value) = match member.split_once('=') {
                Some((name, value)) => (name, Some(value.trim_matches('"').to_owned())),
                None => (member, None),
            };
            let name = name.trim().to_ascii_lowercase();
            // Of two that differ the stricter may be taken as well (§4.2.1).
            if name == "no-cache" && value.is_none() {
                names.insert(name.clone(), None);
            }
            names.entry(name).or_insert(value);
        }
        Self(names)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn argument(&self, name: &str) -> Argument {
        let Some(value) = self.0.get(name) else { return Argument::Missing };
        let digits = value.as_deref().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
        match digits {
            None | Some("") => Argument::Wrong,
            // §1.2.2: too large is 2^31.
            Some(digits) => Argument::Seconds(digits.parse().unwrap_or(1 << 31).min(1 << 31)),
        }
    }

    /// A duration where the argument is right.
    fn right(&self, name: &str) -> Option<Duration> {
        match self.argument(name) {
            Argument::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            Argument::Missing | Argument::Wrong => None,
        }
    }

    /// The same, where what is wrong means stale (§4.2.1).
    fn strict(&self, name: &str) -> Option<Duration> {
        match self.argument(name) {
            Argument::Missing => None,
            Argument::Wrong => Some(Duration::ZERO),
            Argument::Seconds(seconds) => Some(Duration::from_secs(seconds)),
        }
    }
}

/// A response as it is stored, and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) number: usize,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) sent: SystemTime,
    pub(crate) received: SystemTime,
    pub(crate) shared: bool,
}

fn date(fields: &Fields, name: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(fields.get(name)?).ok()
}

impl Stored {
    /// §5.3 of RFC 9213: a targeted field stands alone.
    fn targeted(&self) -> Option<&String> {
        self.fields.get("cdn-cache-control").filter(|_| self.shared)
    }

    fn control(&self) -> Control {
        Control::of(self.targeted().or(self.fields.get("cache-control")))
    }

    fn since(later: SystemTime, earlier: SystemTime) -> Duration {
        later.duration_since(earlier).unwrap_or_default()
    }

    /// §4.2.3.
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        let apparent =
            date(&self.fields, "date").map_or(Duration::ZERO, |date| Self::since(self.received, date));
        let field = self.fields.get("age").and_then(|age| age.split(',').next()?.trim().parse::<u64>().ok());
        let field = Duration::from_secs(field.unwrap_or(0).min(1 << 31));
        let corrected = field + Self::since(self.received, self.sent);
        apparent.max(corrected) + Self::since(now, self.received)
    }

    /// §4.2.1, §4.2.2.
    pub(crate) fn lifetime(&self) -> Duration {
        let control = self.control();
        if let Some(shared) = control.strict("s-maxage").filter(|_| self.shared) {
            return shared;
        }
        if let Some(lifetime) = control.strict("max-age") {
            return lifetime;
        }
        let date_value = date(&self.fields, "date").unwrap_or(self.received);
        if self.targeted().is_none() && self.fields.contains_key("expires") {
            // §5.3: what is no date is in the past.
            return date(&self.fields, "expires")
                .map_or(Duration::ZERO, |expires| Self::since(expires, date_value));
        }
        let guessed = HEURISTIC.contains(&self.status) || control.has("public");
        let modified = date(&self.fields, "last-modified").filter(|_| guessed);
        modified.map_or(Duration::ZERO, |modified| {
            (Self::since(date_value, modified) / 10).min(Duration::from_secs(86_400))
        })
    }

    /// §3, for a request without anything personal.
    pub(crate) fn may_be_stored(&self, request: &Control) -> bool {
        let control = self.control();
        let explicit = control.has("max-age")
            || control.has("public")
            || control.has(if self.shared { "s-maxage" } else { "private" })
            || self.targeted().is_none() && self.fields.contains_key("expires");
        if !explicit && !HEURISTIC.contains(&self.status) {
            return false;
        }
        let understood =
            [200, 203, 204, 300, 301, 302, 308, 404, 405, 410, 500, 501, 503].contains(&self.status);
        let forbidden = if control.has("must-understand") { !understood } else { control.has("no-store") };
        let for_one = self.shared && control.has("private");
        !(forbidden || for_one || request.has("no-store"))
    }

    /// §3.2, §4.3.4: what a 304 changes.
    pub(crate) fn confirmed(&self, by: &Self) -> Self {
        let mut fields = self.fields.clone();
        fields.remove("age");
        fields.remove("date");
        fields.extend(
            by.fields.iter().filter(|(name, _)| **name != "etag").map(|(name, value)| (*name, value.clone())),
        );
        Self { number: self.number, status: self.status, fields, ..by.clone() }
    }

    /// Whether what let a shared cache keep it, whoever's credentials it was made for, is said no more (RFC 9111 §3.5).
    pub(crate) fn is_withdrawn_by(&self, confirmed: &Self) -> bool {
        let (then, now) = (self.control(), confirmed.control());
        let shared = |control: &Control| control.has("public") || control.has("s-maxage");
        let revalidated = then.has("must-revalidate") && !now.has("must-revalidate");
        self.shared && (shared(&then) || revalidated) && !shared(&now)
    }
}

/// RFC 9110 §15.1: what may be stored without being told so.
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// What the rules say about answering with what is stored, without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It is fresh and nothing speaks against it.
    Must,
    May,
    MustNot(&'static str),
}

pub(crate) fn reuse(stored: &Stored, request: &Control, now: SystemTime) -> Rule {
    let control = stored.control();
    let (age, lifetime) = (stored.age(now), stored.lifetime());
    if control.0.get("no-cache") == Some(&None) {
        return Rule::MustNot("§5.2.2.4 no-cache");
    }
    if request.has("no-cache") {
        return Rule::MustNot("§5.2.1.4 no-cache");
    }
    let max_age = request.right("max-age");
    if max_age.is_some_and(|max_age| age > max_age) {
        return Rule::MustNot("§5.2.1.1 max-age");
    }
    let min_fresh = request.right("min-fresh");
    if age < lifetime {
        if min_fresh.is_some_and(|min_fresh| lifetime - age < min_fresh) {
            return Rule::MustNot("§5.2.1.3 min-fresh");
        }
        return Rule::Must;
    }
    if let Some(rule) = never_stale(stored) {
        return Rule::MustNot(rule);
    }
    if min_fresh.is_some() {
        return Rule::MustNot("§5.2.1.3 min-fresh");
    }
    let staleness = age - lifetime;
    let any = request.has("max-stale") && request.argument("max-stale") == Argument::Wrong;
    if any || request.right("max-stale").is_some_and(|max_stale| staleness <= max_stale) {
        return Rule::May;
    }
    if max_age.is_some() && !request.has("max-stale") {
        return Rule::MustNot("§5.2.1.1 max-age without max-stale");
    }
    match control.right("stale-while-revalidate") {
        Some(window) if staleness <= window => Rule::May,
        _ => Rule::MustNot("§4.2.4 stale"),
    }
}

/// §5.2.2.2, §5.2.2.8, §5.2.2.10.
fn never_stale(stored: &Stored) -> Option<&'static str> {
    let control = stored.control();
    [
        (control.has("must-revalidate"), "§5.2.2.2 must-revalidate"),
        (stored.shared && control.has("proxy-revalidate"), "§5.2.2.8 proxy-revalidate"),
        (stored.shared && control.has("s-maxage"), "§5.2.2.10 s-maxage"),
    ]
    .into_iter()
    .find_map(|(holds, rule)| holds.then_some(rule))
}

/// RFC 5861 §4: whether what is stored may take the place of a server error.
pub(crate) fn reuse_on_error(stored: &Stored, request: &Control, now: SystemTime) -> bool {
    let control = stored.control();
    let staleness = stored.age(now).saturating_sub(stored.lifetime());
    let window = control.right("stale-if-error").max(request.right("stale-if-error"));
    never_stale(stored).is_none()
        && control.0.get("no-cache") != Some(&None)
        && window.is_some_and(|window| staleness <= window)
}
