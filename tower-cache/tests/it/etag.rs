//! Entity tags that the cache makes.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tower_cache::{Cache, CacheBuilder};

use crate::support::{Origin, Piece, TestBody, URI, answer, get, request, seconds, send, settle};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn tagging() -> CacheBuilder {
    Cache::builder().etags(true)
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_has_one_and_later_conditions_are_answered_with_304() {
    let origin = Origin::new(|_| answer(&[FRESH], "content"));
    let service = origin.behind(tagging());
    assert_eq!(get(&service, &[]).await.header("etag"), None, "it was not known when the fields went out");
    let hit = get(&service, &[]).await;
    let etag = hit.header("etag").unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "strong: {etag}");
    assert_eq!((hit.outcome(), &*hit.body), ("hit", "content"));
    let had = get(&service, &[("if-none-match", &etag)]).await;
    assert_eq!((had.status, had.outcome(), &*had.body), (StatusCode::NOT_MODIFIED, "hit", ""));
    assert_eq!(get(&service, &[("if-none-match", "\"other\"")]).await.status, StatusCode::OK);
    let head = send(&service, request(Method::HEAD, URI, &[])).await;
    assert_eq!(head.header("etag"), Some(&*etag));
    let part = get(&service, &[("range", "bytes=0-2"), ("if-range", &etag)]).await;
    assert_eq!((part.status, &*part.body), (StatusCode::PARTIAL_CONTENT, "con"));
    let whole = get(&service, &[("range", "bytes=0-2"), ("if-range", "\"other\"")]).await;
    assert_eq!((whole.status, &*whole.body), (StatusCode::OK, "content"));
    assert_eq!(origin.calls(), 1);
    // Another cache makes the same of the same.
    let other = origin.behind(tagging());
    get(&other, &[]).await;
    assert_eq!(get(&other, &[]).await.header("etag"), Some(&*etag));
}

#[tokio::test(start_paused = true)]
async fn it_is_another_when_the_content_is() {
    let origin = Origin::sends(&[FRESH]);
    let service = origin.behind(tagging());
    get(&service, &[]).await;
    let first = get(&service, &[]).await.header("etag").unwrap().to_owned();
    seconds(60).await;
    get(&service, &[("if-none-match", &first)]).await;
    let second = get(&service, &[]).await;
    assert_eq!((second.outcome(), &*second.body), ("hit", "2"));
    assert_ne!(second.header("etag"), Some(&*first));
    assert_eq!(get(&service, &[("if-none-match", &first)]).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn by_default_on_other_statuses_and_beside_the_origins_own_there_is_none() {
    let tag = |cache: CacheBuilder, status: u16, own: bool| async move {
        let origin = Origin::new(move |_| {
            let fields = [FRESH, ("etag", "W/\"own\"")];
            let mut response = answer(&fields[..if own { 2 } else { 1 }], "content");
            *response.status_mut() = status.try_into().unwrap();
            response
        });
        let service = origin.behind(cache);
        get(&service, &[]).await;
        let hit = get(&service, &[]).await;
        assert_eq!(hit.outcome(), "hit");
        hit.header("etag").map(str::to_owned)
    };
    assert!(tag(tagging(), 200, false).await.is_some());
    assert_eq!(tag(Cache::builder(), 200, false).await, None);
    assert_eq!(tag(tagging(), 200, true).await.as_deref(), Some("W/\"own\""));
    for status in [203, 301, 404, 500] {
        assert_eq!(tag(tagging(), status, false).await, None, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_origin_never_sees_it_and_is_asked_by_its_own_date() {
    const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let origin = Origin::new(|parts| {
        let mut response = answer(&[FRESH, MODIFIED], "content");
        if parts.headers.contains_key("if-modified-since") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    });
    let service = origin.behind(tagging());
    get(&service, &[]).await;
    let etag = get(&service, &[]).await.header("etag").unwrap().to_owned();
    for _ in 0..2 {
        seconds(60).await;
        let validated = get(&service, &[("if-none-match", &etag)]).await;
        assert_eq!((validated.status, validated.outcome()), (StatusCode::NOT_MODIFIED, "revalidated"));
        assert!(!origin.last().contains_key("if-none-match"));
        assert_eq!(origin.last()["if-modified-since"], MODIFIED.1);
        let hit = get(&service, &[]).await;
        assert_eq!((hit.outcome(), hit.header("etag")), ("hit", Some(&*etag)), "kept with the content");
    }
    // Without a date there is nothing to ask it by: a stale response is fetched anew.
    let origin = Origin::sends(&[FRESH]);
    let service = origin.behind(tagging());
    get(&service, &[]).await;
    seconds(60).await;
    assert_eq!(get(&service, &[]).await.body, "2");
    assert!(!origin.last().contains_key("if-none-match"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_back_for_it() {
    let origin = Origin::new(|_| {
        let pieces = ["first", "second"].map(|piece| Piece::Data(Bytes::from(piece)));
        let [first, second] = pieces;
        let pause = Piece::Pause(std::time::Duration::from_secs(5));
        let body = TestBody::new(vec![first, pause, second]);
        Response::builder().header(FRESH.0, FRESH.1).body(body).unwrap()
    });
    let service = origin.behind(tagging());
    let response = tower::ServiceExt::oneshot(service.clone(), request(Method::GET, URI, &[])).await.unwrap();
    let began = tokio::time::Instant::now();
    let mut body = response.into_body();
    let first = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
    assert_eq!((first.into_data().unwrap(), began.elapsed().as_secs()), (Bytes::from("first"), 0));
    while http_body_util::BodyExt::frame(&mut body).await.is_some() {}
    settle().await;
    let hit = get(&service, &[]).await;
    assert_eq!((hit.outcome(), &*hit.body, hit.header("etag").is_some()), ("hit", "firstsecond", true));
}
