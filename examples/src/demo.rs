//! What the program prints once the system runs: addresses, a token, curl lines that work as printed.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::BoxError;
use crate::launch::{System, url};

/// Prints where everything is and how to talk to it.
///
/// # Errors
///
/// When the issuer does not give a token.
pub async fn introduce(system: &System) -> Result<(), BoxError> {
    println!("{:<14} {:<26} admin (/metrics, /logs, /fault)", "instance", "address");
    for instance in &system.instances {
        // As text: a `Uri` takes no width.
        println!("{:<14} {:<26} {}", instance.name, url(instance.address).to_string(), url(instance.admin));
    }
    let token = token(system).await?;
    let front = format!("{}", url(system.front)).trim_end_matches('/').to_owned();
    let gateway = system.instances.iter().find(|instance| instance.name == "gateway-1");
    let admin = gateway.map(|gateway| url(gateway.admin).to_string()).unwrap_or_default();
    println!(
        "
A token, good for an hour:

TOKEN={token}

Try:

# version 2 by path, twice over one connection, which is to say at one gateway: then its cache answers (Age, Cache-Status)
curl -i -H \"Authorization: Bearer $TOKEN\" {front}/api/v2/orders {front}/api/v2/orders
# version 1 by header: deprecated (Deprecation, Sunset, Link)
curl -i -H \"Authorization: Bearer $TOKEN\" -H 'Api-Version: 1' {front}/api/orders/1
# no token: 401 and a challenge
curl -i {front}/api/v2/orders
# a version that does not exist: the problem document names those that do
curl -i -H \"Authorization: Bearer $TOKEN\" {front}/api/v9/orders
# orders asks inventory through the balancer and a gateway, under one correlation id
curl -i -H \"Authorization: Bearer $TOKEN\" -H 'X-Request-Id: hello' -H 'Cache-Control: no-cache' {front}/api/v2/orders/1/availability
# without no-cache a replica of orders that was asked before answers with what it keeps and renews every second
curl -i -H \"Authorization: Bearer $TOKEN\" {front}/api/v2/orders/1/availability
# a new order: 201 and Location
curl -i -H \"Authorization: Bearer $TOKEN\" --json '{{\"item\":{{\"article\":\"bolt\",\"quantity\":3}},\"customer\":\"you\"}}' {front}/api/v2/orders
# what the first gateway counted
curl -s {admin}metrics

Ctrl-C stops it."
    );
    Ok(())
}

/// Asks the issuer as any client would.
async fn token(system: &System) -> Result<String, BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        system.client.id, system.client.secret
    );
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}token", url(system.issuer)))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(form))?;
    let answer = client.request(request).await?.into_body().collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    Ok(answer["access_token"].as_str().ok_or("the issuer gave no token")?.to_owned())
}

/// Runs a future of this program itself, which is no component.
///
/// # Errors
///
/// When there is no runtime to be had.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, BoxError> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

/// Waits for Ctrl-C or a request to terminate.
///
/// # Errors
///
/// When signals cannot be listened for.
pub fn until_told_to_stop() -> Result<(), BoxError> {
    block_on(async {
        #[cfg(unix)]
        {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted?,
                _ = terminate.recv() => {}
            }
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await?;
        Ok(())
    })?
}
