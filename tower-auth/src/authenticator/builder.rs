//! Says what an [`Authenticator`] accepts.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use super::cache::VerifiedCache;
use super::headers::KnownHeaders;
use super::{Authenticator, Issuer, Settings, Shared};
use crate::error::ConfigError;
use crate::granted;
use crate::keys::KeySource;
use crate::metrics::Requests;
use crate::policy::challenge;
use crate::policy::claims::{self, Places};
use crate::policy::validation::{MAX_LEEWAY, Rules, TokenType};
use crate::token::{Claims, TokenFacts};
use crate::verify::Backend;

impl Authenticator {
    /// Starts with an issuer and an audience missing; `build` exists once both are said.
    #[must_use]
    pub fn builder() -> AuthenticatorBuilder {
        AuthenticatorBuilder {
            settings: Settings {
                issuers: Vec::new(),
                rules: Rules {
                    audiences: None,
                    leeway: Duration::from_secs(60),
                    max_age: None,
                    token_type: TokenType::default(),
                    certificates_compared: false,
                },
                realm: None,
                backend: Backend::default(),
                clock: SystemTime::now,
                cache_bytes: 16 * 1024 * 1024,
                revoked: None,
                #[cfg(feature = "introspection")]
                introspection: None,
                places: Places::default(),
                fault: None,
            },
            claims: PhantomData,
            said: PhantomData,
        }
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
    settings: Settings,
    claims: PhantomData<fn() -> C>,
    said: PhantomData<(K, A)>,
}

impl<C, K, A> fmt::Debug for AuthenticatorBuilder<C, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatorBuilder")
            .field("issuers", &self.settings.issuers)
            .finish_non_exhaustive()
    }
}

impl<C, K, A> AuthenticatorBuilder<C, K, A> {
    fn retyped<C2, K2, A2>(self) -> AuthenticatorBuilder<C2, K2, A2> {
        AuthenticatorBuilder { settings: self.settings, claims: PhantomData, said: PhantomData }
    }

    /// Accepts tokens of this issuer. May be said for several issuers.
    #[must_use]
    pub fn issuer(mut self, issuer: Issuer) -> AuthenticatorBuilder<C, Set, A> {
        self.settings.issuers.push(issuer);
        self.retyped()
    }

    /// Accepts whatever these keys verify, whoever `iss` names. Anyone else who has tokens signed with the same keys is
    /// let in: for tests and for single-purpose secrets.
    #[must_use]
    pub fn danger_any_issuer(mut self, keys: impl KeySource) -> AuthenticatorBuilder<C, Set, A> {
        self.settings.issuers.push(Issuer { name: None, keys: Arc::new(keys), fault: None });
        self.retyped()
    }

    /// Accepts tokens for this audience, compared exactly. May be said for several.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> AuthenticatorBuilder<C, K, Set> {
        self.settings.rules.audiences.get_or_insert_default().push(audience.into());
        self.retyped()
    }

    /// Accepts tokens for any audience: also those that a client obtained for another service.
    #[must_use]
    pub fn danger_any_audience(mut self) -> AuthenticatorBuilder<C, K, Set> {
        self.settings.rules.audiences = None;
        self.retyped()
    }

    /// Accepts opaque tokens, about which the issuer is asked (RFC 7662). JWTs are verified with keys all the same, unless
    /// there is no issuer with keys, or it is [said otherwise](crate::introspection::IntrospectionBuilder::also_jwts). An answer without `exp` is taken as good
    /// for as long as it is kept; one with an `iss` must name a configured issuer, if there is any; the audience must
    /// match as that of a JWT must.
    #[cfg(feature = "introspection")]
    #[must_use]
    pub fn introspect(
        mut self,
        introspection: crate::introspection::Introspection,
    ) -> AuthenticatorBuilder<C, Set, A> {
        self.settings.introspection = Some(introspection);
        self.retyped()
    }

    /// How far clocks may differ. 60 seconds by default, at most 300.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.settings.rules.leeway = leeway;
        self
    }

    /// Refuses tokens issued longer ago than this, whatever `exp` says; then `iat` is required. Not limited by default.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.rules.max_age = Some(age);
        self
    }

    /// Which `typ` is accepted. [`TokenType::AccessTokenOrJwt`] by default.
    #[must_use]
    pub fn token_type(mut self, token_type: TokenType) -> Self {
        self.settings.rules.token_type = token_type;
        self
    }

    /// Takes tokens bound to the certificate of a client (`cnf` with `x5t#S256`, RFC 8705 §3) without looking at any
    /// certificate: for servers behind one that ends TLS and has compared certificate and token itself. Without it such
    /// tokens are refused, also where a DPoP proof is good, because a stolen one would be as good as its owner's.
    #[must_use]
    pub fn danger_ignore_certificate_binding(mut self) -> Self {
        self.settings.rules.certificates_compared = true;
        self
    }

    /// The realm named in challenges (RFC 9110 §11.5). By default the first audience, without what a challenge cannot
    /// carry, and `api` where any audience is accepted: RFC 6750 §3 wants a challenge to have a parameter.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.settings.realm = Some(realm.into());
        self
    }

    /// What computes signatures. aws-lc-rs by default where it is compiled in: several times faster.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.settings.backend = backend;
        self
    }

    /// The wall clock that `exp`, `nbf` and `iat` are compared with. `SystemTime::now` by default.
    #[must_use]
    pub fn wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.settings.clock = clock;
        self
    }

    /// How many bytes of tokens that were verified, with their claims, are kept so that their signatures need not be
    /// verified again; zero keeps none. 16 MiB by default, about 4,000 tokens in use. Every use still asks whether the token is
    /// in time, the audience right, and its key still one of the issuer's; a removed key takes its tokens along.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.settings.cache_bytes = bytes;
        self
    }

    /// Refuses tokens this says are revoked, by `jti`, `sub` or the time of issue. Asked at every use, also of tokens
    /// that were verified before, so it must be quick: a look into a set that something else keeps current. None by
    /// default.
    #[must_use]
    pub fn revoked(mut self, revoked: impl Fn(&TokenFacts<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.settings.revoked = Some(Arc::new(revoked));
        self
    }

    /// Takes scopes from here as well, besides `scope` and `scp`: a JSON pointer (RFC 6901) such as `/permissions` to a
    /// string of scopes with spaces between them or to an array of such. Where the claim is present it must be one of
    /// these. May be said for several. None by default.
    #[must_use]
    pub fn scopes_at(mut self, pointer: &str) -> Self {
        match claims::pointer(pointer) {
            Some(path) => self.settings.places.scopes.push(path),
            None => self.settings.fault = Some(ConfigError::new("scopes_at", "not a JSON pointer")),
        }
        self
    }

    /// Where roles are: a JSON pointer (RFC 6901) such as `/roles` or `/realm_access/roles` to an array of strings or to
    /// one string. Where the claim is present it must be one of these. May be said for several. None by default: no
    /// standard says where roles are (RFC 9068 §2.2.3.1 has `roles` without a form for access tokens of all providers).
    #[must_use]
    pub fn roles_at(mut self, pointer: &str) -> Self {
        match claims::pointer(pointer) {
            Some(path) => self.settings.places.roles.push(path),
            None => self.settings.fault = Some(ConfigError::new("roles_at", "not a JSON pointer")),
        }
        self
    }

    /// Reads the claims into your own type. [`Claims`] by default.
    #[must_use]
    pub fn claims<C2: DeserializeOwned>(self) -> AuthenticatorBuilder<C2, K, A> {
        self.retyped()
    }
}

impl<C: Send + Sync + 'static> AuthenticatorBuilder<C, Set, Set> {
    /// The finished handle.
    ///
    /// # Errors
    ///
    /// Names the setting that cannot work.
    pub fn build(mut self) -> Result<Authenticator<C>, ConfigError> {
        let Settings { issuers, rules, realm, .. } = &self.settings;
        if let Some(fault) = &self.settings.fault {
            return Err(fault.clone());
        }
        if let Some(fault) = issuers.iter().find_map(|issuer| issuer.fault.clone()) {
            return Err(fault);
        }
        let suits = |issuer: &Issuer| issuer.keys.used_with(self.settings.backend);
        if let Some(fault) = issuers.iter().find_map(|issuer| suits(issuer).err()) {
            return Err(ConfigError::new("backend", fault.to_string()));
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
        if realm.iter().any(|realm| !realm.chars().all(challenge::fit)) {
            return Err(ConfigError::new("realm", "only printable ASCII without quotes and backslashes"));
        }
        if self.settings.realm.is_none() {
            self.settings.realm = Some(default_realm(&self.settings.rules));
        }
        let cache = VerifiedCache::new(self.settings.cache_bytes);
        let (headers, known) = (KnownHeaders::default(), granted::know::<C>());
        let shared = Shared { settings: self.settings, cache, headers, known, requests: Requests::default() };
        Ok(Authenticator { shared: Arc::new(shared) })
    }
}

fn default_realm(rules: &Rules) -> String {
    let audience = rules.audiences.iter().flatten().next();
    let realm: String =
        audience.into_iter().flat_map(|name| name.chars()).filter(|c| challenge::fit(*c)).collect();
    if realm.trim().is_empty() { challenge::REALM.to_owned() } else { realm }
}
