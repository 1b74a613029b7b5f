//! Inbound ids of any bytes: what comes out is in the alphabet and within the limit, everywhere.

use std::convert::Infallible;

use http::{HeaderValue, Request, Response};
use tower::{Layer, Service, service_fn};
use tower_correlation::{Correlation, CorrelationLayer};

use crate::support::xorshift;

fn clean(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// The short form of a run of 10⁷ (`CASES=10000000`).
#[tokio::test]
async fn nothing_outside_alphabet_and_limit_gets_through() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    let cases = std::env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100_000_u32);
    println!("seed {seed}, {cases} cases");
    let mut state = seed;
    let mut service = CorrelationLayer::new().layer(service_fn(async |request: Request<()>| {
        let id = request.extensions().get::<Correlation>().unwrap().id().to_string();
        assert!(clean(id.as_bytes()));
        assert_eq!(request.headers()["x-request-id"], *id);
        assert_eq!(tower_correlation::current().unwrap().id().as_str(), id);
        Ok::<_, Infallible>(Response::new(id))
    }));
    let (mut taken, mut replaced) = (0, 0);
    for _ in 0..cases {
        let length = xorshift(&mut state) % 200;
        let any = xorshift(&mut state) & 3 == 0;
        let inbound: Vec<u8> = (0..length)
            .map(|_| {
                let byte = xorshift(&mut state);
                if any { byte as u8 } else { b"abcXYZ019._-"[(byte % 12) as usize] }
            })
            .collect();
        let Ok(value) = HeaderValue::from_bytes(&inbound) else { continue };
        let mut request = Request::new(());
        request.headers_mut().insert("x-request-id", value);
        let response = service.call(request).await.unwrap();
        let echo = response.headers()["x-request-id"].as_bytes();
        assert!(clean(echo));
        if echo == inbound {
            taken += 1;
        } else {
            assert!(!clean(&inbound), "a good id is never replaced");
            replaced += 1;
        }
    }
    assert!(taken > 0 && replaced > 0);
}
