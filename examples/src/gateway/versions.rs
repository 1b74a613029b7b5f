//! The versions of the API and their lives, which the admin listener changes while requests run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tower_versioning::settings::VersionPolicy;
use tower_versioning::{ConfigError, Moment, Registry, Source, Version, VersionLayer};

const V1: Version = Version::major(1);
const V2: Version = Version::major(2);
const DAY: Duration = Duration::from_secs(86_400);

/// What is said about one version; moments in seconds since 1970. `{}` is a version that goes on.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Life {
    /// Deprecated from then on.
    deprecated: Option<i64>,
    /// May stop working then.
    sunset: Option<i64>,
    /// Is answered with 410 after the sunset.
    gone: bool,
}

impl Life {
    fn policy(self, mut policy: VersionPolicy) -> VersionPolicy {
        if let Some(at) = self.deprecated {
            policy = policy.deprecated(Moment::from_unix(at));
        }
        if let Some(at) = self.sunset {
            policy = policy.sunset(Moment::from_unix(at));
        }
        if self.gone { policy.gone_after_sunset() } else { policy }
    }
}

/// The lives of versions 1 and 2; clones are the same ones.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    registry: Registry,
    lives: Arc<Mutex<[Life; 2]>>,
}

impl Versions {
    /// Version 1 is deprecated in favour of version 2.
    pub(super) fn new() -> Result<Self, ConfigError> {
        let seconds = |at: SystemTime| {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).ok()
        };
        let now = SystemTime::now();
        let one = Life { deprecated: seconds(now - 30 * DAY), sunset: seconds(now + 150 * DAY), gone: false };
        let lives = [one, Life::default()];
        Ok(Self { registry: registry(lives)?, lives: Arc::new(Mutex::new(lives)) })
    }

    /// `/api/v1/orders`, or `/api/orders` with `api-version: 1`.
    pub(super) fn layer(&self) -> VersionLayer {
        let header = Source::header(HeaderName::from_static("api-version"));
        VersionLayer::new(self.registry.clone()).sources([Source::path("/api"), header])
    }

    /// `GET /versions` tells the lives of both, `PUT /versions/1` replaces that of one.
    pub(super) fn admin(&self) -> Router {
        let tell = async |State(versions): State<Self>| Json(versions.now());
        Router::new()
            .route("/versions", get(tell))
            .route("/versions/{version}", put(change))
            .with_state(self.clone())
    }

    fn now(&self) -> [Life; 2] {
        *self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn registry(lives: [Life; 2]) -> Result<Registry, ConfigError> {
    let [one, two] = lives;
    Registry::builder()
        .version(V1, |v| one.policy(v.successor(V2).documentation("https://api.example/docs/moving-to-v2")))
        .version(V2, |v| two.policy(v))
        .build()
}

/// Requests that are under way end as they began; a life that cannot be leaves everything as it is.
async fn change(
    State(versions): State<Versions>,
    Path(version): Path<usize>,
    Json(life): Json<Life>,
) -> Result<Json<[Life; 2]>, (StatusCode, String)> {
    let mut lives = versions.lives.lock().unwrap_or_else(PoisonError::into_inner);
    let mut changed = *lives;
    let known = version.checked_sub(1).and_then(|index| changed.get_mut(index));
    *known.ok_or_else(|| (StatusCode::NOT_FOUND, format!("there is no version {version}")))? = life;
    let next = registry(changed).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    versions.registry.replace(&next);
    *lives = changed;
    Ok(Json(changed))
}
