//! Authorization apart from authentication: roles, rules over typed claims, rules that wait.
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use serde::Deserialize;
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::keys::Algorithm;
use tower_auth::layer::{Authorize, RequireClaims, RequireRoles};
use tower_auth::{
    AuthError, AuthLayer, Authenticator, AuthenticatorBuilder, Issuer, RequireScopes, StaticKeys, TokenFault,
    Verified, authenticator::state::Set,
};

use crate::support::{CLAIMS, SECRET, clock, token};

#[derive(Deserialize)]
struct Mine {
    tenant: String,
}

const RICH: &str = r#"{"iss":"https://issuer.example","aud":"api","sub":"alice","exp":1800000300,"tenant":"blue","permissions":["a","b c"],"realm_access":{"roles":["admin","Key User"]}}"#;

fn builder() -> AuthenticatorBuilder<tower_auth::Claims, Set, Set> {
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    Authenticator::builder()
        .issuer(Issuer::new("https://issuer.example", keys))
        .audience("api")
        .wall_clock(clock)
}

async fn inner(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("in")))
}

type Answer = (StatusCode, Option<String>, Option<AuthError>, String);

macro_rules! send {
    ($service:expr, $uri:expr, $claims:expr) => {{
        let claims: Option<&str> = $claims;
        let mut request = Request::builder().uri($uri);
        if let Some(claims) = claims {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token(claims)));
        }
        let (parts, body) =
            $service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap().into_parts();
        let challenge =
            parts.headers.get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
        let body = body.collect().await.unwrap().to_bytes();
        let answer: Answer = (
            parts.status,
            challenge,
            parts.extensions.get().cloned(),
            String::from_utf8(body.to_vec()).unwrap(),
        );
        answer
    }};
}

const FORBIDDEN: &str =
    r#"Bearer error="insufficient_scope", error_description="The owner of the access token may not do this""#;

fn assert_forbidden(answer: &Answer) {
    assert_eq!((answer.0, answer.1.as_deref()), (StatusCode::FORBIDDEN, Some(FORBIDDEN)));
    assert_eq!(answer.2, Some(AuthError::Forbidden));
    assert!(
        answer.3.contains("\"status\":403") && answer.3.contains("tower_auth/#forbidden"),
        "{}",
        answer.3
    );
}

#[tokio::test]
async fn scopes_and_roles_at_custom_places() {
    let auth = builder().scopes_at("/permissions").roles_at("/realm_access/roles").build().unwrap();
    let layer = AuthLayer::new(auth);
    let scopes = |scopes: &[&str]| {
        layer.layer(RequireScopes::all(scopes.iter().copied()).unwrap().layer(service_fn(inner)))
    };
    assert_eq!(send!(scopes(&["a", "b", "c"]), "/", Some(RICH)).0, StatusCode::OK);
    let other = RICH.replace("permissions", "other");
    assert_eq!(send!(scopes(&["a", "b", "c"]), "/", Some(&other)).0, StatusCode::FORBIDDEN);
    // A role is no scope, and a scope no role.
    assert_eq!(send!(scopes(&["admin"]), "/", Some(RICH)).0, StatusCode::FORBIDDEN);
    let roles = |rule: RequireRoles| layer.layer(rule.layer(service_fn(inner)));
    let all = || roles(RequireRoles::all(["admin", "Key User"]).unwrap());
    assert_eq!(send!(all(), "/", Some(RICH)).0, StatusCode::OK);
    assert_eq!(send!(roles(RequireRoles::any(["x", "admin"]).unwrap()), "/", Some(RICH)).0, StatusCode::OK);
    assert_forbidden(&send!(all(), "/", Some(&RICH.replace("Key User", "key user"))));
    assert_forbidden(&send!(roles(RequireRoles::any(["a"]).unwrap()), "/", Some(RICH)));
    let (status, _, error, _) = send!(all(), "/", Some(&RICH.replace("[\"admin\",", "[7,")));
    assert_eq!((status, error), (StatusCode::UNAUTHORIZED, Some(TokenFault::Claim("roles").into())));
}

/// RFC 8693 §4.2 has a string. Spring Authorization Server, and Duende IdentityServer unless it is told otherwise, write
/// an array.
#[tokio::test]
async fn scopes_in_an_array() {
    let layer = AuthLayer::new(builder().build().unwrap());
    let service = || layer.layer(RequireScopes::all(["read", "write"]).unwrap().layer(service_fn(inner)));
    let with = |scope: &str| RICH.replace("\"permissions\":[\"a\",\"b c\"]", &format!("\"scope\":{scope}"));
    for good in
        [r#""read write""#, r#"["read","write"]"#, r#"["write read"]"#, r#"["write","openid","read"]"#]
    {
        assert_eq!(send!(service(), "/", Some(&with(good))).0, StatusCode::OK, "{good}");
    }
    for less in [r#"["read"]"#, "[]", r#"["read","writer"]"#, r#"["read,write"]"#] {
        assert_eq!(send!(service(), "/", Some(&with(less))).0, StatusCode::FORBIDDEN, "{less}");
    }
    let (status, _, error, _) = send!(service(), "/", Some(&with(r#"["read","write",1]"#)));
    assert_eq!((status, error), (StatusCode::UNAUTHORIZED, Some(TokenFault::Claim("scope").into())));
}

#[tokio::test]
async fn claim_rules_over_typed_claims() {
    let layer = AuthLayer::new(builder().claims::<Mine>().build().unwrap());
    let own = |verified: &Verified<Mine>, request: &Parts| {
        request.uri.path() == format!("/{}", verified.claims().tenant)
    };
    let service = || layer.layer(RequireClaims::new(own).layer(service_fn(inner)));
    assert_eq!(send!(service(), "/blue", Some(RICH)).3, "in");
    assert_forbidden(&send!(service(), "/red", Some(RICH)));
    assert_forbidden(&send!(service(), "/blue", Some(&RICH.replace("blue", "red"))));
    // Scopes are found whatever the claims type is.
    let scoped = layer.layer(RequireScopes::any(["read"]).unwrap().layer(service_fn(inner)));
    let with_scope = RICH.replace("\"sub\"", "\"scope\":\"read\",\"sub\"");
    assert_eq!(send!(scoped.clone(), "/", Some(&with_scope)).0, StatusCode::OK);
    assert_eq!(send!(scoped, "/", Some(RICH)).0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn rules_need_an_authenticated_request() {
    let optional = AuthLayer::new(builder().build().unwrap()).optional();
    let claims =
        optional.layer(RequireClaims::<tower_auth::Claims>::new(|_, _| true).layer(service_fn(inner)));
    assert_eq!(send!(claims.clone(), "/", Some(CLAIMS)).3, "in");
    let (status, challenge, error, _) = send!(claims, "/", None);
    assert_eq!((status, error), (StatusCode::UNAUTHORIZED, Some(AuthError::MissingToken)));
    assert_eq!(challenge.as_deref(), Some(r#"Bearer realm="api""#));
    let rule = Authorize::new(|_: Verified, _: &Parts| async { Ok(()) }).realm("mine");
    let waits = optional.layer(rule.layer(service_fn(inner)));
    assert_eq!(send!(waits.clone(), "/", Some(CLAIMS)).3, "in");
    let (status, challenge, error, _) = send!(waits, "/", None);
    assert_eq!((status, error), (StatusCode::UNAUTHORIZED, Some(AuthError::MissingToken)));
    assert_eq!(challenge.as_deref(), Some(r#"Bearer realm="mine""#));
}

#[tokio::test(start_paused = true)]
async fn asynchronous_rules() {
    let layer = AuthLayer::new(builder().build().unwrap());
    let rule = Authorize::new(|verified: Verified, request: &Parts| {
        let path = request.uri.path().to_owned();
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            match path.as_str() {
                "/slow" => std::future::pending().await,
                "/down" => Err(AuthError::RuleUnavailable { retry_after: Duration::from_millis(2_500) }),
                _ if verified.subject() == Some("alice") => Ok(()),
                _ => Err(AuthError::Forbidden),
            }
        }
    });
    let service = layer.layer(rule.timeout(Duration::from_secs(2)).layer(service_fn(inner)));
    assert_eq!(send!(service.clone(), "/", Some(CLAIMS)).3, "in");
    assert_forbidden(&send!(service.clone(), "/", Some(&CLAIMS.replace("alice", "eve"))));
    for (uri, after) in [("/down", "3"), ("/slow", "1")] {
        let request =
            Request::builder().uri(uri).header(header::AUTHORIZATION, format!("Bearer {}", token(CLAIMS)));
        let response = service.clone().oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{uri}");
        assert_eq!(response.headers()[header::RETRY_AFTER], after, "{uri}");
        assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}

#[test]
fn wrong_configuration_names_its_field() {
    assert!(builder().roles_at("/roles").scopes_at("/a/b").build().is_ok());
    assert_eq!(builder().roles_at("roles").build().unwrap_err().field(), "roles_at");
    assert_eq!(builder().scopes_at("").build().unwrap_err().field(), "scopes_at");
    assert!(RequireRoles::all(["a b"]).is_ok());
    assert_eq!(RequireRoles::all([""]).unwrap_err().field(), "all");
    assert_eq!(RequireRoles::any::<[&str; 0]>([]).unwrap_err().field(), "any");
    assert_eq!(RequireScopes::any(["a b"]).unwrap_err().field(), "any");
    assert_eq!(builder().leeway(Duration::from_secs(301)).build().unwrap_err().field(), "leeway");
    assert!(builder().leeway(Duration::from_secs(300)).build().is_ok());
    // The first mistake of many: it says how long a secret must be.
    let short = StaticKeys::hmac(Algorithm::Hs256, &SECRET[..31]).unwrap_err();
    assert_eq!(short.field(), "hmac");
    assert!(short.to_string().contains("at least those of the hash"), "{short}");
}

#[tokio::test]
async fn realms_of_challenges() {
    for (realm, audience, expected) in [
        (None, "https://api.example/", "https://api.example/"),
        (None, "a\"b\\ü", "ab"),
        (None, "ü", "api"),
        (Some("mine"), "x", "mine"),
    ] {
        let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
        let builder = Authenticator::builder().issuer(Issuer::new("i", keys)).audience(audience);
        let auth = realm.into_iter().fold(builder, AuthenticatorBuilder::realm).build().unwrap();
        let (_, challenge, ..) = send!(AuthLayer::new(auth).layer(service_fn(inner)), "/", None);
        assert_eq!(challenge.unwrap(), format!("Bearer realm=\"{expected}\""));
    }
    let keys = StaticKeys::hmac(Algorithm::Hs256, SECRET).unwrap();
    let auth = Authenticator::builder().issuer(Issuer::new("i", keys)).danger_any_audience().build().unwrap();
    let (_, challenge, ..) = send!(AuthLayer::new(auth).layer(service_fn(inner)), "/", None);
    assert_eq!(challenge.unwrap(), "Bearer realm=\"api\"");
}

/// Behind a server that compares certificates, a token that is bound to one and to nothing else is a bearer token.
#[tokio::test]
async fn tokens_bound_to_certificates() {
    let with_cnf = |cnf: &str| CLAIMS.replace("\"sub\"", &format!("\"cnf\":{cnf},\"sub\""));
    let certificate = with_cnf(r#"{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}"#);
    let refused = Some(AuthError::InvalidToken(TokenFault::SenderConstrained));
    let layer = |compared: bool| {
        let builder = if compared { builder().danger_ignore_certificate_binding() } else { builder() };
        AuthLayer::new(builder.build().unwrap()).layer(service_fn(inner))
    };
    for _ in 0..2 {
        assert_eq!(send!(layer(false), "/", Some(CLAIMS)).0, StatusCode::OK);
        let answer = send!(layer(false), "/", Some(&certificate));
        assert_eq!((answer.0, answer.2), (StatusCode::UNAUTHORIZED, refused.clone()));
        assert_eq!(send!(layer(true), "/", Some(&certificate)).0, StatusCode::OK);
    }
    for cnf in [
        r#"{"jkt":"a"}"#,
        r#"{"jkt":"a","x5t#S256":"b"}"#,
        r#"{"x5t":"b"}"#,
        r#"{"x5t#s256":"b"}"#,
        "{}",
        "7",
    ] {
        assert_eq!(send!(layer(true), "/", Some(&with_cnf(cnf))).2, refused, "{cnf}");
    }
}
