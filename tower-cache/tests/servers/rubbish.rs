//! Whatever is in the server: a response is the one that was stored, or a miss.

use redis::Commands;

use crate::server::Server;
use crate::support::{Origin, Process, URI};

fn keys(server: &Server) -> Vec<String> {
    server.connection().keys("*").unwrap()
}

async fn filled(server: &Server) -> (Origin, Process) {
    let origin = Origin::new(|_, call| {
        let body = call.to_string().repeat(100_000);
        crate::support::response(&[("cache-control", "max-age=600"), ("cache-tag", "a")], body)
    });
    let process = Process::new(&server.url(), &origin);
    process.get(URI, &[]).await;
    process.until_hit(URI, &[]).await;
    (origin, process)
}

/// After what has happened to the server, nothing wrong comes out, and a hit comes back by itself.
async fn recovers(origin: &Origin, process: &Process) {
    let got = process.get(URI, &[]).await;
    assert_eq!(got.status, 200);
    let call = origin.calls().to_string();
    // The call before may still be storing what it got; then this one shares it.
    assert!(matches!(got.outcome, "miss" | "collapsed"), "{}", got.outcome);
    assert!(got.body == call.repeat(100_000), "{} of another call", got.outcome);
    // What was there before may come first: the new one is stored in the background.
    for _ in 0..1000 {
        let got = process.until_hit(URI, &[]).await;
        if got.body == origin.calls().to_string().repeat(100_000) {
            return;
        }
    }
    panic!("the new response is never stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_lost_or_of_another_kind_or_full_of_rubbish_is_a_miss() {
    let server = Server::start();
    let (origin, process) = filled(&server).await;
    // Nothing depends on a lock, and nothing has a tag without the feature.
    let kinds = if cfg!(feature = "tags") {
        &[":g", ":r:", ":b:", "{log}", ":t:"][..]
    } else {
        &[":g", ":r:", ":b:", "{log}"]
    };
    for wrong in ["lost", "string", "empty", "list", "hash"] {
        for kind in kinds.iter().filter(|kind| wrong != "hash" || **kind != ":r:") {
            let mut connection = server.connection();
            // What is left of the round before, such as pieces that belonged to a lost record, is in the way.
            redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
            recovers(&origin, &process).await;
            let key = keys(&server).into_iter().find(|key| key.contains(kind)).unwrap();
            let _: () = connection.del(&key).unwrap();
            match wrong {
                "lost" => {}
                "string" => connection.set(&key, "rubbish").unwrap(),
                "empty" => connection.set(&key, "").unwrap(),
                "list" => connection.lpush(&key, "rubbish").unwrap(),
                _ => connection.hset(&key, "rubbish", "rubbish").unwrap(),
            }
            let before = origin.calls();
            recovers(&origin, &process).await;
            assert!(origin.calls() <= before + 3, "{wrong} {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_older_or_newer_version_cut_off_or_too_long_are_misses() {
    let server = Server::start();
    let origin = Origin::sends(&[("cache-control", "max-age=600"), ("etag", "\"a\"")]);
    let process = Process::new(&server.url(), &origin);
    process.get(URI, &[]).await;
    process.until_hit(URI, &[]).await;
    let record = keys(&server).into_iter().find(|key| key.contains(":r:")).unwrap();
    let mut connection = server.connection();
    let (field, good): (Vec<u8>, Vec<u8>) =
        connection.hgetall::<_, Vec<(Vec<u8>, Vec<u8>)>>(&record).unwrap().remove(0);
    let mut wrongs: Vec<Vec<u8>> = (0..good.len()).step_by(7).map(|end| good[..end].to_vec()).collect();
    // The first octet is the version of the format.
    let of_version = |version: u8| [&[version], &good[1..]].concat();
    wrongs.extend([of_version(good[0] - 1), of_version(good[0] + 1)]);
    wrongs.extend([[&good[..], b"x"].concat(), vec![0xff; 100]]);
    for wrong in wrongs {
        let _: () = connection.hset(&record, &field, &good).unwrap();
        let before = origin.calls();
        assert_eq!((process.get(URI, &[]).await.outcome, origin.calls()), ("hit", before));
        let mut got = None;
        for _ in 0..1000 {
            let _: () = connection.hset(&record, &field, &wrong).unwrap();
            got = Some(process.get(URI, &[]).await);
            // The call before may still be storing what it got; then this one shares or finds that.
            if origin.calls() > before {
                break;
            }
        }
        let got = got.unwrap();
        assert_eq!((got.outcome, got.body), ("miss", (before + 1).to_string()), "{} octets", wrong.len());
        process.until_hit(URI, &[]).await;
        let _: () = connection.del(&record).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_is_filled_again() {
    let server = Server::start();
    let (origin, process) = filled(&server).await;
    redis::cmd("FLUSHALL").exec(&mut server.connection()).unwrap();
    recovers(&origin, &process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_costs_calls_and_nothing_else() {
    let server = Server::with(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"]);
    let origin = Origin::new(|request, _| {
        let body = request.uri.path().repeat(5000);
        crate::support::response(&[("cache-control", "max-age=600")], body)
    });
    let process = Process::new(&server.url(), &origin);
    let mut hits = 0;
    for _ in 0..3 {
        for n in 0..200 {
            let got = process.get(&format!("http://example.com/{n}"), &[]).await;
            assert!(got.body == format!("/{n}").repeat(5000));
            hits += usize::from(got.outcome == "hit");
        }
        process.get("http://example.com/0", &[]).await;
    }
    process.until_hit("http://example.com/1", &[]).await;
    assert!(hits < 600);
    let refuses = Server::with(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]);
    let process = Process::new(&refuses.url(), &origin);
    for n in 0..50 {
        let got = process.get(&format!("http://example.com/{n}"), &[]).await;
        assert_eq!((got.status.as_u16(), got.outcome), (200, "miss"));
    }
}
