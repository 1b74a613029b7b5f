#![no_main]
libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    tower_versioning::door::check::host(text);
});
