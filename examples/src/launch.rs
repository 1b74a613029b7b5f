//! Starts components: one alone, or the whole system on loopback, where each is told addresses and its configuration and
//! nothing else, as if it were alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use crate::balancer;
use crate::cli::{Arguments, Role};
use crate::component::{Context, Instance, Parts, Running, bind, start};
use crate::gateway::{self, Upstream};
use crate::issuer::{self, RegisteredClient};
use crate::service::{Layers, inventory, inventory_client, orders};
use crate::{BoxError, secret};

/// How long the issuer's tokens are good.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// A free port.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The running system.
#[derive(Debug)]
pub struct System {
    /// Every instance, in the order in which they were started.
    pub instances: Vec<Running>,
    /// The uniform address for clients.
    pub front: SocketAddr,
    /// The token issuer.
    pub issuer: SocketAddr,
    /// A client that may do everything.
    pub client: RegisteredClient,
    folder: PathBuf,
}

impl System {
    /// Stops everything, the front door first; requests in flight finish.
    pub fn stop(self) {
        for instance in self.instances.iter().rev() {
            instance.stop();
        }
        self.instances.into_iter().for_each(Running::join);
        let _ = std::fs::remove_dir_all(self.folder);
    }
}

/// Starts the whole system.
///
/// # Errors
///
/// A port that is taken, a file that cannot be written, wrong arguments.
pub fn system(arguments: &Arguments) -> Result<System, BoxError> {
    let (orders, inventory) = arguments.replica_counts()?;
    // The gateways and the balancer need each other's addresses: the balancer's port is held from here on.
    let front = bind("balancer", arguments.front())?;
    let balancer_url = url(front.local_addr()?);
    let mut parts = Loopback {
        arguments,
        layers: layers(arguments),
        clients: clients(),
        folder: secret::private_folder()?,
        instances: Vec::new(),
    };
    let issuer = parts.issuer()?;
    let issuer_url = url(issuer);
    let mut upstreams = parts.inventory(inventory)?;
    upstreams.extend(parts.orders(orders, &issuer_url, &balancer_url)?);
    let backends = parts.gateways(2, &issuer_url, &upstreams)?;
    let config = balancer::Config { backends };
    let front = parts.start(parts.instance("balancer", front), |context| balancer::build(context, config))?;
    let Loopback { instances, folder, clients, .. } = parts;
    let client = clients.into_iter().next().ok_or("there is no client")?;
    Ok(System { instances, front, issuer, client, folder })
}

/// A system that is being started, and what its parts have in common.
struct Loopback<'a> {
    arguments: &'a Arguments,
    layers: Layers,
    clients: Vec<RegisteredClient>,
    /// Of the databases.
    folder: PathBuf,
    instances: Vec<Running>,
}

impl Loopback<'_> {
    fn instance(&self, name: &str, listener: TcpListener) -> Instance {
        Instance {
            name: name.to_owned(),
            listener,
            admin: LOOPBACK,
            log_to_stderr: !self.arguments.quiet && !self.arguments.is_client(),
            sample: self.arguments.sample,
        }
    }

    fn start<F, Fut>(&mut self, instance: Instance, build: F) -> Result<SocketAddr, BoxError>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Parts, BoxError>>,
    {
        let running = start(instance, build)?;
        let address = running.address;
        self.instances.push(running);
        Ok(address)
    }

    /// On a free port.
    fn start_anywhere<F, Fut>(&mut self, name: &str, build: F) -> Result<SocketAddr, BoxError>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Parts, BoxError>>,
    {
        let instance = self.instance(name, bind(name, LOOPBACK)?);
        self.start(instance, build)
    }

    fn issuer(&mut self) -> Result<SocketAddr, BoxError> {
        let config = issuer::Config {
            clients: self.clients.clone(),
            token_life: TOKEN_LIFE,
            rotate_every: self.arguments.rotate_every,
            layers: self.layers.clone(),
        };
        self.start_anywhere("issuer", move |context| issuer::build(context, config))
    }

    fn inventory(&mut self, replicas: usize) -> Result<Vec<Upstream>, BoxError> {
        let config = inventory::Config { database: self.database("inventory"), layers: self.layers.clone() };
        let mut upstreams = Vec::new();
        for number in 1..=replicas {
            let (name, config) = (format!("inventory-{number}"), config.clone());
            let address = self.start_anywhere(&name, move |context| inventory::build(context, config))?;
            upstreams.push(upstream("inventory", name, address));
        }
        Ok(upstreams)
    }

    fn orders(&mut self, replicas: usize, issuer: &Uri, balancer: &Uri) -> Result<Vec<Upstream>, BoxError> {
        let client = &self.clients[1];
        let config = orders::Config {
            database: self.database("orders"),
            layers: self.layers.clone(),
            inventory: inventory_client::Config {
                balancer: balancer.clone(),
                issuer: issuer.clone(),
                client_id: client.id.clone(),
                client_secret: client.secret.clone(),
                layers: self.layers.clone(),
            },
        };
        let mut upstreams = Vec::new();
        for number in 1..=replicas {
            let (name, config) = (format!("orders-{number}"), config.clone());
            let address = self.start_anywhere(&name, move |context| orders::build(context, config))?;
            upstreams.push(upstream("orders", name, address));
        }
        Ok(upstreams)
    }

    fn gateways(
        &mut self,
        count: usize,
        issuer: &Uri,
        upstreams: &[Upstream],
    ) -> Result<Vec<SocketAddr>, BoxError> {
        let config = gateway::Config {
            issuer: issuer.clone(),
            upstreams: upstreams.to_vec(),
            layers: self.layers.clone(),
        };
        let mut backends = Vec::new();
        for number in 1..=count {
            let config = config.clone();
            let build = move |context| gateway::build(context, config);
            backends.push(self.start_anywhere(&format!("gateway-{number}"), build)?);
        }
        Ok(backends)
    }

    /// Shared by the replicas of a service.
    fn database(&self, service: &str) -> PathBuf {
        self.folder.join(format!("{service}.sqlite"))
    }
}

fn upstream(service: &str, instance: String, address: SocketAddr) -> Upstream {
    Upstream { service: service.to_owned(), instance, url: url(address) }
}

/// Starts one component alone.
///
/// # Errors
///
/// Arguments that the role needs and does not have, a port that is taken, a file that cannot be read.
pub fn one(role: Role, arguments: &Arguments) -> Result<Running, BoxError> {
    let named = format!("{role:?}").to_lowercase();
    let name = arguments.name.clone().unwrap_or_else(|| format!("{named}-1"));
    let instance = Instance {
        listener: bind(&name, arguments.listen)?,
        name,
        admin: arguments.admin_listen,
        log_to_stderr: !arguments.quiet,
        sample: arguments.sample,
    };
    let needs = |flag: &str| format!("--role {named} needs {flag}");
    let issuer_url = || arguments.issuer.clone().ok_or_else(|| needs("--issuer URL"));
    let database = || arguments.database.clone().ok_or_else(|| needs("--database PATH"));
    let secret_file =
        || arguments.client_secret_file.as_deref().ok_or_else(|| needs("--client-secret-file PATH"));
    let layers = layers(arguments);
    match role {
        Role::Issuer => {
            let config = issuer::Config {
                clients: registered(secret_file()?)?,
                token_life: TOKEN_LIFE,
                rotate_every: arguments.rotate_every,
                layers,
            };
            start(instance, move |context| issuer::build(context, config))
        }
        Role::Balancer => {
            let config = balancer::Config { backends: backends(&arguments.upstreams)? };
            start(instance, move |context| balancer::build(context, config))
        }
        Role::Gateway => {
            let upstreams = numbered(&arguments.upstreams);
            let config = gateway::Config { issuer: issuer_url()?, upstreams, layers };
            start(instance, move |context| gateway::build(context, config))
        }
        Role::Inventory => {
            let config = inventory::Config { database: database()?, layers };
            start(instance, move |context| inventory::build(context, config))
        }
        Role::Orders => {
            let inventory = inventory_client::Config {
                balancer: arguments.balancer.clone().ok_or_else(|| needs("--balancer URL"))?,
                issuer: issuer_url()?,
                client_id: arguments.client_id.clone().ok_or_else(|| needs("--client-id ID"))?,
                client_secret: secret::read(secret_file()?)?,
                layers: layers.clone(),
            };
            let config = orders::Config { database: database()?, layers, inventory };
            start(instance, move |context| orders::build(context, config))
        }
    }
}

/// The gateways behind a balancer.
fn backends(upstreams: &[(String, Uri)]) -> Result<Vec<SocketAddr>, BoxError> {
    let mut backends = Vec::new();
    for (name, url) in upstreams.iter().filter(|(name, _)| name == "gateway") {
        let authority = url.authority().ok_or_else(|| format!("--upstream {name}={url}: no address"))?;
        let address = authority.as_str().parse();
        backends.push(address.map_err(|error| format!("--upstream {name}={url}: {error}"))?);
    }
    Ok(backends)
}

/// Replicas are numbered per service in the order of the command line: `orders-1`, `orders-2`, …
fn numbered(upstreams: &[(String, Uri)]) -> Vec<Upstream> {
    let mut numbered: Vec<Upstream> = Vec::new();
    for (service, url) in upstreams {
        let number = numbered.iter().filter(|upstream| upstream.service == *service).count() + 1;
        numbered.push(Upstream {
            service: service.clone(),
            instance: format!("{service}-{number}"),
            url: url.clone(),
        });
    }
    numbered
}

/// The clients of the whole system; the first is for whoever started it.
fn clients() -> Vec<RegisteredClient> {
    let scopes = |scopes: &[&str]| scopes.iter().map(|&scope| scope.to_owned()).collect();
    vec![
        RegisteredClient {
            id: "tour".to_owned(),
            secret: secret::random(),
            scopes: scopes(&["orders:read", "orders:write", "inventory:read", "inventory:write"]),
        },
        RegisteredClient {
            id: "orders".to_owned(),
            secret: secret::random(),
            scopes: scopes(&["inventory:read"]),
        },
    ]
}

/// A line `ID SECRET SCOPE…` for each client.
fn registered(file: &Path) -> Result<Vec<RegisteredClient>, BoxError> {
    let mut clients = Vec::new();
    for line in secret::read(file)?.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let (Some(id), Some(secret)) = (words.next(), words.next()) else {
            return Err(format!("{}: expected lines of the form ID SECRET SCOPE…", file.display()).into());
        };
        clients.push(RegisteredClient { id, secret, scopes: words.collect() });
    }
    if clients.is_empty() {
        return Err(format!("{}: there is no client in it", file.display()).into());
    }
    Ok(clients)
}

fn layers(arguments: &Arguments) -> Layers {
    Layers { without: arguments.without, redis: arguments.redis.clone() }
}

/// `http://` and the address.
#[must_use]
pub fn url(address: SocketAddr) -> Uri {
    // An address is always a valid authority.
    format!("http://{address}").parse().unwrap_or_default()
}
