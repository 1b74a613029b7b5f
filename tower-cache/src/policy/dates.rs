//! HTTP-dates (RFC 9110 §5.6.7), read as caches should read them: without regard to case (RFC 9111 §4.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};

/// The date in a field, when there is exactly one line of it in one of the three forms of the RFC.
pub(crate) fn single(headers: &HeaderMap, name: &HeaderName, now: impl Clock) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse(first.as_bytes(), now)
}

/// Asked where a year has two digits, for its century.
pub(crate) trait Clock: FnOnce() -> SystemTime {}

impl<F: FnOnce() -> SystemTime> Clock for F {}

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A date in IMF-fixdate, RFC 850 or asctime form; anything else is no date, however plausible. The name of the day has
/// to be one, and says nothing else: the date knows better.
pub(crate) fn parse(value: &[u8], now: impl Clock) -> Option<SystemTime> {
    if let Some(seconds) = as_sent(value) {
        return at(seconds);
    }
    let mut text = Text(value);
    let weekday = WEEKDAYS.iter().find(|day| text.skip(&day[..3]).is_some())?;
    let seconds = if text.skip(", ").is_some() {
        let (day, month, year) = text.day_month_year(" ", 4)?;
        let seconds = since_epoch(year, month, day)? + text.time()?;
        text.skip(" GMT").map(|()| seconds)?
    } else if text.skip(" ").is_some() {
        let month = text.month()?;
        text.skip(" ")?;
        let day = if text.skip(" ").is_some() { text.number(1) } else { text.number(2) }?;
        text.skip(" ")?;
        let time = text.time()?;
        text.skip(" ")?;
        since_epoch(text.number(4)?, month, day)? + time
    } else {
        text.skip(&weekday[3..])?;
        text.skip(", ")?;
        let (day, month, digits) = text.day_month_year("-", 2)?;
        let time = text.time()?;
        text.skip(" GMT")?;
        // The latest year with these digits that is at most fifty years ahead.
        let now = now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        let ahead = |year: i64| days(year - 50, month, day) * DAY + time > now;
        let year = (0..100).map(|century| century * 100 + digits).take_while(|year| !ahead(*year)).last()?;
        since_epoch(year, month, day)? + time
    };
    at(seconds).filter(|_| text.0.is_empty())
}

/// So many seconds after 1970.
fn at(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

/// Seconds after 1970, where a date is written as [`fixdate`] writes it: nearly all are, and each part has its place then.
/// What is written in another way is for [`parse`].
fn as_sent(value: &[u8]) -> Option<i64> {
    let text: &[u8; 29] = value.try_into().ok()?;
    let between = (&text[3..5], text[7], text[11], text[16], text[19], text[22], &text[25..]);
    if !matches!(&text[..3], b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun")
        || between != (b", ", b' ', b' ', b' ', b':', b':', b" GMT")
    {
        return None;
    }
    let month = match &text[8..11] {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    let two = |place: usize| {
        let [tens, ones] = [text[place], text[place + 1]].map(|digit| digit.wrapping_sub(b'0'));
        (tens <= 9 && ones <= 9).then(|| i64::from(tens * 10 + ones))
    };
    let (day, year) = (two(5)?, two(12)? * 100 + two(14)?);
    let time = time(two(17)?, two(20)?, two(23)?)?;
    Some(since_epoch(year, month, day)? + time)
}

/// What is left to read. Whatever is not there is not read.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn skip(&mut self, literal: &str) -> Option<()> {
        let (next, rest) = self.0.split_at_checked(literal.len())?;
        next.eq_ignore_ascii_case(literal.as_bytes()).then(|| self.0 = rest)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let (next, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        next.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    /// From 1.
    fn month(&mut self) -> Option<i64> {
        (1..).zip(MONTHS).find(|(_, month)| self.skip(month).is_some()).map(|(number, _)| number)
    }

    fn day_month_year(&mut self, between: &str, digits: usize) -> Option<(i64, i64, i64)> {
        let day = self.number(2)?;
        self.skip(between)?;
        let month = self.month()?;
        self.skip(between)?;
        let year = self.number(digits)?;
        self.skip(" ").map(|()| (day, month, year))
    }

    /// Seconds of the day.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.skip(":")?;
        let minute = self.number(2)?;
        self.skip(":")?;
        let second = self.number(2)?;
        time(hour, minute, second)
    }
}

/// Seconds of the day. A leap second is the one before it: no time that is represented may be later than what was
/// received (RFC 9111 §4.2).
fn time(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second <= 60).then(|| (hour * 60 + minute) * 60 + second.min(59))
}

const DAY: i64 = 24 * 60 * 60;

/// Seconds from 1970 to the beginning of a day that exists.
fn since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=length).contains(&day).then(|| days(year, month, day) * DAY)
}

/// Days from 1970, in the Gregorian calendar: years begin with March here, so that leap days end them.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let since_march = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between the first of March of the year 0 and 1970.
    365 * year + leap_days + (153 * since_march + 2) / 5 + day - 1 - 719_468
}

/// A date in the form in which all are sent, IMF-fixdate; none outside of the years 1970 to 9999. Each response that is
/// stored without a date gets one: written in place, it takes a tenth of what text by text takes.
pub(crate) fn fixdate(date: SystemTime) -> Option<[u8; 29]> {
    let seconds = i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let (day, second) = (seconds / DAY, seconds % DAY);
    let (year, month, of_month) = civil(day).filter(|(year, ..)| *year < 10_000)?;
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // The first day of 1970 was a Thursday. Remainders and months are small enough for every cast here.
    text[..3].copy_from_slice(&WEEKDAYS[(day + 3) as usize % 7].as_bytes()[..3]);
    text[8..11].copy_from_slice(MONTHS[month as usize - 1].as_bytes());
    let numbers = [
        (5, of_month),
        (12, year / 100),
        (14, year % 100),
        (17, second / 3600),
        (20, second / 60 % 60),
        (23, second % 60),
    ];
    for (place, number) in numbers {
        text[place] = b'0' + (number / 10) as u8;
        text[place + 1] = b'0' + (number % 10) as u8;
    }
    Some(text)
}

/// Year, month and day of the month, of days from 1970: what [`days`] takes.
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    let since = days.checked_add(719_468)?;
    // In 400 years there are 146,097 days; in each of them, years that begin with March end with the leap day.
    let (cycle, day) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let since_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * since_march + 2) / 5 + 1;
    let month = (since_march + 2) % 12 + 1;
    Some((cycle * 400 + year + i64::from(month <= 2), month, of_month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_others_write_and_read_them() {
        let last = 253_402_300_799;
        let mut seconds: Vec<u64> = (0..2000).map(|day| day * 86_400 + day * 61 % 86_400).collect();
        seconds.extend((0..4000).map(|step| step * 63_355_587 + step));
        seconds.extend([951_782_400, 951_868_799, 951_868_800, 4_107_542_399, 4_107_542_400, last]);
        for second in seconds {
            let date = UNIX_EPOCH + Duration::from_secs(second);
            let written = fixdate(date).unwrap();
            assert_eq!(std::str::from_utf8(&written).unwrap(), httpdate::fmt_http_date(date));
            assert_eq!(parse(&written, || UNIX_EPOCH), Some(date));
        }
        assert_eq!(fixdate(UNIX_EPOCH + Duration::from_secs(last + 1)), None);
        assert_eq!(fixdate(UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    const THEN: u64 = 784_111_777;

    fn at(seconds: u64) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// On 18 August 2026.
    fn read(value: &[u8]) -> Option<SystemTime> {
        parse(value, || UNIX_EPOCH + Duration::from_secs(1_787_011_200))
    }

    #[test]
    fn three_forms_and_nothing_else() {
        assert_eq!(read(b"Sun, 06 Nov 1994 08:49:37 GMT"), at(THEN));
        assert_eq!(read(b"Sunday, 06-Nov-94 08:49:37 GMT"), at(THEN));
        assert_eq!(read(b"Sun Nov  6 08:49:37 1994"), at(THEN));
        for wrong in [
            "0",
            "",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sundae, 06-Nov-94 08:49:37 GMT",
            "Monday, 06-Nov-1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Xxx, 06 Nov 1994 08:49:37 GMT",
            "784111777",
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read(b"\xff\xfe"), None);
    }

    #[test]
    fn case_and_the_name_of_the_day_mean_nothing() {
        for date in [
            "SUN, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 gMT",
            "sunday, 06-nov-94 08:49:37 gmt",
            "sun nov  6 08:49:37 1994",
            "Thu, 06 Nov 1994 08:49:37 GMT",
            "Thu Nov  6 08:49:37 1994",
        ] {
            assert_eq!(read(date.as_bytes()), at(THEN), "{date}");
        }
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
        for (digits, year) in
            [("26", 2026), ("50", 2050), ("76", 2076), ("77", 1977), ("99", 1999), ("00", 2000)]
        {
            let short = format!("Thursday, 18-Aug-{digits} 00:00:00 GMT");
            let long = format!("Thu, 18 Aug {year} 00:00:00 GMT");
            assert_eq!(read(short.as_bytes()), read(long.as_bytes()), "{digits}");
        }
        let past = read(b"Thursday, 19-Aug-76 00:00:00 GMT");
        assert_eq!(past, read(b"Thu, 19 Aug 1976 00:00:00 GMT"));
    }

    #[test]
    fn no_time_is_later_than_what_was_received() {
        assert_eq!(read(b"Sat, 31 Dec 2016 23:59:60 GMT"), at(1_483_228_799));
        assert_eq!(read(b"Wed, 31 Dec 1969 23:59:59 GMT"), UNIX_EPOCH.checked_sub(Duration::from_secs(1)));
        assert!(read(b"Sat, 01 Jan 0000 00:00:00 GMT").is_some_and(|date| date < UNIX_EPOCH));
    }

    #[test]
    fn what_is_written_is_read() {
        // Until the end of the year 9999, a day and some seconds more each time.
        for seconds in (0..253_402_300_800_u64).step_by(1_234_567) {
            let date = at(seconds).unwrap();
            assert_eq!(read(httpdate::fmt_http_date(date).as_bytes()), Some(date), "{seconds}");
        }
    }
}
