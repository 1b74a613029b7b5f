//! The command line of `gateway`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser, ValueEnum};
use http::Uri;

use crate::proxy::upstream_url;

/// Headings of `--help`.
const SYSTEM: &str = "The whole system";
const ONE: &str = "One component alone";
const CLIENT: &str = "A client of the system";

const AS_PROCESSES: &str = "\
Each component as a process of its own, with a line `ID SECRET SCOPE…` for each client in the file `clients`:

  gateway --role issuer --listen 127.0.0.1:7000 --client-secret-file clients
  gateway --role inventory --listen 127.0.0.1:7001 --database inventory.sqlite
  gateway --role orders --listen 127.0.0.1:7002 --database orders.sqlite --issuer http://127.0.0.1:7000 \\
      --balancer http://127.0.0.1:8080 --client-id orders --client-secret-file orders-secret
  gateway --role gateway --listen 127.0.0.1:7003 --issuer http://127.0.0.1:7000 \\
      --upstream orders=http://127.0.0.1:7002 --upstream inventory=http://127.0.0.1:7001
  gateway --role balancer --listen 127.0.0.1:8080 --upstream gateway=http://127.0.0.1:7003";

/// The system: issuer, balancer, two gateways, `orders` and `inventory`. Without arguments all of it starts on loopback.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "gateway",
    version,
    after_long_help = AS_PROCESSES,
    group = ArgGroup::new("client").args(["tour", "load"]),
    // Where something runs that this process does not start.
    group = ArgGroup::new("elsewhere").args(["role", "target"]),
)]
pub struct Arguments {
    /// Start one component alone instead of the whole system.
    #[arg(long, value_enum, conflicts_with = "client", help_heading = ONE)]
    pub role: Option<Role>,
    /// Name of the instance, in its logs and answers: letters, digits, `-`, `_` and `.` [default: ROLE-1].
    #[arg(long, value_name = "NAME", requires = "role", value_parser = name, help_heading = ONE)]
    pub name: Option<String>,
    /// Where it serves; port 0 picks a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", requires = "role", help_heading = ONE)]
    pub listen: SocketAddr,
    /// Where its admin endpoints are (metrics, logs, faults); never expose them.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", requires = "role", help_heading = ONE)]
    pub admin_listen: SocketAddr,
    /// The token issuer; needed by the roles `gateway` and `orders`, and with --target.
    #[arg(long, value_name = "http://HOST:PORT", requires = "elsewhere", value_parser = upstream_url, help_heading = ONE)]
    pub issuer: Option<Uri>,
    /// The load balancer, through which `orders` calls `inventory`; needed by the role `orders`.
    #[arg(long, value_name = "http://HOST:PORT", requires = "role", value_parser = upstream_url, help_heading = ONE)]
    pub balancer: Option<Uri>,
    /// A replica behind a gateway (`orders=URL`, `inventory=URL`) or a gateway behind the balancer (`gateway=URL`); may be
    /// repeated.
    #[arg(long = "upstream", value_name = "NAME=URL", requires = "role", value_parser = named_url, help_heading = ONE)]
    pub upstreams: Vec<(String, Uri)>,
    /// The database file of a service, made where there is none; its replicas share it. Needed by the roles `orders` and
    /// `inventory`.
    #[arg(long, value_name = "PATH", requires = "role", help_heading = ONE)]
    pub database: Option<PathBuf>,
    /// The client that obtains tokens: the role `orders` itself, or this one with --target.
    #[arg(long, value_name = "ID", requires = "elsewhere", help_heading = ONE)]
    pub client_id: Option<String>,
    /// A file with that client's secret; for the role `issuer` a file with a line `ID SECRET SCOPE…` for each client.
    #[arg(long, value_name = "PATH", requires = "elsewhere", help_heading = ONE)]
    pub client_secret_file: Option<PathBuf>,
    /// Replace the issuer's signing key every so many seconds; otherwise only its admin endpoint does.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub rotate_every: Option<Duration>,
    /// How many replicas each service has.
    #[arg(
        long,
        value_name = "NAME=N,…",
        default_value = "orders=2,inventory=2",
        conflicts_with = "elsewhere",
        help_heading = SYSTEM
    )]
    pub replicas: String,
    /// The port of the balancer; 0 picks a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0, conflicts_with = "elsewhere", help_heading = SYSTEM)]
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
    #[arg(long, help_heading = CLIENT)]
    pub tour: bool,
    /// Be a client: call at a steady rate, so many seconds for each of six phases in which one thing or another is broken,
    /// and print how the system did; exit 0 only if 99.9 % of all requests got a 2xx. Starts the system first, unless
    /// --target names a running one.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = CLIENT)]
    pub load: Option<Duration>,
    /// Requests per second of --load.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        requires = "load",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        help_heading = CLIENT
    )]
    pub rate: u32,
    /// Connections of --load, each with one request at a time.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        requires = "load",
        value_parser = clap::value_parser!(u32).range(1..=10_000),
        help_heading = CLIENT
    )]
    pub connections: u32,
    /// The balancer of the running system that --tour judges or --load drives.
    #[arg(long, value_name = "http://HOST:PORT", requires = "client", value_parser = upstream_url, help_heading = CLIENT)]
    pub target: Option<Uri>,
    /// The admin endpoints of one instance of that system; repeat it for every instance.
    #[arg(long = "admin", value_name = "NAME=URL", value_parser = named_url, requires = "target", help_heading = CLIENT)]
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
    Ok((name.to_owned(), upstream_url(url)?))
}

fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match !text.is_empty() && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("expected letters, digits, `-`, `_` and `.`".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| "expected a whole number of seconds")?;
    if seconds == 0 { Err("expected at least 1".to_owned()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = ["gateway"].into_iter().chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn what_would_be_ignored_or_cannot_work_is_refused() {
        for (works, one_change) in [
            ("--role issuer --name a", "--role issuer --name a/b"),
            ("--role issuer --name a", "--name a"),
            ("--role orders --balancer http://127.0.0.1:1", "--role orders --balancer 127.0.0.1"),
            ("--role orders --balancer http://127.0.0.1:1", "--balancer http://127.0.0.1:1"),
            ("--role gateway --upstream orders=http://h:1", "--role gateway --upstream orders"),
            ("--role gateway --upstream orders=http://h:1", "--upstream orders=http://h:1"),
            ("--role orders --database x", "--database x"),
            ("--role orders --issuer http://h:1", "--issuer http://h:1"),
            ("--role orders --issuer http://h:1", "--role orders --issuer https://h:1"),
            ("--tour --target http://h:1 --admin a=http://h:1", "--tour --admin a=http://h:1"),
            ("--tour --target http://h:1", "--target http://h:1"),
            ("--tour", "--tour --role issuer"),
            ("--tour --port 1", "--tour --target http://h:1 --port 1"),
            ("--replicas orders=3", "--role orders --replicas orders=3"),
            ("--load 1 --rate 5", "--rate 5"),
            ("--load 1", "--load 0"),
            ("--load 1", "--load 1 --tour"),
        ] {
            assert!(parse(works).is_ok(), "{works}: {:?}", parse(works));
            assert!(parse(one_change).is_err(), "{one_change}");
        }
    }
}
