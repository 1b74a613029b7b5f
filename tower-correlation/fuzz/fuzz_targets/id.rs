//! An id is taken over as it is, or not at all; what is taken over is a field value.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tower_correlation::Validation;

fuzz_target!(|data: &[u8]| {
    let (longest, id) = data.split_first().unwrap_or((&128, &[]));
    for also in [&b""[..], b":/+=\"\\"] {
        let built = Validation::builder().max_length(usize::from(*longest)).also(also).build();
        assert_eq!(built.is_ok(), (1..=128).contains(longest));
        let Ok(validation) = built else { continue };
        if let Ok(taken) = validation.check(id) {
            assert_eq!(taken.as_str().as_bytes(), id);
            assert!((1..=128).contains(&id.len()) && id.len() <= usize::from(*longest));
            assert!(id.iter().all(u8::is_ascii_graphic));
            assert!(HeaderValue::from_bytes(id).is_ok());
        }
    }
});
