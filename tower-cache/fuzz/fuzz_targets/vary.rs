#![no_main]
libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8], &[u8])| {
    let _ = tower_cache::door::vary(input.0, input.1, input.2);
});
