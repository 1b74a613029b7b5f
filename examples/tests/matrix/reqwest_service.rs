//! reqwest's client is a service of its own request type; ten lines make it one of `http::Request`.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use reqwest::{Body, Client};
use tower::{BoxError, Service};

#[derive(Debug, Clone)]
pub(crate) struct ReqwestService(pub(crate) Client);

impl<B> Service<Request<B>> for ReqwestService
where
    B: http_body::Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = reqwest::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<reqwest::Request>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let sent = reqwest::Request::try_from(request.map(Body::wrap)).map(|request| self.0.call(request));
        Box::pin(async move { Ok(sent?.await?.into()) })
    }
}
