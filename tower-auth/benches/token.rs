//! A token to typed claims without a cache, beside the signature alone; and one key among many.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use tower_auth::keys::{Algorithm, KeySet};

mod support;
use support::{KINDS, Kind};

fn tokens(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token");
    for kind in KINDS.map(Kind::new) {
        let tokens: Vec<String> = (0..100).map(|number| kind.token(number)).collect();
        let parts: Vec<(&str, Vec<u8>)> = tokens
            .iter()
            .filter_map(|token| token.rsplit_once('.'))
            .map(|(signed, signature)| (signed, URL_SAFE_NO_PAD.decode(signature).unwrap()))
            .collect();
        let mut at = 0;
        group.bench_function(format!("signature alone/{}", kind.name), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % parts.len();
                let (signed, signature) = &parts[at];
                let verifier = (DEFAULT_PROVIDER.verifier_factory)(&kind.algorithm, &kind.decoding).unwrap();
                assert!(verifier.verify(black_box(signed.as_bytes()), signature).is_ok());
            });
        });
        let authenticator = kind.authenticator(0);
        group.bench_function(format!("typed claims/{}", kind.name), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % tokens.len();
                let mut cx = Context::from_waker(Waker::noop());
                let Poll::Ready(result) = pin!(authenticator.verify(black_box(&tokens[at]))).poll(&mut cx)
                else {
                    panic!("nothing in here waits")
                };
                assert_eq!(result.unwrap().claims().tenant, "north");
            });
        });
    }
    group.finish();
}

/// The lookup alone: whether there is a key for this id and algorithm.
fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keys");
    for count in [1_usize, 100, 10_000] {
        let key = |number| {
            let secret = URL_SAFE_NO_PAD.encode(format!("{number:064}"));
            format!(r#"{{"kty":"oct","kid":"key-{number}","alg":"HS256","k":"{secret}"}}"#)
        };
        let all: Vec<String> = (0..count).map(key).collect();
        let set = KeySet::from_jwks(format!(r#"{{"keys":[{}]}}"#, all.join(",")).as_bytes()).unwrap();
        assert_eq!(set.len(), count);
        let ids: Vec<String> = (0..10_000).map(|n| format!("key-{}", n * 7_919 % count)).collect();
        let mut at = 0;
        group.bench_function(format!("lookup among {count}"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % ids.len();
                assert!(set.has(Some(black_box(&ids[at])), Algorithm::Hs256));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tokens, keys);
criterion_main!(benches);
