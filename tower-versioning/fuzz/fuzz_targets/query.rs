#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = tower_versioning::door::check::query(text);
});
