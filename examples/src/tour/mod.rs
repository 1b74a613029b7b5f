//! A client that judges the running system.
//!
//! It knows addresses and a client secret, like any client; it sends HTTP requests, injects faults over the admin
//! listeners, and judges by responses, `/metrics` and log lines alone.

mod client;
mod guide;
pub mod load;
mod metrics;
mod steps;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use http::Uri;

use guide::Guide;

/// What the tour is told.
#[derive(Clone)]
pub struct Config {
    /// The uniform address of the system: its balancer.
    pub target: Uri,
    /// The token issuer.
    pub issuer: Uri,
    /// The admin listener of every instance, by name (`gateway-1`, `orders-2`, `issuer`, …).
    pub admins: Vec<(String, Uri)>,
    /// Who asks for tokens.
    pub client_id: String,
    /// That client's secret.
    pub client_secret: String,
    /// The Redis that the caches share, if they do: a tour with one has steps of its own about it.
    pub redis: Option<String>,
    /// How often a step is walked that a busy machine may make fail.
    pub walks: u32,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("target", &self.target)
            .field("admins", &self.admins)
            .finish_non_exhaustive()
    }
}

/// Walks through all steps and says which failed; success only if none did.
pub async fn run(config: Config) -> ExitCode {
    let mut guide = match Guide::new(config).await {
        Ok(guide) => guide,
        Err(reason) => {
            println!("the tour cannot begin: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = Vec::new();
    let steps = steps::all(guide.config.redis.is_some());
    for step in &steps {
        println!("\nstep {} — {} (decided by {})", step.number, step.title, step.decided_by);
        let mut walks = if step.timed { guide.config.walks } else { 1 };
        while let Err(reason) = (step.walk)(&mut guide).await {
            println!("  NOT as it should be: {reason}");
            guide.heal().await;
            walks -= 1;
            if walks == 0 {
                failed.push(format!("{} ({})", step.number, step.decided_by));
                break;
            }
            println!("  the machine may be busy: again");
            // A breaker that this walk opened lets a call through again after a second.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        if walks > 0 {
            println!("  as it should be");
        }
    }
    if failed.is_empty() {
        println!("\nall {} steps as they should be", steps.len());
        return ExitCode::SUCCESS;
    }
    println!("\nfailed steps: {}", failed.join(", "));
    ExitCode::FAILURE
}
