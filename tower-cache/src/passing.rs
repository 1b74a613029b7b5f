//! Requests that the cache does not answer, and what it learns from their responses.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, header, request::Parts};
use http_body::Body;

use crate::body::ResponseBody;
use crate::cache::Inner;
use crate::error::BoxError;
use crate::key::CacheKey;
use crate::lead::Lead;
use crate::outcome::CacheOutcome;
use crate::plan::Question;
use crate::status::{self, Details};
use crate::store::{Purge, PurgeTarget};

/// A request that goes to the origin and, but for POST, leaves no response behind.
pub(crate) struct Passing {
    /// Missing where nothing is to be seen of the cache.
    noted: Option<(Arc<Inner>, CacheOutcome)>,
    /// What a successful response makes invalid.
    target: Option<CacheKey>,
    /// A POST, whose response may say that it answers later GETs.
    post: Option<Box<Lead>>,
    /// A HEAD, whose response may show that what is stored is current, or not.
    head: Option<Box<Lead>>,
}

impl Passing {
    pub(crate) fn untouched() -> Self {
        Self { noted: None, target: None, post: None, head: None }
    }

    pub(crate) fn new(cache: &Arc<Inner>, outcome: CacheOutcome, target: Option<CacheKey>) -> Self {
        Self { noted: Some((Arc::clone(cache), outcome)), target, post: None, head: None }
    }

    /// A POST.
    pub(crate) fn post(mut self, question: Question, request: &Parts) -> Self {
        self.post = Some(Box::new(Lead::post(question, request)));
        self
    }

    /// A HEAD to something that is stored.
    pub(crate) fn head(question: Question, request: &Parts) -> Self {
        let outcome = CacheOutcome::Miss(question.found.miss);
        let mut passing = Self::new(&question.cache, outcome, None);
        passing.head = question.found.stored.is_some().then(|| Box::new(Lead::alone(question, request)));
        passing
    }

    /// The origin's response becomes the client's.
    pub(crate) fn answer<B>(&mut self, response: Response<B>) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Some((cache, outcome)) = self.noted.take() else { return response.map(ResponseBody::inner) };
        let status = response.status();
        let target = self.target.take().filter(|_| status.is_success() || status.is_redirection());
        if let Some(target) = target {
            let located = |name| {
                let located = response.headers().get(name);
                located.and_then(|located| cache.config.keys.of_reference(&target, located.as_bytes()))
            };
            // RFC 9111 §4.4: the target, and what the response says it has changed.
            let (location, content) = (located(header::LOCATION), located(header::CONTENT_LOCATION));
            // RFC 9110 §9.3.3: a response to POST answers GET where it says that it is what is at the target.
            let post = self.post.take().filter(|_| content.as_ref() == Some(&target));
            for other in [location, content].into_iter().flatten().filter(|other| *other != target) {
                cache.purge(&Purge::hard(PurgeTarget::Uri(other)));
            }
            cache.purge(&Purge::hard(PurgeTarget::Uri(target)));
            let lead = post.and_then(Lead::stamped);
            if let Some(lead) = lead {
                return lead.answer(response);
            }
        }
        let (parts, body) = response.into_parts();
        if let Some(lead) = self.head.take() {
            lead.compare(&parts);
        }
        let mut response = Response::from_parts(parts, ResponseBody::inner(body));
        let details = Details { ttl: None, forwarded: Some(status), stored: false };
        status::append(response.headers_mut(), cache.config.name.as_deref(), outcome, details);
        response.extensions_mut().insert(outcome);
        cache.count(outcome);
        response
    }
}
