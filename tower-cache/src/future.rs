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
use crate::flight::Reader;
use crate::lead::Lead;
use crate::passing::Passing;
use crate::plan::{self, Plan, Question};
use crate::store::{Lookup, StoreError, StoreFuture};

pin_project! {
    /// The response: there at once where it is stored, otherwise the inner service's.
    pub struct ResponseFuture<S, F, B> {
        #[pin]
        state: State<S, F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B> {
        /// The response is there.
        Answered { response: Option<Response<OwnBody>> },
        /// The inner service answers, and nothing is stored.
        Passing { #[pin] call: F, passing: Passing },
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
    question: Box<Question>,
    what: What,
}

enum What {
    Store { lookup: StoreFuture<Lookup>, limit: Pin<Box<Sleep>> },
    Flight(Reader),
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

impl<S, F, B> State<S, F, B> {
    /// Does what is planned with a service that is ready.
    fn of<ResB>(plan: Plan, service: &mut S, mut request: Parts, body: B) -> Self
    where
        S: Service<Request<B>, Future = F, Response = Response<ResB>> + Clone,
        F: Future<Output = Result<Response<ResB>, S::Error>> + Send + 'static,
        ResB: Body<Data = Bytes> + Send + 'static,
        ResB::Error: Into<BoxError>,
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
                    leading: Leading { call: Some((call, lead)), detach: detach::<F, ResB, S::Error> },
                }
            }
            Plan::AnswerAndAsk(response, lead) => {
                lead.prepare(&mut request.headers);
                let call = Box::pin(service.call(Request::from_parts(request, body)));
                detach(call, lead);
                Self::Answered { response: Some(response) }
            }
            Plan::Follow(follower, question) => {
                Self::wait(service, request, body, question, What::Flight(follower))
            }
            Plan::Wait(lookup, question) => {
                let limit = Box::pin(tokio::time::sleep(question.cache.config.store_timeout));
                Self::wait(service, request, body, question, What::Store { lookup, limit })
            }
        }
    }

    /// The instance that is ready waits along; the one left behind is polled anew before its next call.
    fn wait(service: &mut S, request: Parts, body: B, question: Box<Question>, what: What) -> Self
    where
        S: Clone,
    {
        let clone = service.clone();
        let service = std::mem::replace(service, clone);
        Self::Waiting { waiting: Some(Box::new(Waiting { service, request, body, question, what })) }
    }
}

impl<S, F, B> ResponseFuture<S, F, B> {
    pub(crate) fn begin<ResB>(cache: &Arc<Inner>, service: &mut S, request: Request<B>) -> Self
    where
        S: Service<Request<B>, Future = F, Response = Response<ResB>> + Clone,
        F: Future<Output = Result<Response<ResB>, S::Error>> + Send + 'static,
        ResB: Body<Data = Bytes> + Send + 'static,
        ResB::Error: Into<BoxError>,
    {
        let (request, body) = request.into_parts();
        let plan = plan::begin(cache, &request);
        Self { state: State::of(plan, service, request, body) }
    }
}

impl What {
    fn poll(&mut self, cx: &mut Context<'_>, question: &Question) -> Poll<Event> {
        match self {
            Self::Flight(follower) => follower.poll_head(cx).map(Event::Head),
            Self::Store { lookup, limit } => {
                if let Poll::Ready(result) = Pin::new(lookup).poll(cx) {
                    return Poll::Ready(Event::Lookup(result));
                }
                ready!(limit.as_mut().poll(cx));
                let _ = question;
                Poll::Ready(Event::Lookup(Err(StoreError::timeout())))
            }
        }
    }
}

/// What a waiting request has come to.
enum Event {
    Lookup(Result<Lookup, StoreError>),
    Head(Result<Arc<crate::store::Head>, crate::flight::Release>),
}

impl<S, B> Waiting<S, B> {
    fn plan(question: Question, request: &Parts, what: What, event: Event) -> Plan {
        match (event, what) {
            (Event::Lookup(result), _) => question.looked_up(request, result),
            (Event::Head(result), What::Flight(follower)) => question.followed(request, follower, result),
            (Event::Head(_), What::Store { lookup, .. }) => Plan::Wait(lookup, Box::new(question)),
        }
    }
}

impl<S, F, B, ResB> Future for ResponseFuture<S, F, B>
where
    S: Service<Request<B>, Future = F, Response = Response<ResB>> + Clone,
    F: Future<Output = Result<Response<ResB>, S::Error>> + Send + 'static,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<ResB>>, S::Error>;

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
                    return Poll::Ready(Ok(passing.answer(response)));
                }
                StateProj::Leading { leading } => {
                    let Some((call, _)) = &mut leading.call else { return Poll::Pending };
                    let result = ready!(call.as_mut().poll(cx));
                    let Some((_, lead)) = leading.call.take() else { return Poll::Pending };
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
                    let event = ready!(waiting.what.poll(cx, &waiting.question));
                    let Some(waiting) = place.take() else { return Poll::Pending };
                    let Waiting { mut service, request, body, question, what } = *waiting;
                    let plan = Waiting::<S, B>::plan(*question, &request, what, event);
                    this.state.set(State::of(plan, &mut service, request, body));
                }
            }
        }
    }
}

impl<S, F, B> fmt::Debug for ResponseFuture<S, F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Answered { .. } => "Answered",
            State::Passing { .. } => "Passing",
            State::Leading { .. } => "Leading",
            State::Waiting { .. } => "Waiting",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
