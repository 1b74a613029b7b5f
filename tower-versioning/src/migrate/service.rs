//! Reads what has to be read, and passes on the rest.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::Shared;
use super::body::{Gather, Gathered, MigrateBody};
use super::error::{Asked, MigrateError, MigrateErrorKind};
use super::metrics::Event;
use crate::grpc;
use crate::misplaced::Misplaced;
use crate::policy::migrate::{BodyError, Plan};
use crate::policy::migrate_fields as fields;
use crate::policy::source::API_VERSION;
use crate::resolved::{ApiVersion, Neutral};

/// What [`MigrateLayer`](super::MigrateLayer) builds. It is cloned where the body of a request is read first.
#[derive(Clone)]
pub struct Migrate<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S: fmt::Debug> fmt::Debug for Migrate<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrate").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for Migrate<S>
where
    S: Service<Request<MigrateBody<B>>, Response = Response<R>> + Clone,
    B: Body<Data = Bytes>,
    R: Body<Data = Bytes>,
{
    type Response = Response<MigrateBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.shared.prepare(&mut parts, &body) {
            Ok(Left::Both(task)) => {
                // The instance that was polled ready is the one to call.
                let clone = self.inner.clone();
                let service = Some((std::mem::replace(&mut self.inner, clone), parts));
                let body = Gather::new(body, self.shared.max_request_body);
                ResponseFuture { state: State::Raising { service, body, task: Some(task) } }
            }
            Ok(left) => {
                let request = Request::from_parts(parts, MigrateBody::passed(body));
                ResponseFuture { state: State::Calling { inner: self.inner.call(request), left } }
            }
            Err(response) => ResponseFuture { state: State::Refused { response: Some(*response) } },
        }
    }
}

/// What is left to do for a request whose head was brought up.
enum Left {
    Nothing,
    /// To see whether its answer comes from a `VersionLayer` inside, since it came through none.
    Watch(Misplaced),
    /// To bring its response down.
    Response(Box<Task>),
    /// To bring its body up before.
    Both(Box<Task>),
}

impl Left {
    /// Looks at an answer that passes untouched.
    fn see(&self, answer: &HeaderMap) {
        if let Self::Watch(misplaced) = self
            && answer.contains_key(API_VERSION)
        {
            misplaced.notice(MISPLACED);
        }
    }
}

const MISPLACED: &str = "a request without a version was answered with `api-version`, and nothing was translated: put VersionLayer \
                         around MigrateLayer";

/// What is to be done for a request that changes are about.
#[derive(Debug)]
struct Task {
    shared: Arc<Shared>,
    plan: Plan,
    asked: Asked,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// Boxed, because nearly every request goes without.
type Refusal = Box<Response<Bytes>>;

impl Shared {
    /// Brings the head up.
    fn prepare<B: Body>(self: &Arc<Self>, parts: &mut Parts, body: &B) -> Result<Left, Refusal> {
        let Some(version) = parts.extensions.get::<ApiVersion>().map(ApiVersion::version) else {
            let settled = self.misplaced.was_noticed() || parts.extensions.get::<Neutral>().is_some();
            return Ok(if settled { Left::Nothing } else { Left::Watch(self.misplaced.clone()) });
        };
        if !self.changes.has_after(version)
            || parts.method == Method::CONNECT
            || grpc::is_grpc(&parts.headers)
        {
            return Ok(Left::Nothing);
        }
        // As it was sent, not as changes make it.
        let has_json = !body.is_end_stream() && fields::is_json(&parts.headers);
        let is_encoded = fields::is_encoded(&parts.headers);
        let asked = Asked::new(parts);
        let plan = match self.changes.raise(version, parts) {
            Ok(Some(plan)) => plan,
            Ok(None) => {
                fields::before_changing(&mut parts.headers, version);
                return Ok(Left::Nothing);
            }
            Err(failed) => {
                let kind = MigrateErrorKind::RequestChange;
                return Err(self.refuse(MigrateError::failed(kind, &self.changes, failed), &asked));
            }
        };
        let reads = plan.request_body && has_json;
        if reads && is_encoded {
            return Err(self.refuse(MigrateError::new(MigrateErrorKind::RequestEncoded), &asked));
        }
        if plan.response_body {
            fields::before_lowering(&mut parts.headers, version);
        } else {
            fields::before_changing(&mut parts.headers, version);
        }
        let task = Box::new(Task { shared: self.clone(), plan, asked });
        Ok(if reads { Left::Both(task) } else { Left::Response(task) })
    }

    #[cold]
    fn refuse(&self, error: MigrateError, asked: &Asked) -> Refusal {
        self.metrics.count(Event::Failed(error.kind()));
        Box::new(error.into_response(asked))
    }
}

/// What is to be done with a response.
enum Down {
    /// It is ready.
    Pass,
    /// Its body is read first.
    Read,
}

impl Task {
    fn refuse(&self, error: MigrateError) -> Refusal {
        self.shared.refuse(error, &self.asked)
    }

    /// The body of the request as the service shall see it.
    fn raise<B: Body>(&self, parts: &mut Parts, read: Gathered<B::Error>) -> Result<MigrateBody<B>, Refusal> {
        let (data, mut trailers) = match read {
            Gathered::Whole(data, trailers) => (data, trailers),
            Gathered::TooLarge => {
                return Err(self.refuse(MigrateError::new(MigrateErrorKind::RequestTooLarge)));
            }
            Gathered::Broken(error) => return Ok(MigrateBody::broken(error)),
        };
        if data.is_empty() {
            return Ok(MigrateBody::whole(data, trailers));
        }
        let changes = &self.shared.changes;
        let data = match changes.raise_body(&self.plan, &data) {
            Ok(Some(raised)) => Bytes::from(raised),
            Ok(None) => return Ok(MigrateBody::whole(data, trailers)),
            // A reader that is kinder than ours would take it for the newest version.
            Err(BodyError::Malformed(error)) => {
                return Err(self.refuse(MigrateError::new(MigrateErrorKind::RequestMalformed).with(error)));
            }
            Err(BodyError::Failed(failed)) => {
                let kind = MigrateErrorKind::RequestChange;
                return Err(self.refuse(MigrateError::failed(kind, changes, failed)));
            }
        };
        fields::replaced(&mut parts.headers, data.len());
        drop_digests(&mut trailers);
        self.shared.metrics.count(Event::RequestRaised);
        Ok(MigrateBody::whole(data, trailers))
    }

    /// Brings the head of a response down, as far as that goes without its body.
    fn lower_head<R: Body>(&self, parts: &mut response::Parts, body: &R) -> Result<Down, Refusal> {
        let changes = &self.shared.changes;
        let (status, version) = (parts.status, self.plan.version);
        let (has_json, is_encoded) = (fields::is_json(&parts.headers), fields::is_encoded(&parts.headers));
        changes.lower(&self.plan, parts).map_err(|failed| {
            self.refuse(MigrateError::failed(MigrateErrorKind::ResponseChange, changes, failed))
        })?;
        if !changes.lowers_body(&self.plan, status) {
            return Ok(Down::Pass);
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || (has_json && (self.asked.method == Method::HEAD || body.is_end_stream()))
        {
            fields::lowered(&mut parts.headers, version, fields::Body::Absent);
            return Ok(Down::Pass);
        }
        if !has_json {
            return Ok(Down::Pass);
        }
        if status == StatusCode::PARTIAL_CONTENT {
            return Err(self.refuse(MigrateError::new(MigrateErrorKind::ResponsePartial)));
        }
        if is_encoded {
            return Err(self.refuse(MigrateError::new(MigrateErrorKind::ResponseEncoded)));
        }
        Ok(Down::Read)
    }

    /// The response as the client shall see it.
    fn lower<R: Body>(
        &self,
        parts: &mut response::Parts,
        status: StatusCode,
        read: Gathered<R::Error>,
    ) -> Result<MigrateBody<R>, Refusal> {
        let (data, mut trailers) = match read {
            Gathered::Whole(data, trailers) => (data, trailers),
            Gathered::TooLarge => {
                return Err(self.refuse(MigrateError::new(MigrateErrorKind::ResponseTooLarge)));
            }
            Gathered::Broken(error) => return Ok(MigrateBody::broken(error)),
        };
        let (changes, version) = (&self.shared.changes, self.plan.version);
        if data.is_empty() {
            fields::lowered(&mut parts.headers, version, fields::Body::Absent);
            return Ok(MigrateBody::whole(data, trailers));
        }
        let data = match changes.lower_body(&self.plan, status, &data) {
            Ok(Some(lowered)) => Bytes::from(lowered),
            Ok(None) => {
                fields::lowered(&mut parts.headers, version, fields::Body::Kept);
                return Ok(MigrateBody::whole(data, trailers));
            }
            Err(BodyError::Malformed(error)) => {
                let kind = MigrateErrorKind::ResponseMalformed;
                return Err(self.refuse(MigrateError::new(kind).with(error)));
            }
            Err(BodyError::Failed(failed)) => {
                let kind = MigrateErrorKind::ResponseChange;
                return Err(self.refuse(MigrateError::failed(kind, changes, failed)));
            }
        };
        fields::lowered(&mut parts.headers, version, fields::Body::Replaced(data.len()));
        drop_digests(&mut trailers);
        self.shared.metrics.count(Event::ResponseLowered);
        Ok(MigrateBody::whole(data, trailers))
    }
}

fn drop_digests(trailers: &mut Option<HeaderMap>) {
    if let Some(trailers) = trailers {
        fields::drop_digests(trailers);
    }
}

fn refused<R: Body>(response: Response<Bytes>) -> Response<MigrateBody<R>> {
    response.map(|data| MigrateBody::whole(data, None))
}

pin_project! {
    /// The future of [`Migrate`].
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<MigrateBody<B>>>,
        B: Body,
    {
        #[pin]
        state: State<S, S::Future, B, R>,
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<MigrateBody<B>>>,
    B: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Raising { .. } => "raising",
            State::Calling { .. } => "calling",
            State::Lowering { .. } => "lowering",
            State::Refused { .. } => "refused",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, B, R> {
        Raising { service: Option<(S, Parts)>, #[pin] body: Gather<B>, task: Option<Box<Task>> },
        Calling { #[pin] inner: F, left: Left },
        Lowering { parts: Option<(response::Parts, StatusCode)>, #[pin] body: Gather<R>, task: Option<Box<Task>> },
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<MigrateBody<B>>, Response = Response<R>>,
    B: Body<Data = Bytes>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<MigrateBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Raising { service, body, task } => {
                    let read = ready!(body.poll(cx));
                    let (Some((mut service, mut parts)), Some(task)) = (service.take(), task.take()) else {
                        return Poll::Pending;
                    };
                    match task.raise(&mut parts, read) {
                        Ok(body) => {
                            let inner = service.call(Request::from_parts(parts, body));
                            State::Calling { inner, left: Left::Response(task) }
                        }
                        Err(response) => State::Refused { response: Some(*response) },
                    }
                }
                StateProj::Calling { inner, left } => {
                    let response = ready!(inner.poll(cx))?;
                    let task = match std::mem::replace(left, Left::Nothing) {
                        Left::Response(task) | Left::Both(task) => task,
                        watch_or_nothing => {
                            watch_or_nothing.see(response.headers());
                            return Poll::Ready(Ok(response.map(MigrateBody::passed)));
                        }
                    };
                    let (mut parts, body) = response.into_parts();
                    let status = parts.status;
                    match task.lower_head(&mut parts, &body) {
                        Ok(Down::Pass) => {
                            return Poll::Ready(Ok(Response::from_parts(parts, MigrateBody::passed(body))));
                        }
                        Ok(Down::Read) => {
                            let body = Gather::new(body, task.shared.max_response_body);
                            State::Lowering { parts: Some((parts, status)), body, task: Some(task) }
                        }
                        Err(response) => State::Refused { response: Some(*response) },
                    }
                }
                StateProj::Lowering { parts, body, task } => {
                    let read = ready!(body.poll(cx));
                    let (Some((mut parts, status)), Some(task)) = (parts.take(), task.take()) else {
                        return Poll::Pending;
                    };
                    match task.lower::<R>(&mut parts, status, read) {
                        Ok(body) => return Poll::Ready(Ok(Response::from_parts(parts, body))),
                        Err(response) => State::Refused { response: Some(*response) },
                    }
                }
                StateProj::Refused { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(refused(response)));
                }
            };
            state.set(next);
        }
    }
}
