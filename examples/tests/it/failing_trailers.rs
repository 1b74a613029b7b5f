//! A gRPC stream that begins well and fails in its trailers opens the breaker, before a tonic server and before a tonic
//! client. Everything in the head says success.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::Layer;
use tower_breaker::{Breaker, HttpBreakerLayer, State};

/// One message, then the status that is asked for by the name of the service.
struct Streams;

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Streams {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Err(Status::unimplemented("streams only"))
    }

    type WatchStream = Answers;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Answers>, Status> {
        let message = HealthCheckResponse { status: 1 };
        let end = match request.get_ref().service.as_str() {
            "fails" => Some(Err(Status::unavailable("after the first message"))),
            "refuses" => Some(Err(Status::not_found("after the first message"))),
            _ => None,
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(message)].into_iter().chain(end)))))
    }
}

/// Two failures open it for an hour; one may be the answer to something else.
fn breaker(name: &'static str) -> Breaker {
    let settings = Breaker::builder(name).consecutive_failures(2);
    settings.open_for(std::time::Duration::from_secs(3600)).build().unwrap()
}

/// Counted calls and failures, once the server's own view of the end of a body has caught up with the client's.
async fn counted(breaker: &Breaker, calls: u64) -> (u64, u64) {
    while breaker.snapshot().calls < calls && breaker.state() == State::Closed {
        tokio::task::yield_now().await;
    }
    (breaker.snapshot().calls, breaker.snapshot().failures)
}

#[tokio::test]
async fn a_status_in_the_trailers_of_a_tonic_stream_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Breaker::builder("served").build().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(HttpBreakerLayer::new(served.clone()))
        .add_service(HealthServer::new(Streams));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let asked = breaker("asked");
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = HealthClient::new(HttpBreakerLayer::new(asked.clone()).layer(channel));
    let mut exchange = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut answers = client.watch(request).await?.into_inner();
        assert_eq!(answers.message().await?.unwrap().status, 1, "it begins well");
        answers.message().await.map(|end| assert!(end.is_none()))
    };
    exchange("well").await.unwrap();
    assert_eq!(exchange("refuses").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(counted(&served, 2).await, (2, 0), "a refusal is an answer");
    assert_eq!(asked.state(), State::Closed);
    for failures in 1..=2 {
        assert_eq!(asked.state(), State::Closed);
        assert_eq!(exchange("fails").await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(counted(&served, 2 + failures).await, (2 + failures, failures));
    }
    assert_eq!(asked.state(), State::Open);
    // Rejected as gRPC says it, without a call.
    assert_eq!(exchange("well").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(served.snapshot().calls, 4);
}
