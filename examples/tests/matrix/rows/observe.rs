use std::sync::{Arc, Mutex};

use serde_json::Value;
use tower_correlation::observe::{Observe, ObserveLayer};

use super::{assert_through, failing};
use crate::hosts::Host;

#[derive(Debug)]
pub(crate) struct Row {
    observe: Observe,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Default for Row {
    fn default() -> Self {
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let written = lines.clone();
        let write = move |line: &str| written.lock().unwrap().push(serde_json::from_str(line).unwrap());
        Self { observe: Observe::builder().service("things").json(write).build().unwrap(), lines }
    }
}

impl Row {
    pub(crate) fn layer(&self) -> ObserveLayer {
        ObserveLayer::server(self.observe.clone())
    }

    pub(crate) fn client(&self) -> ObserveLayer {
        ObserveLayer::client(self.observe.clone())
    }

    pub(crate) async fn lets_through(&self, host: &Host) {
        assert_through(host, host.request()).await;
    }

    /// It only tells: one line for each call.
    pub(crate) async fn decides(&self, host: &Host) {
        self.lines.lock().unwrap().clear();
        let _ = host.send(failing(host)).await;
        while self.lines.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let lines = self.lines.lock().unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["service"], "things");
    }
}
