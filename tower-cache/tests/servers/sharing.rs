//! What one process stores, another answers with.

use redis::Commands;

use crate::server::{PATIENCE, Server, within};
use crate::support::{Origin, Process, URI, response};

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_responses_with_all_that_belongs_to_them() {
    let server = Server::start();
    let origin = Origin::new(|_, call| {
        let mut response =
            response(&[("cache-control", "max-age=600"), ("x-own", "a"), ("x-own", "b")], call.to_string());
        response.headers_mut().insert("age", 7.into());
        *response.status_mut() = http::StatusCode::NON_AUTHORITATIVE_INFORMATION;
        response
    });
    let (one, other) = (Process::new(&server.url(), &origin), Process::new(&server.url(), &origin));
    assert_eq!(one.get(URI, &[]).await.outcome, "miss");
    let got = other.until_hit(URI, &[]).await;
    assert_eq!((got.status.as_u16(), &*got.body), (203, "1"));
    assert_eq!(got.headers.get_all("x-own").iter().collect::<Vec<_>>(), ["a", "b"]);
    let age: u64 = got.headers["age"].to_str().unwrap().parse().unwrap();
    assert!((7..600).contains(&age), "{age}");
    assert_eq!(origin.calls(), 1);
    assert_eq!(one.get(URI, &[]).await.outcome, "hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_told_apart_and_bounded() {
    let server = Server::start();
    let origin = Origin::new(|request, call| {
        let language = request.headers.get("accept-language").map_or("", |value| value.to_str().unwrap());
        response(
            &[("cache-control", "max-age=600"), ("vary", "accept-language")],
            format!("{language} {call}"),
        )
    });
    let store = || tower_cache::redis::RedisStore::builder(&server.url()).unwrap().max_variants(2);
    let (one, other) = (Process::of(store(), &origin), Process::of(store(), &origin));
    for language in ["de", "en"] {
        one.get(URI, &[("accept-language", language)]).await;
        let got = other.until_hit(URI, &[("accept-language", language)]).await;
        assert!(got.body.starts_with(language), "{}", got.body);
        // Which one is older is known to the millisecond.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!((other.get(URI, &[]).await.outcome, origin.calls()), ("miss", 3));
    other.until_hit(URI, &[]).await;
    assert_eq!(other.get(URI, &[("accept-language", "de")]).await.outcome, "miss", "the oldest has gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_contents_lie_in_pieces_which_go_when_they_are_replaced() {
    let server = Server::start();
    let large = |call: usize| (0..200_000).map(|n| format!("{n}-{call} ")).collect::<String>();
    let origin = Origin::new(move |_, call| response(&[("cache-control", "max-age=600")], large(call)));
    let (one, other) = (Process::new(&server.url(), &origin), Process::new(&server.url(), &origin));
    one.get(URI, &[]).await;
    assert_eq!(other.until_hit(URI, &[]).await.body, large(1));
    let pieces = || server.connection().keys::<_, Vec<String>>("*:b:*").unwrap();
    let first = pieces();
    assert!(first.len() > 1, "{first:?}");
    one.get(URI, &[("cache-control", "no-cache")]).await;
    let replaced = || {
        let now = pieces();
        now.len() == first.len() && now.iter().all(|piece| !first.contains(piece))
    };
    assert!(within(PATIENCE, replaced), "{:?}", pieces());
    assert_eq!(other.until_hit(URI, &[]).await.body, large(2));
    // A piece that the server has evicted makes a miss, and the response is stored anew.
    let _: () = server.connection().del(&pieces()[0]).unwrap();
    let got = other.get(URI, &[]).await;
    assert_eq!((got.outcome, got.body), ("miss", large(3)));
    assert_eq!(one.until_hit(URI, &[]).await.body, large(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_passes() {
    let server = Server::start();
    let origin = Origin::new(|_, _| response(&[("cache-control", "max-age=600")], "x".repeat(2000)));
    let store = |bytes| tower_cache::redis::RedisStore::builder(&server.url()).unwrap().max_body(bytes);
    let fits = Process::of(store(2000), &origin);
    fits.get("http://example.com/fits", &[]).await;
    fits.until_hit("http://example.com/fits", &[]).await;
    let large = Process::of(store(1999), &origin);
    for call in 2..5 {
        assert_eq!(large.get(URI, &[]).await.outcome, "miss");
        assert_eq!(origin.calls(), call);
    }
    assert_eq!(server.connection().keys::<_, Vec<String>>("*:r:*").unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validated_response_keeps_its_content_and_has_newer_fields() {
    let server = Server::start();
    for size in [10, 1_000_000] {
        let origin = Origin::new(move |request, call| {
            let own = call.to_string();
            let fields = [("cache-control", "max-age=600"), ("etag", "\"a\""), ("x-call", &*own)];
            let mut answer = response(&fields, "x".repeat(size));
            if request.headers.contains_key("if-none-match") {
                *answer.status_mut() = http::StatusCode::NOT_MODIFIED;
                answer.body_mut().clear();
            }
            answer
        });
        let (one, other) = (Process::new(&server.url(), &origin), Process::new(&server.url(), &origin));
        let uri = format!("{URI}/{size}");
        one.get(&uri, &[]).await;
        other.until_hit(&uri, &[]).await;
        other.handle.soft_purge(&uri.parse().unwrap()).await.unwrap();
        let got = other.get(&uri, &[]).await;
        assert_eq!(
            (got.outcome, got.body.len(), &got.headers["x-call"]),
            ("revalidated", size, &"2".parse().unwrap())
        );
        assert!(origin.last().contains_key("if-none-match"));
        let got = one.until_hit(&uri, &[]).await;
        assert_eq!(
            (got.body.len(), &got.headers["x-call"], origin.calls()),
            (size, &"2".parse().unwrap(), 2)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_share_nothing_and_everything_expires() {
    let server = Server::start();
    let origin = Origin::sends(&[("cache-control", "max-age=600"), ("cache-tag", "a")]);
    let store = |name: &str| tower_cache::redis::RedisStore::builder(&server.url()).unwrap().namespace(name);
    let (one, other) = (Process::of(store("one"), &origin), Process::of(store("other"), &origin));
    one.get(URI, &[]).await;
    one.until_hit(URI, &[]).await;
    assert_eq!(other.get(URI, &[]).await.outcome, "miss");
    other.until_hit(URI, &[]).await;
    other.handle.purge(&URI.parse().unwrap()).await.unwrap();
    assert_eq!(one.get(URI, &[]).await.outcome, "hit");
    let mut connection = server.connection();
    for key in connection.keys::<_, Vec<String>>("*").unwrap() {
        let ttl: i64 = connection.pttl(&key).unwrap();
        // -2: it has gone meanwhile.
        let expires = ttl == -2 || ttl > 0 && ttl <= 8 * 24 * 3600 * 1000;
        assert!(expires || key.ends_with("{log}"), "{key}: {ttl}");
    }
    for name in ["", "a b", "{a}", &"x".repeat(65)] {
        assert_eq!(store(name).build().unwrap_err().field(), "namespace", "{name}");
    }
    assert_eq!(tower_cache::redis::RedisStore::new("http://127.0.0.1").unwrap_err().field(), "url");
    assert_eq!(tower_cache::redis::RedisStore::cluster([]).unwrap_err().field(), "urls");
}
