//! The inbound token is passed on to the hosts named for it, and to nobody else.
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::client::{BearerLayer, ForwardToken, InboundLayer, forward_with};
use tower_auth::keys::Algorithm;
use tower_auth::{AuthLayer, Authenticator, Issuer, StaticKeys, Verified};

use crate::support::{CLAIMS, SECRET, clock, token};

fn authenticator() -> Authenticator {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let builder =
        Authenticator::builder().issuer(Issuer::new("https://issuer.example", keys)).audience("api");
    builder.wall_clock(clock).build().unwrap()
}

/// What the upstream sees as `Authorization` when a handler calls it.
async fn called(forward: ForwardToken, uri: &'static str) -> Option<String> {
    let upstream = service_fn(async |request: Request<Empty<Bytes>>| {
        let seen =
            request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        Ok::<_, Infallible>(Response::new(seen))
    });
    let client = BearerLayer::new(forward).layer(upstream);
    let handler = service_fn(move |_: Request<Empty<Bytes>>| {
        let client = client.clone();
        async move {
            tokio::task::yield_now().await;
            let request = Request::get(uri).body(Empty::new()).unwrap();
            let seen = client.oneshot(request).await.unwrap().into_body();
            Ok::<_, Infallible>(Response::new(http_body_util::Full::<Bytes>::from(seen.unwrap_or_default())))
        }
    });
    let server = AuthLayer::new(authenticator()).layer(InboundLayer::new().layer(handler));
    let authorization = format!("Bearer {}", token(CLAIMS));
    let request = Request::get("/").header(header::AUTHORIZATION, authorization).body(Empty::new()).unwrap();
    let response = server.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    Some(String::from_utf8(seen.to_vec()).unwrap()).filter(|seen| !seen.is_empty())
}

#[tokio::test]
async fn only_the_named_hosts_get_the_token() {
    let forward = || ForwardToken::to_hosts(["inventory.internal", "stock.internal:8443"]).unwrap();
    let expected = Some(format!("Bearer {}", token(CLAIMS)));
    for uri in
        ["https://inventory.internal/a", "https://INVENTORY.internal:444/a", "https://stock.internal:8443/"]
    {
        assert_eq!(called(forward(), uri).await, expected, "{uri}");
    }
    for uri in [
        "http://inventory.internal/a",
        "https://inventory.internal.evil.example/a",
        "https://evil.example/inventory.internal",
        "https://a.inventory.internal/",
        "https://inventory.internal@evil.example/",
        "https://evil.example@inventory.internal/",
        "https://inventory.internal./",
        "https://stock.internal/",
        "https://stock.internal:8444/",
        "/relative",
    ] {
        assert_eq!(called(forward(), uri).await, None, "{uri}");
    }
    assert_eq!(called(forward().danger_allow_http(), "http://inventory.internal/a").await, expected);
}

#[test]
fn hosts_that_cannot_be_meant() {
    assert!(ForwardToken::to_hosts(["inventory"]).is_ok());
    for bad in ["", "*.internal", "https://inventory", "a@b", "inventory:", "inventory:99999", "a b"] {
        assert_eq!(ForwardToken::to_hosts([bad]).unwrap_err().field(), "to_hosts", "{bad:?}");
    }
    assert_eq!(ForwardToken::to_hosts([""; 0]).unwrap_err().field(), "to_hosts");
}

#[tokio::test]
async fn each_hop_of_a_redirect_is_looked_at_again() {
    let upstream = service_fn(async |request: Request<Empty<Bytes>>| {
        let mut response = Response::new(request.headers().contains_key(header::AUTHORIZATION));
        if request.uri().host() == Some("inventory.internal") {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            response.headers_mut().insert(header::LOCATION, "https://evil.example/".parse().unwrap());
        }
        Ok::<_, Infallible>(response)
    });
    let client = BearerLayer::new(ForwardToken::to_hosts(["inventory.internal"]).unwrap()).layer(upstream);
    let verified = authenticator().verify(&token(CLAIMS)).await.unwrap();
    let mut uri: http::Uri = "https://inventory.internal/".parse().unwrap();
    let mut had_token = Vec::new();
    loop {
        let mut request = Request::get(&uri).body(Empty::new()).unwrap();
        forward_with(request.extensions_mut(), &verified);
        let response = client.clone().oneshot(request).await.unwrap();
        had_token.push(*response.body());
        match response.headers().get(header::LOCATION) {
            Some(location) => uri = location.to_str().unwrap().parse().unwrap(),
            None => break,
        }
    }
    assert_eq!(had_token, [true, false]);
}

#[tokio::test]
async fn a_proxy_passes_its_request_on_and_one_task_does_not_see_the_token_of_another() {
    let upstream = service_fn(async |request: Request<Empty<Bytes>>| {
        let subject = request.extensions().get::<Verified>().and_then(Verified::subject).map(str::to_owned);
        Ok::<_, Infallible>(Response::new((request.headers().contains_key(header::AUTHORIZATION), subject)))
    });
    let client = BearerLayer::new(ForwardToken::to_hosts(["inventory.internal"]).unwrap()).layer(upstream);
    let request = || Request::get("https://inventory.internal/").body(Empty::new()).unwrap();
    // No inbound request, no token.
    assert!(!client.clone().oneshot(request()).await.unwrap().into_body().0);
    let verified = authenticator().verify(&token(CLAIMS)).await.unwrap();
    let mut with = request();
    forward_with(with.extensions_mut(), &verified);
    assert!(client.clone().oneshot(with).await.unwrap().into_body().0);
    let spawned = tokio::spawn(client.oneshot(request()));
    assert!(!spawned.await.unwrap().unwrap().into_body().0);
}

/// Clients that begin in `call` find the token as those do that begin when they are polled.
#[tokio::test]
async fn services_that_begin_in_call_find_the_token() {
    let upstream = service_fn(async |request: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(request.headers().contains_key(header::AUTHORIZATION)))
    });
    let client = BearerLayer::new(ForwardToken::to_hosts(["inventory.internal"]).unwrap()).layer(upstream);
    let handler = service_fn(move |_: Request<Empty<Bytes>>| {
        // Here, and not in the future.
        let sent =
            client.clone().oneshot(Request::get("https://inventory.internal/").body(Empty::new()).unwrap());
        let mut sent = Box::pin(sent);
        let at_once = futures_util::FutureExt::now_or_never(sent.as_mut());
        let seen = at_once.is_some_and(|answer| answer.unwrap().into_body());
        std::future::ready(Ok::<_, Infallible>(Response::new(http_body_util::Full::<Bytes>::from(
            seen.to_string(),
        ))))
    });
    let server = AuthLayer::new(authenticator()).layer(InboundLayer::new().layer(handler));
    let authorization = format!("Bearer {}", token(CLAIMS));
    let request = Request::get("/").header(header::AUTHORIZATION, authorization).body(Empty::new()).unwrap();
    let body = http_body_util::BodyExt::collect(server.oneshot(request).await.unwrap().into_body()).await;
    assert_eq!(body.unwrap().to_bytes(), "true");
}

/// A token that is bound to its sender's key is worth nothing to anybody else, and is not shown to them (RFC 9449 §11.3).
#[cfg(feature = "dpop")]
#[tokio::test]
async fn bound_tokens_are_not_passed_on() {
    use tower_auth::client::{Rejected, find_rejection};
    use tower_auth::dpop::{DpopKey, DpopLayer, DpopPolicy};

    let (key, calls) = (DpopKey::generate().unwrap(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let log = std::sync::Arc::clone(&calls);
    let upstream = service_fn(move |request: Request<Empty<Bytes>>| {
        log.lock().unwrap().push(request.headers().contains_key(header::AUTHORIZATION));
        std::future::ready(Ok::<_, Infallible>(Response::new(())))
    });
    let client = BearerLayer::new(ForwardToken::to_hosts(["inventory.internal"]).unwrap()).layer(upstream);
    let handler = service_fn(move |request: Request<Empty<Bytes>>| {
        let client = client.clone();
        async move {
            let to = |uri: &str| Request::get(uri).body(Empty::new()).unwrap();
            let refused = client.clone().oneshot(to("https://inventory.internal/")).await.err();
            let elsewhere = client.clone().oneshot(to("https://other.internal/")).await.is_ok();
            let mut explicit = to("https://inventory.internal/");
            forward_with(explicit.extensions_mut(), request.extensions().get::<Verified>().unwrap());
            let also = client.oneshot(explicit).await.err();
            let bound = |error: &Option<tower_auth::client::Error<Infallible>>| {
                error.as_ref().and_then(|error| find_rejection(error)) == Some(&Rejected::SenderConstrained)
            };
            let seen = format!("{} {} {elsewhere}", bound(&refused), bound(&also));
            Ok::<_, Infallible>(Response::new(http_body_util::Full::<Bytes>::from(seen)))
        }
    });
    let policy = DpopPolicy::builder("https://api.example".parse().unwrap()).build().unwrap();
    let server = AuthLayer::new(authenticator()).dpop(policy).layer(InboundLayer::new().layer(handler));
    let sender = DpopLayer::new(key.clone()).wall_clock(clock).layer(server);
    let bound = CLAIMS.replace("\"sub\"", &format!(r#""cnf":{{"jkt":"{}"}},"sub""#, key.thumbprint()));
    let send = async |authorization: String| {
        let request = Request::get("https://api.example/").header(header::AUTHORIZATION, authorization);
        let answer = sender.clone().oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes()
    };
    // The same with a token that anybody may carry: passed on to the one host.
    assert_eq!(send(format!("Bearer {}", token(CLAIMS))).await, "false false true");
    assert_eq!(std::mem::take(&mut *calls.lock().unwrap()), [true, false, true]);
    assert_eq!(send(format!("DPoP {}", token(&bound))).await, "true true true");
    assert_eq!(*calls.lock().unwrap(), [false], "only the other host was called, without a token");
}
