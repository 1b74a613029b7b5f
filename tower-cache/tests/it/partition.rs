//! Stored responses divided by what the URI does not say.

use http::Method;
use tower_cache::key::Partition;
use tower_cache::{Cache, CacheBuilder, CacheService};

use crate::support::{Got, Origin, URI, request, send};

/// What a layer outside has found out about the caller.
#[derive(Clone)]
struct Claims {
    tenant: &'static str,
    roles: &'static [&'static str],
}

async fn ask(service: &CacheService<Origin>, claims: Option<Claims>, fields: &[(&str, &str)]) -> Got {
    let mut asked = request(Method::GET, URI, fields);
    if let Some(claims) = claims {
        asked.extensions_mut().insert(claims);
    }
    send(service, asked).await
}

fn by_claim(cache: CacheBuilder) -> CacheBuilder {
    cache.partition(|parts, key: &mut Partition<'_>| {
        key.add_optional(parts.extensions.get::<Claims>().map(|claims| claims.tenant));
    })
}

fn by_header(cache: CacheBuilder) -> CacheBuilder {
    cache.partition(|parts, key: &mut Partition<'_>| {
        key.add_optional(parts.headers.get("x-tenant"));
    })
}

#[tokio::test(start_paused = true)]
async fn by_a_claim_and_by_nothing_else_of_the_caller() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let service = origin.behind(by_claim(Cache::builder()));
    let caller = |tenant, roles| Some(Claims { tenant, roles });
    assert_eq!(ask(&service, caller("a", &["reader"]), &[]).await.outcome(), "miss");
    let same = ask(&service, caller("a", &["writer"]), &[]).await;
    assert_eq!((same.outcome(), &*same.body), ("hit", "1"));
    for other in [caller("b", &["reader"]), caller("", &[]), None] {
        let roles = other.as_ref().map_or(0, |claims| claims.roles.len());
        assert_eq!(ask(&service, other.clone(), &[]).await.outcome(), "miss", "{roles}");
        assert_eq!(ask(&service, other, &[]).await.outcome(), "hit");
    }
    assert_eq!(origin.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn by_a_header_and_by_several_things() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let service = origin.behind(by_header(by_claim(Cache::builder())));
    let claims = |tenant| Some(Claims { tenant, roles: &[] });
    let mut bodies = Vec::new();
    // The two parts do not run into each other.
    for (claim, field) in [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")] {
        let first = ask(&service, claims(claim), &[("x-tenant", field)]).await;
        let second = ask(&service, claims(claim), &[("x-tenant", field)]).await;
        assert_eq!((first.outcome(), second.outcome()), ("miss", "hit"), "{claim} {field}");
        assert_eq!(first.body, second.body);
        bodies.push(first.body);
    }
    bodies.dedup();
    assert_eq!(bodies, ["1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_purge_reaches_all_partitions() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = by_header(Cache::builder()).build().unwrap();
    let service = origin.behind_cache(&cache);
    let tenants = ["a", "b"];
    for tenant in tenants {
        ask(&service, None, &[("x-tenant", tenant)]).await;
        assert_eq!(ask(&service, None, &[("x-tenant", tenant)]).await.outcome(), "hit");
    }
    cache.handle().purge(&URI.parse().unwrap()).await.unwrap();
    for tenant in tenants {
        assert_eq!(ask(&service, None, &[("x-tenant", tenant)]).await.outcome(), "miss");
    }
}
