//! The components as separate processes, and the tour as one more.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longest time until a component says where it listens.
const START: Duration = Duration::from_secs(30);

const GATEWAY: &str = env!("CARGO_BIN_EXE_gateway");

/// A component that ends with the test.
struct Component {
    process: Child,
    name: String,
    url: String,
    admin: String,
}

impl Drop for Component {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(role: &str, name: &str, arguments: &[&str]) -> Component {
    let mut command = Command::new(GATEWAY);
    command.args(["--role", role, "--name", name, "--quiet"]).args(arguments).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    // `orders-1 listening on http://…/, admin on http://…/`
    std::thread::spawn(move || sender.send(lines.next().and_then(Result::ok).unwrap_or_default()));
    let line = receiver.recv_timeout(START).unwrap();
    let (url, admin) = line
        .split_once(" listening on ")
        .and_then(|(_, rest)| rest.split_once(", admin on "))
        .unwrap_or_else(|| panic!("{name} says {line:?}"));
    Component { process, name: name.to_owned(), url: url.to_owned(), admin: admin.to_owned() }
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(GATEWAY).args(arguments).output().unwrap()
}

#[test]
fn the_tour_passes_against_separate_processes() {
    let folder = tempfile::tempdir().unwrap();
    let clients = "tour tour-secret orders:read orders:write inventory:read inventory:write\n\
                   orders orders-secret inventory:read\n";
    let clients = file(folder.path(), "clients", clients);
    let orders_secret = file(folder.path(), "orders-secret", "orders-secret\n");
    let tour_secret = file(folder.path(), "tour-secret", "tour-secret\n");
    // Gateways and balancer need each other's addresses: this one is free, and no connection takes it, because it is
    // below the ports that the system hands out.
    let free = |port: &u32| TcpListener::bind(("127.0.0.1", *port as u16)).is_ok();
    let port = (20_000 + std::process::id() % 10_000..32_000).find(free).unwrap();
    let front = format!("127.0.0.1:{port}");
    let balancer_url = format!("http://{front}");

    let issuer = start("issuer", "issuer", &["--client-secret-file", &clients]);
    let mut components = Vec::new();
    let mut upstreams = Vec::new();
    for number in 1..=2 {
        let database = folder.path().join("inventory.sqlite");
        let name = format!("inventory-{number}");
        let replica = start("inventory", &name, &["--database", database.to_str().unwrap()]);
        upstreams.push(format!("inventory={}", replica.url));
        components.push(replica);
    }
    for number in 1..=2 {
        let database = folder.path().join("orders.sqlite");
        let arguments = [
            ["--database", database.to_str().unwrap()],
            ["--balancer", &balancer_url],
            ["--issuer", &issuer.url],
            ["--client-id", "orders"],
            ["--client-secret-file", &orders_secret],
        ];
        let replica = start("orders", &format!("orders-{number}"), arguments.as_flattened());
        upstreams.push(format!("orders={}", replica.url));
        components.push(replica);
    }
    let mut arguments = vec!["--issuer", &issuer.url];
    arguments.extend(upstreams.iter().flat_map(|upstream| ["--upstream", upstream]));
    let gateways = [start("gateway", "gateway-1", &arguments), start("gateway", "gateway-2", &arguments)];
    let backends = gateways.each_ref().map(|gateway| format!("gateway={}", gateway.url));
    let arguments = ["--listen", &front, "--upstream", &backends[0], "--upstream", &backends[1]];
    let balancer = start("balancer", "balancer", &arguments);

    let mut tour = vec!["--tour", "--target", &balancer.url, "--issuer", &issuer.url];
    tour.extend(["--client-id", "tour", "--client-secret-file", &tour_secret]);
    let all = components.iter().chain(&gateways).chain([&issuer, &balancer]);
    let admins: Vec<String> =
        all.map(|component| format!("{}={}", component.name, component.admin)).collect();
    tour.extend(admins.iter().flat_map(|admin| ["--admin", admin]));
    let output = run(&tour);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = run(&[
        "--role",
        "balancer",
        "--upstream",
        "gateway=http://127.0.0.1:1",
        "--listen",
        &address.to_string(),
    ]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("port {}", address.port())) && error.contains("taken"), "{error}");
}

#[test]
fn a_role_names_the_flag_that_it_needs() {
    for (role, flag) in
        [("issuer", "--client-secret-file"), ("inventory", "--database"), ("gateway", "--issuer")]
    {
        let output = run(&["--role", role]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(flag), "{error}");
    }
}
