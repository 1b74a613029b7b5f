//! One id from the first caller to the last task, over three kinds of client, and no handler carries it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::{Router, routing::get};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{Layer, ServiceExt};
use tower_correlation::{Correlation, CorrelationLayer, PropagateLayer, current};

#[path = "../matrix/reqwest_service.rs"]
mod reqwest_service;
use reqwest_service::ReqwestService;

/// Where work was done, under which id and trace, and whose span called.
type Note = (&'static str, String, u128, Option<u64>);

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

impl Notes {
    fn note(&self, place: &'static str) {
        let here = current().expect("all of this is somebody's request");
        let caller = here.parent().map(|parent| parent.parent_id());
        self.0.lock().unwrap().push((place, here.id().to_string(), here.trace().trace_id(), caller));
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn to(address: SocketAddr) -> Request<Full<Bytes>> {
    Request::get(format!("http://{address}/")).body(Full::default()).unwrap()
}

/// The last one: a gRPC service whose work goes on in a task of its own.
struct Last(Notes);

#[tonic::async_trait]
impl Health for Last {
    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        self.0.note("tonic");
        let notes = self.0.clone();
        tower_correlation::spawn(async move {
            tokio::task::yield_now().await;
            notes.note("task");
            let notes = notes.clone();
            tower_correlation::spawn_blocking(move || notes.note("thread")).await
        })
        .await
        .and_then(|inner| inner)
        .map_err(|error| tonic::Status::internal(error.to_string()))?;
        Ok(tonic::Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = stream::Pending<Result<HealthCheckResponse, tonic::Status>>;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Err(tonic::Status::unimplemented("nobody asks"))
    }
}

async fn last(notes: Notes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(CorrelationLayer::new()).add_service(HealthServer::new(Last(notes)));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// axum → tonic.
async fn third(notes: Notes, next: SocketAddr) -> SocketAddr {
    let channel: Channel = Endpoint::from_shared(format!("http://{next}")).unwrap().connect_lazy();
    let client = HealthClient::new(PropagateLayer::new().layer(channel));
    let handler = async move || {
        notes.note("third");
        let answer = client.clone().check(HealthCheckRequest::default()).await.unwrap();
        answer.into_inner().status.to_string()
    };
    serve(Router::new().route("/", get(handler)).layer(CorrelationLayer::new())).await
}

/// axum → reqwest.
async fn second(notes: Notes, next: SocketAddr) -> SocketAddr {
    let client = PropagateLayer::new().layer(ReqwestService(reqwest::Client::new()));
    let handler = async move || {
        notes.note("second");
        client.clone().oneshot(to(next)).await.unwrap().status().to_string()
    };
    serve(Router::new().route("/", get(handler)).layer(CorrelationLayer::new())).await
}

/// axum → hyper-util, polled by a task that knows of no request.
async fn first(notes: Notes, next: SocketAddr) -> SocketAddr {
    let client = PropagateLayer::new().layer(Client::builder(TokioExecutor::new()).build_http());
    let handler = async move || {
        notes.note("first");
        let call = tower::Service::call(&mut client.clone(), to(next));
        tokio::spawn(call).await.unwrap().unwrap().status().to_string()
    };
    serve(Router::new().route("/", get(handler)).layer(CorrelationLayer::new())).await
}

#[tokio::test]
async fn one_id_over_axum_hyper_reqwest_tonic_and_spawned_tasks() {
    let notes = Notes::default();
    let address = last(notes.clone()).await;
    let address = third(notes.clone(), address).await;
    let address = second(notes.clone(), address).await;
    let address = first(notes.clone(), address).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for id in ["one-id", "another-id"] {
        let mut request = to(address);
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        let response = client.request(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-request-id"]),
            (200, &id.parse().unwrap())
        );
        let noted = std::mem::take(&mut *notes.0.lock().unwrap());
        let places: Vec<&str> = noted.iter().map(|note| note.0).collect();
        assert_eq!(places, ["first", "second", "third", "tonic", "task", "thread"]);
        assert!(noted.iter().all(|note| note.1 == id && note.2 == noted[0].2), "{noted:?}");
        // The first caller sent no trace; each hop after it was called by a span of its own.
        let mut callers: Vec<_> = noted[1..4].iter().map(|note| note.3.unwrap()).collect();
        callers.sort_unstable();
        callers.dedup();
        assert_eq!((noted[0].3, callers.len()), (None, 3));
    }
}

/// reqwest follows redirects below the layer, and takes along every field but credentials, to whoever it is sent: as the
/// README of tower-correlation says. A client that follows none leaves that to whoever stands outside of the layer.
#[tokio::test]
async fn redirects_that_reqwest_follows_take_the_fields_to_the_next_host() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let stranger = async move |headers: http::HeaderMap| notes.lock().unwrap().push(headers);
    let stranger = serve(Router::new().route("/", get(stranger))).await;
    let moved = axum::response::Redirect::temporary(&format!("http://{stranger}/"));
    let moved = serve(Router::new().route("/", get(async move || moved))).await;
    for (policy, status) in
        [(reqwest::redirect::Policy::none(), 307), (reqwest::redirect::Policy::default(), 200)]
    {
        assert!(seen.lock().unwrap().is_empty());
        let client = reqwest::Client::builder().redirect(policy).build().unwrap();
        let client = PropagateLayer::new().layer(ReqwestService(client));
        let mut request = to(moved);
        request.headers_mut().insert("authorization", "Bearer x".parse().unwrap());
        let work = Correlation::generate();
        let id = work.id().to_string();
        let response = tower_correlation::scope(work, client.oneshot(request)).await.unwrap();
        assert_eq!(response.status(), status);
        if let Some(fields) = seen.lock().unwrap().pop() {
            assert_eq!(fields["x-request-id"], id);
            assert!(fields.contains_key("traceparent") && !fields.contains_key("authorization"));
            assert_eq!(status, 200);
        } else {
            assert_eq!(status, 307);
        }
    }
}
