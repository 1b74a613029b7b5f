//! What every step needs: requests that are printed and tallied, the admin listeners, readings of the counters.

use std::time::{Duration, Instant};

use http::header::CACHE_CONTROL;
use http::{HeaderName, Method, Uri};
use serde_json::Value;

use super::Config;
use super::client::{Answer, Call, Http};
use super::metrics::Counters;

/// Longest time a step waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the tour sent through the front door, counted as it judged the answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Requests with an id of the tour's own.
    pub(super) named: u64,
    /// Requests without one.
    pub(super) unnamed: u64,
    /// Answers 401.
    pub(super) unauthenticated: u64,
    /// Answers 403.
    pub(super) forbidden: u64,
    /// Calls of `orders` to `inventory` through the front door, as `orders` counted them.
    pub(super) inner: u64,
    /// Those of them that were answered 401.
    pub(super) inner_refused: u64,
    /// Authenticated requests by version: 1, 2, others and those that are gone.
    pub(super) versions: [u64; 3],
    /// Answers that a breaker gave.
    pub(super) broken: u64,
    /// Answers that a gateway's cache gave.
    pub(super) hits: u64,
    /// Replicas whose breaker the tour made open.
    pub(super) opened: u64,
}

impl Tally {
    /// Everything that came in at the front door.
    pub(super) fn all(&self) -> u64 {
        self.named + self.unnamed + self.inner
    }
}

/// The tour's hands.
#[derive(Debug)]
pub(super) struct Guide {
    pub(super) config: Config,
    pub(super) http: Http,
    pub(super) token: String,
    pub(super) tally: Tally,
    /// The counters of all instances before the first step.
    pub(super) before: Vec<(String, Counters)>,
    /// Do not print requests: for those that are repeated until something happens.
    pub(super) quiet: bool,
    unique: u64,
}

impl Guide {
    pub(super) async fn new(config: Config) -> Result<Self, String> {
        let mut guide = Self {
            config,
            http: Http::new(),
            token: String::new(),
            tally: Tally::default(),
            before: Vec::new(),
            quiet: false,
            unique: 0,
        };
        guide.token = guide.fresh_token(None).await?;
        guide.before = guide.counters("").await?;
        Ok(guide)
    }

    /// A token of the issuer, for all scopes of the client or the one named.
    pub(super) async fn fresh_token(&self, scope: Option<&str>) -> Result<String, String> {
        let Config { client_id, client_secret, .. } = &self.config;
        let mut form =
            format!("grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}");
        if let Some(scope) = scope {
            form.push_str("&scope=");
            form.push_str(&scope.replace(' ', "+"));
        }
        let answer =
            self.raw(&Call::new(Method::POST, join(&self.config.issuer, "/token")?).form(form)).await?;
        let token = answer.json()["access_token"].as_str().map(str::to_owned);
        token.ok_or_else(|| format!("the issuer gave no token: {} {}", answer.status, answer.text()))
    }

    /// A number that no other request of this tour has.
    pub(super) fn unique(&mut self) -> u64 {
        self.unique += 1;
        self.unique
    }

    /// `GET` with the token.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, String> {
        let token = self.token.clone();
        self.send(self.call(Method::GET, path)?.bearer(&token)).await
    }

    /// The same past the gateways' caches: they do not know that the parameter means nothing to the services.
    pub(super) async fn get_past_gateway_cache(&mut self, path: &str) -> Result<Answer, String> {
        let number = self.unique();
        self.get(&format!("{path}?utm_source={number}")).await
    }

    /// The same where no cache on the way answers, here or between the services.
    pub(super) async fn get_past_all_caches(&mut self, path: &str) -> Result<Answer, String> {
        let (token, number) = (self.token.clone(), self.unique());
        let call = self.call(Method::GET, &format!("{path}?utm_source={number}"))?.bearer(&token);
        self.send(call.header(CACHE_CONTROL, "no-cache")).await
    }

    /// A request for the front door.
    pub(super) fn call(&self, method: Method, path: &str) -> Result<Call, String> {
        Ok(Call::new(method, join(&self.config.target, path)?))
    }

    /// Sends through the front door, prints what went and what came, and keeps the tally.
    pub(super) async fn send(&mut self, call: Call) -> Result<Answer, String> {
        let answer = self.raw(&call).await?;
        self.tally(&call, &answer);
        if !self.quiet {
            let path = call.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            let by = [answer.list("via"), answer.list("cache-status")].join("  ");
            println!("  {} {path} → {status}  {}", call.method, by.trim(), status = answer.status.as_u16());
        }
        Ok(answer)
    }

    /// Keeps the tally of an answer from the front door.
    pub(super) fn tally(&mut self, call: &Call, answer: &Answer) {
        let path = call.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let tally = &mut self.tally;
        match call.headers.contains_key(REQUEST_ID) {
            true => tally.named += 1,
            false => tally.unnamed += 1,
        }
        let status = answer.status.as_u16();
        let told = call.headers.get("api-version").and_then(|version| version.to_str().ok());
        let version = path.strip_prefix("/api/v").and_then(|rest| rest.get(..1)).or(told).unwrap_or_default();
        match status {
            401 => tally.unauthenticated += 1,
            410 => tally.versions[2] += 1,
            _ => match version {
                "1" => tally.versions[0] += 1,
                "2" => tally.versions[1] += 1,
                _ => tally.versions[2] += 1,
            },
        }
        tally.forbidden += u64::from(status == 403);
        tally.broken += u64::from(status == 503 && answer.text().contains("tower_breaker/#circuit"));
        let hit = |member: &str| member.trim().starts_with("gateway-") && member.contains("; hit");
        tally.hits += u64::from(answer.list("cache-status").split(',').any(hit));
    }

    /// Sends without tally: to the issuer and to admin listeners.
    pub(super) async fn raw(&self, call: &Call) -> Result<Answer, String> {
        self.http.send(call).await.map_err(|error| error.to_string())
    }

    /// The names of all instances of a role.
    pub(super) fn instances(&self, role: &str) -> Vec<String> {
        let of_role = |name: &&String| name.rsplit_once('-').map_or(name.as_str(), |(role, _)| role) == role;
        self.config.admins.iter().map(|(name, _)| name).filter(of_role).cloned().collect()
    }

    fn admin(&self, instance: &str, path: &str) -> Result<Uri, String> {
        let known = self.config.admins.iter().find(|(name, _)| name == instance);
        let (_, uri) =
            known.ok_or_else(|| format!("the tour was not told the admin address of {instance}"))?;
        join(uri, path)
    }

    /// Injects a fault, or heals with `{}`.
    pub(super) async fn fault(&self, instance: &str, fault: &Value) -> Result<(), String> {
        println!("  fault at {instance}: {fault}");
        let call = Call::new(Method::PUT, self.admin(instance, "/fault")?).json(fault);
        let answer = self.raw(&call).await?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(format!("{instance}: {} {}", answer.status, answer.text()))
        }
    }

    /// Heals everything that can be broken.
    pub(super) async fn heal(&mut self) {
        self.quiet = false;
        for service in ["orders", "inventory"] {
            for instance in self.instances(service) {
                // What cannot be reached cannot be healed either; the next step will say so.
                let _ = self.fault(&instance, &serde_json::json!({})).await;
            }
        }
    }

    /// The lives of the versions, as the first gateway knows them.
    pub(super) async fn lives(&self) -> Result<Value, String> {
        let gateways = self.instances("gateway");
        let first = gateways.first().ok_or("the tour was not told of a gateway")?;
        Ok(self.raw(&Call::new(Method::GET, self.admin(first, "/versions")?)).await?.json())
    }

    /// Changes the life of a version at every gateway.
    pub(super) async fn change_life(&self, version: u8, life: &Value) -> Result<(), String> {
        println!("  version {version} at the gateways: {life}");
        for gateway in self.instances("gateway") {
            let call = Call::new(Method::PUT, self.admin(&gateway, &format!("/versions/{version}"))?);
            let answer = self.raw(&call.json(life)).await?;
            expect(answer.status.is_success(), || format!("{gateway}: {} {}", answer.status, answer.text()))?;
        }
        Ok(())
    }

    /// An admin endpoint of the issuer.
    pub(super) async fn issuer(&self, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self.raw(&Call::new(Method::POST, self.admin("issuer", path)?).json(body)).await?;
        println!("  issuer{path} → {}", answer.text());
        if answer.status.is_success() { Ok(answer.json()) } else { Err(format!("issuer: {}", answer.status)) }
    }

    /// The log lines of an instance that belong to one correlation id.
    pub(super) async fn logs(&self, instance: &str, id: &str) -> Result<Vec<Value>, String> {
        let uri = self.admin(instance, &format!("/logs?correlation_id={id}"))?;
        let answer = self.raw(&Call::new(Method::GET, uri)).await?;
        Ok(answer.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Changes the share of calls that every instance writes down.
    pub(super) async fn sampling(&self, rate: f64) -> Result<(), String> {
        println!("  all instances write down {} % of their calls", rate * 100.0);
        for (name, uri) in &self.config.admins {
            let call =
                Call::new(Method::PUT, join(uri, "/sampling")?).json(&serde_json::json!({ "rate": rate }));
            let answer = self.raw(&call).await?;
            expect(answer.status.is_success(), || format!("{name}: {} {}", answer.status, answer.text()))?;
        }
        Ok(())
    }

    /// The counters of all instances of a role; of all instances for an empty role.
    pub(super) async fn counters(&self, role: &str) -> Result<Vec<(String, Counters)>, String> {
        let of_role = |name: &str| role.is_empty() || self.instances(role).iter().any(|known| known == name);
        let mut counters = Vec::new();
        for (name, uri) in self.config.admins.iter().filter(|(name, _)| of_role(name)) {
            let answer = self.raw(&Call::new(Method::GET, join(uri, "/metrics")?)).await?;
            counters.push((name.clone(), Counters::parse(&answer.text())));
        }
        Ok(counters)
    }

    /// The sum over a role of one counter.
    pub(super) async fn count(&self, role: &str, name: &str, labels: &[(&str, &str)]) -> Result<u64, String> {
        Ok(self.counters(role).await?.iter().map(|(_, counters)| counters.count(name, labels)).sum())
    }
}

/// Looks again and again until it is so, or until patience ends; says how often it took.
pub(super) async fn eventually<F>(guide: &mut Guide, what: &str, mut look: F) -> Result<(), String>
where
    F: AsyncFnMut(&mut Guide) -> Result<bool, String>,
{
    let begun = Instant::now();
    let mut looks = 1;
    guide.quiet = true;
    let result = loop {
        match look(guide).await {
            Ok(true) => break Ok(()),
            Ok(false) if begun.elapsed() < PATIENCE => looks += 1,
            Ok(false) => break Err(format!("not within {PATIENCE:?}: {what}")),
            Err(reason) => break Err(reason),
        }
        tokio::time::sleep(PAUSE).await;
    };
    guide.quiet = false;
    if result.is_ok() {
        let looks = if looks == 1 { "one look".to_owned() } else { format!("{looks} looks") };
        println!("  {what}: after {looks}, {} ms", begun.elapsed().as_millis());
    }
    result
}

/// The judgement of a step.
pub(super) fn expect(so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(what()) }
}

fn join(base: &Uri, path: &str) -> Result<Uri, String> {
    let base = base.to_string();
    format!("{}{path}", base.trim_end_matches('/')).parse().map_err(|error| format!("{base}{path}: {error}"))
}
