//! What every component runs in: a thread, a runtime, a metrics recorder and a log of its own.
//!
//! Components know each other by address alone. Even where one process hosts several, nothing is shared: the recorder and
//! the subscriber are those of the thread, and the runtime has no other thread that works on requests.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tower_correlation::observe::Observe;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::BoxError;

/// How long requests in flight may take to finish once a component is told to stop.
pub const GRACE: Duration = Duration::from_secs(10);

/// Buckets of request durations in seconds, as OpenTelemetry's conventions for HTTP advise.
const DURATIONS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Log lines kept for the admin listener.
const LOG_LINES: usize = 4096;

/// Name and addresses of one instance.
#[derive(Debug)]
pub struct Instance {
    /// Such as `orders-1`: in log lines, `x-served-by` and `/info`.
    pub name: String,
    /// Where it serves, see [`bind`].
    pub listener: StdListener,
    /// Where its admin endpoints are; port 0 picks a free one.
    pub admin: SocketAddr,
    /// Write log lines to standard error too.
    pub log_to_stderr: bool,
    /// The share of calls that is written down, from 0 to 1.
    pub sample: f64,
}

/// A running instance.
#[derive(Debug)]
pub struct Running {
    /// The name it was given.
    pub name: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// Where its admin endpoints are.
    pub admin: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Tells the instance to stop taking requests; those in flight finish within [`GRACE`].
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the instance has ended.
    pub fn join(self) {
        let _ = self.thread.join();
    }
}

/// What a component gets to build itself from.
#[derive(Debug)]
pub struct Context {
    /// Name of the instance.
    pub name: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// Where its calls are written down and counted.
    pub observe: Observe,
    /// Becomes true when the instance is to stop.
    pub stopping: watch::Receiver<bool>,
}

/// The listener and the routes of one component, ready to serve.
#[derive(Debug)]
pub struct Parts {
    /// The work itself: ends when `Context::stopping` says so.
    pub serve: Serve,
    /// Admin routes besides the ones every component has.
    pub admin: Router,
}

/// How a component serves its listener.
pub enum Serve {
    /// An axum router.
    Http(Router),
    /// Raw connections.
    Tcp(Box<dyn FnOnce(TcpListener) -> futures_util::future::BoxFuture<'static, ()> + Send>),
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http(_) => "Http",
            Self::Tcp(_) => "Tcp",
        })
    }
}

/// Starts an instance on a thread of its own and returns once it serves.
///
/// # Errors
///
/// A port that is taken, or whatever `build` reports.
pub fn start<F, Fut>(instance: Instance, build: F) -> Result<Running, BoxError>
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Parts, BoxError>>,
{
    let (stop, stopping) = watch::channel(false);
    let (ready, started) = oneshot::channel();
    let name = instance.name.clone();
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        let buckets = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_request_duration_seconds".to_owned()), &DURATIONS);
        let recorder = match buckets {
            Ok(builder) => builder.build_recorder(),
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        let prometheus = recorder.handle();
        let log = Log::new(instance.log_to_stderr);
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
            .with_writer(log.clone())
            .finish();
        let _subscriber = tracing::subscriber::set_default(subscriber);
        let _recorder = metrics::set_default_local_recorder(&recorder);
        runtime.block_on(run(instance, build, stopping, prometheus, log, ready));
        runtime.shutdown_timeout(Duration::from_millis(100));
    })?;
    let (address, admin) =
        started.blocking_recv().map_err(|_| format!("{name} ended while it started"))??;
    Ok(Running { name, address, admin, stop, thread })
}

/// A component that could serve at once.
struct Prepared {
    listener: TcpListener,
    admin: TcpListener,
    parts: Parts,
    observe: Observe,
    /// Of both listeners.
    addresses: (SocketAddr, SocketAddr),
}

async fn prepare<F, Fut>(
    instance: Instance,
    build: F,
    stopping: watch::Receiver<bool>,
    log: Log,
) -> Result<Prepared, BoxError>
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<Parts, BoxError>>,
{
    let listener = TcpListener::from_std(instance.listener)?;
    let admin = TcpListener::from_std(bind(&instance.name, instance.admin)?)?;
    let addresses = (listener.local_addr()?, admin.local_addr()?);
    let observe = crate::observe::observe(&instance.name, instance.sample, log)?;
    let context = Context { name: instance.name, address: addresses.0, observe: observe.clone(), stopping };
    let parts = build(context).await?;
    Ok(Prepared { listener, admin, parts, observe, addresses })
}

async fn run<F, Fut>(
    instance: Instance,
    build: F,
    stopping: watch::Receiver<bool>,
    prometheus: PrometheusHandle,
    log: Log,
    ready: oneshot::Sender<Result<(SocketAddr, SocketAddr), BoxError>>,
) where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<Parts, BoxError>>,
{
    let name = instance.name.clone();
    let prepared = match prepare(instance, build, stopping.clone(), log.clone()).await {
        Ok(prepared) => prepared,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let Prepared { listener, admin, parts, observe, addresses } = prepared;
    let routes = parts.admin.merge(crate::admin::router(&name, prometheus, log, observe));
    let _ = ready.send(Ok(addresses));
    let work = async {
        match parts.serve {
            Serve::Http(router) => crate::accept::serve(listener, router, stopped(stopping.clone())).await,
            Serve::Tcp(serve) => serve(listener).await,
        }
    };
    let admin = async {
        let _ = axum::serve(admin, routes).await;
    };
    // Requests in flight get their time once the stop was asked for; the admin listener stays until the very end.
    let deadline = async {
        stopped(stopping.clone()).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = work => {}
        () = admin => {}
        () = deadline => {}
    }
}

/// Resolves when the instance is to stop.
pub async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the owner is gone, which is a reason to stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Listens on `address` for the instance `name`; port 0 picks a free one. Whoever connects waits until it is started.
///
/// # Errors
///
/// A port that is taken, an address that is not this machine's.
pub fn bind(name: &str, address: SocketAddr) -> Result<StdListener, BoxError> {
    let listener = StdListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{name}: port {} of {} is taken", address.port(), address.ip())
        }
        _ => format!("{name}: cannot listen on {address}: {error}"),
    })?;
    // The runtime that takes it over wants it so.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The last log lines of one instance.
#[derive(Debug, Clone)]
pub struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    to_stderr: bool,
}

impl Log {
    fn new(to_stderr: bool) -> Self {
        Self { lines: Arc::default(), to_stderr }
    }

    /// Takes a line that is JSON already.
    pub(crate) fn line(&self, line: &str) {
        let mut writer = self;
        // Standard error may be closed; the line is kept all the same.
        let _ = writer.write_all(format!("{line}\n").as_bytes());
    }

    /// The lines that contain `needle`, oldest first.
    #[must_use]
    pub fn lines(&self, needle: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains(needle)).cloned().collect()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Log {
    /// The formatter writes each event in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if self.to_stderr {
            io::stderr().write_all(event)?;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(event).trim_end().to_owned());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
