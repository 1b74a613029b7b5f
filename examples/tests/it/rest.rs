//! The running system as a client sees it: methods mean what HTTP says, and a stop loses nothing.

use bytes::Bytes;
use clap::Parser;
use examples::cli::Arguments;
use examples::component::Running;
use examples::launch::{self, System, url};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    front: String,
    token: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn send(client: &Client<HttpConnector, Full<Bytes>>, request: Request<Full<Bytes>>) -> Answer {
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

impl Caller {
    async fn new(system: &System) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            system.client.id, system.client.secret
        );
        let request = Request::post(format!("{}token", url(system.issuer)))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form));
        let answer = send(&client, request.unwrap()).await;
        let token = answer.body["access_token"].as_str().unwrap().to_owned();
        Self { client, front: url(system.front).to_string(), token }
    }

    fn request(&self, method: Method, path: &str, content_type: &str, body: &str) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.front.trim_end_matches('/')))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", content_type)
            .body(Full::from(body.to_owned()))
            .unwrap()
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        send(&self.client, self.request(method, path, "application/json", &body.to_string())).await
    }
}

/// The system, outside of any runtime, and a caller inside of one.
fn with_system(test: impl AsyncFnOnce(&System, Caller)) {
    let system = launch::system(&Arguments::parse_from(["gateway", "--quiet"])).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let caller = Caller::new(&system).await;
        test(&system, caller).await;
    });
    system.stop();
}

#[test]
fn methods_mean_what_http_says() {
    with_system(async |_, caller| {
        let order = json!({ "item": { "article": "bolt", "quantity": 3 }, "customer": "ada" });
        let created = caller.json(Method::POST, "/api/v2/orders", &order).await;
        assert_eq!(created.status, StatusCode::CREATED);
        let location = created.headers["location"].to_str().unwrap().to_owned();
        assert_eq!(caller.json(Method::GET, &location, &Value::Null).await.body["item"]["quantity"], 3);

        let changed = json!({ "item": { "article": "bolt", "quantity": 4 }, "customer": "ada" });
        assert_eq!(caller.json(Method::PUT, &location, &changed).await.status, StatusCode::OK);
        // The same gateway saw the change and forgot what it had stored (RFC 9111 §4.4).
        assert_eq!(caller.json(Method::GET, &location, &Value::Null).await.body["item"]["quantity"], 4);

        assert_eq!(caller.json(Method::DELETE, &location, &Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(caller.json(Method::DELETE, &location, &Value::Null).await.status, StatusCode::NOT_FOUND);

        let patched = caller.json(Method::PATCH, &location, &order).await;
        assert_eq!(patched.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(patched.headers["allow"], "GET,HEAD,PUT,DELETE");
    });
}

#[test]
fn content_that_cannot_be_read_is_told_apart() {
    with_system(async |_, caller| {
        let cases = [
            (
                "application/json",
                "{\"item\":{\"article\":\"bolt\",\"quantity\":1},\"customer\":\"ada\"}",
                StatusCode::CREATED,
            ),
            (
                "text/plain",
                "{\"item\":{\"article\":\"bolt\",\"quantity\":1},\"customer\":\"ada\"}",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            (
                "application/json",
                "{\"item\":{\"article\":\"bolt\",\"quantity\":1},\"customer\":\"ada\"",
                StatusCode::BAD_REQUEST,
            ),
            (
                "application/json",
                "{\"item\":{\"article\":\"bolt\",\"quantity\":\"one\"},\"customer\":\"ada\"}",
                StatusCode::BAD_REQUEST,
            ),
            (
                "application/json",
                "{\"item\":{\"article\":\"spring\",\"quantity\":1},\"customer\":\"ada\"}",
                StatusCode::CONFLICT,
            ),
        ];
        for (content_type, body, status) in cases {
            let request = caller.request(Method::POST, "/api/v2/orders", content_type, body);
            let answer = send(&caller.client, request).await;
            assert_eq!(answer.status, status, "{content_type} {body}");
            if status != StatusCode::CREATED {
                assert_eq!(answer.headers["content-type"], "application/problem+json");
                assert_eq!(answer.body["status"], status.as_u16());
            }
        }
    });
}

#[test]
fn a_request_in_flight_is_answered_although_the_system_stops() {
    with_system(async |system, caller| {
        let replicas: Vec<_> =
            system.instances.iter().filter(|instance| instance.name.starts_with("inventory")).collect();
        for replica in &replicas {
            let request = Request::put(format!("{}fault", url(replica.admin)))
                .header("content-type", "application/json")
                .body(Full::from("{\"delay_ms\":250}"));
            assert_eq!(send(&caller.client, request.unwrap()).await.status, StatusCode::OK);
        }
        let request = caller.request(Method::GET, "/api/v2/stock/bolt", "application/json", "");
        let client = caller.client.clone();
        let answer = tokio::spawn(async move { send(&client, request).await });
        while !any_has_a_request(&caller, &replicas).await {}
        system.instances.iter().rev().for_each(Running::stop);
        assert_eq!(answer.await.unwrap().status, StatusCode::OK);
    });
}

/// Whether a request has arrived at one of the instances.
async fn any_has_a_request(caller: &Caller, instances: &[&Running]) -> bool {
    for instance in instances {
        let request = Request::get(format!("{}metrics", url(instance.admin))).body(Full::default()).unwrap();
        let body =
            caller.client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        if body.windows(27).any(|window| window == b"tower_correlation_ids_total") {
            return true;
        }
    }
    false
}
