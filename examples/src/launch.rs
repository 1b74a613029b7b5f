//! Starts components: one alone, or the whole system on loopback, where each is told addresses and its configuration and
//! nothing else, as if it were alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use crate::balancer;
use crate::cli::{Arguments, Role};
use crate::component::{Instance, Running, bind, start};
use crate::gateway::{self, Upstream};
use crate::issuer::{self, RegisteredClient};
use crate::service::{Layers, inventory, inventory_client, orders};
use crate::{BoxError, secret};

/// How long the issuer's tokens are good.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

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
    folder: Option<PathBuf>,
}

impl System {
    /// Stops everything, the front door first; requests in flight finish.
    pub fn stop(self) {
        for instance in self.instances.iter().rev() {
            instance.stop();
        }
        self.instances.into_iter().for_each(Running::join);
        if let Some(folder) = self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Starts the whole system.
///
/// # Errors
///
/// A port that is taken, a file that cannot be written, wrong arguments.
pub fn system(arguments: &Arguments) -> Result<System, BoxError> {
    let (orders_count, inventory_count) = arguments.replica_counts()?;
    let folder = secret::private_folder()?;
    let clients = clients();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let on = |name: &str, listener| Instance {
        name: name.to_owned(),
        listener,
        admin: loopback,
        log_to_stderr: !arguments.quiet && !arguments.is_client(),
        sample: arguments.sample,
    };
    let instance = |name: &str| bind(name, loopback).map(|listener| on(name, listener));
    let layers = layers(arguments);
    let mut instances = Vec::new();

    let config = issuer::Config {
        clients: clients.clone(),
        token_life: TOKEN_LIFE,
        rotate_every: arguments.rotate_every,
        layers: layers.clone(),
    };
    let issuer = start(instance("issuer")?, move |context| issuer::build(context, config))?;
    let issuer_url = url(issuer.address);
    let issuer_address = issuer.address;
    instances.push(issuer);

    // The gateways and the balancer need each other's addresses: the balancer's port is held from here on.
    let front = bind("balancer", arguments.front())?;
    let balancer_url = url(front.local_addr()?);

    let mut upstreams = Vec::new();
    for (service, count) in [("inventory", inventory_count), ("orders", orders_count)] {
        let database = folder.join(format!("{service}.sqlite"));
        for number in 1..=count {
            let instance = instance(&format!("{service}-{number}"))?;
            let running = if service == "inventory" {
                let config = inventory::Config { database: database.clone(), layers: layers.clone() };
                start(instance, move |context| inventory::build(context, config))?
            } else {
                let client = &clients[1];
                let config = orders::Config {
                    database: database.clone(),
                    layers: layers.clone(),
                    inventory: inventory_client::Config {
                        balancer: balancer_url.clone(),
                        issuer: issuer_url.clone(),
                        client_id: client.id.clone(),
                        client_secret: client.secret.clone(),
                        layers: layers.clone(),
                    },
                };
                start(instance, move |context| orders::build(context, config))?
            };
            upstreams.push(Upstream {
                service: service.to_owned(),
                instance: running.name.clone(),
                url: url(running.address),
            });
            instances.push(running);
        }
    }

    let mut backends = Vec::new();
    for number in 1..=2 {
        let config = gateway::Config {
            issuer: issuer_url.clone(),
            upstreams: upstreams.clone(),
            layers: layers.clone(),
        };
        let running =
            start(instance(&format!("gateway-{number}"))?, move |context| gateway::build(context, config))?;
        backends.push(running.address);
        instances.push(running);
    }

    let config = balancer::Config { backends };
    let balancer = start(on("balancer", front), move |context| balancer::build(context, config))?;
    let front = balancer.address;
    instances.push(balancer);
    let client = clients.into_iter().next().ok_or("there is no client")?;
    Ok(System { instances, front, issuer: issuer_address, client, folder: Some(folder) })
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
    let layers = layers(arguments);
    match role {
        Role::Issuer => {
            let file =
                arguments.client_secret_file.as_deref().ok_or_else(|| needs("--client-secret-file PATH"))?;
            let config = issuer::Config {
                clients: registered(file)?,
                token_life: TOKEN_LIFE,
                rotate_every: arguments.rotate_every,
                layers,
            };
            start(instance, move |context| issuer::build(context, config))
        }
        Role::Balancer => {
            let mut backends = Vec::new();
            for (name, url) in arguments.upstreams.iter().filter(|(name, _)| name == "gateway") {
                let authority =
                    url.authority().ok_or_else(|| format!("--upstream {name}={url}: no address"))?;
                backends.push(
                    authority
                        .as_str()
                        .parse()
                        .map_err(|error| format!("--upstream {name}={url}: {error}"))?,
                );
            }
            let config = balancer::Config { backends };
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
            let config = orders::Config {
                database: database()?,
                layers: layers.clone(),
                inventory: inventory_client::Config {
                    balancer: arguments.balancer.clone().ok_or_else(|| needs("--balancer URL"))?,
                    issuer: issuer_url()?,
                    client_id: arguments.client_id.clone().ok_or_else(|| needs("--client-id ID"))?,
                    client_secret: secret::read(
                        arguments
                            .client_secret_file
                            .as_deref()
                            .ok_or_else(|| needs("--client-secret-file PATH"))?,
                    )?,
                    layers,
                },
            };
            start(instance, move |context| orders::build(context, config))
        }
    }
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
