//! What is read as a parent is written as one, of version 00.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_correlation::trace::TraceParent;

fuzz_target!(|data: &[u8]| {
    let Some(parent) = TraceParent::parse(data) else { return };
    assert!(parent.trace_id() != 0 && parent.parent_id() != 0 && parent.flags() < 4);
    let written = parent.to_bytes();
    assert!(written.starts_with(b"00-"));
    assert_eq!(TraceParent::parse(&written), Some(parent));
    // The ids stand in what was read as they do in what is written.
    let read = data.trim_ascii();
    assert_eq!(read[2..53], written[2..53]);
});
