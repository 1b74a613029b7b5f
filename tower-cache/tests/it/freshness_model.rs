//! Random responses and requests, a random clock: what is answered without asking, with which age, is what
//! `freshness_world` says.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_cache::{Cache, CacheLayer, CacheOutcome};

use crate::dice::{Dice, rounds};
use crate::freshness_world::{Control, Fields, Rule, Stored, reuse, reuse_on_error};
use crate::support::{Answer, TestBody, URI, seconds, settle};

thread_local! {
    static BEGAN: Cell<Option<tokio::time::Instant>> = const { Cell::new(None) };
}

/// A wall clock that follows the paused one.
fn wall() -> SystemTime {
    let began = BEGAN.with(Cell::get).map_or(Duration::ZERO, |began| began.elapsed());
    UNIX_EPOCH + Duration::from_secs(1_700_000_000) + began
}

const RESPONSES: [&str; 24] = [
    "max-age=20",
    "max-age=60",
    "max-age=60",
    "max-age=0",
    "max-age=abc",
    "max-age=\"30\"",
    "max-age=-1",
    "max-age=3.5",
    "max-age",
    "max-age=99999999999999999999",
    "s-maxage=40",
    "s-maxage=0",
    "s-maxage=x",
    "stale-while-revalidate=30",
    "stale-while-revalidate=30",
    "stale-if-error=30",
    "stale-if-error=30",
    "must-revalidate",
    "proxy-revalidate",
    "no-cache",
    "no-cache=\"x-a\"",
    "public",
    "private",
    "must-understand, no-store",
];

const REQUESTS: [&str; 18] = [
    "",
    "",
    "",
    "",
    "",
    "",
    "max-age=0",
    "max-age=10",
    "max-age=1000",
    "min-fresh=10",
    "min-fresh=30",
    "max-stale",
    "max-stale=15",
    "max-age=5, max-stale=100",
    "no-cache",
    "no-store",
    "only-if-cached",
    "stale-if-error=100",
];

fn dated(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// What the origin sends with response `number`.
fn fields(dice: &mut Dice, number: usize) -> Fields {
    let now = wall();
    let mut fields = Fields::new();
    fields.insert("x-number", number.to_string());
    let members: Vec<_> = (0..dice.below(4)).map(|_| dice.pick(&RESPONSES)).collect();
    if !members.is_empty() {
        fields.insert("cache-control", members.join(", "));
    }
    match dice.below(8) {
        0 => _ = fields.insert("date", "yesterday".into()),
        1 | 2 => {}
        3 => _ = fields.insert("date", dated(now + Duration::from_secs(dice.pick(&[5, 3_600])))),
        4 => _ = fields.insert("date", dated(now - Duration::from_secs(dice.pick(&[5, 15, 3_600])))),
        _ => _ = fields.insert("date", dated(now)),
    }
    match dice.below(6) {
        0 => _ = fields.insert("expires", dice.pick(&["0", "-1", "soon"]).into()),
        1 | 2 => _ = fields.insert("expires", dated(now + Duration::from_secs(dice.pick(&[0, 30, 90])))),
        _ => {}
    }
    if dice.once_in(5) {
        fields.insert("age", dice.pick(&["0", "5", "15", "15, 70", "x", "-4", "1.5", "99999999999"]).into());
    }
    if dice.once_in(3) {
        let ago = dice.pick(&[100, 400, 86_400, 100 * 86_400]);
        fields.insert("last-modified", dated(now - Duration::from_secs(ago)));
    }
    if dice.once_in(2) {
        fields.insert("etag", "\"a\"".into());
    }
    if dice.once_in(10) {
        let targeted =
            ["max-age=45", "max-age=45, stale-while-revalidate=9", "no-store", "no-cache", "s-maxage=33"];
        fields.insert("cdn-cache-control", dice.pick(&targeted).into());
    }
    fields
}

/// A call and its response.
#[derive(Debug, Clone)]
struct Call {
    response: Stored,
    confirms: bool,
}

type Calls = Arc<Mutex<Vec<Call>>>;

async fn origin(calls: Calls, dice: Arc<Mutex<Dice>>, shared: bool, confirms: bool) -> Answer {
    let sent = wall();
    let (number, delay) = (calls.lock().unwrap().len(), dice.lock().unwrap().pick(&[0, 0, 0, 2, 7]));
    if delay > 0 {
        tokio::time::sleep(Duration::from_secs(delay)).await;
    }
    let mut fields = fields(&mut dice.lock().unwrap(), number);
    let dice = &mut *dice.lock().unwrap();
    let confirms = confirms && !dice.once_in(4);
    let status = if confirms { 304 } else { dice.pick(&[200, 200, 200, 200, 404, 302, 500, 503]) };
    if status >= 500 {
        // A failure that may not be stored leaves what is.
        fields.retain(|name, _| matches!(*name, "x-number" | "date"));
    }
    let mut response = Response::builder().status(status);
    for (name, value) in &fields {
        response = response.header(*name, value);
    }
    let response =
        response.body(TestBody::of(&[&if confirms { String::new() } else { number.to_string() }])).unwrap();
    let stored = Stored { number, status, fields, sent, received: wall(), shared };
    calls.lock().unwrap().push(Call { response: stored, confirms });
    response
}

#[derive(Debug, Default)]
struct Seen {
    fresh: usize,
    stale: usize,
    in_place_of_an_error: usize,
    confirmed: usize,
    refused: usize,
    fetched: usize,
    forbidden: std::collections::BTreeMap<&'static str, usize>,
}

/// What is stored after a call.
fn after(stored: Option<Stored>, call: &Call, request: &Control) -> Option<Stored> {
    let Call { response, confirms } = call;
    if *confirms {
        let stored = stored?;
        let confirmed = stored.confirmed(response);
        if request.has("no-store") {
            return Some(stored);
        }
        let withdrawn = stored.is_withdrawn_by(&confirmed);
        return Some(confirmed).filter(|confirmed| !withdrawn && confirmed.may_be_stored(request));
    }
    if response.may_be_stored(request) {
        return Some(response.clone());
    }
    // What a client does not want kept says nothing about what is kept for others; a failure neither.
    stored.filter(|_| request.has("no-store") || response.status >= 500)
}

async fn run(seed: u64, shared: bool, steps: usize, seen: &mut Seen) {
    BEGAN.set(Some(tokio::time::Instant::now()));
    let dice = Arc::new(Mutex::new(Dice(seed)));
    let calls = Calls::default();
    let cache = Cache::builder().wall_clock(wall).stale_if_unreachable(Duration::ZERO);
    let cache = if shared { cache } else { cache.private() };
    let inner = {
        let (calls, dice) = (Arc::clone(&calls), Arc::clone(&dice));
        tower::service_fn(move |request: http::Request<http_body_util::Full<bytes::Bytes>>| {
            let asked = ["if-none-match", "if-modified-since"]
                .iter()
                .any(|name| request.headers().contains_key(*name));
            let call = origin(Arc::clone(&calls), Arc::clone(&dice), shared, asked);
            async move { Ok::<_, std::convert::Infallible>(call.await) }
        })
    };
    let service = CacheLayer::new(cache.build().unwrap()).layer(inner);
    let mut stored: Option<Stored> = None;
    for _ in 0..steps {
        let line = dice.lock().unwrap().pick(&REQUESTS).to_owned();
        let control = Control::of(Some(&line));
        let asked_at = wall();
        let before = calls.lock().unwrap().len();
        let fields = [("cache-control", &*line)];
        let request = crate::support::request(Method::GET, URI, if line.is_empty() { &[] } else { &fields });
        let response = service.clone().oneshot(request).await.unwrap();
        let answered_at = wall();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let outcome = parts.extensions.get::<CacheOutcome>().map_or("", |outcome| outcome.as_str());
        let in_time: Vec<_> = calls.lock().unwrap()[before..].to_vec();
        // What goes on in the background comes to its end.
        settle().await;
        seconds(10).await;
        settle().await;
        let all: Vec<_> = calls.lock().unwrap()[before..].to_vec();
        let context = || {
            let rule = stored.as_ref().map(|stored| reuse(stored, &control, asked_at));
            format!(
                "seed {seed}, shared {shared}, asked {line:?}, got {outcome} {} {:?} {body:?}\nstored {stored:?}\nrule \
                 {rule:?}, age {:?}, lifetime {:?}\ncalls {all:?}",
                parts.status,
                parts.headers,
                stored.as_ref().map(|stored| stored.age(asked_at)),
                stored.as_ref().map(Stored::lifetime),
            )
        };
        let number = body.parse::<usize>().ok();
        let reused = stored.as_ref().filter(|stored| number == Some(stored.number));
        let rule = stored
            .as_ref()
            .map_or(Rule::MustNot("nothing stored"), |stored| reuse(stored, &control, asked_at));
        let is_error = |call: &Call| matches!(call.response.status, 500 | 502..=504);
        match (outcome, reused) {
            ("hit" | "stale", Some(stored)) if in_time.is_empty() => {
                assert!(!matches!(rule, Rule::MustNot(_)), "{}", context());
                assert_eq!(outcome == "hit", stored.age(asked_at) < stored.lifetime(), "{}", context());
                let age = stored.age(asked_at).as_secs().min(1 << 31).to_string();
                assert_eq!(parts.headers["age"], age, "{}", context());
                seen.fresh += usize::from(outcome == "hit");
                seen.stale += usize::from(outcome == "stale");
            }
            ("stale", Some(stored)) => {
                assert!(
                    is_error(&in_time[0]) && reuse_on_error(stored, &control, answered_at),
                    "{}",
                    context()
                );
                seen.in_place_of_an_error += 1;
            }
            ("revalidated", Some(stored)) => {
                assert!(in_time.len() == 1 && in_time[0].confirms, "{}", context());
                assert_ne!(rule, Rule::Must, "{}", context());
                let confirmed = stored.confirmed(&in_time[0].response);
                let age = confirmed.age(answered_at).as_secs().min(1 << 31).to_string();
                assert_eq!(parts.headers["age"], age, "{}", context());
                seen.confirmed += 1;
            }
            ("not_cached", None) => {
                assert!(control.has("only-if-cached") && all.is_empty(), "{}", context());
                assert_eq!(parts.status, 504, "{}", context());
                assert_ne!(rule, Rule::Must, "{}", context());
                seen.refused += 1;
            }
            ("miss", None) => {
                assert!(in_time.len() == 1 && number == Some(in_time[0].response.number), "{}", context());
                assert!(!control.has("only-if-cached"), "{}", context());
                assert_ne!(rule, Rule::Must, "{}", context());
                seen.fetched += 1;
            }
            _ => panic!("an answer from nowhere\n{}", context()),
        }
        if let Rule::MustNot(rule) = rule {
            *seen.forbidden.entry(rule).or_default() += 1;
        }
        for call in &all {
            stored = after(stored, call, &control);
        }
        let time = dice.lock().unwrap().pick(&[0, 0, 0, 5, 10, 25, 50, 3_600]);
        seconds(time).await;
    }
}

#[tokio::test(start_paused = true)]
async fn random_lives_are_as_the_rules_say() {
    let mut seen = Seen::default();
    let runs = rounds(60, 30_000);
    for seed in 0..runs {
        run(seed as u64, seed % 2 == 0, 100, &mut seen).await;
    }
    println!("{seen:?}");
    let counts =
        [seen.fresh, seen.stale, seen.in_place_of_an_error, seen.confirmed, seen.refused, seen.fetched];
    assert!(counts.iter().chain(seen.forbidden.values()).all(|count| *count > runs / 10), "{seen:?}");
    assert_eq!(seen.forbidden.len(), 10, "{seen:?}");
}
