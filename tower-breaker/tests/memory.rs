//! What a key takes, by the count of an allocator; a process of its own, for others would be counted too.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test")]

/// The name under which the table of the README knows it.
mod memory {
    use std::alloc::System;

    use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
    use tower_breaker::{Breaker, KeyedBreaker};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    const KEYS: usize = 100_000;

    /// Bytes that are still held of those that were taken.
    fn held(region: &Region<'_, System>) -> usize {
        let change = region.change();
        (change.bytes_allocated as isize + change.bytes_reallocated - change.bytes_deallocated as isize)
            as usize
    }

    #[test]
    fn a_key_takes_a_kibibyte_and_a_hundred_thousand_128_mebibytes() {
        // Room for all, however they are spread over the shards of the map.
        let family: KeyedBreaker<u64> =
            KeyedBreaker::builder(Breaker::builder("partners")).capacity(KEYS + KEYS / 20).build().unwrap();
        let region = Region::new(ALLOCATOR);
        let mut before = 0;
        for key in 0..KEYS as u64 {
            let breaker = family.get(key);
            if key == 0 {
                before = held(&region);
            }
            // In use: with a success, a failure and a rejection to remember.
            breaker.try_acquire().unwrap().success();
            breaker.try_acquire().unwrap().failure();
            if key % 2 == 0 {
                breaker.force_open();
                assert!(breaker.try_acquire().is_err());
            }
        }
        let known = family.len();
        assert_eq!(known, KEYS);
        let bytes = held(&region);
        println!("{known} keys: {} KiB, {} bytes each; the first {before}", bytes / 1024, bytes / known);
        assert!(bytes <= 128 << 20, "{bytes} bytes");
        // With its places in the map and the list, which double when they are full.
        assert!(bytes / known <= 1024, "{} bytes each", bytes / known);
    }
}
