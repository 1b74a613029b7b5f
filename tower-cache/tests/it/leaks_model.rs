//! Random users before a random origin: nobody gets what the rules do not allow.
//!
//! Three users send requests with random identities, languages, hosts, tenants, forwarded names and disguises, several
//! at once; the origin's responses bear a number and random directives; in between things are purged and time goes by.
//! The state is never reset within a run. Each response that reaches a user is traced back by its number to the call it
//! came from, and [`forbidden`] says whether that call's response was one to hand on.
//!
//! That it bites was tried by taking rules out of `src` by hand, one at a time, after which this test failed each time:
//!
//! - storing: `Authorization` (§3.5), `Cookie`, `Set-Cookie`, `private`, `no-store` of the response, `no-store` of the
//!   request, `must-understand` with a status that is not understood, fields that `no-cache` names, fields that
//!   `Connection` names;
//! - choosing: `Vary` of what is stored, `Vary` among those who wait for the same call, `Vary: *`, the partition, the
//!   forwarded names, a `Host` beside another one in the URI, disguised methods and paths, content in a GET;
//! - time: freshness, `no-cache` of the response, `no-cache` of the request;
//! - invalidation: purges seen by a lookup, the stamp that a commit is refused by, soft purges, joining a call that
//!   began before a purge, unsafe methods;
//! - confirmation: a 304 that forbids to keep what it confirms, a 304 that names other fields in `Vary`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_cache::{Cache, CacheLayer, CacheOutcome, MemoryStore};

use crate::cancel_world::Lazy;
use crate::dice::{Dice, rounds};
use crate::leaks_world::{Asked, Log, Made, Number, Shared, Tenant, asks, forbidden, responds};
use crate::support::settle;

/// How often things happened that the rules are about.
#[derive(Debug, Default)]
struct Seen {
    own: usize,
    hits: usize,
    collapsed: usize,
    confirmed: usize,
    heads: usize,
    personal: usize,
    invalidated: usize,
}

struct Got {
    asked: Asked,
    status: StatusCode,
    headers: http::HeaderMap,
    outcome: &'static str,
    body: String,
    at: tokio::time::Instant,
}

/// A call arrives: it is noted, and answered after a while.
async fn origin(log: Shared, dice: Arc<Mutex<Dice>>, parts: http::request::Parts) -> crate::support::Answer {
    let event = parts.extensions.get::<Number>().unwrap().0;
    let (number, delay) = {
        let mut log = log.lock().unwrap();
        let asked = log.asked.iter().find(|asked| asked.event == event).unwrap().clone();
        let made = Made { asked, event: log.event(), status: 0, fields: Default::default(), answered: None };
        log.made.push(made);
        (log.made.len() - 1, dice.lock().unwrap().below(4) as u64)
    };
    if delay > 0 {
        tokio::time::sleep(Duration::from_secs(delay)).await;
    }
    let mut log = log.lock().unwrap();
    let known = parts.headers.get("if-none-match").map(|etag| etag.to_str().unwrap().trim_matches('"'));
    let known: Option<usize> = known.map(|number| number.parse().unwrap());
    let asked = log.made[number].asked.clone();
    let known_call = known.map(|known| log.made[known].clone());
    let (status, fields, response) = responds(&mut dice.lock().unwrap(), number, &asked, known_call.as_ref());
    if status == 304 {
        log.confirmed.push((number, known.unwrap()));
    }
    let made = &mut log.made[number];
    (made.status, made.fields, made.answered) = (status, fields, Some(tokio::time::Instant::now()));
    response
}

/// Looks at a response with the eyes of the rules.
fn judge(log: &Log, got: &Got, seen: &mut Seen) {
    let now = &got.asked;
    let number = |value: &str| value.parse::<usize>().unwrap();
    let fields = number(got.headers["x-serial"].to_str().unwrap());
    let confirmed = log.confirmed.iter().find(|(by, _)| *by == fields).map_or(fields, |(_, of)| *of);
    let content = if got.body.is_empty() { confirmed } else { number(&got.body) };
    let last = &log.made[fields];
    let context = || {
        format!(
            "to {now:?}\ncame {} {:?}\nof {:?}\nconfirmed by {last:?}\npurges {:?}",
            got.outcome, got.headers, log.made[content], log.purges
        )
    };
    let mine = |made: &Made| made.asked.event == now.event;
    if content != fields {
        let confirmed = log.confirmed.contains(&(fields, content)) || last.asked.method == Method::HEAD;
        assert!(confirmed, "the fields of one response with the content of another\n{}", context());
    }
    if mine(last) {
        seen.own += usize::from(content == fields);
        seen.confirmed += usize::from(content != fields);
    } else {
        let own_confirmation = log.confirmed.iter().any(|(by, of)| *of == content && mine(&log.made[*by]));
        assert!(!own_confirmation, "confirmed, and answered with what was said before\n{}", context());
        for made in [&log.made[content], last] {
            if let Some(rule) = forbidden(log, made, last, now, got.at) {
                panic!("{rule}\n{}", context());
            }
        }
        for hop in ["x-hop", "connection"] {
            assert!(!got.headers.contains_key(hop), "RFC 9111 §3.1: {hop} was stored\n{}", context());
        }
        let withheld = last.fields.get("cdn-cache-control").or(last.fields.get("cache-control"));
        let withheld = withheld.is_some_and(|control| control.contains("no-cache=\"x-secret\""));
        assert!(
            !withheld || !got.headers.contains_key("x-secret"),
            "RFC 9111 §5.2.2.4: the field that no-cache names\n{}",
            context()
        );
        assert_eq!(got.status.as_u16(), log.made[content].status, "{}", context());
        seen.hits += usize::from(got.outcome == "hit");
        seen.collapsed += usize::from(got.outcome == "collapsed");
        let asked = &log.made[content].asked.fields;
        seen.personal += usize::from(asked.contains_key("authorization") || asked.contains_key("cookie"));
        seen.heads += usize::from(now.method == Method::HEAD);
    }
}

/// So many events in one world.
async fn run(seed: u64, events: usize, seen: &mut Seen) {
    let dice = Arc::new(Mutex::new(Dice(seed)));
    let log = Shared::default();
    let cache = Cache::builder().partition(|parts, key| {
        key.add_optional(parts.extensions.get::<Tenant>().unwrap().0);
    });
    let store = Lazy { inner: MemoryStore::default(), pends: dice.lock().unwrap().pick(&[0, 0, 1, 3]) };
    let cache = cache.store(store).build().unwrap();
    let handle = cache.handle();
    let inner = {
        let (log, dice) = (Arc::clone(&log), Arc::clone(&dice));
        tower::service_fn(move |request: http::Request<http_body_util::Full<bytes::Bytes>>| {
            let call = origin(Arc::clone(&log), Arc::clone(&dice), request.into_parts().0);
            async move { Ok::<_, std::convert::Infallible>(call.await) }
        })
    };
    let service = CacheLayer::new(cache).layer(inner);
    let mut running = Vec::new();
    for _ in 0..events {
        let action = dice.lock().unwrap().below(80);
        if action < 65 {
            let mut asked = asks(&mut dice.lock().unwrap());
            {
                let mut log = log.lock().unwrap();
                asked.event = log.event();
                log.asked.push(asked.clone());
            }
            let (service, log) = (service.clone(), Arc::clone(&log));
            running.push(tokio::spawn(async move {
                let response = service.oneshot(asked.request()).await.unwrap();
                let at = tokio::time::Instant::now();
                let (parts, body) = response.into_parts();
                let changed = parts.status.is_success() || parts.status.is_redirection();
                if !asked.method.is_safe() && changed {
                    let mut log = log.lock().unwrap();
                    let purge = (log.event(), asked.target(), true);
                    log.purges.push(purge);
                }
                let body = body.collect().await.unwrap().to_bytes();
                let outcome = parts.extensions.get::<CacheOutcome>().map_or("", |outcome| outcome.as_str());
                let body = String::from_utf8(body.to_vec()).unwrap();
                Got { asked, status: parts.status, headers: parts.headers, outcome, body, at }
            }));
        } else if action < 78 {
            let time = dice.lock().unwrap().pick(&[1, 1, 1, 2, 4, 10, 61]);
            crate::support::seconds(time).await;
        } else {
            let start =
                dice.lock().unwrap().pick(&["http://one.example/a", "http://one.example/", "http://"]);
            let soft = dice.lock().unwrap().once_in(3);
            let whole = start.ends_with('a');
            let result = match (whole, soft) {
                (true, true) => handle.soft_purge(&start.parse().unwrap()).await,
                (true, false) => handle.purge(&start.parse().unwrap()).await,
                (false, true) => handle.soft_purge_prefix(start).await,
                (false, false) => handle.purge_prefix(start).await,
            };
            result.unwrap();
            let mut log = log.lock().unwrap();
            let purge = (log.event(), start.to_owned(), whole);
            log.purges.push(purge);
            seen.invalidated += 1;
        }
        settle().await;
        let (done, rest): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|task: &tokio::task::JoinHandle<Got>| task.is_finished());
        running = rest;
        for task in done {
            let got = task.await.unwrap();
            judge(&log.lock().unwrap(), &got, seen);
        }
    }
    for task in running {
        let got = task.await.unwrap();
        judge(&log.lock().unwrap(), &got, seen);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_what_the_rules_do_not_allow() {
    let mut seen = Seen::default();
    let runs = rounds(20, 6_000);
    for seed in 0..runs {
        run(seed as u64, 400, &mut seen).await;
    }
    println!("{seen:?}");
    let enough =
        [seen.hits / 10, seen.collapsed, seen.confirmed, seen.heads, seen.personal, seen.invalidated];
    assert!(enough.iter().all(|count| *count > runs), "too little of something happened: {seen:?}");
}
