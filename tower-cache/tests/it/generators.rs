//! The parsers before texts that look almost right, made by dice: none panics, and what is understood does not
//! contradict itself (the checks are in `door`, where the fuzz targets of `tower-cache/fuzz` find them too).

use tower_cache::door;

use crate::dice::{Dice, rounds};

/// Pieces that belong, pieces that nearly do, and now and then any octet.
fn text(dice: &mut Dice, pieces: &[&str]) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..dice.below(9) {
        match dice.below(30) {
            0 => text.push(dice.next() as u8),
            1 => _ = text.pop(),
            _ => text.extend_from_slice(dice.pick(pieces).as_bytes()),
        }
    }
    text
}

/// Gives so many texts to a parser, and sees that it understands a fair part of them and not all.
fn feed(seed: u64, mut understood: impl FnMut(&mut Dice) -> bool) {
    let count = rounds(25_000, 10_000_000);
    let mut dice = Dice(seed);
    let good = (0..count).filter(|_| understood(&mut dice)).count();
    assert!(good > count / 200 && good < count, "{good} of {count} were understood");
}

const DIRECTIVES: [&str; 24] = [
    "max-age",
    "s-maxage",
    "no-cache",
    "no-store",
    "private",
    "public",
    "must-revalidate",
    "stale-if-error",
    "stale-while-revalidate",
    "min-fresh",
    "max-stale",
    "only-if-cached",
    "=",
    "=",
    ",",
    ", ",
    "\"",
    "60",
    "-1",
    "99999999999999999999",
    "x-a",
    "\\",
    " ",
    "must-understand",
];

#[test]
fn directives() {
    feed(1, |dice| door::directives(&text(dice, &DIRECTIVES)));
}

#[test]
fn targeted_fields() {
    let pieces = [
        "max-age=60",
        "s-maxage",
        "no-store",
        "no-cache",
        "private",
        "public",
        "=",
        "=",
        ", ",
        ", ",
        ",",
        "\n",
        "\"x-a\"",
        "\"",
        "60",
        "-7",
        "1.5",
        "999999999999999",
        "?1",
        "?0",
        "?2",
        "(a b)",
        "(",
        ":YQ==:",
        "@1700000000",
        "%\"a\"",
        ";a",
        ";b=1",
        " ",
        "\t",
        "\\",
        "*",
        "A",
    ];
    feed(2, |dice| door::targeted(&text(dice, &pieces)));
}

#[test]
fn dates() {
    let days = ["Sun, ", "Sun ", "Sunday, ", "Mon, ", "sun, ", ""];
    let dates = [
        "06 Nov 1994 ",
        "06-Nov-94 ",
        "Nov  6 ",
        "Nov 16 ",
        "31 Feb 2023 ",
        "6 Nov 1994 ",
        "29 Feb 2024 ",
        "06 Nov 9999 ",
    ];
    let times = ["08:49:37", "24:00:00", "23:59:60", "8:49:37", "08:49", "00:00:00"];
    let ends = [" GMT", " GMT", " GMT", " 1994", " UTC", " +0000", "", " GMT "];
    feed(3, |dice| {
        let mut date =
            [dice.pick(&days), dice.pick(&dates), dice.pick(&times), dice.pick(&ends)].concat().into_bytes();
        if dice.once_in(4) {
            let place = dice.below(date.len());
            date[place] = dice.next() as u8;
        }
        door::date(&date)
    });
}

#[test]
fn ranges() {
    let wanted = [
        "bytes",
        "bytes=",
        "=",
        "0-",
        "-",
        "3",
        "7-9",
        "-5",
        ",",
        "99999999999999999999",
        "18446744073709551615",
        " ",
        "BYTES=",
    ];
    let of = [
        "bytes ",
        "0-9/10",
        "3-4/10",
        "-",
        "/",
        "10",
        "*",
        "18446744073709551614-18446744073709551615/",
        "5",
        "0",
    ];
    feed(4, |dice| {
        let length = dice.pick(&[0, 1, 2, 10, 1 << 40, u64::MAX]);
        door::range(&text(dice, &wanted), &text(dice, &of), length)
    });
    feed(5, |dice| {
        let (first, size) = (dice.below(20) as u64, 1 + dice.below(20) as u64);
        let wanted = format!("bytes={first}-{}", first + size - 1);
        let of = format!("bytes {first}-{}/{}", first + size - 1, first + size + dice.below(5) as u64);
        door::range(wanted.as_bytes(), of.as_bytes(), size) && !dice.once_in(9)
    });
}

#[test]
fn variants() {
    let names = ["accept-language", "x-a", "*", ", ", ",", " ", "Accept-Language", "X-A", "é", "cookie"];
    let values =
        ["en", "de", "EN", ";q=0.5", ";q=1", ";q=", "; q=0.500", ",", ", ", "\"", "\\", " ", "*", ";q=9"];
    feed(6, |dice| door::vary(&text(dice, &names), &text(dice, &values), &text(dice, &values)));
}

#[test]
fn conditions() {
    let conditions = [
        "\"a\"",
        "W/\"a\"",
        "\"b\"",
        "*",
        ", ",
        ",",
        "\"",
        "a",
        "W/",
        "\"a,b\"",
        " ",
        "Sun, 06 Nov 1994 08:49:37 GMT",
    ];
    let tags = ["\"a\"", "\"a\"", "W/", "\"b\"", "a", "\"a,b\"", "Sun, 06 Nov 1994 08:49:37 GMT"];
    feed(7, |dice| door::conditional(&text(dice, &conditions), &text(dice, &tags)));
}

#[test]
fn references() {
    let pieces = [
        "http://a.example",
        "/",
        "/orders",
        "?a=1",
        "//b.example",
        "https://",
        "a.example",
        ":80",
        ":99999",
        "#f",
        "..",
        "%2f",
        "@",
        "\\",
        "[",
        " ",
    ];
    feed(8, |dice| door::reference(&text(dice, &pieces)));
}

/// Stored forms with octets changed, cut off, doubled and left out.
#[cfg(feature = "redis")]
#[test]
fn stored_forms() {
    let fields: Vec<_> = (0..4u8)
        .map(|n| {
            (
                http::HeaderName::try_from(format!("x-{n}")).unwrap(),
                http::HeaderValue::from(u16::from(n) * 300),
            )
        })
        .collect();
    let samples: Vec<_> = (0..4)
        .map(|n| door::written(&fields[..n], [&b"x-0, x-1"[..], b""][n % 2], &b"content"[..n]))
        .collect();
    assert!(samples.iter().all(|sample| door::wire(sample)));
    feed(9, |dice| {
        let mut form = samples[dice.below(samples.len())].clone();
        for _ in 0..dice.below(3) {
            let place = dice.below(form.len());
            match dice.below(5) {
                0 => form.truncate(place + 1),
                1 => form.insert(place, dice.next() as u8),
                2 if form.len() > 1 => _ = form.remove(place),
                3 => form[place] = dice.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                _ => form[place] = dice.next() as u8,
            }
        }
        door::wire(&form)
    });
}
