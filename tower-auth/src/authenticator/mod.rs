//! The shared state: issuers, rules and the verification of one token.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod builder;
mod cache;

use cache::{Entry, VerifiedCache};

pub use builder::{AuthenticatorBuilder, state};

use http::{Request, Response};
use http_body::Body;
use serde::de::DeserializeOwned;
use tower_service::Service;

use crate::error::{AuthError, ConfigError, TokenFault};
use crate::keys::{KeySource, KeysPending, Lookup, RemoteJwks};
use crate::metrics::Requests;
use crate::policy::claims::{self, Places, Registered};
use crate::policy::jws;
use crate::policy::validation::Rules;
use crate::token::{Claims, TokenFacts, Verified};
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
        let name = name.into();
        let differs = || {
            let reason = "differs from the issuer whose keys are discovered";
            keys.discovers().filter(|other| *other != name).map(|_| ConfigError::new("issuer", reason))
        };
        let fault = keys.check().err().or_else(differs);
        Self { name: Some(name), fault, keys: keys.into_source() }
    }

    /// An issuer whose keys are found by its metadata, over this service, with the defaults of [`RemoteJwks`]. The name
    /// is its URL.
    pub fn discover<S, B, R>(name: impl Into<String>, service: S) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Default + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Send,
    {
        let name = name.into();
        Self::remote(name.clone(), RemoteJwks::discover(name, service))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Verifies access tokens. A cheap handle: clone it into as many layers as there are routes.
pub struct Authenticator<C = Claims> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    settings: Settings,
    /// Of this authenticator alone: others have other rules.
    cache: Option<VerifiedCache<C>>,
    requests: Requests,
}

type Revoked = Arc<dyn Fn(&TokenFacts<'_>) -> bool + Send + Sync>;

struct Settings {
    issuers: Vec<Issuer>,
    rules: Rules,
    realm: Option<String>,
    backend: Backend,
    clock: fn() -> SystemTime,
    cache_bytes: u64,
    revoked: Option<Revoked>,
    #[cfg(feature = "introspection")]
    introspection: Option<crate::introspection::Introspection>,
    places: Places,
    fault: Option<ConfigError>,
}

impl<C> Clone for Authenticator<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for Authenticator<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("issuers", &self.shared.settings.issuers)
            .finish_non_exhaustive()
    }
}

/// One step of a verification.
pub(crate) enum Step<C> {
    Done(Result<Verified<C>, AuthError>),
    Wait(KeysPending),
}

impl<C: DeserializeOwned + Send + Sync + 'static> Authenticator<C> {
    /// Verifies a token, waiting for keys at most once.
    ///
    /// # Errors
    ///
    /// Why the token is not accepted, or that the keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Verified<C>, AuthError> {
        match self.step(token, None, false) {
            Step::Done(result) => result,
            Step::Wait(pending) => {
                pending.0.await;
                self.after_waiting(token, None)
            }
        }
    }

    pub(crate) fn after_waiting(&self, token: &str, proof: Option<&str>) -> Result<Verified<C>, AuthError> {
        match self.step(token, proof, true) {
            Step::Done(result) => result,
            // A source that asks to wait again is out of order.
            Step::Wait(_) => Err(AuthError::KeysUnavailable { retry_after: Duration::from_secs(1) }),
        }
    }

    /// `proof` is the thumbprint of the key that the sender proved to have (RFC 9449).
    pub(crate) fn step(&self, token: &str, proof: Option<&str>, waited: bool) -> Step<C> {
        self.try_step(token, proof, waited).unwrap_or_else(|error| Step::Done(Err(error)))
    }

    fn try_step(&self, token: &str, proof: Option<&str>, waited: bool) -> Result<Step<C>, AuthError> {
        // Before anything reads all of it, were it only to hash it.
        if token.len() > jws::MAX_TOKEN {
            return Err(TokenFault::TooLarge.into());
        }
        if let Some(entry) = self.shared.cache.as_ref().and_then(|cache| cache.get(token))
            && let Some(step) = self.again(&entry, proof, waited)?
        {
            return Ok(step);
        }
        #[cfg(feature = "introspection")]
        if let Some(introspection) = &self.shared.settings.introspection
            && introspection.concerns(token)
        {
            return self.introspect(introspection, token, proof, waited);
        }
        self.afresh(token, proof, waited)
    }

    /// A token that was verified before: everything but its signature. `None` when its key is no longer that one.
    fn again(
        &self,
        entry: &Entry<C>,
        proof: Option<&str>,
        waited: bool,
    ) -> Result<Option<Step<C>>, AuthError> {
        let issuer = &self.shared.settings.issuers[entry.issuer];
        let keys = match issuer.keys.lookup(entry.kid.as_deref(), entry.algorithm, waited) {
            Lookup::Keys(keys) => keys,
            Lookup::Wait(pending) => return Ok(Some(Step::Wait(pending))),
            Lookup::Unavailable { retry_after } => return Err(AuthError::KeysUnavailable { retry_after }),
        };
        let judged =
            if entry.stands(&keys) { Some(self.judge(entry.verified.registered(), proof)) } else { None };
        if !matches!(judged, Some(Ok(()))) {
            self.shared.cache.iter().for_each(|cache| cache.remove(entry.verified.token()));
        }
        let Some(judged) = judged else { return Ok(None) };
        self.shared.requests.cache_hit();
        Ok(Some(Step::Done(judged.map(|()| entry.verified.clone()).map_err(AuthError::from))))
    }

    fn afresh(&self, token: &str, proof: Option<&str>, waited: bool) -> Result<Step<C>, AuthError> {
        let Settings { rules, backend, .. } = &self.shared.settings;
        let compact = jws::parse(token)?;
        if !rules.token_type.admits(compact.header.typ.as_deref()) {
            return Err(TokenFault::Type.into());
        }
        let position = self.issuer_of(&compact)?;
        let issuer = &self.shared.settings.issuers[position];
        let keys = match issuer.keys.lookup(compact.header.kid.as_deref(), compact.header.algorithm, waited) {
            Lookup::Keys(keys) => keys,
            Lookup::Wait(pending) => return Ok(Step::Wait(pending)),
            Lookup::Unavailable { retry_after } => return Err(AuthError::KeysUnavailable { retry_after }),
        };
        let (payload, key) = verify::verify_parsed(&compact, &keys, *backend)?;
        let registered = claims::parse(&payload, &self.shared.settings.places)?;
        // Once more, now that the payload can be believed.
        if issuer.name.is_some() && issuer.name != registered.iss {
            return Err(TokenFault::Issuer.into());
        }
        self.judge(&registered, proof)?;
        let claims = serde_json::from_slice(&payload).map_err(|_| TokenFault::ClaimsType)?;
        let verified = Verified::new(registered, token, claims);
        if let Some(cache) = &self.shared.cache {
            self.shared.requests.cache_miss();
            cache.insert(Entry {
                verified: verified.clone(),
                issuer: position,
                kid: compact.header.kid.map(String::into_boxed_str),
                algorithm: compact.header.algorithm,
                key: Arc::clone(key),
                generation: keys.generation(),
            });
        }
        Ok(Step::Done(Ok(verified)))
    }

    /// A token that the issuer is asked about.
    #[cfg(feature = "introspection")]
    fn introspect(
        &self,
        introspection: &crate::introspection::Introspection,
        token: &str,
        proof: Option<&str>,
        waited: bool,
    ) -> Result<Step<C>, AuthError> {
        use crate::introspection::Found;
        use crate::policy::introspection::Answer;
        let known = match introspection.lookup(token, waited) {
            Found::Known(known) => known,
            Found::Wait(pending) => return Ok(Step::Wait(pending)),
            Found::Unavailable { retry_after } => {
                return Err(AuthError::IntrospectionUnavailable { retry_after });
            }
        };
        let Answer::Active(registered) = &known.answer else { return Err(TokenFault::Inactive.into()) };
        let mut registered = (**registered).clone();
        if registered.exp.is_none() {
            // OPTIONAL in RFC 7662 §2.2; the answer itself does not outlive this.
            let now = self.now().duration_since(UNIX_EPOCH).unwrap_or_default() + introspection.keep();
            registered.exp = i64::try_from(now.as_secs()).ok();
        }
        let issuers = &self.shared.settings.issuers;
        let named = |issuer: &Issuer| issuer.name.is_none() || issuer.name == registered.iss;
        if registered.iss.is_some() && !issuers.is_empty() && !issuers.iter().any(named) {
            return Err(TokenFault::Issuer.into());
        }
        self.judge(&registered, proof)?;
        let claims = serde_json::from_slice(&known.body).map_err(|_| TokenFault::ClaimsType)?;
        Ok(Step::Done(Ok(Verified::new(registered, token, claims))))
    }

    /// What must hold at every use of a token.
    fn judge(&self, registered: &Registered, proof: Option<&str>) -> Result<(), TokenFault> {
        let settings = &self.shared.settings;
        let now = (settings.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        settings.rules.check(registered, i64::try_from(now).unwrap_or(i64::MAX), proof)?;
        match &settings.revoked {
            Some(revoked) if revoked(&TokenFacts(registered)) => Err(TokenFault::Revoked),
            _ => Ok(()),
        }
    }

    /// With one issuer nothing is read before the signature is good. With several the unverified `iss` picks the keys,
    /// and only among the configured ones.
    fn issuer_of(&self, compact: &jws::Compact<'_>) -> Result<usize, TokenFault> {
        let issuers = &self.shared.settings.issuers;
        if issuers.len() == 1 {
            return Ok(0);
        }
        let claims = claims::parse(&jws::decode(compact.payload)?, &Places::default())?;
        let named = claims.iss.ok_or(TokenFault::Missing("iss"))?;
        issuers.iter().position(|issuer| issuer.name.as_ref() == Some(&named)).ok_or(TokenFault::Issuer)
    }
}

impl<C> Authenticator<C> {
    pub(crate) fn realm(&self) -> Option<&str> {
        self.shared.settings.realm.as_deref()
    }

    /// By the wall clock that was set.
    pub(crate) fn now(&self) -> SystemTime {
        (self.shared.settings.clock)()
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.shared.requests
    }
}
