//! Client credentials (RFC 6749 §4.4).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, Uri};
use http_body::Body;
use serde::Deserialize;
use tokio::sync::watch;
use tower_service::Service;

use super::{AccessToken, Rejected, TokenAnswer, TokenProvider};
use crate::error::ConfigError;
use crate::fetch::{self, Spawn, Task};
use crate::form::{AuthMethod, Endpoint, encode};
use crate::metrics::Fetches;
use crate::policy::challenge;

/// A token is dropped at most so often because a server rejected it: a server that rejects every token must not make us
/// ask the issuer for each request.
const BETWEEN_DROPS: Duration = Duration::from_secs(30);

/// A provider that obtains tokens by client credentials, keeps them and refreshes them ahead of time. One request to
/// the issuer at a time, which outlives the caller that started it; while the issuer is down the last token serves until
/// it expires. A cheap handle.
#[derive(Clone)]
pub struct ClientCredentials {
    shared: Arc<Shared>,
}

/// Builds [`ClientCredentials`].
pub struct ClientCredentialsBuilder<S> {
    endpoint: Endpoint<S>,
    scopes: Vec<String>,
    audience: Option<String>,
    ahead: Duration,
    spawn: Spawn,
    #[cfg(feature = "dpop")]
    dpop: bool,
}

struct Shared {
    ahead: Duration,
    /// Makes the future of one token request.
    request: Box<dyn Fn() -> Answering + Send + Sync>,
    spawn: Spawn,
    state: Mutex<State>,
    fetches: Fetches,
}

type Answering = std::pin::Pin<Box<dyn Future<Output = Option<(AccessToken, Duration)>> + Send>>;

#[derive(Default)]
struct State {
    token: Option<Kept>,
    /// When a token was last dropped because somebody rejected it.
    dropped_at: Option<Instant>,
    not_before: Option<Instant>,
    failures: u32,
    running: Option<Running>,
}

/// The token request that is under way; closed when it has ended in any way. The token that it brought is for everybody
/// who waited, also when somebody has given it back by then.
type Running = watch::Receiver<Option<AccessToken>>;

#[derive(Clone)]
struct Kept {
    token: AccessToken,
    refresh_at: Instant,
    expires_at: Instant,
}

impl ClientCredentials {
    /// Tokens from the token endpoint at this absolute URL, asked over `service`.
    pub fn builder<S>(
        uri: Uri,
        id: impl Into<String>,
        secret: impl Into<String>,
        service: S,
    ) -> ClientCredentialsBuilder<S> {
        ClientCredentialsBuilder {
            endpoint: Endpoint::new(uri, id.into(), secret.into(), service),
            scopes: Vec::new(),
            audience: None,
            ahead: Duration::from_secs(60),
            spawn: fetch::tokio_spawn(),
            #[cfg(feature = "dpop")]
            dpop: false,
        }
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCredentials")
    }
}

impl<S> fmt::Debug for ClientCredentialsBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentialsBuilder").field("id", &self.endpoint.id).finish_non_exhaustive()
    }
}

impl<S> ClientCredentialsBuilder<S> {
    /// A scope to ask for, or several with spaces between them (RFC 6749 §3.3). May be said for several: each adds to what
    /// is asked for. None by default; then the issuer grants what it has for this client.
    #[must_use]
    pub fn scope(mut self, scope: impl AsRef<str>) -> Self {
        let scopes = scope.as_ref().split(' ').filter(|scope| !scope.is_empty());
        self.scopes.extend(scopes.map(str::to_owned));
        self
    }

    /// The audience asked for, which several providers need: one, the last that is said. Not sent by default.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// How the client proves who it is. [`AuthMethod::Basic`] by default.
    #[must_use]
    pub fn auth_method(mut self, method: AuthMethod) -> Self {
        self.endpoint.method = method;
        self
    }

    /// How long before its end a token is renewed, without anybody waiting; at most half of its life. 60 seconds by
    /// default: longer than a slow issuer takes, and as far as clocks may differ.
    #[must_use]
    pub fn refresh_ahead(mut self, ahead: Duration) -> Self {
        self.ahead = ahead;
        self
    }

    /// Longest token request. 5 seconds by default.
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

    /// Takes tokens bound to a key (RFC 9449 §5) and no others. The service must be one of
    /// [`DpopLayer`](crate::dpop::DpopLayer), and so must the one that is called with the tokens. Off by default.
    #[cfg(feature = "dpop")]
    #[must_use]
    pub fn dpop(mut self) -> Self {
        self.dpop = true;
        self
    }

    /// How token requests are started. `tokio::spawn` by default.
    #[must_use]
    pub fn spawn_with(mut self, spawn: impl Fn(Task) + Send + Sync + 'static) -> Self {
        self.spawn = Arc::new(spawn);
        self
    }

    /// The finished provider.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn build<B, R>(self) -> Result<ClientCredentials, ConfigError>
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
        B: From<Bytes> + Send + 'static,
        R: Body<Data: Send, Error: Send> + Send + 'static,
    {
        self.endpoint.check()?;
        if !self.scopes.iter().all(|scope| challenge::is_scope(scope)) {
            let reason = "only printable ASCII without quotes and backslashes (RFC 6749 §3.3)";
            return Err(ConfigError::new("scope", reason));
        }
        let form = self.form();
        #[cfg(feature = "dpop")]
        let scheme = if self.dpop { "DPoP" } else { "Bearer" };
        #[cfg(not(feature = "dpop"))]
        let scheme = "Bearer";
        let Self { endpoint, ahead, spawn, .. } = self;
        let post = endpoint.post();
        let request = move || -> Answering {
            let answer = post(form.clone());
            Box::pin(async move { read_answer(&answer.await?, scheme) })
        };
        let state = Mutex::new(State::default());
        let (request, fetches) = (Box::new(request), Fetches::default());
        Ok(ClientCredentials { shared: Arc::new(Shared { ahead, request, spawn, state, fetches }) })
    }

    fn form(&self) -> String {
        let mut form = String::from("grant_type=client_credentials");
        let mut add = |name: &str, value: &str| form.extend(["&", name, "=", &encode(value)]);
        if !self.scopes.is_empty() {
            add("scope", &self.scopes.join(" "));
        }
        if let Some(audience) = &self.audience {
            add("audience", audience);
        }
        form
    }
}

/// RFC 6749 §5.1.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Option<Life>,
}

/// A number (RFC 6749 appendix A.14), or what some issuers send in its place: the digits as a string, or a fraction.
#[derive(Deserialize)]
#[serde(untagged)]
enum Life {
    Seconds(u64),
    Fraction(f64),
    Digits(String),
}

impl Life {
    /// Whole seconds; `None` for what is no time.
    fn seconds(&self) -> Option<u64> {
        match self {
            Self::Seconds(seconds) => Some(*seconds),
            // The cast cuts fractions and saturates.
            Self::Fraction(seconds) => (*seconds >= 0.0).then_some(*seconds as u64),
            Self::Digits(text) => {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse().unwrap_or(u64::MAX))
            }
        }
    }
}

fn read_answer(body: &[u8], scheme: &str) -> Option<(AccessToken, Duration)> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    if !answer.token_type.eq_ignore_ascii_case(scheme) {
        return None;
    }
    // Without a stated life five minutes are assumed; no token is kept beyond a day. One that is over at once is none:
    // with it every call would be a token request.
    let seconds = answer.expires_in.map_or(Some(300), |life| life.seconds())?;
    let life = Duration::from_secs(seconds.min(86_400));
    if life.is_zero() {
        return None;
    }
    AccessToken::by(scheme, &answer.access_token).map(|token| (token, life))
}

impl TokenProvider for ClientCredentials {
    fn token(&self, _: &Parts) -> TokenAnswer {
        let now = tokio::time::Instant::now().into_std();
        let state = self.shared.lock();
        let may_ask = state.not_before.is_none_or(|until| now >= until);
        match state.token.clone().filter(|kept| now < kept.expires_at) {
            Some(kept) => {
                if may_ask && now >= kept.refresh_at {
                    Shared::start(&self.shared, state);
                }
                TokenAnswer::Ready(Ok(kept.token))
            }
            None if !may_ask => TokenAnswer::Ready(Err(state.rejection(now))),
            None => {
                let mut running = Shared::start(&self.shared, state);
                let shared = Arc::clone(&self.shared);
                TokenAnswer::Pending(Box::pin(async move {
                    let _ = running.changed().await;
                    let brought = running.borrow().clone();
                    let now = tokio::time::Instant::now().into_std();
                    brought.ok_or_else(|| shared.lock().rejection(now))
                }))
            }
        }
    }

    fn rejected(&self, token: &AccessToken) -> bool {
        let now = tokio::time::Instant::now().into_std();
        let mut state = self.shared.lock();
        if state.token.as_ref().is_none_or(|kept| kept.token != *token) {
            // Another caller was first.
            return true;
        }
        let lately = |at: Instant| now.saturating_duration_since(at) < BETWEEN_DROPS;
        if state.dropped_at.is_some_and(lately) {
            return false;
        }
        (state.token, state.dropped_at) = (None, Some(now));
        true
    }
}

/// A token request; ends on drop, however its task ends. One that is dropped or panics has failed.
struct Flight {
    shared: Arc<Shared>,
    asked_at: Instant,
    answer: Option<(AccessToken, Duration)>,
    ends: watch::Sender<Option<AccessToken>>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let token = self.answer.as_ref().map(|(token, _)| token.clone());
        self.shared.finish(self.asked_at, self.answer.take());
        self.ends.send_replace(token);
    }
}

impl State {
    fn rejection(&self, now: Instant) -> Rejected {
        let pause = self.not_before.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        Rejected::TokenUnavailable { retry_after: pause.max(Duration::from_secs(1)) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(shared: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Running {
        if let Some(running) = state.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return running.clone();
        }
        shared.fetches.prepare("tower_auth_token_requests_total");
        let (ends, running) = watch::channel(None);
        state.running = Some(running.clone());
        // Whoever spawns may run or drop the task at once, and it wants the lock.
        drop(state);
        let asked_at = tokio::time::Instant::now().into_std();
        let flight = Flight { shared: Arc::clone(shared), asked_at, answer: None, ends };
        let answering = (shared.request)();
        (shared.spawn)(Box::pin(async move {
            let mut flight = flight;
            flight.answer = answering.await;
            drop(flight);
        }));
        running
    }

    fn finish(&self, asked_at: Instant, answer: Option<(AccessToken, Duration)>) {
        let mut state = self.lock();
        self.fetches.ended(answer.is_some());
        let Some((token, life)) = answer else {
            let backoff = Duration::from_secs(1 << state.failures.min(5));
            state.failures = state.failures.saturating_add(1);
            state.not_before = Some(tokio::time::Instant::now().into_std() + backoff);
            // A dead token must not be handed out by those who waited.
            state.token =
                state.token.take().filter(|kept| tokio::time::Instant::now().into_std() < kept.expires_at);
            return;
        };
        let ahead = self.ahead.min(life / 2);
        (state.failures, state.not_before) = (0, None);
        let (refresh_at, expires_at) = (asked_at + (life - ahead), asked_at + life);
        state.token = Some(Kept { token, refresh_at, expires_at });
    }
}
