use std::time::{Duration, Instant};

use super::super::guide::{Guide, Tally, eventually, expect};
use super::super::metrics::Counters;

/// How long a moment is waited for in which `orders` does not ask; on a busy machine there may be none.
const QUIET: Duration = Duration::from_secs(5);

/// 10: what the layers counted since the tour began, summed over the gateways, is what the tour saw, and what `orders`
/// says of its own calls.
pub(super) async fn tally(guide: &mut Guide) -> Result<(), String> {
    let mut last = Err("nothing was counted".to_owned());
    let begun = Instant::now();
    // `orders` goes on renewing what it keeps: a call may be counted at one end and not yet at the other.
    let agreed = eventually(guide, "both ends have counted the same", async |guide: &mut Guide| {
        let before = inner(guide).await?;
        let counted = since_the_beginning(guide, "gateway").await?;
        let after = inner(guide).await?;
        // A call that was given up may not have come so far.
        let least = Tally { inner: before.answered, inner_refused: before.refused, ..guide.tally.clone() };
        let most = Tally { inner: after.sent, inner_refused: after.refused, ..least.clone() };
        last = compare(&counted, &least, &most);
        let quiet = before == after && after.sent == after.answered;
        guide.tally = most;
        Ok(last.is_ok() && (quiet || begun.elapsed() > QUIET))
    })
    .await;
    let counted = since_the_beginning(guide, "gateway").await?;
    for line in counted.lines("tower_") {
        println!("  {line}");
    }
    println!("  the tour's own: {:?}", guide.tally);
    last.and(agreed)
}

/// Calls of `orders` to `inventory`; `refused` are those answered 401.
#[derive(PartialEq)]
struct Inner {
    sent: u64,
    answered: u64,
    refused: u64,
}

async fn inner(guide: &Guide) -> Result<Inner, String> {
    let counted = since_the_beginning(guide, "orders").await?;
    let count = |which: &str| counted.count(&format!("inventory_calls{which}_total"), &[]);
    Ok(Inner { sent: count(""), answered: count("_answered"), refused: count("_refused") })
}

/// The counters of a role, without what was counted before the tour began.
async fn since_the_beginning(guide: &Guide, role: &str) -> Result<Counters, String> {
    let mut counted = Counters::default();
    for (name, counters) in &guide.counters(role).await? {
        let before = guide.before.iter().find(|(known, _)| known == name).map(|(_, counters)| counters);
        counted.add(&before.map_or_else(|| counters.clone(), |before| counters - before));
    }
    Ok(counted)
}

/// The counters that equal the tally.
fn rows(counted: &Counters, tally: &Tally) -> [(&'static str, u64, u64); 8] {
    let ids = |origin| counted.count("tower_correlation_ids_total", &[("origin", origin)]);
    let versions = |version| counted.count("tower_versioning_requests_total", &[("version", version)]);
    let auth = |outcome| counted.count("tower_auth_requests_total", &[("outcome", outcome)]);
    let (refused, inner) = (tally.unauthenticated + tally.inner_refused, tally.inner - tally.inner_refused);
    [
        // The inner calls carry the id of the request that caused them.
        ("ids generated", ids("generated"), tally.unnamed),
        ("ids accepted", ids("accepted"), tally.named + tally.inner),
        ("requests with a good token", auth("accepted"), tally.all() - refused),
        ("requests without a good token", auth("missing-token") + auth("invalid-token"), refused),
        // `orders` stamps version 1 on its calls.
        ("version 1", versions("1"), tally.versions[0] + inner),
        ("version 2", versions("2"), tally.versions[1]),
        ("other versions", versions("unsupported"), tally.versions[2]),
        ("cache decisions", counted.count("tower_cache_requests_total", &[]), reached(tally)),
    ]
}

/// The gateways counted after `orders` said how often it had asked, and before it said so again.
fn compare(counted: &Counters, tally: &Tally, after: &Tally) -> Result<(), String> {
    // Attempts that were rejected and then answered by another replica show at no client: these are lower bounds.
    let bounds = [
        ("rejections of breakers", counted.count("tower_breaker_rejections_total", &[]), tally.broken),
        (
            "breakers opened",
            counted.count("tower_breaker_transitions_total", &[("to", "open")]),
            tally.opened,
        ),
        (
            "breakers closed",
            counted.count("tower_breaker_transitions_total", &[("to", "closed")]),
            tally.opened,
        ),
        ("cache hits", counted.count("tower_cache_requests_total", &[("outcome", "hit")]), tally.hits),
    ];
    for (what, counted, seen) in bounds {
        expect(counted >= seen, || format!("{what}: counted {counted}, seen {seen}"))?;
    }
    let wrong: Vec<String> = std::iter::zip(rows(counted, tally), rows(counted, after))
        .filter(|((_, counted, least), (.., most))| !(least..=most).contains(&counted))
        .map(|((what, counted, seen), _)| format!("{what}: counted {counted}, seen {seen}"))
        .collect();
    expect(wrong.is_empty(), || wrong.join("; "))
}

/// Requests that got as far as the cache: with a good token, a known version and the right scope.
fn reached(tally: &Tally) -> u64 {
    tally.versions[0] + tally.versions[1] - tally.forbidden + tally.inner - tally.inner_refused
}
