//! A small load balancer: each TCP connection goes to the next gateway in turn, so a keep-alive client stays on one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::future::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::BoxError;
use crate::component::{Context, Parts, Serve, stopped};

/// How long a backend may take to accept before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two attempts to accept when that fails.
const PAUSE: Duration = Duration::from_millis(50);

/// Configuration of the balancer.
#[derive(Debug, Clone)]
pub struct Config {
    /// The gateways, in turn.
    pub backends: Vec<SocketAddr>,
}

/// Builds the balancer.
///
/// # Errors
///
/// Without backends.
pub async fn build(context: Context, config: Config) -> Result<Parts, BoxError> {
    if config.backends.is_empty() {
        return Err(
            format!("{}: the balancer needs at least one --upstream gateway=URL", context.name).into()
        );
    }
    let backends: Arc<[SocketAddr]> = config.backends.into();
    let serve = move |listener| serve(listener, backends, context).boxed();
    Ok(Parts { serve: Serve::Tcp(Box::new(serve)), admin: Router::new() })
}

async fn serve(listener: TcpListener, backends: Arc<[SocketAddr]>, context: Context) {
    let turn = AtomicUsize::new(0);
    let connections = metrics::counter!("balancer_connections_total");
    let refused = metrics::counter!("balancer_refused_total");
    let mut open = JoinSet::new();
    let mut stop = std::pin::pin!(stopped(context.stopping));
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error concerns one connection, or passes once descriptors are free again.
                let Ok((client, _)) = accepted else { tokio::time::sleep(PAUSE).await; continue };
                connections.increment(1);
                let first = turn.fetch_add(1, Ordering::Relaxed);
                open.spawn(carry(client, backends.clone(), first, refused.clone()));
            }
            Some(_) = open.join_next() => {}
            () = &mut stop => break,
        }
    }
    while open.join_next().await.is_some() {}
}

async fn carry(mut client: TcpStream, backends: Arc<[SocketAddr]>, first: usize, refused: metrics::Counter) {
    for step in 0..backends.len() {
        let backend = backends[(first + step) % backends.len()];
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(backend)).await;
        if let Ok(Ok(mut upstream)) = connected {
            let _ = client.set_nodelay(true);
            let _ = upstream.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            return;
        }
        tracing::warn!(%backend, "a gateway does not accept connections");
    }
    refused.increment(1);
}
