//! The same breaker made of four crates, as far as each has the settings.

pub mod failsafe;
pub mod ours;
pub mod recloser;
pub mod tower_resilience;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use tower::Service;

use crate::asked::{Time, WAIT};

/// Why something cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// There is no such thing at all: "-".
    Absent(&'static str),
    /// There is such a thing, but not what the behaviour needs: "no".
    Fails(&'static str),
}

/// One crate.
pub struct Contestant {
    pub name: &'static str,
    pub time: Time,
    pub make: fn(&Wanted) -> Result<Subject, Lack>,
    pub web: fn(&Wanted) -> Result<Web, Lack>,
    /// Of so many keys.
    pub keyed: fn(usize) -> Result<Keyed, Lack>,
    /// Of a service whose breaker rejects, or keeps callers waiting ("gate").
    pub readiness: fn(bool) -> Result<Readiness, Lack>,
}

/// What a call does.
pub struct Job(Pin<Box<dyn Future<Output = Result<u64, u64>> + Send>>);

impl Job {
    pub fn new(future: impl Future<Output = Result<u64, u64>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Job {
    type Output = Result<u64, u64>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// The inner service: a request is the work.
#[derive(Clone)]
pub struct Runs;

impl Service<Job> for Runs {
    type Response = u64;
    type Error = u64;
    type Future = Job;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u64>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Job {
        job
    }
}

/// What a rejection says, and how long to wait.
pub struct Rejection {
    pub says: String,
    pub wait: Option<Duration>,
}

pub type Reply = Pin<Box<dyn Future<Output = Result<Result<u64, u64>, Rejection>> + Send>>;
pub type Call = Box<dyn Fn(Job) -> Reply + Send + Sync>;
pub type Hand = Result<Box<dyn Fn() + Send + Sync>, Lack>;
pub type Ear = Arc<dyn Fn(Told) + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Opened,
    HalfOpened,
    Closed,
    /// It would have opened, were it not told only to count.
    Crossed,
}

/// The place of a handler.
pub struct Place {
    pub replace: Box<dyn Fn(Ear)>,
    pub remove: Box<dyn FnOnce()>,
}

pub type Listen = Box<dyn Fn(Ear) -> Place + Send + Sync>;

/// Two pipelines that ought to share one breaker, and what the hand may do.
pub struct Subject {
    pub calls: [Call; 2],
    pub force_open: Hand,
    pub reset: Hand,
    pub listen: Result<Listen, Lack>,
}

#[derive(Clone)]
pub enum Window {
    Any,
    Calls(usize),
    Time(Duration),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Normal,
    /// Everything passes and nothing counts.
    Disabled,
    /// Everything passes, and it tells what it would do.
    MetricsOnly,
}

#[derive(Clone)]
pub struct Wanted {
    pub minimum: usize,
    pub rate: f64,
    pub wait: Duration,
    pub grows: bool,
    pub probes: Option<usize>,
    pub window: Window,
    pub slow: Option<Duration>,
    /// Errors other than 1 are none.
    pub listed: bool,
    /// An answer of 9 is a failure.
    pub answers: bool,
    /// An error of 3 counts nothing.
    pub ignores: bool,
    /// Whether a success may open it.
    pub opens_on_success: Option<bool>,
    /// It becomes half open by itself.
    pub timed: bool,
    pub mode: Mode,
    pub starts_open: bool,
    /// A transition that makes no sense is asked for.
    pub nonsense: bool,
    /// One layer, as the documentation makes one first, applied twice.
    pub layered: bool,
    /// Hears of transitions.
    pub ear: Option<Ear>,
}

pub fn wanted() -> Wanted {
    Wanted {
        minimum: 4,
        rate: 0.5,
        wait: WAIT,
        grows: false,
        probes: None,
        window: Window::Any,
        slow: None,
        listed: false,
        answers: false,
        ignores: false,
        opens_on_success: None,
        timed: false,
        mode: Mode::Normal,
        starts_open: false,
        nonsense: false,
        layered: false,
        ear: None,
    }
}

impl Wanted {
    /// Which results are failures.
    pub fn failed(&self) -> impl Fn(Result<&u64, &u64>) -> bool + Clone + Send + Sync + 'static {
        let (listed, answers) = (self.listed, self.answers);
        move |result| match result {
            Ok(answer) => answers && *answer == 9,
            Err(error) => !listed || *error == 1,
        }
    }
}

/// Breakers by key.
pub struct Keyed {
    pub call: Box<dyn Fn(u32, Result<u64, u64>) -> bool>,
}

/// One service behind a breaker.
pub struct Readiness {
    pub ready: Box<dyn FnMut() -> bool>,
    pub open: Box<dyn Fn()>,
    /// Whether it was let through.
    pub call: Box<dyn FnMut() -> bool>,
}

/// A client or server of HTTP behind a breaker.
pub struct Web {
    /// Asks once, reads so many frames of the body and drops the rest; whether it was let through.
    pub ask: Box<dyn Fn(Script, usize) -> Result<bool, Lack>>,
}

#[derive(Debug, Clone, Copy)]
pub enum Piece {
    Data,
    Trailers(&'static str, &'static str),
    Error,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Script {
    pub status: u16,
    pub fields: Vec<(&'static str, &'static str)>,
    pub pieces: Vec<Piece>,
    /// It is the rejection of a breaker of the same make further in.
    pub rejection: bool,
}

impl Script {
    pub fn response(&self) -> Response<Scripted> {
        let mut response = Response::new(Scripted(self.pieces.clone().into_iter()));
        *response.status_mut() = self.status.try_into().unwrap();
        for (name, value) in &self.fields {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    }
}

/// Its size hint says nothing.
pub struct Scripted(std::vec::IntoIter<Piece>);

impl Body for Scripted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.next().map(|piece| match piece {
            Piece::Data => Ok(Frame::data(Bytes::from_static(b"a"))),
            Piece::Trailers(name, value) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, value.parse().unwrap());
                Ok(Frame::trailers(trailers))
            }
            Piece::Error => Err("reset"),
        }))
    }
}

/// Reads so many frames, as far as there are any without an error.
pub async fn read<B: Body + Unpin>(mut body: B, frames: usize) {
    use http_body_util::BodyExt;
    for _ in 0..frames {
        if !matches!(body.frame().await, Some(Ok(_))) {
            break;
        }
    }
}
