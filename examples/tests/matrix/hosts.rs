//! The seven hosts, each as a macro that takes a layer and yields a running [`Host`]. A macro, because a function
//! would have to repeat each host's bounds: here the host itself states them.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::BoxError;

use crate::origin::{CHECKSUM, Origin, SERVING};

/// A body that has arrived.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) data: Bytes,
    pub(crate) trailers: HeaderMap,
}

pub(crate) type Answer = Response<Whole>;
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;
pub(crate) type Exchange = Arc<dyn Fn(Request<Full<Bytes>>) -> Answering + Send + Sync>;
pub(crate) type PlainClient = Client<HttpConnector, Full<Bytes>>;

/// Longest time one exchange over loopback may take.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

/// A layer in its host, seen from outside: requests go in at one end, the origin counts them at the other.
pub(crate) struct Host {
    pub(crate) protocol: Protocol,
    pub(crate) origin: Origin,
    address: SocketAddr,
    exchange: Exchange,
    server: JoinHandle<()>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("protocol", &self.protocol).field("address", &self.address).finish()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Host {
    pub(crate) fn new(protocol: Protocol, origin: Origin, served: Served, exchange: Exchange) -> Self {
        Self { protocol, origin, address: served.address, exchange, server: served.task }
    }

    /// A request that every layer but an authenticating one lets through.
    pub(crate) fn request(&self) -> Request<Full<Bytes>> {
        match self.protocol {
            Protocol::Http => {
                Request::get(self.uri("/things")).header(header::TE, "trailers").body(Full::default())
            }
            Protocol::Grpc => Request::post(self.uri("/grpc.health.v1.Health/Check"))
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .body(Full::new(Bytes::from_static(&[0; 5]))),
        }
        .expect("a valid request")
    }

    pub(crate) fn uri(&self, path: &str) -> Uri {
        format!("http://{}{path}", self.address).parse().expect("a valid URI")
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, BoxError> {
        tokio::time::timeout(DEADLINE, (self.exchange)(request)).await?
    }

    /// Sends a request that must be answered.
    pub(crate) async fn answer(&self, request: Request<Full<Bytes>>) -> Answer {
        self.send(request).await.expect("an answer")
    }

    /// Asserts that `answer` is the origin's own, whole: data and trailers.
    pub(crate) fn assert_intact(&self, answer: &Answer) {
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        let Whole { data, trailers } = answer.body();
        match self.protocol {
            Protocol::Http => {
                assert_eq!(data, "first second");
                assert_eq!(trailers[CHECKSUM], "7");
            }
            Protocol::Grpc => {
                assert_eq!(data, SERVING);
                assert_eq!(trailers["grpc-status"], "0");
            }
        }
    }
}

/// A server on a free port of the loopback interface.
pub(crate) struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start<F>(serve: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        Self { address, task: tokio::spawn(serve(listener)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// HTTP/2 with prior knowledge: the one wire format that gRPC and trailers both need.
pub(crate) fn plain_client() -> PlainClient {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// How the test speaks to a server host.
pub(crate) fn over_the_wire() -> Exchange {
    let client = plain_client();
    Arc::new(move |request| {
        let response = client.request(request);
        Box::pin(async move { collect(response.await?).await })
    })
}

pub(crate) async fn collect<B>(response: Response<B>) -> Result<Answer, BoxError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.map_err(Into::into)?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(Response::from_parts(parts, Whole { data: collected.to_bytes(), trailers }))
}

/// Accepts connections for a hyper service for ever.
macro_rules! serve_hyper {
    ($listener:expr, $service:expr) => {
        loop {
            let Ok((stream, _)) = $listener.accept().await else { continue };
            let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(
                builder.serve_connection(hyper_util::rt::TokioIo::new(stream), $service.clone()).into_owned(),
            );
        }
    };
}

/// The origin alone, for the client hosts.
pub(crate) async fn bare_origin(origin: &Origin) -> Served {
    let origin = origin.clone();
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let origin = origin.clone();
        async move { Ok::<_, std::convert::Infallible>(origin.answer(&request.into_parts().0).await) }
    });
    Served::start(|listener| async move { serve_hyper!(listener, service) }).await
}

macro_rules! axum_app {
    ($origin:expr) => {{
        let origin = $origin.clone();
        axum::Router::new().fallback(move |request: axum::extract::Request| {
            let origin = origin.clone();
            async move { origin.answer(&request.into_parts().0).await.map(axum::body::Body::new) }
        })
    }};
}

macro_rules! axum_router {
    ($layer:expr) => {{
        let origin = $crate::origin::Origin::default();
        let router = axum_app!(origin).layer($layer);
        let served = Served::start(|listener| async move {
            axum::serve(listener, router).await.expect("serves for ever");
        });
        Host::new(Protocol::Http, origin, served.await, over_the_wire())
    }};
}

macro_rules! axum_wrapped {
    ($layer:expr) => {{
        let origin = $crate::origin::Origin::default();
        let app = tower::ServiceBuilder::new()
            .layer(tower_http::map_response_body::MapResponseBodyLayer::new(axum::body::Body::new))
            .layer($layer)
            .service(axum_app!(origin));
        let served = Served::start(|listener| async move {
            let service = axum::ServiceExt::<axum::extract::Request>::into_make_service(app);
            axum::serve(listener, service).await.expect("serves for ever");
        });
        Host::new(Protocol::Http, origin, served.await, over_the_wire())
    }};
}

macro_rules! tonic_server {
    ($layer:expr) => {{
        let origin = $crate::origin::Origin::default();
        let health = tonic_health::pb::health_server::HealthServer::new(origin.clone());
        let server = tonic::transport::Server::builder().layer($layer).add_service(health);
        let served = Served::start(|listener| async move {
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            server.serve_with_incoming(incoming).await.expect("serves for ever");
        });
        Host::new(Protocol::Grpc, origin, served.await, over_the_wire())
    }};
}

macro_rules! tonic_channel {
    ($layer:expr) => {{
        let origin = $crate::origin::Origin::default();
        let served = bare_origin(&origin).await;
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", served.address()));
        let channel = endpoint.expect("a valid URI").connect_lazy();
        let channel = tower::Layer::layer(&$layer, AnyBody(channel));
        let client = tonic_health::pb::health_client::HealthClient::new(channel);
        let exchange: Exchange = std::sync::Arc::new(move |request| {
            let mut client = client.clone();
            Box::pin(async move {
                let message = tonic_health::pb::HealthCheckRequest::default();
                let metadata = tonic::metadata::MetadataMap::from_headers(request.headers().clone());
                let request = tonic::Request::from_parts(metadata, http::Extensions::new(), message);
                Ok(rebuilt(client.check(request).await?))
            })
        });
        Host::new(Protocol::Grpc, origin, served, exchange)
    }};
}

macro_rules! hyper_server {
    ($layer:expr) => {{
        let origin = $crate::origin::Origin::default();
        let handler = origin.clone();
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let handler = handler.clone();
            async move { Ok::<_, tower::BoxError>(handler.answer(&request.into_parts().0).await) }
        });
        let service = hyper_util::service::TowerToHyperService::new(tower::Layer::layer(&$layer, service));
        let served = Served::start(|listener| async move { serve_hyper!(listener, service) });
        Host::new(Protocol::Http, origin, served.await, over_the_wire())
    }};
}

macro_rules! hyper_client {
    ($layer:expr) => {
        client_host!(AnyBody(any_client()), $layer)
    };
}

macro_rules! reqwest_client {
    ($layer:expr) => {{ client_host!($crate::reqwest_service::ReqwestService(reqwest::Client::new()), $layer) }};
}

macro_rules! client_host {
    ($client:expr, $layer:expr) => {{
        let origin = $crate::origin::Origin::default();
        let served = bare_origin(&origin).await;
        let client = tower::Layer::layer(&$layer, $client);
        let exchange: Exchange = std::sync::Arc::new(move |request| {
            let client = client.clone();
            Box::pin(async move {
                let response = tower::ServiceExt::oneshot(client, request).await;
                collect(response.map_err(tower::BoxError::from)?).await
            })
        });
        Host::new(Protocol::Http, origin, served, exchange)
    }};
}

/// A client for any request body: a layer may put a body of its own around the caller's.
#[derive(Debug, Clone)]
pub(crate) struct AnyBody<S>(pub(crate) S);

impl<S, B> tower::Service<Request<B>> for AnyBody<S>
where
    S: tower::Service<Request<tonic::body::Body>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.0.call(request.map(tonic::body::Body::new))
    }
}

pub(crate) fn any_client() -> Client<HttpConnector, tonic::body::Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// What tonic's client made of an answer; it puts the trailers beside the header fields.
pub(crate) fn rebuilt(response: tonic::Response<tonic_health::pb::HealthCheckResponse>) -> Answer {
    let (metadata, message, extensions) = response.into_parts();
    let headers = metadata.into_headers();
    let data = if message.status == 1 { Bytes::from_static(SERVING) } else { Bytes::new() };
    let mut answer = Response::new(Whole { data, trailers: headers.clone() });
    *answer.headers_mut() = headers;
    *answer.extensions_mut() = extensions;
    answer
}

pub(crate) use {
    axum_app, axum_router, axum_wrapped, client_host, hyper_client, hyper_server, reqwest_client,
    serve_hyper, tonic_channel, tonic_server,
};
