#![no_main]
libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8], u64)| {
    let _ = tower_cache::door::range(input.0, input.1, input.2);
});
