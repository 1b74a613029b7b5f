//! Nobody gets what was meant for somebody else.

use http::Method;
use tower_cache::{Cache, CacheBuilder};

use crate::support::{Got, Origin, answer, get, request, send};

/// An origin that answers with what it was asked by.
fn echo(response: &'static [(&'static str, &'static str)], fields: &'static [&'static str]) -> Origin {
    Origin::new(move |parts| {
        let said = fields.iter().map(|field| {
            let lines = parts.headers.get_all(*field).iter();
            lines.map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join("+")
        });
        answer(response, &said.collect::<Vec<_>>().join("|"))
    })
}

async fn two(
    cache: CacheBuilder,
    origin: &Origin,
    first: &[(&str, &str)],
    second: &[(&str, &str)],
) -> (Got, Got) {
    let service = origin.behind(cache);
    (get(&service, first).await, get(&service, second).await)
}

#[tokio::test(start_paused = true)]
async fn authorization_is_not_shared_unless_declared() {
    let ask = |fields| async move {
        let origin = echo(fields, &["authorization"]);
        two(Cache::builder(), &origin, &[("authorization", "alice")], &[("authorization", "bob")]).await
    };
    let (first, second) = ask(&[("cache-control", "max-age=60")]).await;
    assert_eq!((&*first.body, &*second.body), ("alice", "bob"));
    for declared in [
        &[("cache-control", "max-age=60, public")],
        &[("cache-control", "s-maxage=60")],
        &[("cache-control", "max-age=60, must-revalidate")],
    ] {
        let (_, second) = ask(declared).await;
        assert_eq!((second.outcome(), &*second.body), ("hit", "alice"), "{declared:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_anonymous_answer_serves_everybody_but_never_the_other_way_round() {
    let origin = echo(&[("cache-control", "max-age=60")], &["authorization"]);
    let (_, second) = two(Cache::builder(), &origin, &[], &[("authorization", "bob")]).await;
    assert_eq!(second.outcome(), "hit");
    let (_, second) = two(Cache::builder(), &origin, &[("authorization", "alice")], &[]).await;
    assert_eq!((second.outcome(), &*second.body), ("miss", ""));
}

#[tokio::test(start_paused = true)]
async fn cookies_are_not_shared_unless_declared() {
    let origin = echo(&[("cache-control", "max-age=60")], &["cookie"]);
    let (_, second) = two(Cache::builder(), &origin, &[("cookie", "a")], &[("cookie", "b")]).await;
    assert_eq!((second.outcome(), &*second.body), ("miss", "b"));
    let lax = Cache::builder().store_cookie_requests(true);
    let (_, second) = two(lax, &origin, &[("cookie", "a")], &[("cookie", "b")]).await;
    assert_eq!((second.outcome(), &*second.body), ("hit", "a"), "the option shares");
    let origin = echo(&[("cache-control", "max-age=60, public")], &["cookie"]);
    let (_, second) = two(Cache::builder(), &origin, &[("cookie", "a")], &[("cookie", "b")]).await;
    assert_eq!(second.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_set_is_not_handed_on() {
    let origin = echo(&[("cache-control", "max-age=60"), ("set-cookie", "session=alice")], &[]);
    let (_, second) = two(Cache::builder(), &origin, &[], &[]).await;
    assert_eq!(second.outcome(), "miss");
    let (_, second) = two(Cache::builder().store_set_cookie(true), &origin, &[], &[]).await;
    assert_eq!((second.outcome(), second.header("set-cookie")), ("hit", Some("session=alice")));
    let origin = echo(&[("cache-control", "max-age=60, public"), ("set-cookie", "lang=en")], &[]);
    let (_, second) = two(Cache::builder(), &origin, &[], &[]).await;
    assert_eq!(second.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn hosts_and_the_names_proxies_give_them_are_told_apart() {
    for field in ["host", "x-forwarded-host", "x-forwarded-proto", "x-host", "x-forwarded-prefix"] {
        let origin = Origin::new(move |parts| {
            let said = parts.headers.get(field).map_or("", |value| value.to_str().unwrap());
            answer(&[("cache-control", "max-age=60")], said)
        });
        let service = origin.behind(Cache::builder());
        let ask = |value: &'static str| {
            let mut request = request(Method::GET, "/orders", &[("host", "example.com")]);
            request.headers_mut().insert(field, value.parse().unwrap());
            send(&service, request)
        };
        ask("evil.example").await;
        let other = ask("good.example").await;
        assert_eq!((other.outcome(), &*other.body), ("miss", "good.example"), "{field}");
        assert_eq!(ask("good.example").await.outcome(), "hit", "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_in_disguise_neither_poison_nor_are_answered() {
    for field in
        ["x-http-method-override", "x-original-url", "x-rewrite-url", "x-method-override", "x-http-method"]
    {
        let origin = echo(&[("cache-control", "max-age=60")], &[]);
        let service = origin.behind(Cache::builder());
        assert_eq!(get(&service, &[(field, "/admin")]).await.outcome(), "bypass");
        assert_eq!(get(&service, &[]).await.outcome(), "miss", "{field} was stored");
        assert_eq!(get(&service, &[]).await.outcome(), "hit");
        assert_eq!(get(&service, &[(field, "/admin")]).await.outcome(), "bypass", "{field} was answered");
    }
}

/// The identity a layer outside has found.
#[derive(Clone)]
struct User(&'static str);

#[tokio::test(start_paused = true)]
async fn a_partition_divides_and_without_it_answers_are_shared() {
    let origin = Origin::new(|parts| {
        let user = parts.extensions.get::<User>().map_or("nobody", |user| user.0);
        answer(&[("cache-control", "max-age=60")], user)
    });
    let divided = Cache::builder().partition(|parts, key| {
        key.add_optional(parts.extensions.get::<User>().map(|user| user.0));
    });
    for (cache, expected) in [(divided, "bob"), (Cache::builder(), "alice")] {
        let service = origin.behind(cache);
        let ask = |user: &'static str| {
            let mut request = request(Method::GET, "http://example.com/", &[]);
            request.extensions_mut().insert(User(user));
            send(&service, request)
        };
        assert_eq!(ask("alice").await.body, "alice");
        assert_eq!(ask("bob").await.body, expected);
        assert_eq!(ask("alice").await.outcome(), "hit");
    }
}

#[tokio::test(start_paused = true)]
async fn head_and_get_do_not_mix() {
    let origin = Origin::new(|parts| {
        let body = if parts.method == Method::HEAD { "" } else { "content" };
        answer(&[("cache-control", "max-age=60")], body)
    });
    let service = origin.behind(Cache::builder());
    let head = || send(&service, request(Method::HEAD, crate::support::URI, &[]));
    assert_eq!(head().await.outcome(), "miss");
    let got = get(&service, &[]).await;
    assert_eq!((got.outcome(), &*got.body), ("miss", "content"), "an empty HEAD response is no GET response");
    let answered = head().await;
    assert_eq!((answered.outcome(), &*answered.body), ("hit", ""));
    assert_eq!(answered.header("content-length"), Some("7"));
}
