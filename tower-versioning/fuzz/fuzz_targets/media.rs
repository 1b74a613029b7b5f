#![no_main]
libfuzzer_sys::fuzz_target!(|texts: (&[u8], &[u8])| {
    let _ = tower_versioning::door::check::media(texts.0, texts.1);
});
