//! What a hit allocates; in a program of its own, since the count is of the whole process.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::alloc::System;
use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};
use tower_cache::{CacheLayer, CacheOutcome, MemoryStore};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HEAT: usize = 100;
const HITS: usize = 160;

#[tokio::test]
async fn a_hit_allocates_at_most_eight_times_whatever_its_size() {
    for size in [1 << 10, 100 << 10] {
        let origin = service_fn(move |_: Request<Full<Bytes>>| {
            let response = Response::builder().header("cache-control", "max-age=3600");
            let response = response.header("content-type", "application/json");
            std::future::ready(Ok::<_, Infallible>(response.body(Full::from(vec![b'x'; size])).unwrap()))
        });
        let mut allocated = 0;
        let mut service = CacheLayer::shared(MemoryStore::default()).layer(origin);
        for hit in 0..HEAT + HITS {
            let mut request = Request::get("http://example.com/orders?page=1").body(Full::default()).unwrap();
            for (name, value) in [("host", "example.com"), ("accept", "*/*"), ("user-agent", "test/1")] {
                request.headers_mut().insert(name, http::HeaderValue::from_static(value));
            }
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            let region = Region::new(ALLOCATOR);
            let response = service.call(request).await.unwrap();
            let outcome = response.extensions().get().copied();
            let mut body = response.into_body();
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame.unwrap().data_ref().unwrap().len();
            }
            let change = region.change();
            assert_eq!(length, size);
            // The first hits prepare what all share, and the store's housekeeping comes once in many.
            if hit >= HEAT {
                assert_eq!(outcome, Some(CacheOutcome::Hit));
                allocated += change.allocations + change.reallocations;
                assert!(change.bytes_allocated < 4096, "content is copied: {}", change.bytes_allocated);
            }
        }
        assert!(allocated <= 8 * HITS, "{allocated} allocations in {HITS} hits");
    }
}
