//! The command line of `gateway`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser, ValueEnum};
use http::Uri;

/// The system: issuer, balancer, two gateways, `orders` and `inventory`. Without arguments all of it starts on loopback.
#[derive(Debug, Clone, Parser)]
#[command(name = "gateway", version, group = ArgGroup::new("client").args(["tour", "load"]))]
pub struct Arguments {
    /// Start one component alone instead of the whole system.
    #[arg(long, value_enum)]
    pub role: Option<Role>,
    /// Name of the instance started by --role, in its logs and answers [default: ROLE-1].
    #[arg(long, value_name = "NAME", requires = "role")]
    pub name: Option<String>,
    /// Where the component started by --role serves; port 0 picks a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", requires = "role")]
    pub listen: SocketAddr,
    /// Where its admin endpoints are (metrics, logs, faults); never expose them.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", requires = "role")]
    pub admin_listen: SocketAddr,
    /// The token issuer.
    #[arg(long, value_name = "URL")]
    pub issuer: Option<Uri>,
    /// The load balancer, through which `orders` calls `inventory`.
    #[arg(long, value_name = "URL")]
    pub balancer: Option<Uri>,
    /// A replica behind a gateway (`orders=URL`, `inventory=URL`) or a gateway behind the balancer (`gateway=URL`); may be
    /// repeated.
    #[arg(long = "upstream", value_name = "NAME=URL", value_parser = named_url)]
    pub upstreams: Vec<(String, Uri)>,
    /// The database file of a service; its replicas share it [default: a file in a temporary folder].
    #[arg(long, value_name = "PATH")]
    pub database: Option<PathBuf>,
    /// The client that obtains tokens: of `orders` (--role orders), or this one (--tour, --load).
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// A file with that client's secret; with --role issuer a file with a line `ID SECRET SCOPE…` for each client.
    #[arg(long, value_name = "PATH")]
    pub client_secret_file: Option<PathBuf>,
    /// Replace the issuer's signing key every so many seconds; otherwise only its admin endpoint does.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub rotate_every: Option<Duration>,
    /// How many replicas each service has.
    #[arg(long, value_name = "NAME=N,…", default_value = "orders=2,inventory=2")]
    pub replicas: String,
    /// The port of the balancer when the whole system is started; 0 picks a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Leave one layer out, everywhere.
    #[arg(long, value_enum)]
    pub without: Option<Layer>,
    /// Caches of gateways, and of the replicas of each service, share what they keep in this Redis or Valkey (several
    /// nodes of a cluster with commas between). Needs `--features redis`.
    #[arg(long, value_name = "redis://HOST:PORT")]
    pub redis: Option<String>,
    /// Be a client: send requests, inject faults, judge what comes back; exit 0 only if all of it is as it should be.
    /// Starts the system first, unless --target names a running one.
    #[arg(long)]
    pub tour: bool,
    /// Be a client: call at a steady rate, so many seconds for each of six phases in which one thing or another is broken,
    /// and print how the system did; exit 0 only if 99.9 % of all requests got a 2xx. Starts the system first, unless
    /// --target names a running one.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub load: Option<Duration>,
    /// Requests per second of --load.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "load", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Connections of --load, each with one request at a time.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "load", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// The balancer of the running system that --tour judges or --load drives.
    #[arg(long, value_name = "URL", requires = "client")]
    pub target: Option<Uri>,
    /// The admin endpoints of one instance of that system; repeat it for every instance.
    #[arg(long = "admin", value_name = "NAME=URL", value_parser = named_url, requires = "client")]
    pub admins: Vec<(String, Uri)>,
    /// The share of calls that is written down, from 0 to 1; `/sampling` of the admin endpoints changes it. Failures are
    /// written down in any case.
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    pub sample: f64,
    /// No log lines on standard error; they stay at the admin endpoints.
    #[arg(long)]
    pub quiet: bool,
}

/// The components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Issues tokens.
    Issuer,
    /// Spreads connections over the gateways.
    Balancer,
    /// Authenticates, picks the version, caches, retries, breaks circuits.
    Gateway,
    /// The service `orders`.
    Orders,
    /// The service `inventory`.
    Inventory,
}

/// The five layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    /// tower-auth
    Auth,
    /// tower-breaker
    Breaker,
    /// tower-cache
    Cache,
    /// tower-versioning
    Versioning,
    /// tower-correlation
    Correlation,
}

impl Arguments {
    /// Whether this process is a client of the system, which leaves standard error to what it has to say.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.tour || self.load.is_some()
    }

    /// How many replicas of `orders` and of `inventory`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with `--replicas`.
    pub fn replica_counts(&self) -> Result<(usize, usize), String> {
        let (mut orders, mut inventory) = (2, 2);
        for part in self.replicas.split(',') {
            let wrong = || {
                format!("--replicas: `{part}` is not of the form orders=N or inventory=N with N from 1 to 64")
            };
            let (name, count) = part.split_once('=').ok_or_else(wrong)?;
            let count: usize =
                count.parse().ok().filter(|count| (1..=64).contains(count)).ok_or_else(wrong)?;
            match name {
                "orders" => orders = count,
                "inventory" => inventory = count,
                _ => return Err(wrong()),
            }
        }
        Ok((orders, inventory))
    }

    /// Where the balancer of the whole system listens.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

fn named_url(text: &str) -> Result<(String, Uri), String> {
    let (name, url) = text.split_once('=').ok_or("expected NAME=URL")?;
    let uri: Uri = url.parse().map_err(|error| format!("`{url}`: {error}"))?;
    crate::proxy::upstream(&uri)?;
    Ok((name.to_owned(), uri))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| "expected a whole number of seconds")?;
    if seconds == 0 { Err("expected at least 1".to_owned()) } else { Ok(Duration::from_secs(seconds)) }
}
