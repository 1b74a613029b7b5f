//! `grpc-timeout` (gRPC over HTTP/2, Requests): at most eight digits and a unit.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

/// The field's name.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// How long the caller waits; none where that is not said, or cannot be read.
pub(crate) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The field's value for this time, or a little less: in the finest unit in which eight digits hold it.
pub(crate) fn grpc_timeout_value(timeout: Duration) -> Option<HeaderValue> {
    let seconds = u128::from(timeout.as_secs());
    let forms = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (seconds, 'S'),
        (seconds / 60, 'M'),
        (seconds / 3600, 'H'),
    ];
    let (number, unit) = forms.into_iter().find(|(number, _)| *number < 100_000_000)?;
    HeaderValue::try_from(format!("{number}{unit}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(value).unwrap());
        grpc_timeout(&headers)
    }

    #[test]
    fn eight_digits_and_a_unit_are_read_and_nothing_else() {
        for (value, nanos) in [("1H", 3_600_000_000_000), ("2M", 120_000_000_000), ("3S", 3_000_000_000)] {
            assert_eq!(read(value), Some(Duration::from_nanos(nanos)), "{value}");
        }
        for (value, nanos) in [("4m", 4_000_000), ("00000005u", 5_000), ("99999999n", 99_999_999), ("0S", 0)]
        {
            assert_eq!(read(value), Some(Duration::from_nanos(nanos)), "{value}");
        }
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "1", "S", "1s", "1h", "-1S", "+1S", "1.5S", "1 S", " 1S", "123456789n", "1SS", "é"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_written_is_read_and_never_longer() {
        let mut nanos = 1;
        while nanos < u64::MAX / 7 {
            let time = Duration::from_nanos(nanos);
            let written = read(grpc_timeout_value(time).unwrap().to_str().unwrap()).unwrap();
            assert!(written <= time && time - written <= time / 100_000, "{time:?} {written:?}");
            nanos = nanos * 7 + 3;
        }
        assert_eq!(grpc_timeout_value(Duration::ZERO).unwrap(), "0n");
        assert_eq!(grpc_timeout_value(Duration::from_millis(600)).unwrap(), "600000u");
        assert_eq!(grpc_timeout_value(Duration::MAX), None);
    }
}
