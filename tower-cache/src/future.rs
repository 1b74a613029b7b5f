//! The future of [`CacheService`](crate::CacheService).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use crate::body::{OwnBody, ResponseBody};
use crate::cache::Inner;
use crate::error::BoxError;
use crate::flight::{Reader, Release};
use crate::lead::Lead;
use crate::passing::{Passing, Settling};
use crate::plan::{self, Plan, Question};
use crate::store::{Lease, Lookup, StoreError, StoreFuture};

pin_project! {
    /// The response: there at once where it is stored, otherwise the inner service's.
    ///
    /// `S` is the inner service, `F` its future, `B` the body of the request and `R` that of the response.
    pub struct ResponseFuture<S, F, B, R> {
        #[pin]
        state: State<S, F, B, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B, R> {
        /// The response is there.
        Answered { response: Option<Response<OwnBody>> },
        /// The inner service answers, and nothing is stored.
        Passing { #[pin] call: F, passing: Passing },
        /// The inner service has answered, and the store has something to do before anybody learns of it.
        Settling { settling: Option<Box<Settlement<R>>> },
        /// The inner service answers, and it may be stored.
        Leading { leading: Leading<F> },
        /// Something else comes first.
        Waiting { waiting: Option<Box<Waiting<S, B>>> },
    }
}

/// A request that waits, and the service that was ready for it.
struct Waiting<S, B> {
    service: S,
    request: Parts,
    body: B,
    what: What,
}

/// A response that waits for the store.
struct Settlement<R> {
    response: Response<R>,
    passing: Passing,
    work: Settling,
    limit: Pin<Box<Sleep>>,
}

enum What {
    Store { lookup: StoreFuture<Lookup>, limit: Pin<Box<Sleep>>, question: Box<Question> },
    Flight { follower: Reader, limit: Pin<Box<Sleep>>, question: Box<Question> },
    Lease { lease: StoreFuture<Lease>, limit: Pin<Box<Sleep>>, lead: Box<Lead> },
    Again { lookup: StoreFuture<Lookup>, limit: Pin<Box<Sleep>>, lead: Box<Lead> },
}

/// A call whose response others may wait for. Dropped, it goes on in the background if they do.
struct Leading<F> {
    /// Boxed, so that it can move there.
    call: Option<(Pin<Box<F>>, Box<Lead>)>,
    /// Known where the bounds on `F` are; `Drop` has none.
    detach: fn(Pin<Box<F>>, Box<Lead>),
}

impl<F> Drop for Leading<F> {
    fn drop(&mut self) {
        if let Some((call, lead)) = self.call.take().filter(|(_, lead)| lead.is_followed()) {
            (self.detach)(call, lead);
        }
    }
}

/// Goes on in the background.
fn detach<F, B, E>(call: Pin<Box<F>>, lead: Box<Lead>)
where
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let cache = Arc::clone(lead.cache());
    let lead = Box::new(lead.in_background());
    cache.in_background(Box::pin(async move {
        let Ok(response) = call.await else { return };
        let body = lead.answer(response).into_body();
        if body.is_fill() {
            let mut body = std::pin::pin!(body);
            while let Some(Ok(_)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
        }
    }));
}

impl<S, F, B, R> State<S, F, B, R> {
    /// Does what is planned with a service that is ready.
    fn of(plan: Plan, service: &mut S, mut request: Parts, body: B) -> Self
    where
        S: Service<Request<B>, Future = F, Response = Response<R>> + Clone,
        F: Future<Output = Result<Response<R>, S::Error>> + Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        match plan {
            Plan::Answer(response) => Self::Answered { response: Some(response) },
            Plan::Pass(passing) => {
                Self::Passing { call: service.call(Request::from_parts(request, body)), passing }
            }
            Plan::Ask(lead) => {
                lead.prepare(&mut request.headers);
                let call = Box::pin(service.call(Request::from_parts(request, body)));
                Self::Leading {
                    leading: Leading { call: Some((call, lead)), detach: detach::<F, R, S::Error> },
                }
            }
            Plan::AnswerAndAsk(response, lead) => {
                lead.prepare(&mut request.headers);
                let call = Box::pin(service.call(Request::from_parts(request, body)));
                detach(call, lead);
                Self::Answered { response: Some(response) }
            }
            Plan::Follow(follower, mut question) => {
                let limit = Box::pin(tokio::time::sleep_until(question.patience()));
                Self::wait(service, request, body, What::Flight { follower, limit, question })
            }
            Plan::Wait(lookup, mut question) => {
                let limit = Box::pin(tokio::time::sleep_until(question.deadline()));
                Self::wait(service, request, body, What::Store { lookup, limit, question })
            }
            Plan::Lease(lease, mut lead) => {
                let limit = Box::pin(tokio::time::sleep_until(lead.lease_deadline()));
                Self::wait(service, request, body, What::Lease { lease, limit, lead })
            }
            Plan::Again(lookup, mut lead) => {
                let limit = Box::pin(tokio::time::sleep_until(lead.deadline()));
                Self::wait(service, request, body, What::Again { lookup, limit, lead })
            }
        }
    }

    /// The instance that is ready waits along; the one left behind is polled anew before its next call.
    fn wait(service: &mut S, request: Parts, body: B, what: What) -> Self
    where
        S: Clone,
    {
        let clone = service.clone();
        let service = std::mem::replace(service, clone);
        Self::Waiting { waiting: Some(Box::new(Waiting { service, request, body, what })) }
    }
}

impl<S, F, B, R> ResponseFuture<S, F, B, R> {
    /// Whether what is stored, or nobody, answers.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered { .. })
    }

    pub(crate) fn begin(cache: &Arc<Inner>, service: &mut S, request: Request<B>) -> Self
    where
        S: Service<Request<B>, Future = F, Response = Response<R>> + Clone,
        F: Future<Output = Result<Response<R>, S::Error>> + Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let (request, body) = request.into_parts();
        let plan = plan::begin(cache, &request);
        Self { state: State::of(plan, service, request, body) }
    }
}

/// The answer of a store, or that it took too long.
fn in_time<T>(
    future: &mut StoreFuture<T>,
    limit: &mut Pin<Box<Sleep>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, StoreError>> {
    if let Poll::Ready(result) = Pin::new(future).poll(cx) {
        return Poll::Ready(result);
    }
    ready!(limit.as_mut().poll(cx));
    Poll::Ready(Err(StoreError::timeout()))
}

impl What {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        match self {
            Self::Flight { follower, limit, .. } => {
                if let Poll::Ready(head) = follower.poll_head(cx) {
                    return Poll::Ready(Event::Head(head));
                }
                limit.as_mut().poll(cx).map(|()| Event::Head(Err(Release::NotShared)))
            }
            Self::Store { lookup, limit, .. } | Self::Again { lookup, limit, .. } => {
                in_time(lookup, limit, cx).map(Event::Lookup)
            }
            Self::Lease { lease, limit, .. } => in_time(lease, limit, cx).map(Event::Lease),
        }
    }

    /// What follows from it. Events come from what is waited for, so that other pairs do not occur; they would mean
    /// to wait on.
    fn plan(self, request: &Parts, event: Event) -> Result<Plan, Self> {
        Ok(match (self, event) {
            (Self::Store { question, .. }, Event::Lookup(result)) => question.looked_up(request, result),
            (Self::Flight { follower, question, .. }, Event::Head(result)) => {
                question.followed(request, follower, result)
            }
            (Self::Lease { lead, .. }, Event::Lease(result)) => lead.leased(result),
            (Self::Again { lead, .. }, Event::Lookup(result)) => lead.looked_again(request, result),
            (what, _) => return Err(what),
        })
    }
}

/// What a waiting request has come to.
enum Event {
    Lookup(Result<Lookup, StoreError>),
    Head(Result<Arc<crate::store::Head>, Release>),
    Lease(Result<Lease, StoreError>),
}

impl<S, F, B, R> Future for ResponseFuture<S, F, B, R>
where
    S: Service<Request<B>, Future = F, Response = Response<R>> + Clone,
    F: Future<Output = Result<Response<R>, S::Error>> + Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Answered { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response.map(ResponseBody::own)));
                }
                StateProj::Passing { call, passing } => {
                    let response = ready!(call.poll(cx))?;
                    let Some(work) = passing.settle(&response) else {
                        return Poll::Ready(Ok(passing.answer(response)));
                    };
                    let passing = std::mem::replace(passing, Passing::untouched());
                    let limit = Box::pin(tokio::time::sleep(work.timeout()));
                    let settling = Settlement { response, passing, work, limit };
                    this.state.set(State::Settling { settling: Some(Box::new(settling)) });
                }
                StateProj::Settling { settling: place } => {
                    let Some(settling) = place else { return Poll::Pending };
                    let result = match settling.work.poll(cx) {
                        Poll::Ready(result) => result,
                        Poll::Pending => {
                            ready!(settling.limit.as_mut().poll(cx));
                            Err(StoreError::timeout())
                        }
                    };
                    let Some(settling) = place.take() else { return Poll::Pending };
                    let Settlement { response, mut passing, .. } = *settling;
                    passing.settled(result);
                    return Poll::Ready(Ok(passing.answer(response)));
                }
                StateProj::Leading { leading } => {
                    // Out of its place: a call that panics does not go on in the background.
                    let Some((mut call, lead)) = leading.call.take() else { return Poll::Pending };
                    let Poll::Ready(result) = call.as_mut().poll(cx) else {
                        leading.call = Some((call, lead));
                        return Poll::Pending;
                    };
                    return Poll::Ready(match result {
                        Ok(response) => Ok(lead.answer(response)),
                        Err(error) => match lead.fail() {
                            Some(stale) => Ok(stale.map(ResponseBody::own)),
                            None => Err(error),
                        },
                    });
                }
                StateProj::Waiting { waiting: place } => {
                    let Some(waiting) = place else { return Poll::Pending };
                    let event = ready!(waiting.what.poll(cx));
                    let Some(waiting) = place.take() else { return Poll::Pending };
                    let Waiting { mut service, request, body, what } = *waiting;
                    let next = match what.plan(&request, event) {
                        Ok(plan) => State::of(plan, &mut service, request, body),
                        Err(what) => State::wait(&mut service, request, body, what),
                    };
                    this.state.set(next);
                }
            }
        }
    }
}

impl<S, F, B, R> fmt::Debug for ResponseFuture<S, F, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Answered { .. } => "Answered",
            State::Passing { .. } => "Passing",
            State::Settling { .. } => "Settling",
            State::Leading { .. } => "Leading",
            State::Waiting { .. } => "Waiting",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
