//! One SQLite file per service, shared by its replicas; every query is counted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::BoxError;

/// Connections that wait for work at most; more are opened when all are busy, and closed afterwards.
const IDLE_CONNECTIONS: usize = 8;

/// A handle on the database of one service.
#[derive(Debug, Clone)]
pub struct Database {
    path: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
    queries: metrics::Counter,
}

impl Database {
    /// Opens the file and makes its tables, unless another replica has done so.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or the schema does not fit.
    pub async fn open(path: &Path, schema: &'static str) -> Result<Self, BoxError> {
        let queries = metrics::counter!("database_queries_total");
        let database = Self { path: Arc::new(path.to_owned()), idle: Arc::default(), queries };
        database
            .with(move |connection| {
                connection.pragma_update(None, "journal_mode", "WAL")?;
                connection.execute_batch(schema)
            })
            .await?;
        Ok(database)
    }

    /// Runs one query, counted, where blocking is allowed.
    ///
    /// # Errors
    ///
    /// Whatever SQLite reports.
    pub async fn query<T, F>(&self, query: F) -> Result<T, BoxError>
    where
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.queries.increment(1);
        self.with(query).await
    }

    async fn with<T, F>(&self, query: F) -> Result<T, BoxError>
    where
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let work = move || {
            let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let spare = lock().pop();
            let mut connection = match spare {
                Some(connection) => connection,
                None => connect(&path)?,
            };
            let result = query(&mut connection);
            let mut idle = lock();
            if idle.len() < IDLE_CONNECTIONS {
                idle.push(connection);
            }
            result
        };
        Ok(tokio::task::spawn_blocking(work).await??)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Replicas write in turn.
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}
