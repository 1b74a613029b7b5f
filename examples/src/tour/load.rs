//! A client that keeps calling at a steady rate while things break, and says how the system did.
//!
//! Requests leave when the rate says, whether or not earlier ones have been answered, and an answer's time counts from when
//! its request was due: a system that stalls is not asked less (no coordinated omission).

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Config;
use super::guide::Guide;

/// What is demanded of the system.
const P99: Duration = Duration::from_millis(200);
const AVAILABILITY: f64 = 0.999;
/// An answer that takes longer is none.
const DEADLINE: Duration = Duration::from_secs(10);

/// How hard the system is driven.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How long each phase lasts.
    pub phase: Duration,
    /// Requests per second, over all connections.
    pub rate: u32,
    /// Connections, each with one request at a time.
    pub connections: u32,
}

/// What breaks, and where.
struct Phase {
    name: &'static str,
    faults: Vec<(String, Value)>,
}

fn phases(guide: &Guide) -> Vec<Phase> {
    let one = |role: &str, fault: Value| {
        guide.instances(role).into_iter().take(1).map(move |i| (i, fault.clone())).collect()
    };
    let stores = ["orders", "inventory"].iter().flat_map(|role| guide.instances(role));
    vec![
        Phase { name: "nothing is broken", faults: Vec::new() },
        Phase { name: "one replica of orders answers 500", faults: one("orders", json!({ "status": 500 })) },
        Phase { name: "one replica of orders hangs", faults: one("orders", json!({ "hang": true })) },
        Phase {
            name: "the cache stores of all replicas hang",
            faults: stores.map(|instance| (instance, json!({ "store": "hang" }))).collect(),
        },
        Phase { name: "the issuer answers 503", faults: one("issuer", json!({ "status": 503 })) },
        Phase { name: "all is healed", faults: Vec::new() },
    ]
}

/// Drives the system through all phases and prints a table; success if it was available. How fast the answers were is the
/// machine's matter too: that is only printed.
pub async fn run(config: Config, load: Load) -> ExitCode {
    match drive(config, load).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            println!("the load cannot go on: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn drive(config: Config, load: Load) -> Result<bool, String> {
    let mut guide = Guide::new(config).await?;
    guide.quiet = true;
    println!(
        "{} requests/s over {} connections, {:?} for each phase; times count from when a request was due\n",
        load.rate, load.connections, load.phase
    );
    // What is cold at first, and the connections, are not what is asked about.
    let warm = Load { rate: (load.rate / 4).max(1), phase: Duration::from_secs(1), ..load };
    spread(&guide, warm).await?;
    println!("| phase | requests | per second | 2xx | others | p50 ms | p99 ms | p99.9 ms | longest ms |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut all = Tally::default();
    for phase in phases(&guide) {
        for (instance, fault) in &phase.faults {
            guide.fault(instance, fault).await?;
        }
        let result = spread(&guide, load).await;
        for (instance, _) in &phase.faults {
            guide.fault(instance, &json!({})).await?;
        }
        let mut tally = result?;
        tally.print(phase.name, load.phase);
        all.add(tally);
    }
    let phases = u32::try_from(phases(&guide).len()).unwrap_or(1);
    all.print("all", load.phase * phases);
    let (available, p99) = (all.available(), all.quantile(0.99));
    println!(
        "\navailability {:.4} %, demanded {} %; p99 {} ms, demanded {} ms{}",
        available * 100.0,
        AVAILABILITY * 100.0,
        millis(p99),
        P99.as_millis(),
        if p99 > P99 { ": missed" } else { "" }
    );
    Ok(available >= AVAILABILITY)
}

/// What came of some requests.
#[derive(Debug, Default)]
struct Tally {
    good: usize,
    /// Answers that were no 2xx, by status; 0 is none at all.
    others: BTreeMap<u16, usize>,
    /// Times from when each request was due; those without an answer count too.
    took: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.good += other.good;
        for (status, count) in other.others {
            *self.others.entry(status).or_default() += count;
        }
        self.took.extend(other.took);
    }

    fn available(&self) -> f64 {
        self.good as f64 / self.took.len().max(1) as f64
    }

    fn quantile(&mut self, share: f64) -> Duration {
        self.took.sort_unstable();
        let last = self.took.len().saturating_sub(1);
        self.took.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
    }

    fn print(&mut self, name: &str, time: Duration) {
        let (requests, available) = (self.took.len(), self.available() * 100.0);
        let per_second = requests as f64 / time.as_secs_f64();
        let [half, most, nearly, longest] = [0.5, 0.99, 0.999, 1.0].map(|share| millis(self.quantile(share)));
        let others = self.others.iter().map(|(status, count)| format!("{status} × {count}"));
        let others = others.collect::<Vec<_>>().join(", ");
        println!(
            "| {name} | {requests} | {per_second:.0} | {available:.3} % | {others} | {half} | {most} | {nearly} | {longest} |"
        );
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// The load over all connections for one phase.
async fn spread(guide: &Guide, load: Load) -> Result<Tally, String> {
    let target = guide.config.target.authority().ok_or("the target has no address")?.to_string();
    let token = HeaderValue::from_str(&format!("Bearer {}", guide.token)).map_err(|e| e.to_string())?;
    let (target, begun) = (Arc::<str>::from(target), Instant::now());
    let mut connections = JoinSet::new();
    for first in 0..load.connections {
        connections.spawn(calls(target.clone(), token.clone(), load, first, begun));
    }
    let mut tally = Tally::default();
    while let Some(ended) = connections.join_next().await {
        tally.add(ended.map_err(|error| error.to_string())?);
    }
    Ok(tally)
}

/// Every so many-th request, on one connection that is made again when it breaks.
async fn calls(target: Arc<str>, token: HeaderValue, load: Load, first: u32, begun: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    for number in (u64::from(first)..).step_by(load.connections as usize) {
        let due = Duration::from_secs(1).mul_f64(number as f64 / f64::from(load.rate));
        if due >= load.phase {
            break;
        }
        tokio::time::sleep_until(begun + due).await;
        let answered = tokio::time::timeout(DEADLINE, call(&mut connection, &target, &token, number)).await;
        let status = answered.ok().flatten();
        match status {
            Some(status) if status.is_success() => tally.good += 1,
            _ => *tally.others.entry(status.map_or(0, |status| status.as_u16())).or_default() += 1,
        }
        if status.is_none() {
            connection = None;
        }
        tally.took.push(begun.elapsed().saturating_sub(due));
    }
    tally
}

/// One exchange; the status of the answer, if there was one and it was whole.
async fn call(
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    target: &str,
    token: &HeaderValue,
    number: u64,
) -> Option<StatusCode> {
    let usable = match connection {
        Some(sender) => sender.ready().await.is_ok(),
        None => false,
    };
    if !usable {
        *connection = Some(connect(target).await?);
    }
    let sender = connection.as_mut()?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path(number).parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(target).ok()?);
    headers.insert(header::AUTHORIZATION, token.clone());
    if number.is_multiple_of(20) {
        headers.insert("api-version", HeaderValue::from_static("1"));
    }
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.ok()?;
    }
    Some(status)
}

async fn connect(target: &str) -> Option<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(target).await.ok()?;
    let _ = stream.set_nodelay(true);
    let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(driver);
    Some(sender)
}

/// Of twenty requests: one by header for version 1, twelve that the gateway's cache knows, four that only the service's
/// does, three that ask one service what another says.
fn path(number: u64) -> String {
    let order = number % 3 + 1;
    match number % 20 {
        0 => format!("/api/orders/{order}"),
        1..=12 => format!("/api/v2/orders/{order}"),
        13..=16 => format!("/api/v2/orders/{order}?utm_source={number}"),
        _ => format!("/api/v2/orders/{order}/availability"),
    }
}
