//! Keeping chosen responses fresh without anybody asking for them.

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::builder::EVER;
use crate::error::BoxError;
use crate::look;
use crate::service::CacheService;

impl<S> CacheService<S> {
    /// Asks the origin for what a GET would be answered with, and stores it: what is stored already is validated,
    /// fresh or not, and everything else is fetched. Also the way to warm a cache up.
    ///
    /// Requests that the cache does not answer, and those whose store does not answer, are left alone. Nothing is
    /// counted as a request.
    ///
    /// # Errors
    ///
    /// When the inner service fails.
    pub async fn refresh<ReqB, ResB>(&self, request: Request<ReqB>) -> Result<(), S::Error>
    where
        S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
        ResB: Body<Data = Bytes> + Send + 'static,
        ResB::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let Some(lead) = look::refresh(&self.cache.inner, &parts).await else { return Ok(()) };
        lead.prepare(&mut parts.headers);
        let mut service = self.inner.clone();
        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
        let response = service.call(Request::from_parts(parts, body)).await?;
        let body = lead.answer(response).into_body();
        if body.is_fill() {
            let mut body = std::pin::pin!(body);
            while let Some(Ok(_)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
        }
        Ok(())
    }

    /// A future to spawn, or to poll beside other work, that [refreshes](Self::refresh) what `requests` returns: at
    /// once, and then again and again after a time a little shorter than `every`, so that several processes do not ask
    /// at the same moment. Choose `every` shorter than the responses stay fresh. Failures are tried again the next
    /// time; one that takes longer than its share of `every`, and longer than a second, is given up. It never ends by
    /// itself.
    pub async fn refresher<ReqB, ResB>(
        self,
        every: Duration,
        requests: impl Fn() -> Vec<Request<ReqB>>,
    ) -> Infallible
    where
        S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
        ResB: Body<Data = Bytes> + Send + 'static,
        ResB::Error: Into<BoxError>,
    {
        let every = every.min(EVER);
        let seed = foldhash::quality::RandomState::default();
        let mut round = 0_u64;
        loop {
            let next = tokio::time::Instant::now() + jittered(every, seed.hash_one(round));
            let requests = requests();
            // One that hangs must not cost the others their turn.
            let share = (every / u32::try_from(requests.len()).unwrap_or(u32::MAX).max(1)).max(SHARE);
            for request in requests {
                let limit = next.min(tokio::time::Instant::now() + share);
                let _ = tokio::time::timeout_at(limit, self.refresh(request)).await;
            }
            tokio::time::sleep_until(next).await;
            round += 1;
        }
    }
}

/// What each refresh may take in any case.
const SHARE: Duration = Duration::from_secs(1);

/// Between nine tenths of the time and all of it.
fn jittered(every: Duration, random: u64) -> Duration {
    // The cast cuts what does not fit in the mantissa; nothing depends on the lowest bits.
    let share = random as f64 / u64::MAX as f64;
    every.mul_f64(1.0 - share / 10.0).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_shorter_and_never_longer() {
        let every = Duration::from_secs(10);
        assert_eq!(jittered(every, 0), every);
        assert_eq!(jittered(every, u64::MAX), Duration::from_secs(9));
        assert_eq!(jittered(Duration::ZERO, 0), Duration::from_millis(1), "and never without a pause");
    }
}
