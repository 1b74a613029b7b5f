//! The shared state: issuers, rules and the verification of one token.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod builder;
mod cache;
mod headers;
mod once;

use cache::VerifiedCache;
use headers::KnownHeaders;

pub use builder::{AuthenticatorBuilder, state};

use http::{Request, Response};
use http_body::Body;
use serde::de::DeserializeOwned;
use tower_service::Service;

use crate::error::{AuthError, ConfigError, TokenFault};
use crate::keys::{KeySource, KeysPending, Lookup, RemoteJwks};
use crate::metrics::Requests;
use crate::policy::claims::{self, Places, Registered};
use crate::policy::jws::{self, Header, Split};
use crate::policy::typed::Outline;
use crate::policy::validation::Rules;
use crate::token::{Claims, Facts, Signed, TokenFacts, Verified};
use crate::verify::{self, Backend, Signature};

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
        S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
        B: Default + Send + 'static,
        R: Body<Data: Send, Error: Send> + Send + 'static,
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
        S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
        B: Default + Send + 'static,
        R: Body<Data: Send, Error: Send> + Send + 'static,
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
    headers: KnownHeaders,
    /// Whether the claims type is among those that layers below find by themselves.
    known: bool,
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
        let key = self.shared.cache.as_ref().map(|cache| cache.key(token.as_bytes()));
        match key.and_then(|key| self.seen(key, token.as_bytes(), proof, waited)) {
            Some(step) => step,
            None => self.unseen(key, token, proof, waited),
        }
    }

    /// The first step with what may be a token, if the cache knows it; otherwise where the cache would have it, for
    /// [`first_step`](Self::first_step).
    pub(crate) fn recall(&self, token: &[u8]) -> Result<Step<C>, Option<u64>> {
        let cache = self.shared.cache.as_ref().filter(|_| token.len() <= jws::MAX_TOKEN).ok_or(None)?;
        let key = cache.key(token);
        let step = self.seen(key, token, None, false).ok_or(Some(key))?;
        Ok(step.unwrap_or_else(|error| Step::Done(Err(error))))
    }

    /// With a token that [`recall`](Self::recall) did not know, found by the same bytes.
    pub(crate) fn first_step(&self, key: Option<u64>, token: &str) -> Step<C> {
        if token.len() > jws::MAX_TOKEN {
            return Step::Done(Err(TokenFault::TooLarge.into()));
        }
        self.unseen(key, token, None, false).unwrap_or_else(|error| Step::Done(Err(error)))
    }

    /// A token of which the cache does not know.
    fn unseen(
        &self,
        key: Option<u64>,
        token: &str,
        proof: Option<&str>,
        waited: bool,
    ) -> Result<Step<C>, AuthError> {
        #[cfg(feature = "introspection")]
        if let Some(introspection) = &self.shared.settings.introspection
            // Without keys there is no other way.
            && (introspection.concerns(token) || self.shared.settings.issuers.is_empty())
        {
            return self.introspect(introspection, token, proof, waited);
        }
        self.afresh(key, token, proof, waited)
    }

    /// A token that was verified before: everything but its signature. `None` when there is none, or when its key is no
    /// longer that one.
    fn seen(
        &self,
        key: u64,
        token: &[u8],
        proof: Option<&str>,
        waited: bool,
    ) -> Option<Result<Step<C>, AuthError>> {
        let cache = self.shared.cache.as_ref()?;
        let verified = cache.get(key, token)?;
        let Facts { registered, signed, .. } = verified.facts();
        match self.still_signed(signed.as_ref()?, verified.token(), waited) {
            Ok(true) => {}
            Ok(false) => {
                cache.remove(key);
                return None;
            }
            Err(step) => return Some(step),
        }
        let rules = &self.shared.settings.rules;
        let judged = rules.check_again(registered, self.seconds(), proof);
        let judged = judged.and_then(|()| self.not_revoked(registered));
        if judged.is_err() {
            cache.remove(key);
        }
        self.shared.requests.cache_hit();
        Some(Ok(Step::Done(judged.map(|()| verified).map_err(AuthError::from))))
    }

    /// Whether the key that verified a token is still the one that its issuer has for it. The error is what to do instead
    /// of answering.
    fn still_signed(
        &self,
        signed: &Signed,
        token: &str,
        waited: bool,
    ) -> Result<bool, Result<Step<C>, AuthError>> {
        let keys = &self.shared.settings.issuers[signed.issuer as usize].keys;
        let generation = signed.generation.load(Ordering::Relaxed);
        if keys.vouches_for(generation) {
            return Ok(true);
        }
        // Rare enough to read the header once more.
        let header = jws::split(token).and_then(|split| jws::header(&jws::decode(split.header)?));
        let Ok(Header { kid, algorithm, .. }) = header else { return Ok(false) };
        let keys = match keys.lookup(kid.as_deref(), algorithm, waited) {
            Lookup::Keys(keys) => keys,
            Lookup::Wait(pending) => return Err(Ok(Step::Wait(pending))),
            Lookup::Unavailable { retry_after } => {
                return Err(Err(AuthError::KeysUnavailable { retry_after }));
            }
        };
        if keys.generation() == generation {
            return Ok(true);
        }
        let stands = keys.select(kid.as_deref(), algorithm).is_some_and(|key| key.is_same(&signed.key));
        if stands {
            signed.generation.store(keys.generation(), Ordering::Relaxed);
        }
        Ok(stands)
    }

    fn afresh(
        &self,
        key: Option<u64>,
        token: &str,
        proof: Option<&str>,
        waited: bool,
    ) -> Result<Step<C>, AuthError> {
        let Settings { rules, backend, .. } = &self.shared.settings;
        let split = jws::split(token)?;
        let known = self.shared.headers.get(split.header);
        let read;
        let header = match &known {
            Some(known) => &known.header,
            None => {
                read = jws::header(&jws::decode(split.header)?)?;
                &read
            }
        };
        let signature = Signature::decode(split.signature)?;
        if known.is_none() && !rules.token_type.admits(header.typ.as_deref()) {
            return Err(TokenFault::Type.into());
        }
        let position = self.issuer_of(split.payload)?;
        let issuer = &self.shared.settings.issuers[position];
        let keys = match issuer.keys.lookup(header.kid.as_deref(), header.algorithm, waited) {
            Lookup::Keys(keys) => keys,
            Lookup::Wait(pending) => return Ok(Step::Wait(pending)),
            Lookup::Unavailable { retry_after } => return Err(AuthError::KeysUnavailable { retry_after }),
        };
        let once =
            self.shared.cache.as_ref().zip(key).and_then(|(cache, key)| cache.once(key, token.as_bytes()));
        let generation = keys.generation();
        let by = match known.as_ref().and_then(|known| known.key(generation)) {
            Some(key) => key,
            None => verify::key_for(header, &keys, *backend)?,
        };
        verify::verify_with(by, header.algorithm, &split, &signature, *backend, once)?;
        let mut registered = Registered::default();
        let claims = self.believe(&split, token.len(), issuer, proof, &mut registered)?;
        self.shared.headers.keep(split.header, header, known.as_deref(), (position, generation, by));
        // There are fewer issuers than that.
        let signed = Signed::new(key.unwrap_or_default(), position as u32, Arc::clone(by), generation);
        let verified = Verified::new(registered, token, Some(signed), claims);
        if let (Some(cache), Some(key)) = (&self.shared.cache, key) {
            let again = once.is_some() && once == by.id();
            if again {
                self.shared.requests.cache_hit();
            } else {
                self.shared.requests.cache_miss();
            }
            cache.insert(key, &verified, by.id(), again);
        }
        Ok(Step::Done(Ok(verified)))
    }

    /// The claims of a token with a good signature, which `registered` receives too: it is empty, and moving as much takes
    /// its time. `room` is for what is kept behind the payload in one piece of memory.
    fn believe(
        &self,
        split: &Split<'_>,
        room: usize,
        issuer: &Issuer,
        proof: Option<&str>,
        registered: &mut Registered,
    ) -> Result<C, TokenFault> {
        let Settings { rules, places, .. } = &self.shared.settings;
        let payload = jws::decode_with_room(split.payload, room)?;
        let mut outline = Outline::new();
        claims::parse_outlined(payload, places, &mut outline, registered)?;
        // Once more, now that the payload can be believed.
        if issuer.name.is_some() && issuer.name.as_deref() != registered.iss() {
            return Err(TokenFault::Issuer);
        }
        rules.check(registered, self.seconds(), proof)?;
        self.not_revoked(registered)?;
        outline.claims(registered.payload()).ok_or(TokenFault::ClaimsType)
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
        let places = &self.shared.settings.places;
        let mut registered = if places.scopes.is_empty() && places.roles.is_empty() {
            (**registered).clone()
        } else {
            // The answer was read by somebody who does not know where this authenticator looks for scopes and roles.
            claims::parse(known.body.to_vec(), places)?
        };
        let now = self.seconds();
        if registered.exp.is_none() {
            // OPTIONAL in RFC 7662 §2.2; the answer itself does not outlive this. One that is not kept is good now.
            let keep = i64::try_from(introspection.keep().as_secs()).unwrap_or(i64::MAX).max(1);
            registered.exp = Some(now.saturating_add(keep));
        }
        let issuers = &self.shared.settings.issuers;
        let named = |issuer: &Issuer| issuer.name.is_none() || issuer.name.as_deref() == registered.iss();
        if registered.iss().is_some() && !issuers.is_empty() && !issuers.iter().any(named) {
            return Err(TokenFault::Issuer.into());
        }
        self.shared.settings.rules.check(&registered, now, proof)?;
        self.not_revoked(&registered)?;
        let claims = serde_json::from_slice(&known.body).map_err(|_| TokenFault::ClaimsType)?;
        Ok(Step::Done(Ok(Verified::new(registered, token, None, claims))))
    }

    /// Now, by the wall clock that was set.
    fn seconds(&self) -> i64 {
        let now = self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        i64::try_from(now).unwrap_or(i64::MAX)
    }

    fn not_revoked(&self, registered: &Registered) -> Result<(), TokenFault> {
        match &self.shared.settings.revoked {
            Some(revoked) if revoked(&TokenFacts(registered)) => Err(TokenFault::Revoked),
            _ => Ok(()),
        }
    }

    /// With one issuer nothing is read before the signature is good. With several the unverified `iss` picks the keys,
    /// and only among the configured ones.
    fn issuer_of(&self, payload: &str) -> Result<usize, TokenFault> {
        let issuers = &self.shared.settings.issuers;
        if issuers.len() == 1 {
            return Ok(0);
        }
        let payload = jws::decode(payload)?;
        let named = claims::issuer(&payload)?;
        issuers.iter().position(|issuer| issuer.name.as_deref() == Some(&*named)).ok_or(TokenFault::Issuer)
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

    #[cfg(feature = "dpop")]
    pub(crate) fn backend(&self) -> Backend {
        self.shared.settings.backend
    }

    /// Whether a layer below finds the token without being told.
    pub(crate) fn is_found(&self) -> bool {
        self.shared.known
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.shared.requests
    }
}
