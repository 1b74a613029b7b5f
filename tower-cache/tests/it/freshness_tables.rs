//! RFC 9111 §4.2, §5.2 and §5.3 and RFC 5861, one row for each rule, with the clause it is from.

use std::time::Duration;

use tower_cache::{Cache, CacheBuilder};

use crate::support::{Origin, answer, get, seconds};

type Fields = &'static [(&'static str, &'static str)];

/// Clause, fields of the response, seconds that pass, what the second request says, and what becomes of it.
type Row = (&'static str, Fields, u64, &'static str, &'static str);

async fn outcome(cache: CacheBuilder, row: &Row) -> &'static str {
    let (_, fields, wait, line, _) = *row;
    let origin = Origin::new(move |_| answer(fields, "content"));
    let cache = origin.behind(cache.wall_clock(|| std::time::UNIX_EPOCH + Duration::from_secs(784_111_777)));
    get(&cache, &[]).await;
    seconds(wait).await;
    let fields = [("cache-control", line)];
    get(&cache, if line.is_empty() { &[] } else { &fields }).await.outcome()
}

async fn all(shared: bool, rows: &[Row]) {
    for row in rows {
        let cache = if shared { Cache::builder() } else { Cache::builder().private() };
        assert_eq!(outcome(cache, row).await, row.4, "shared {shared}: {row:?}");
    }
}

/// The wall clock stands at this moment.
const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const IN_A_MINUTE: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
const A_MINUTE_AGO: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
const YESTERDAY: &str = "Sat, 05 Nov 1994 08:49:37 GMT";

/// The columns differ where the rows of the shared cache do.
#[tokio::test(start_paused = true)]
async fn lifetimes() {
    let both: [Row; 17] = [
        ("4.2 fresh until the lifetime is over", &[("cache-control", "max-age=60")], 59, "", "hit"),
        ("4.2 stale when it is", &[("cache-control", "max-age=60")], 60, "", "miss"),
        ("4.2.1 max-age before Expires", &[("cache-control", "max-age=60"), ("expires", NOW)], 59, "", "hit"),
        ("4.2.1 Expires without Date", &[("expires", IN_A_MINUTE)], 59, "", "hit"),
        ("4.2.1 Expires minus Date", &[("expires", IN_A_MINUTE), ("date", NOW)], 60, "", "miss"),
        ("4.2.1 the first of two", &[("cache-control", "max-age=60, max-age=0")], 9, "", "hit"),
        (
            "4.2.1 the first of two lines",
            &[("cache-control", "max-age=0"), ("cache-control", "max-age=60")],
            0,
            "",
            "miss",
        ),
        (
            "4.2.1 an invalid value is stale",
            &[("cache-control", "max-age=a"), ("expires", IN_A_MINUTE)],
            0,
            "",
            "miss",
        ),
        ("5.2 a quoted argument", &[("cache-control", "max-age=\"60\"")], 59, "", "hit"),
        ("5.2 names regard no case", &[("cache-control", "Max-AGE=60")], 59, "", "hit"),
        (
            "5.2.3 what is unknown is ignored",
            &[("cache-control", "foo=\"no-store, max-age=0\", max-age=60")],
            59,
            "",
            "hit",
        ),
        (
            "1.2.2 too large a number",
            &[("cache-control", "max-age=99999999999999999999")],
            1 << 30,
            "",
            "hit",
        ),
        ("5.3 no date is the past", &[("expires", "0"), ("last-modified", YESTERDAY)], 0, "", "miss"),
        ("5.3 nor are two", &[("expires", IN_A_MINUTE), ("expires", IN_A_MINUTE)], 0, "", "miss"),
        ("4.2.2 a tenth of the time since", &[("date", NOW), ("last-modified", YESTERDAY)], 8_639, "", "hit"),
        ("4.2.2 and no more", &[("date", NOW), ("last-modified", YESTERDAY)], 8_640, "", "miss"),
        ("4.2.2 nothing is guessed about nothing", &[("date", NOW)], 0, "", "miss"),
    ];
    all(true, &both).await;
    all(false, &both).await;
    let s_maxage: Fields = &[("cache-control", "max-age=10, s-maxage=60")];
    all(true, &[("4.2.1 s-maxage before max-age", s_maxage, 59, "", "hit")]).await;
    all(false, &[("5.2.2.10 s-maxage is for shared caches", s_maxage, 10, "", "miss")]).await;
}

#[tokio::test(start_paused = true)]
async fn ages() {
    let rows: [Row; 9] = [
        ("4.2.3 Age counts", &[("cache-control", "max-age=60"), ("age", "50")], 9, "", "hit"),
        ("4.2.3 and ends it", &[("cache-control", "max-age=60"), ("age", "50")], 10, "", "miss"),
        (
            "4.2.3 the apparent age",
            &[("cache-control", "max-age=100"), ("date", A_MINUTE_AGO)],
            39,
            "",
            "hit",
        ),
        ("4.2.3 and its end", &[("cache-control", "max-age=100"), ("date", A_MINUTE_AGO)], 40, "", "miss"),
        (
            "4.2.3 the greater of the two",
            &[("cache-control", "max-age=100"), ("date", A_MINUTE_AGO), ("age", "90")],
            10,
            "",
            "miss",
        ),
        (
            "4.2.3 a clock that is ahead",
            &[("cache-control", "max-age=60"), ("date", IN_A_MINUTE)],
            59,
            "",
            "hit",
        ),
        ("4.2.3 no Date", &[("cache-control", "max-age=60"), ("date", "yesterday")], 59, "", "hit"),
        (
            "5.1 what is no number is ignored",
            &[("cache-control", "max-age=60"), ("age", "-50")],
            59,
            "",
            "hit",
        ),
        ("5.1 the first member", &[("cache-control", "max-age=60"), ("age", "50, 0")], 10, "", "miss"),
    ];
    all(true, &rows).await;
    all(false, &rows).await;
}

const MINUTE: Fields = &[("cache-control", "max-age=60")];

#[tokio::test(start_paused = true)]
async fn what_requests_say() {
    let rows: [Row; 22] = [
        ("5.2.1.1 max-age not exceeded", MINUTE, 10, "max-age=10", "hit"),
        ("5.2.1.1 exceeded", MINUTE, 10, "max-age=9", "miss"),
        ("5.2.1.1 nothing stale", MINUTE, 60, "max-age=100", "miss"),
        (
            "5.2.1.1 nor in the background",
            &[("cache-control", "max-age=60, stale-while-revalidate=60")],
            70,
            "max-age=100",
            "miss",
        ),
        ("5.2.1.2 max-stale as far as it goes", MINUTE, 70, "max-stale=10", "stale"),
        ("5.2.1.2 not beyond", MINUTE, 71, "max-stale=10", "miss"),
        ("5.2.1.2 without argument", MINUTE, 7_000, "max-stale", "stale"),
        ("5.2.1.2 beside max-age", MINUTE, 70, "max-age=100, max-stale=10", "stale"),
        ("5.2.1.2 max-age still counts", MINUTE, 70, "max-age=69, max-stale=10", "miss"),
        ("5.2.1.3 min-fresh that is there", MINUTE, 10, "min-fresh=50", "hit"),
        ("5.2.1.3 that is not", MINUTE, 10, "min-fresh=51", "miss"),
        ("5.2.1.4 no-cache", MINUTE, 0, "no-cache", "miss"),
        ("5.2.1.5 no-store may be answered", MINUTE, 0, "no-store", "hit"),
        ("5.2.1.6 no-transform changes nothing", MINUTE, 0, "no-transform", "hit"),
        ("5.2.1.7 only-if-cached that is", MINUTE, 0, "only-if-cached", "hit"),
        ("5.2.1.7 that is not any more", MINUTE, 60, "only-if-cached", "not_cached"),
        ("5.2.1.7 with max-stale", MINUTE, 61, "only-if-cached, max-stale", "stale"),
        ("5.2.1.7 with no-cache", MINUTE, 0, "only-if-cached, no-cache", "not_cached"),
        (
            "5.2.2.2 must-revalidate",
            &[("cache-control", "max-age=60, must-revalidate")],
            60,
            "max-stale",
            "miss",
        ),
        (
            "5.2.2.4 no-cache",
            &[("cache-control", "max-age=60, no-cache"), ("etag", "\"a\"")],
            0,
            "max-stale",
            "miss",
        ),
        ("5.2.2.4 with fields", &[("cache-control", "max-age=60, no-cache=\"x-a\"")], 0, "", "hit"),
        ("5.2.2.5 no-store", &[("cache-control", "max-age=60, no-store")], 0, "max-stale", "miss"),
    ];
    all(true, &rows).await;
    all(false, &rows).await;
    let differ: [(&str, Fields, &str, &str); 4] = [
        ("5.2.2.8 proxy-revalidate", &[("cache-control", "max-age=60, proxy-revalidate")], "miss", "stale"),
        ("5.2.2.10 s-maxage", &[("cache-control", "max-age=60, s-maxage=60")], "miss", "stale"),
        ("5.2.2.7 private", &[("cache-control", "max-age=60, private")], "miss", "stale"),
        ("5.2.2.9 public", &[("cache-control", "max-age=60, public")], "stale", "stale"),
    ];
    for (clause, fields, shared, private) in differ {
        all(true, &[(clause, fields, 61, "max-stale", shared)]).await;
        all(false, &[(clause, fields, 61, "max-stale", private)]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn stale_while_revalidate() {
    let rows: [Row; 4] = [
        ("RFC 5861 3 within", &[("cache-control", "max-age=60, stale-while-revalidate=10")], 69, "", "stale"),
        ("RFC 5861 3 beyond", &[("cache-control", "max-age=60, stale-while-revalidate=10")], 71, "", "miss"),
        (
            "RFC 9111 5.2.2.2 must-revalidate",
            &[("cache-control", "max-age=60, stale-while-revalidate=10, must-revalidate")],
            61,
            "",
            "miss",
        ),
        (
            "RFC 9111 5.2.1.3 min-fresh",
            &[("cache-control", "max-age=60, stale-while-revalidate=10")],
            61,
            "min-fresh=1",
            "miss",
        ),
    ];
    all(true, &rows).await;
    all(false, &rows).await;
}

/// An origin that answers well once, and then fails after so many seconds.
fn failing(fields: Fields, delay: u64) -> Origin {
    let origin = Origin::new(|_| answer(&[], ""));
    let asked = std::sync::Arc::clone(&origin.asked);
    let handler = move |_: &http::request::Parts| {
        if asked.lock().unwrap().len() == 1 {
            return answer(fields, "content");
        }
        let mut failed = answer(&[], "failed");
        *failed.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        failed
    };
    Origin { handler: std::sync::Arc::new(handler), delay: Duration::from_secs(delay), ..origin }
}

#[tokio::test(start_paused = true)]
async fn stale_if_error() {
    let rows: [(&str, Fields, u64, u64, &str, &str); 8] = [
        ("RFC 5861 4 within", &[("cache-control", "max-age=60, stale-if-error=10")], 65, 0, "", "stale"),
        ("RFC 5861 4 beyond", &[("cache-control", "max-age=60, stale-if-error=10")], 71, 0, "", "miss"),
        (
            "RFC 5861 4 beyond when the error comes",
            &[("cache-control", "max-age=60, stale-if-error=10")],
            65,
            20,
            "",
            "miss",
        ),
        ("RFC 5861 4 asked for", MINUTE, 65, 0, "stale-if-error=10", "stale"),
        ("RFC 9111 4.2.4 not allowed", MINUTE, 65, 0, "", "miss"),
        (
            "5.2.2.2",
            &[("cache-control", "max-age=60, stale-if-error=10, must-revalidate")],
            65,
            0,
            "",
            "miss",
        ),
        ("5.2.2.10", &[("cache-control", "s-maxage=60, stale-if-error=10")], 65, 0, "", "miss"),
        ("5.2.1.4", &[("cache-control", "max-age=60, stale-if-error=10")], 65, 0, "no-cache", "miss"),
    ];
    for (clause, fields, wait, delay, line, expected) in rows {
        let cache = failing(fields, delay).behind(Cache::builder());
        get(&cache, &[]).await;
        seconds(wait).await;
        let said = [("cache-control", line)];
        let got = get(&cache, if line.is_empty() { &[] } else { &said }).await;
        assert_eq!(got.outcome(), expected, "{clause}");
    }
}

/// RFC 9111 §4: the newest response counts, also where it is one not to keep.
#[tokio::test(start_paused = true)]
async fn what_is_newer_and_not_kept_ends_what_is_stored() {
    for (newer, who, expected) in [
        ("no-store", None, "miss"),
        ("private", None, "miss"),
        ("max-age=0", None, "miss"),
        ("max-age=60", None, "hit"),
        ("private", Some(("authorization", "alice")), "stale"),
    ] {
        let origin = Origin::new(|_| answer(&[], ""));
        let asked = std::sync::Arc::clone(&origin.asked);
        let handler = move |_: &http::request::Parts| match asked.lock().unwrap().len() {
            1 => answer(&[("cache-control", "max-age=60, stale-while-revalidate=600")], "old"),
            2 => answer(&[("cache-control", newer)], "newer"),
            _ => answer(&[("cache-control", "no-store")], "newest"),
        };
        let cache = Origin { handler: std::sync::Arc::new(handler), ..origin }.behind(Cache::builder());
        get(&cache, &[]).await;
        seconds(61).await;
        let mut fields = vec![];
        fields.extend(who);
        assert_eq!(get(&cache, &fields).await.outcome(), "stale");
        crate::support::settle().await;
        assert_eq!(get(&cache, &[]).await.outcome(), expected, "{newer} {who:?}");
    }
}

/// RFC 9111 §3, the last condition.
#[tokio::test(start_paused = true)]
async fn what_says_nothing_is_stored_by_its_status() {
    let rows: [(u16, Fields, bool, bool); 7] = [
        (404, &[("last-modified", YESTERDAY)], true, true),
        (403, &[("last-modified", YESTERDAY)], false, false),
        (403, &[("last-modified", YESTERDAY), ("cache-control", "public")], true, true),
        (403, &[("last-modified", YESTERDAY), ("cache-control", "no-cache")], false, false),
        (403, &[("etag", "\"a\""), ("cache-control", "private")], false, true),
        (403, &[("etag", "\"a\""), ("expires", NOW)], true, true),
        (599, &[("etag", "\"a\""), ("cache-control", "max-age=0")], true, true),
    ];
    for (status, fields, shared, private) in rows {
        for (cache, stored) in [(Cache::builder(), shared), (Cache::builder().private(), private)] {
            let origin = Origin::new(move |_| {
                let mut response = answer(fields, "");
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                response
            });
            let cache = origin.behind(cache);
            get(&cache, &[]).await;
            get(&cache, &[("cache-control", "no-cache")]).await;
            let asked = origin.last();
            let validates = asked.contains_key("if-none-match") || asked.contains_key("if-modified-since");
            assert_eq!(validates, stored, "{status} {fields:?}");
        }
    }
}
