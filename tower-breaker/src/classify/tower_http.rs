use std::fmt;

use http::{HeaderMap, Response};
use tower_http::classify::{ClassifiedResponse, ClassifyEos, ClassifyResponse};

use super::{ClassifyHttp, Head};
use crate::policy::Verdict;

/// Judges with a classifier of tower-http: what is a failure to its `TraceLayer` is one to the breaker.
///
/// ```
/// use tower_breaker::classify::TowerHttp;
/// use tower_breaker::{Breaker, HttpBreakerLayer};
/// use tower_http::classify::StatusInRangeAsFailures;
///
/// let breaker = Breaker::builder("orders").build()?;
/// let classify = TowerHttp::new(StatusInRangeAsFailures::new(500..=599));
/// let layer = HttpBreakerLayer::new(breaker).classify(classify);
/// # Ok::<_, tower_breaker::ConfigError>(())
/// ```
///
/// Errors are failures, and so is a body that breaks off: the classifier is not asked about these.
pub struct TowerHttp<C: ClassifyResponse> {
    stage: Stage<C, C::ClassifyEos>,
}

enum Stage<C, E> {
    Head(C),
    End(E),
    Done,
}

impl<C: ClassifyResponse> TowerHttp<C> {
    /// Asks this classifier.
    #[must_use]
    pub fn new(classify: C) -> Self {
        Self { stage: Stage::Head(classify) }
    }
}

impl<C: ClassifyResponse + Clone> Clone for TowerHttp<C> {
    /// For another call: only a classifier that has judged nothing yet is cloned by the layers.
    fn clone(&self) -> Self {
        let stage = match &self.stage {
            Stage::Head(classify) => Stage::Head(classify.clone()),
            Stage::End(_) | Stage::Done => Stage::Done,
        };
        Self { stage }
    }
}

impl<C: ClassifyResponse> fmt::Debug for TowerHttp<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerHttp").finish_non_exhaustive()
    }
}

impl<C: ClassifyResponse> ClassifyHttp for TowerHttp<C> {
    fn head(&mut self, response: &Response<()>) -> Head {
        let Stage::Head(classify) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return Head::AtEnd;
        };
        match classify.classify_response(response) {
            ClassifiedResponse::Ready(Ok(())) => Head::AtEnd,
            ClassifiedResponse::Ready(Err(_)) => Head::Decided(Verdict::FAILURE),
            ClassifiedResponse::RequiresEos(end) => {
                self.stage = Stage::End(end);
                Head::AtEnd
            }
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Verdict {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::End(end) => match end.classify_eos(trailers) {
                Ok(()) => Verdict::SUCCESS,
                Err(_) => Verdict::FAILURE,
            },
            Stage::Head(_) | Stage::Done => Verdict::SUCCESS,
        }
    }
}
