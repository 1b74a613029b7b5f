//! Inbound fields of any bytes: what comes out is in the alphabet and within the limit, everywhere; and no parser panics.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, service_fn};
use tower_correlation::problem::ProblemIdLayer;
use tower_correlation::trace::{Baggage, BaggageLimits, TraceParent, TraceState};
use tower_correlation::{Correlation, CorrelationLayer};

use crate::support::xorshift;

/// So many in the ordinary tests, so many with `TOWER_ASSURE`; `SEED` chooses others.
fn cases(short: u32, long: u32) -> (u32, u64) {
    let cases = if std::env::var_os("TOWER_ASSURE").is_some() { long } else { short };
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    println!("seed {seed}, {cases} cases");
    (cases, seed)
}

fn clean(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// Up to `length` bytes, mostly of `likely`.
fn bytes(state: &mut u64, length: u64, likely: &[u8]) -> Vec<u8> {
    let length = xorshift(state) % length;
    let wild = xorshift(state) & 3 == 0;
    let one = |state: &mut u64| {
        let byte = xorshift(state) >> 8;
        if wild { byte as u8 } else { likely[byte as usize % likely.len()] }
    };
    (0..length).map(|_| one(state)).collect()
}

/// A list of members, up to two bytes of it exchanged.
fn list(state: &mut u64) -> Vec<u8> {
    let members: Vec<String> = (0..xorshift(state) % 20)
        .map(|_| format!("k{}={}", xorshift(state) % 20, "v".repeat((xorshift(state) % 40) as usize + 1)))
        .collect();
    let mut list = members.join(",").into_bytes();
    for _ in 0..(xorshift(state) % 3).min(list.len() as u64) {
        let at = xorshift(state) as usize % list.len();
        list[at] = b"a1=,@;% \t-\xff"[xorshift(state) as usize % 11];
    }
    list
}

/// The last line that was logged.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<Vec<u8>>>);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut line = self.0.lock().unwrap();
        line.clear();
        line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn problem(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = request.extensions().get::<Correlation>().unwrap().id().to_string();
    assert!(clean(id.as_bytes()));
    let fields: Vec<_> = request.headers().get_all("x-request-id").iter().collect();
    assert_eq!(fields, [id.as_str()]);
    assert_eq!(tower_correlation::current().unwrap().id().as_str(), id);
    #[cfg(feature = "tracing")]
    tracing::error!("a line");
    let body = Response::builder().header("content-type", "application/problem+json");
    Ok(body.body(Full::from("{\"status\":500}")).unwrap())
}

/// 10⁷ with `TOWER_ASSURE`.
#[tokio::test]
async fn nothing_outside_alphabet_and_limit_gets_through() {
    let (cases, mut state) = cases(20_000, 10_000_000);
    let line = Line::default();
    #[cfg(feature = "tracing")]
    let _guard = {
        use tracing_subscriber::util::SubscriberInitExt;
        crate::support::others_listen();
        let writer = line.clone();
        tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish().set_default()
    };
    let inner = ProblemIdLayer::new().layer(service_fn(problem));
    let mut service = CorrelationLayer::new().layer(inner);
    let (mut taken, mut replaced) = (0_u32, 0_u32);
    for _ in 0..cases {
        let mut request = Request::new(());
        let mut first = None;
        for name in ["x-request-id", "x-correlation-id", "x-request-id"] {
            let inbound = bytes(&mut state, 200, b"abcXYZ019._-");
            if xorshift(&mut state) & 3 == 0 || name.starts_with("x-c") && first.is_some() {
                continue;
            }
            if let Ok(value) = HeaderValue::from_bytes(&inbound) {
                request.headers_mut().append(name, value);
                first.get_or_insert(inbound);
            }
            if xorshift(&mut state) & 7 != 0 {
                break;
            }
        }
        let response = service.call(request).await.unwrap();
        let echo = response.headers()["x-request-id"].clone();
        assert!(clean(echo.as_bytes()));
        match first {
            Some(first) if echo.as_bytes() == first => taken += 1,
            Some(_) => replaced += 1,
            None => {}
        }
        let echo = echo.to_str().unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!(r#"{{"correlation_id":"{echo}","status":500}}"#));
        if cfg!(feature = "tracing") {
            let line = String::from_utf8(line.0.lock().unwrap().clone()).unwrap();
            assert!(line.contains(&format!(r#"correlation_id="{echo}""#)), "{line}");
        }
    }
    println!("{taken} taken over, {replaced} replaced");
    assert!(taken > cases / 10 && replaced > cases / 10);
}

/// What the parsers make of anything they read again as the same; 10⁷ with `TOWER_ASSURE`.
#[test]
fn what_is_parsed_is_parsed_again_as_the_same() {
    let (cases, mut state) = cases(20_000, 10_000_000);
    let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (mut parents, mut states, mut baggages) = (0_u32, 0_u32, 0_u32);
    for _ in 0..cases {
        let mut value = good.to_vec();
        for _ in 0..xorshift(&mut state) % 3 {
            let at = xorshift(&mut state) as usize % value.len();
            let with = b"0123456789abcdefABCDEF-. z\xff";
            value[at] = with[xorshift(&mut state) as usize % with.len()];
        }
        value.truncate(55 + (xorshift(&mut state) % 2) as usize * 40);
        if let Some(parent) = TraceParent::parse(&value) {
            parents += 1;
            assert!(parent.trace_id() != 0 && parent.parent_id() != 0 && parent.flags() < 4);
            assert_eq!(TraceParent::parse(&parent.to_bytes()), Some(parent));
        }
        let lines = [list(&mut state), list(&mut state)];
        if let Some(list) = TraceState::parse(lines.iter().map(Vec::as_slice)) {
            states += 1;
            assert!((1..=512).contains(&list.as_str().len()) && (1..=32).contains(&list.iter().count()));
            assert!(HeaderValue::from_str(list.as_str()).is_ok());
            assert_eq!(TraceState::parse([list.as_str().as_bytes()]), Some(list));
        }
        let limits = BaggageLimits::default().members(5).bytes(40);
        let lines = [list(&mut state), bytes(&mut state, 60, b"abc=1%2F0,;")];
        if let Some(baggage) = Baggage::parse(lines.iter().map(Vec::as_slice), limits) {
            baggages += 1;
            assert!(baggage.as_str().len() <= 40 && baggage.as_str().split(',').count() <= 5);
            assert!(HeaderValue::from_str(baggage.as_str()).is_ok());
            let _ = baggage.get("a");
            assert_eq!(Baggage::parse([baggage.as_str().as_bytes()], limits), Some(baggage));
        }
    }
    println!("{parents} parents, {states} states, {baggages} baggages were valid");
    assert!(parents > cases / 20 && states > cases / 20 && baggages > cases / 20);
}
