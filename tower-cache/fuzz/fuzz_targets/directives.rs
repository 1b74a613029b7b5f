#![no_main]
libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = tower_cache::door::directives(text);
});
