#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    tower_versioning::door::check::rewrite(text);
});
