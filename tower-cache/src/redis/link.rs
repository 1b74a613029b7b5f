//! The connection to the server or cluster: made when it is first needed, in the background, and made anew when it
//! breaks or no longer answers.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, RedisFuture, ScriptInvocation, Value};
use tokio::sync::watch;

use crate::store::StoreError;

/// Where to connect to.
pub(super) enum Dial {
    Server(Box<redis::Client>),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The connection of one store, shared by all its clones.
pub(super) struct Link {
    dial: Dial,
    state: Mutex<State>,
    /// Operations in a row that nobody waited for until their end.
    unanswered: AtomicU32,
}

enum State {
    Idle,
    Connecting(Attempt),
    Connected(Connection),
}

/// How an attempt to connect came out; nothing while it runs.
type Attempt = watch::Receiver<Option<Result<Connection, StoreError>>>;

/// A server that cannot be reached in this time is not one to wait for; those who need it give up long before.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// For the large answers; requests give up on small ones long before.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// So many operations without an answer, one after another, mean that the connection is dead though nobody says so.
const UNANSWERED: u32 = 8;

impl Link {
    pub(super) fn new(dial: Dial) -> Self {
        Self { dial, state: Mutex::new(State::Idle), unanswered: AtomicU32::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, or the end of the attempt to make one.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Connection, StoreError> {
        let mut attempt = {
            let mut state = self.state();
            match &*state {
                State::Connected(connection) => return Ok(connection.clone()),
                State::Connecting(attempt) => attempt.clone(),
                State::Idle => {
                    let attempt = self.connect();
                    *state = State::Connecting(attempt.clone());
                    attempt
                }
            }
        };
        let result = attempt.wait_for(Option::is_some).await.map(|result| (*result).clone());
        result.ok().flatten().unwrap_or_else(|| Err(StoreError::unavailable("the connection was given up")))
    }

    /// Connects in the background: who asked may give up before it is done, and others profit from it all the same.
    fn connect(self: &Arc<Self>) -> Attempt {
        let (sender, receiver) = watch::channel(None);
        let link = Arc::clone(self);
        tokio::spawn(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, link.dial.connect()).await;
            let connected = match connected {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(unavailable(error)),
                Err(_) => Err(StoreError::unavailable("no connection in time")),
            };
            link.unanswered.store(0, Ordering::Relaxed);
            *link.state() = match &connected {
                Ok(connection) => State::Connected(connection.clone()),
                Err(_) => State::Idle,
            };
            sender.send_replace(Some(connected));
        });
        receiver
    }

    /// The next operation connects anew.
    fn disconnect(&self) {
        let mut state = self.state();
        if matches!(*state, State::Connected(_)) {
            *state = State::Idle;
        }
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// Begins something that takes one or more commands.
    pub(super) fn operation(self: &Arc<Self>) -> Operation {
        Operation { link: Arc::clone(self), ended: false }
    }
}

impl Dial {
    async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Server(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(RESPONSE_TIMEOUT));
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Server)
            }
            Self::Cluster(client) => {
                let config = redis::cluster::ClusterConfig::new()
                    .set_connection_timeout(CONNECT_TIMEOUT)
                    .set_response_timeout(RESPONSE_TIMEOUT);
                client.get_async_connection_with_config(config).await.map(Connection::Cluster)
            }
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state() {
            State::Idle => "idle",
            State::Connecting(_) => "connecting",
            State::Connected(_) => "connected",
        };
        f.debug_struct("Link").field("state", &state).finish()
    }
}

/// Commands that belong together. Dropped before the end, they count as unanswered.
pub(super) struct Operation {
    link: Arc<Link>,
    ended: bool,
}

impl Operation {
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.link.connection().await?;
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| self.failed(error))
    }

    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.link.connection().await?;
        script.invoke_async(&mut connection).await.map_err(|error| self.failed(error))
    }

    /// The answer to a command, where one that is not of the kind asked for (somebody wrote something else there)
    /// counts as nothing.
    pub(super) async fn lenient<T: FromRedisValue + Default>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.link.connection().await?;
        match command.query_async::<Value>(&mut connection).await {
            Ok(value) => Ok(redis::from_redis_value(value).unwrap_or_default()),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(T::default()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether keys are spread over several servers, of which some may be away.
    pub(super) fn is_spread(&self) -> bool {
        matches!(self.link.dial, Dial::Cluster(_))
    }

    /// All of it has been answered.
    pub(super) fn end(mut self) {
        self.ended = true;
        self.link.unanswered.store(0, Ordering::Relaxed);
    }

    fn failed(&self, error: RedisError) -> StoreError {
        if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            self.link.disconnect();
        }
        unavailable(error)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.ended && self.link.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED {
            self.link.disconnect();
        }
    }
}

fn unavailable(error: RedisError) -> StoreError {
    StoreError::unavailable("the server failed").with_source(error)
}
