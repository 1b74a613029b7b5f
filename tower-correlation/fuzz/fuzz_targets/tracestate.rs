//! A state keeps to its limits, however it is read, changed and written; a line each.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tower_correlation::trace::TraceState;

fn holds(state: &TraceState) {
    assert!((1..=512).contains(&state.as_str().len()));
    assert!(HeaderValue::from_str(state.as_str()).is_ok());
    let mut keys: Vec<&str> = state.iter().map(|(key, _)| key).collect();
    assert!((1..=32).contains(&keys.len()));
    assert!(state.iter().all(|(key, value)| state.get(key) == Some(value)));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), state.iter().count(), "each key once");
    assert_eq!(TraceState::parse([state.as_str().as_bytes()]).as_ref(), Some(state));
}

fuzz_target!(|data: &[u8]| {
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let Some(state) = TraceState::parse(lines.iter().copied()) else { return };
    holds(&state);
    let first = state.iter().next().map(|(key, _)| key.to_owned());
    for key in ["new", first.as_deref().unwrap_or("new")] {
        let changed = TraceState::with(Some(&state), key, "1").expect("key and value are valid");
        holds(&changed);
        assert_eq!(changed.iter().next(), Some((key, "1")));
        if let Some(rest) = changed.without(key) {
            holds(&rest);
        }
    }
});
