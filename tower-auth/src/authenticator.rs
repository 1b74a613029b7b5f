//! The shared state: issuers, rules and the verification of one token.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use http_body::Body;
use serde::de::DeserializeOwned;
use tower_service::Service;

use crate::error::{AuthError, ConfigError, TokenFault};
use crate::keys::{KeySource, KeysPending, Lookup, RemoteJwks};
use crate::metrics::Requests;
use crate::policy::validation::{MAX_LEEWAY, Rules, TokenType};
use crate::policy::{claims, jws};
use crate::token::{Claims, Verified};
use crate::verify::{self, Backend};

/// An issuer and its keys. Tokens of one issuer are never tried with the keys of another.
pub struct Issuer {
    name: Option<String>,
    keys: Arc<dyn KeySource>,
    fault: Option<ConfigError>,
}

impl Issuer {
    /// An issuer by the exact value of `iss` (RFC 7519 §4.1.1: compared as it is), with keys of its own.
    pub fn new(name: impl Into<String>, keys: impl KeySource) -> Self {
        Self { name: Some(name.into()), keys: Arc::new(keys), fault: None }
    }

    /// An issuer whose keys are fetched.
    pub fn remote<S, B, R>(name: impl Into<String>, keys: RemoteJwks<S>) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Default + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Send,
    {
        Self { name: Some(name.into()), fault: keys.check().err(), keys: keys.into_source() }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Verifies access tokens. A cheap handle: clone it into as many layers as there are routes.
pub struct Authenticator<C = Claims> {
    shared: Arc<Shared>,
    claims: PhantomData<fn() -> C>,
}

struct Shared {
    issuers: Vec<Issuer>,
    rules: Rules,
    realm: Option<String>,
    backend: Backend,
    clock: fn() -> SystemTime,
    requests: Requests,
}

impl<C> Clone for Authenticator<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), claims: PhantomData }
    }
}

impl<C> fmt::Debug for Authenticator<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("issuers", &self.shared.issuers).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Starts with an issuer and an audience missing; `build` exists once both are said.
    #[must_use]
    pub fn builder() -> AuthenticatorBuilder {
        AuthenticatorBuilder {
            shared: Shared {
                issuers: Vec::new(),
                rules: Rules {
                    audiences: None,
                    leeway: Duration::from_secs(60),
                    max_age: None,
                    token_type: TokenType::default(),
                },
                realm: None,
                backend: Backend::default(),
                clock: SystemTime::now,
                requests: Requests::default(),
            },
            types: PhantomData,
        }
    }
}

/// One step of a verification.
pub(crate) enum Step<C> {
    Done(Result<Verified<C>, AuthError>),
    Wait(KeysPending),
}

impl<C: DeserializeOwned> Authenticator<C> {
    /// Verifies a token, waiting for keys at most once.
    ///
    /// # Errors
    ///
    /// Why the token is not accepted, or that the keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Verified<C>, AuthError> {
        match self.step(token, false) {
            Step::Done(result) => result,
            Step::Wait(pending) => {
                pending.0.await;
                self.after_waiting(token)
            }
        }
    }

    pub(crate) fn after_waiting(&self, token: &str) -> Result<Verified<C>, AuthError> {
        match self.step(token, true) {
            Step::Done(result) => result,
            // A source that asks to wait again is out of order.
            Step::Wait(_) => Err(AuthError::KeysUnavailable { retry_after: Duration::from_secs(1) }),
        }
    }

    pub(crate) fn step(&self, token: &str, waited: bool) -> Step<C> {
        self.try_step(token, waited).unwrap_or_else(|error| Step::Done(Err(error)))
    }

    fn try_step(&self, token: &str, waited: bool) -> Result<Step<C>, AuthError> {
        let Shared { rules, backend, .. } = &*self.shared;
        let compact = jws::parse(token)?;
        if !rules.token_type.admits(compact.header.typ.as_deref()) {
            return Err(TokenFault::Type.into());
        }
        let issuer = self.issuer_of(&compact)?;
        let keys = match issuer.keys.lookup(compact.header.kid.as_deref(), compact.header.algorithm, waited) {
            Lookup::Keys(keys) => keys,
            Lookup::Wait(pending) => return Ok(Step::Wait(pending)),
            Lookup::Unavailable { retry_after } => return Err(AuthError::KeysUnavailable { retry_after }),
        };
        let payload = verify::verify_parsed(&compact, &keys, *backend)?;
        let registered = claims::parse(&payload)?;
        // Once more, now that the payload can be believed.
        if issuer.name.is_some() && issuer.name != registered.iss {
            return Err(TokenFault::Issuer.into());
        }
        let now = (self.shared.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        rules.check(&registered, i64::try_from(now).unwrap_or(i64::MAX))?;
        let claims = serde_json::from_slice(&payload).map_err(|_| TokenFault::ClaimsType)?;
        Ok(Step::Done(Ok(Verified::new(registered, token, claims))))
    }

    /// With one issuer nothing is read before the signature is good. With several the unverified `iss` picks the keys,
    /// and only among the configured ones.
    fn issuer_of(&self, compact: &jws::Compact<'_>) -> Result<&Issuer, TokenFault> {
        let issuers = &self.shared.issuers;
        if let [only] = issuers.as_slice() {
            return Ok(only);
        }
        let claims = claims::parse(&jws::decode(compact.payload)?)?;
        let named = claims.iss.ok_or(TokenFault::Missing("iss"))?;
        issuers.iter().find(|issuer| issuer.name.as_ref() == Some(&named)).ok_or(TokenFault::Issuer)
    }
}

impl<C> Authenticator<C> {
    pub(crate) fn realm(&self) -> Option<&str> {
        self.shared.realm.as_deref()
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.shared.requests
    }
}

/// Types that say what has been set.
pub mod state {
    /// Said.
    #[derive(Debug)]
    pub enum Set {}
    /// Not yet said.
    #[derive(Debug)]
    pub enum Missing {}
}
use state::{Missing, Set};

/// Builds an [`Authenticator`]. `K` and `A` say whether keys and audience are set.
pub struct AuthenticatorBuilder<C = Claims, K = Missing, A = Missing> {
    shared: Shared,
    types: PhantomData<fn() -> (C, K, A)>,
}

impl<C, K, A> fmt::Debug for AuthenticatorBuilder<C, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatorBuilder").field("issuers", &self.shared.issuers).finish_non_exhaustive()
    }
}

impl<C, K, A> AuthenticatorBuilder<C, K, A> {
    fn retyped<C2, K2, A2>(self) -> AuthenticatorBuilder<C2, K2, A2> {
        AuthenticatorBuilder { shared: self.shared, types: PhantomData }
    }

    /// Accepts tokens of this issuer. May be said for several issuers.
    #[must_use]
    pub fn issuer(mut self, issuer: Issuer) -> AuthenticatorBuilder<C, Set, A> {
        self.shared.issuers.push(issuer);
        self.retyped()
    }

    /// Accepts whatever these keys verify, whoever `iss` names. Anyone else who has tokens signed with the same keys is
    /// let in: for tests and for single-purpose secrets.
    #[must_use]
    pub fn danger_any_issuer(mut self, keys: impl KeySource) -> AuthenticatorBuilder<C, Set, A> {
        self.shared.issuers.push(Issuer { name: None, keys: Arc::new(keys), fault: None });
        self.retyped()
    }

    /// Accepts tokens for this audience, compared exactly. May be said for several.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> AuthenticatorBuilder<C, K, Set> {
        self.shared.rules.audiences.get_or_insert_default().push(audience.into());
        self.retyped()
    }

    /// Accepts tokens for any audience: also those that a client obtained for another service.
    #[must_use]
    pub fn danger_any_audience(mut self) -> AuthenticatorBuilder<C, K, Set> {
        self.shared.rules.audiences = None;
        self.retyped()
    }

    /// How far clocks may differ. 60 seconds by default, at most 300.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.shared.rules.leeway = leeway;
        self
    }

    /// Refuses tokens issued longer ago than this, whatever `exp` says; then `iat` is required. Not limited by default.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.shared.rules.max_age = Some(age);
        self
    }

    /// Which `typ` is accepted. [`TokenType::AccessTokenOrJwt`] by default.
    #[must_use]
    pub fn token_type(mut self, token_type: TokenType) -> Self {
        self.shared.rules.token_type = token_type;
        self
    }

    /// The realm named in challenges (RFC 9110 §11.5). None by default.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.shared.realm = Some(realm.into());
        self
    }

    /// What computes signatures. aws-lc-rs by default where it is compiled in: several times faster.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.shared.backend = backend;
        self
    }

    /// The wall clock that `exp`, `nbf` and `iat` are compared with. `SystemTime::now` by default.
    #[must_use]
    pub fn wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.shared.clock = clock;
        self
    }

    /// Reads the claims into your own type. [`Claims`] by default.
    #[must_use]
    pub fn claims<C2: DeserializeOwned>(self) -> AuthenticatorBuilder<C2, K, A> {
        self.retyped()
    }
}

impl<C> AuthenticatorBuilder<C, Set, Set> {
    /// The finished handle.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn build(self) -> Result<Authenticator<C>, ConfigError> {
        let Shared { issuers, rules, realm, .. } = &self.shared;
        if let Some(fault) = issuers.iter().find_map(|issuer| issuer.fault.clone()) {
            return Err(fault);
        }
        let twice = |(index, issuer): (usize, &Issuer)| {
            issuers[..index].iter().any(|other| other.name == issuer.name)
        };
        if issuers.iter().any(|issuer| issuer.name.as_deref() == Some("")) {
            return Err(ConfigError::new("issuer", "empty"));
        }
        if issuers.iter().enumerate().any(twice) {
            return Err(ConfigError::new("issuer", "the same issuer twice"));
        }
        if issuers.len() > 1 && issuers.iter().any(|issuer| issuer.name.is_none()) {
            return Err(ConfigError::new("danger_any_issuer", "cannot be combined with further issuers"));
        }
        if rules.audiences.iter().flatten().any(String::is_empty) {
            return Err(ConfigError::new("audience", "empty"));
        }
        if rules.leeway > MAX_LEEWAY {
            return Err(ConfigError::new("leeway", "more than 300 seconds"));
        }
        if rules.max_age.is_some_and(|age| age.is_zero()) {
            return Err(ConfigError::new("max_age", "zero"));
        }
        if realm.iter().any(|realm| !realm.chars().all(crate::policy::challenge::fit)) {
            return Err(ConfigError::new("realm", "only printable ASCII without quotes and backslashes"));
        }
        Ok(Authenticator { shared: Arc::new(self.shared), claims: PhantomData })
    }
}
