//! Opaque tokens: the issuer is asked what they say (RFC 7662).
//!
//! [`Introspection`] is given to [`AuthenticatorBuilder::introspect`](crate::AuthenticatorBuilder::introspect). Answers are
//! kept for a while, and held against time, audience and every other rule at each use; a token that is being asked about
//! is asked about once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use tokio::sync::watch;
use tower_service::Service;

use crate::error::ConfigError;
use crate::fetch::{self, Spawn, Task};
use crate::form::{AuthMethod, Endpoint, encode};
use crate::keys::KeysPending;
use crate::metrics::Fetches;
use crate::policy::introspection::{self as rules, Answer};

/// After a failure the endpoint is not asked about the same token for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// So long a token may live on after it was revoked, at most.
const MAX_KEEP: Duration = Duration::from_secs(86_400);
/// What a token takes with its answer, on average over all that are remembered: whoever sends long ones that mean nothing
/// shall not fill the memory with them.
const BYTES_PER_TOKEN: usize = 2_048;
/// Nothing that is not active is remembered longer: a token may be asked about before it is valid everywhere.
const MAX_INACTIVE: Duration = Duration::from_secs(5);

/// Asks an introspection endpoint about tokens. A cheap handle.
#[derive(Clone)]
pub struct Introspection {
    shared: Arc<Shared>,
}

/// Builds an [`Introspection`].
pub struct IntrospectionBuilder<S> {
    endpoint: Endpoint<S>,
    keep: Duration,
    entries: usize,
    in_flight: usize,
    jwts: bool,
    spawn: Spawn,
}

type Asking = Pin<Box<dyn Future<Output = Option<Known>> + Send>>;

struct Shared {
    keep: Duration,
    entries: usize,
    in_flight: usize,
    jwts: bool,
    ask: Box<dyn Fn(&str) -> Asking + Send + Sync>,
    spawn: Spawn,
    fetches: Fetches,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: HashMap<Arc<str>, Entry, foldhash::quality::RandomState>,
    /// In the order they came, oldest first; what is too much leaves in that order.
    order: VecDeque<Arc<str>>,
    flying: usize,
    /// Of the tokens and their answers.
    bytes: usize,
}

/// What is known of a token.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) answer: Answer,
    pub(crate) body: Bytes,
}

enum Entry {
    /// `last` is what the question before this one found: whoever waited for that may come for it late.
    Flying {
        running: watch::Receiver<()>,
        last: Option<Arc<Known>>,
    },
    Known {
        known: Arc<Known>,
        until: Instant,
    },
    Failed {
        until: Instant,
    },
}

impl Entry {
    /// Besides the token.
    fn bytes(&self) -> usize {
        match self {
            Self::Flying { last: Some(known), .. } | Self::Known { known, .. } => known.body.len(),
            Self::Flying { last: None, .. } | Self::Failed { .. } => 0,
        }
    }
}

/// What a lookup answers at once.
pub(crate) enum Found {
    Known(Arc<Known>),
    Wait(KeysPending),
    Unavailable { retry_after: Duration },
}

impl Introspection {
    /// The endpoint at this absolute URL, asked over `service`, with the credentials of this resource server.
    pub fn builder<S>(
        uri: Uri,
        id: impl Into<String>,
        secret: impl Into<String>,
        service: S,
    ) -> IntrospectionBuilder<S> {
        IntrospectionBuilder {
            endpoint: Endpoint::new(uri, id.into(), secret.into(), service),
            keep: Duration::from_secs(30),
            entries: 10_000,
            in_flight: 100,
            jwts: false,
            spawn: fetch::tokio_spawn(),
        }
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Introspection")
    }
}

impl<S> fmt::Debug for IntrospectionBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionBuilder").field("id", &self.endpoint.id).finish_non_exhaustive()
    }
}

impl<S> IntrospectionBuilder<S> {
    /// How this server proves who it is. [`AuthMethod::Basic`] by default.
    #[must_use]
    pub fn auth_method(mut self, method: AuthMethod) -> Self {
        self.endpoint.method = method;
        self
    }

    /// How long an answer is kept: so long a token may live on after it was revoked. 30 seconds by default; zero asks
    /// each time; at most a day. What is not active is kept for at most 5 seconds, and nothing beyond `exp`.
    #[must_use]
    pub fn keep_for(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Most tokens that are remembered, with their answers in 2 KiB each on average; the oldest leave first. 10,000 by
    /// default, so 20 MiB.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.entries = tokens;
        self
    }

    /// Most questions at one time; beyond it requests are answered with 503. 100 by default.
    #[must_use]
    pub fn max_in_flight(mut self, questions: usize) -> Self {
        self.in_flight = questions;
        self
    }

    /// Longest question. 5 seconds by default.
    #[must_use]
    pub fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.timeout = timeout;
        self
    }

    /// Longest answer in bytes. 64 KiB by default.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.endpoint.max_body = bytes;
        self
    }

    /// Asks about JWTs too, instead of verifying them with the keys of their issuer: where revocation must be seen within
    /// the time answers are kept. Off by default.
    #[must_use]
    pub fn also_jwts(mut self) -> Self {
        self.jwts = true;
        self
    }

    /// How questions are started. `tokio::spawn` by default.
    #[must_use]
    pub fn spawn_with(mut self, spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        self.spawn = Arc::new(spawn);
        self
    }

    /// The finished handle.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn build<B, R>(self) -> Result<Introspection, ConfigError>
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
        B: From<Bytes> + Send + 'static,
        R: Body<Data: Send, Error: Send> + Send + 'static,
    {
        let wrong = |field, reason: &'static str| Err(ConfigError::new(field, reason));
        self.endpoint.check()?;
        if self.keep > MAX_KEEP {
            return wrong("keep_for", "more than a day");
        }
        if self.entries == 0 {
            return wrong("max_tokens", "zero");
        }
        if self.in_flight == 0 || self.in_flight > self.entries {
            return wrong("max_in_flight", "zero, or more than max_tokens");
        }
        let Self { endpoint, keep, entries, in_flight, jwts, spawn } = self;
        let post = endpoint.post();
        let ask = move |token: &str| -> Asking {
            let answer = post(format!("token={}&token_type_hint=access_token", encode(token)));
            Box::pin(async move {
                let body = answer.await?;
                let answer = rules::parse(&body)?;
                // Nobody asks what else is said about a token that is not active.
                let body = if answer == Answer::Inactive { Bytes::new() } else { body };
                Some(Known { answer, body })
            })
        };
        let (ask, fetches, state) = (Box::new(ask), Fetches::default(), Mutex::default());
        let shared = Shared { keep, entries, in_flight, jwts, ask, spawn, fetches, state };
        Ok(Introspection { shared: Arc::new(shared) })
    }
}

impl Introspection {
    /// Whether this token is to be asked about.
    pub(crate) fn concerns(&self, token: &str) -> bool {
        self.shared.jwts || rules::is_opaque(token)
    }

    /// How long answers are kept, which is what a token without `exp` lives.
    pub(crate) fn keep(&self) -> Duration {
        self.shared.keep
    }

    /// What is known of the token. `waited` is whether the caller has waited for it already.
    pub(crate) fn lookup(&self, token: &str, waited: bool) -> Found {
        let now = tokio::time::Instant::now().into_std();
        let state = self.shared.lock();
        match state.tokens.get(token) {
            // Whoever waited gets the answer that came, also where none is kept.
            Some(Entry::Known { known, until }) if waited || now < *until => {
                return Found::Known(Arc::clone(known));
            }
            Some(Entry::Failed { until }) if waited || now < *until => {
                let retry_after = until.saturating_duration_since(now).max(PAUSE);
                return Found::Unavailable { retry_after };
            }
            Some(Entry::Flying { last: Some(known), .. }) if waited => {
                return Found::Known(Arc::clone(known));
            }
            Some(Entry::Flying { running, .. }) if !waited => return Found::Wait(waiting(running.clone())),
            _ if waited => return Found::Unavailable { retry_after: PAUSE },
            _ => {}
        }
        if state.flying >= self.shared.in_flight {
            return Found::Unavailable { retry_after: PAUSE };
        }
        Found::Wait(waiting(Shared::start(&self.shared, state, token)))
    }
}

fn waiting(mut running: watch::Receiver<()>) -> KeysPending {
    KeysPending::new(async move {
        let _ = running.changed().await;
    })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(shared: &Arc<Self>, mut state: MutexGuard<'_, State>, token: &str) -> watch::Receiver<()> {
        shared.fetches.prepare("tower_auth_introspections_total");
        let (ends, running) = watch::channel(());
        let token: Arc<str> = token.into();
        let last = match state.tokens.get(&token) {
            Some(Entry::Known { known, .. }) => Some(Arc::clone(known)),
            _ => None,
        };
        let flying = Entry::Flying { running: running.clone(), last };
        state.put(&token, flying);
        state.flying += 1;
        state.trim(shared.entries);
        drop(state);
        // First, so that the question ends even if a service panics when it is cloned.
        let flight = Flight { shared: Arc::clone(shared), token, ends: Some(ends), answer: None };
        let asking = (shared.ask)(&flight.token);
        // Without the lock: a runtime that is going down drops the task here and now.
        (shared.spawn)(Box::pin(async move {
            let mut flight = flight;
            flight.answer = asking.await;
            drop(flight);
        }));
        running
    }
}

impl State {
    fn put(&mut self, token: &Arc<str>, entry: Entry) {
        self.bytes += entry.bytes();
        match self.tokens.insert(Arc::clone(token), entry) {
            Some(before) => self.bytes -= before.bytes(),
            None => {
                self.bytes += token.len();
                self.order.push_back(Arc::clone(token));
            }
        }
    }

    /// The oldest leave, but none that is being asked about.
    fn trim(&mut self, entries: usize) {
        let (mut looked, most) = (self.order.len(), entries.saturating_mul(BYTES_PER_TOKEN));
        while (self.tokens.len() > entries || self.bytes > most) && looked > 0 {
            looked -= 1;
            let Some(oldest) = self.order.pop_front() else { return };
            if matches!(self.tokens.get(&oldest), Some(Entry::Flying { .. })) {
                self.order.push_back(oldest);
            } else if let Some(entry) = self.tokens.remove(&oldest) {
                self.bytes -= oldest.len() + entry.bytes();
            }
        }
    }
}

/// A question; ends on drop, however its task ends.
struct Flight {
    shared: Arc<Shared>,
    token: Arc<str>,
    ends: Option<watch::Sender<()>>,
    answer: Option<Known>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let now = tokio::time::Instant::now().into_std();
        self.shared.fetches.ended(self.answer.is_some());
        let mut state = self.shared.lock();
        state.flying -= 1;
        let entry = match self.answer.take() {
            None => Entry::Failed { until: now + PAUSE },
            Some(known) => {
                let keep = match known.answer {
                    Answer::Inactive => self.shared.keep.min(MAX_INACTIVE),
                    Answer::Active(_) => self.shared.keep,
                };
                Entry::Known { known: Arc::new(known), until: now + keep }
            }
        };
        state.put(&self.token, entry);
        drop(state);
        drop(self.ends.take());
    }
}
