//! The gateway and everything around it: see `--help`, or start it without arguments.

use std::process::ExitCode;

use clap::Parser;
use examples::cli::Arguments;
use examples::component::Running;
use examples::launch::{self, System, url};
use examples::tour::load::Load;
use examples::{BoxError, demo, secret, tour, with_causes};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gateway: {}", with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, BoxError> {
    if let Some(role) = arguments.role {
        let running = launch::one(role, arguments)?;
        println!("{} listening on {}, admin on {}", running.name, url(running.address), url(running.admin));
        demo::until_told_to_stop()?;
        running.stop();
        running.join();
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(target) = &arguments.target {
        let needs = |flag: &str| format!("--target needs {flag}");
        let config = tour::Config {
            target: target.clone(),
            issuer: arguments.issuer.clone().ok_or_else(|| needs("--issuer URL"))?,
            admins: arguments.admins.clone(),
            client_id: arguments.client_id.clone().ok_or_else(|| needs("--client-id ID"))?,
            client_secret: secret::read(
                arguments.client_secret_file.as_deref().ok_or_else(|| needs("--client-secret-file PATH"))?,
            )?,
            redis: arguments.redis.clone(),
            // One without a layer is to fail.
            walks: if arguments.without.is_some() { 1 } else { 3 },
        };
        return demo::block_on(visit(arguments, config));
    }
    let system = launch::system(arguments)?;
    let code = if arguments.is_client() {
        demo::block_on(visit(arguments, tour_of(&system, arguments)))?
    } else {
        demo::block_on(demo::introduce(&system))??;
        demo::until_told_to_stop()?;
        println!("stopping: requests in flight finish");
        ExitCode::SUCCESS
    };
    system.stop();
    Ok(code)
}

/// Walks through the system, or drives it.
async fn visit(arguments: &Arguments, config: tour::Config) -> ExitCode {
    match arguments.load {
        None => tour::run(config).await,
        Some(phase) => {
            let load = Load { phase, rate: arguments.rate, connections: arguments.connections };
            tour::load::run(config, load).await
        }
    }
}

/// What a client of the system would be told.
fn tour_of(system: &System, arguments: &Arguments) -> tour::Config {
    let admin = |instance: &Running| (instance.name.clone(), url(instance.admin));
    tour::Config {
        target: url(system.front),
        issuer: url(system.issuer),
        admins: system.instances.iter().map(admin).collect(),
        client_id: system.client.id.clone(),
        client_secret: system.client.secret.clone(),
        redis: arguments.redis.clone(),
        // One without a layer is to fail.
        walks: if arguments.without.is_some() { 1 } else { 3 },
    }
}
