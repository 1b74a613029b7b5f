//! Who of a herd waits for whom, where the requests of a herd are not alike.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tower_cache::{Cache, CacheService};

use crate::support::{Got, Origin, Piece, TestBody, URI, answer, get, seconds, settle};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const COOKIE: (&str, &str) = ("cookie", "session=1");
const KEY: (&str, &str) = ("authorization", "Bearer 1");

/// An origin that takes a second.
fn slow(origin: Origin) -> Origin {
    Origin { delay: Duration::from_secs(1), ..origin }
}

/// All at once, in this order.
async fn herd(service: &CacheService<Origin>, requests: &[&[(&'static str, &'static str)]]) -> Vec<Got> {
    let mut tasks = Vec::new();
    for fields in requests {
        let (service, fields) = (service.clone(), fields.to_vec());
        tasks.push(tokio::spawn(async move { get(&service, &fields).await }));
        settle().await;
    }
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn who_has_credentials_does_not_send_all_others_to_the_origin() {
    for own in [COOKIE, KEY] {
        let origin = slow(Origin::sends(&[FRESH]));
        let service = origin.behind(Cache::builder());
        let nobody: &[_] = &[];
        // Whoever comes first may be one whose response is not for others.
        let own = [own];
        let mut requests = vec![&own[..]];
        requests.extend([nobody; 20]);
        herd(&service, &requests).await;
        assert_eq!(origin.calls(), 2, "{own:?}: one for the first and one for all others");
        // Nor is it remembered of what all others ask for.
        seconds(61).await;
        let requests = vec![nobody; 20];
        herd(&service, &requests).await;
        assert_eq!(origin.calls(), 3, "{own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_with_credentials_wait_for_each_other_once_and_for_what_is_declared_public_always() {
    let origin = slow(Origin::sends(&[FRESH]));
    let service = origin.behind(Cache::builder());
    let began = Instant::now();
    herd(&service, &[&[COOKIE][..]; 10]).await;
    assert_eq!((origin.calls(), began.elapsed()), (10, Duration::from_secs(2)));
    let began = Instant::now();
    herd(&service, &[&[COOKIE][..]; 10]).await;
    assert_eq!((origin.calls(), began.elapsed()), (20, Duration::from_secs(1)), "it is remembered");
    let public = slow(Origin::sends(&[("cache-control", "public, max-age=60")]));
    let service = public.behind(Cache::builder());
    herd(&service, &[&[COOKIE][..], &[], &[KEY], &[]]).await;
    assert_eq!(public.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_always_validated_is_not_waited_for_twice() {
    let origin = slow(Origin::new(|parts| {
        let mut response = answer(&[("cache-control", "no-cache"), ("etag", "\"a\"")], "content");
        if parts.headers.contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    }));
    let service = origin.behind(Cache::builder());
    let nobody: &[_] = &[];
    herd(&service, &[nobody]).await;
    for _ in 0..2 {
        let began = Instant::now();
        let all = herd(&service, &[nobody; 10]).await;
        assert!(all.iter().all(|got| got.outcome() == "revalidated" && got.body == "content"));
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(1),
            "each has to be validated, and nobody waits for others"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_for_somebody_leaves_what_all_share() {
    // RFC 9111 §3.5 is about responses to requests with credentials; what is stored was none.
    for (own, control) in [(COOKIE, "max-age=60"), (KEY, "max-age=60"), (("x-new", "1"), "max-age=60")] {
        let origin = Origin::new(move |parts| {
            if !parts.headers.contains_key("if-none-match") {
                return answer(&[("cache-control", control), ("etag", "\"a\"")], "content");
            }
            let fields = [("cache-control", control), ("set-cookie", "session=2")];
            let new = parts.headers.contains_key("x-new");
            let mut confirmed = answer(if new { &fields } else { &fields[..1] }, "");
            *confirmed.status_mut() = StatusCode::NOT_MODIFIED;
            confirmed
        });
        let service = origin.behind(Cache::builder());
        get(&service, &[]).await;
        seconds(60).await;
        let own_answer = get(&service, &[own]).await;
        assert_eq!((own_answer.outcome(), &*own_answer.body), ("revalidated", "content"), "{own:?}");
        assert_eq!(own_answer.header("set-cookie").is_some(), own.0 == "x-new");
        let next = get(&service, &[]).await;
        assert_eq!((next.outcome(), &*next.body), ("revalidated", "content"), "{own:?}: it is still there");
        assert_eq!(next.header("set-cookie"), None);
        let after = get(&service, &[]).await;
        assert_eq!(after.outcome(), "hit", "{own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_to_be_stored_begins_no_fetch_behind_its_answer() {
    let origin = Origin::sends(&[("cache-control", "max-age=10, stale-while-revalidate=60")]);
    let service = origin.behind(Cache::builder());
    get(&service, &[]).await;
    seconds(11).await;
    let no_store = ("cache-control", "no-store");
    assert_eq!(get(&service, &[no_store]).await.outcome(), "stale");
    settle().await;
    assert_eq!(origin.calls(), 1, "its response would be thrown away");
    assert_eq!(get(&service, &[]).await.outcome(), "stale");
    settle().await;
    assert_eq!(origin.calls(), 2);
    assert_eq!(get(&service, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn who_falls_back_with_another_may_still_do_so_by_then() {
    // RFC 5861 §4: counted when the error comes, for each by what it has.
    let origin = slow(Origin::new(|parts| {
        if parts.headers.contains_key("x-fail") {
            let mut failed = answer(&[], "failed");
            *failed.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return failed;
        }
        let kind = parts.headers["x-kind"].to_str().unwrap();
        let control =
            if kind == "long" { "max-age=10, stale-if-error=600" } else { "max-age=10, stale-if-error=2" };
        answer(&[("cache-control", control), ("vary", "x-kind")], kind)
    }));
    let service = origin.behind(Cache::builder());
    for kind in ["long", "short"] {
        get(&service, &[("x-kind", kind)]).await;
    }
    seconds(10).await;
    let fail = ("x-fail", "1");
    let all = herd(&service, &[&[("x-kind", "long"), fail], &[("x-kind", "short"), fail]]).await;
    assert_eq!((all[0].outcome(), &*all[0].body), ("stale", "long"));
    assert_eq!((all[1].outcome(), &*all[1].body), ("stale", "short"), "still within its second");
    let all = herd(&service, &[&[("x-kind", "long"), fail], &[("x-kind", "short"), fail]]).await;
    assert_eq!((all[0].outcome(), &*all[0].body), ("stale", "long"));
    assert_eq!((all[1].outcome(), &*all[1].body), ("miss", "failed"), "its second is over");
}

#[tokio::test(start_paused = true)]
async fn a_herd_of_several_kinds_is_one_call_for_each() {
    let origin = slow(Origin::new(|parts| {
        let coding = parts.headers.get("accept-encoding").map_or("", |coding| coding.to_str().unwrap());
        answer(&[FRESH, ("vary", "accept-encoding")], coding)
    }));
    let service = origin.behind(Cache::builder());
    let gzip = [("accept-encoding", "gzip, br")];
    let other = [("accept-encoding", "br, gzip")];
    let plain = [("accept-encoding", "identity")];
    let none: &[_] = &[];
    let requests: Vec<_> = (0..10).flat_map(|_| [&gzip[..], none, &other, &plain]).collect();
    let all = herd(&service, &requests).await;
    assert_eq!(origin.calls(), 3);
    for (fields, got) in requests.iter().zip(&all) {
        let own =
            fields.first().map_or("", |field| if field.1 == "identity" { "identity" } else { "gzip, br" });
        assert_eq!(got.body, own);
    }
    assert_eq!(all.iter().filter(|got| got.outcome() == "miss").count(), 3);
    let again = herd(&service, &requests).await;
    assert!(again.iter().all(|got| got.outcome() == "hit"));
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_left_to_those_who_are_in_it() {
    for silent_head in [true, false] {
        let origin = Origin::new(|parts| {
            let mut frames = vec![Piece::Data("ha".into())];
            if parts.headers.contains_key("x-hangs") {
                frames.push(Piece::Pause(Duration::from_secs(10_000)));
            }
            frames.push(Piece::Data("lf".into()));
            answer(&[FRESH], "").map(|_| TestBody::new(frames))
        });
        let origin = Origin { delay: Duration::from_secs(if silent_head { 10_000 } else { 0 }), ..origin };
        let cache = Cache::builder().build().unwrap();
        let (hung, sound) = (origin.behind_cache(&cache), Origin { delay: Duration::ZERO, ..origin.clone() });
        let sound = sound.behind_cache(&cache);
        let hangs = tokio::spawn(async move { get(&hung, &[("x-hangs", "1")]).await.body });
        settle().await;
        seconds(if silent_head { 61 } else { 11 }).await;
        let began = Instant::now();
        let next = get(&sound, &[]).await;
        assert_eq!((next.outcome(), &*next.body), ("miss", "half"), "{silent_head}");
        assert!(began.elapsed() < Duration::from_secs(1), "nobody else hangs along: {silent_head}");
        assert_eq!(get(&sound, &[]).await.outcome(), "hit");
        assert_eq!(hangs.await.unwrap(), "half");
        assert_eq!(get(&sound, &[]).await.outcome(), "miss", "that was hours ago");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_no_silent_origin() {
    // What nobody has looked at yet has not hung.
    let origin = Origin::new(|_| {
        let pause = || Piece::Pause(Duration::from_secs(5));
        let frames =
            vec![Piece::Data("a".into()), pause(), Piece::Data("b".into()), pause(), Piece::Data("c".into())];
        answer(&[FRESH], "").map(|_| TestBody::new(frames))
    });
    let service = origin.behind(Cache::builder());
    let response =
        tower::ServiceExt::oneshot(service.clone(), crate::support::request(http::Method::GET, URI, &[]));
    let mut slow = response.await.unwrap().into_body();
    assert!(http_body_util::BodyExt::frame(&mut slow).await.is_some());
    let mut second = Box::pin(http_body_util::BodyExt::frame(&mut slow));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(second);
    seconds(30).await;
    let joined = get(&service, &[]).await;
    assert_eq!((joined.outcome(), &*joined.body, origin.calls()), ("collapsed", "abc", 1));
}

#[tokio::test(start_paused = true)]
async fn who_wants_nothing_but_what_is_stored_sends_nothing_to_the_origin() {
    let origin = Origin::sends(&[("cache-control", "max-age=10, stale-while-revalidate=60")]);
    let service = origin.behind(Cache::builder());
    get(&service, &[]).await;
    seconds(11).await;
    assert_eq!(get(&service, &[("cache-control", "only-if-cached")]).await.outcome(), "stale");
    settle().await;
    assert_eq!(origin.calls(), 1);
}
