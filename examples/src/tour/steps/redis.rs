use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::client::{Answer, Http};
use super::super::guide::{Guide, eventually, expect};
use crate::service::STORE_TIMEOUT;

/// How long Redis answers nobody.
const PAUSE: Duration = Duration::from_secs(3);
/// Reads meanwhile.
const READS: u32 = 200;
/// Caches on the way: a gateway's and a replica's, each of which waits for the store.
const CACHES: u32 = 2;
/// What a busy machine may add to any answer.
const SLACK: Duration = Duration::from_millis(200);

/// 9b: an answer that one gateway stored is a hit at the other, which never asked for it.
pub(super) async fn two_gateways(guide: &mut Guide) -> Result<(), String> {
    let mut gateways = Vec::new();
    let path = format!("/api/v2/orders/1?utm_source=shared-{}", guide.unique());
    for _ in 0..20 {
        let answer = guide.get(&path).await?;
        expect(answer.status == 200, || format!("{} {}", answer.status, answer.text()))?;
        let Some((gateway, hit)) = gateway(&answer) else {
            return Err(format!("no gateway in Cache-Status {:?}", answer.list("cache-status")));
        };
        if gateways.is_empty() {
            expect(!hit, || "the first read of all is a hit".to_owned())?;
            gateways.push(gateway);
            stored(guide, &path).await?;
        } else if !gateways.contains(&gateway) {
            return expect(hit, || format!("{gateway} does not know what {} stored", gateways[0]));
        }
        // A client of its own is a connection of its own, which the balancer gives to the next gateway.
        guide.http = Http::new();
    }
    Err(format!("the balancer always takes {gateways:?}"))
}

/// Answers are stored in the background.
async fn stored(guide: &mut Guide, path: &str) -> Result<(), String> {
    eventually(guide, "the answer is stored", async |guide: &mut Guide| {
        Ok(gateway(&guide.get(path).await?).is_some_and(|(_, hit)| hit))
    })
    .await
}

/// Which gateway answered, and whether its cache did.
fn gateway(answer: &Answer) -> Option<(String, bool)> {
    let status = answer.list("cache-status");
    let member = status.split(',').map(str::trim).rfind(|member| member.starts_with("gateway-"))?;
    let name = member.split(';').next()?.trim();
    Some((name.to_owned(), member.contains("; hit")))
}

/// 9c: the real thing: all answers are 200 and come in time, and the database has its rest again afterwards.
pub(super) async fn hangs(guide: &mut Guide) -> Result<(), String> {
    const PATH: &str = "/api/v2/orders/2";
    let usual = reads(guide, PATH, 20).await?;
    pause(guide).await?;
    let hung = reads(guide, PATH, READS).await?;
    println!("  the 99th of 100 answers took {usual:?} before, {hung:?} while Redis hung");
    let allowed = usual + STORE_TIMEOUT * CACHES + SLACK;
    expect(hung <= allowed, || format!("allowed are {allowed:?}"))?;
    eventually(guide, "reads are hits again", async |guide: &mut Guide| {
        let first = guide.get_past_gateway_cache(PATH).await?;
        let members = first.list("cache-status");
        let replica = members.split(',').find(|member| member.trim().starts_with("orders-"));
        Ok(replica.is_some_and(|member| member.contains("; hit")))
    })
    .await
}

/// Reads that the gateways' caches have not seen: how long the slowest but one of a hundred took.
async fn reads(guide: &mut Guide, path: &str, count: u32) -> Result<Duration, String> {
    let mut took = Vec::new();
    guide.quiet = true;
    for _ in 0..count {
        let answer = guide.get_past_gateway_cache(path).await?;
        expect(answer.status == 200, || format!("{} {}", answer.status, answer.text()))?;
        took.push(answer.took);
    }
    guide.quiet = false;
    took.sort_unstable();
    Ok(took[took.len() * 99 / 100 - usize::from(took.len() * 99 % 100 == 0)])
}

/// Tells Redis to answer nobody for a while.
async fn pause(guide: &Guide) -> Result<(), String> {
    let address = guide.config.redis.as_deref().ok_or("there is no Redis")?;
    let address = address.split(',').next().and_then(|url| url.strip_prefix("redis://"));
    let address = address.ok_or("the address of Redis is not redis://HOST:PORT")?.trim_end_matches('/');
    println!("  Redis answers nobody for {PAUSE:?}");
    let paused = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(format!("CLIENT PAUSE {} ALL\r\n", PAUSE.as_millis()).as_bytes()).await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match paused.await {
        Ok(answer) if &answer == b"+OK\r\n" => Ok(()),
        Ok(answer) => Err(format!("Redis says {:?}", String::from_utf8_lossy(&answer))),
        Err(error) => Err(format!("Redis at {address}: {error}")),
    }
}
