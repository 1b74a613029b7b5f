//! Baggage keeps to its limits, and what is put in comes out.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tower_correlation::trace::{Baggage, BaggageLimits};

fuzz_target!(|data: &[u8]| {
    let limits = BaggageLimits::default().members(8).bytes(256);
    if let Some(baggage) = Baggage::parse(data.split(|&byte| byte == b'\n'), limits) {
        assert!(baggage.as_str().len() <= 256 && baggage.as_str().split(',').count() <= 8);
        assert!(HeaderValue::from_str(baggage.as_str()).is_ok());
        assert_eq!(Baggage::parse([baggage.as_str().as_bytes()], limits).as_ref(), Some(&baggage));
        let more = Baggage::with(Some(&baggage), "new", "1").expect("there is room");
        assert_eq!(more.get("new").as_deref(), Some("1"));
    }
    if let Ok(value) = std::str::from_utf8(data)
        && let Some(baggage) = Baggage::with(None, "key", value)
    {
        assert_eq!(baggage.get("key").as_deref(), Some(value));
        assert!(HeaderValue::from_str(baggage.as_str()).is_ok());
    }
});
