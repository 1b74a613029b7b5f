//! The parsers on texts made by seeded generators: pieces that mean something, cut, repeated and damaged. The same
//! properties as in `fuzz`, on any toolchain.

use tower_versioning::door::check;

/// 8·10³ texts for each parser; 10⁷ when `TOWER_ASSURE` is set.
fn times() -> u32 {
    if std::env::var_os("TOWER_ASSURE").is_some() { 10_000_000 } else { 8_000 }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    /// Up to eight pieces, one of them damaged now and then.
    fn text(&mut self, pieces: &[&str]) -> String {
        let mut text: String = (0..=self.below(8)).map(|_| pieces[self.below(pieces.len())]).collect();
        if !text.is_empty() && self.below(4) == 0 {
            let at = (0..=self.below(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            match self.below(3) {
                0 => text.truncate(at),
                1 => text.insert(at, char::from(u8::try_from(self.below(127)).unwrap_or(b'x'))),
                _ => text.insert(at, ['ä', '%', '\u{2028}', '"', '\\', '\0'][self.below(6)]),
            }
        }
        text
    }
}

/// Runs the check, and asserts that a good part of the texts meant something and a good part did not.
fn run(seed: u64, pieces: &[&str], check: impl Fn(&str) -> bool) {
    let mut random = Random(seed);
    let times = times();
    let found = (0..times).filter(|_| check(&random.text(pieces))).count();
    assert!(found > times as usize / 200 && found < times as usize, "{found} of {times}");
}

#[test]
fn versions() {
    let pieces = [
        "1",
        "2",
        "0",
        "17",
        "2147483647",
        "2026-03-01",
        "2024-02-29",
        ".",
        ".",
        "-",
        "beta",
        "RC",
        "[",
        ",",
        ")",
    ];
    run(1, &pieces, check::version);
}

#[test]
fn rewritten_targets() {
    let pieces = [
        "/v1",
        "/v2.1",
        "/v10",
        "/api",
        "/orders",
        "//",
        "/",
        "/V2",
        "%2F",
        "?",
        "a=b",
        "&",
        "/v",
        "http://h:1",
        "*",
    ];
    run(2, &pieces, check::rewrite);
}

#[test]
fn media_types() {
    let pieces = [
        "application/json",
        "*/*",
        ";v=1",
        "; v=2",
        ";v=\"2.1\"",
        ";q=0.5",
        ";q=0",
        ";q=1.0001",
        ",",
        ", ",
        "\"",
        "application/vnd.x.v2+json",
        ";",
        "=",
        " ",
    ];
    let media = |text: &str| {
        let (accept, content) = text.split_once(" ").unwrap_or((text, ""));
        check::media(accept.as_bytes(), content.as_bytes())
    };
    run(3, &pieces, media);
}

#[test]
fn queries() {
    let pieces =
        ["v=1", "v=2", "&", "&", "v=", "=", "%76=2%2E1", "a", "V=1", "+", "%", "%zz", "?", "2026-03-01"];
    run(4, &pieces, check::query);
}

#[test]
fn hosts() {
    let pieces =
        ["v1.api.example", "v2", "V2.1", ".api.example", ".", ":80", "api.example", "v", "[::1]", "x"];
    run(5, &pieces, |text| check::host(text.as_bytes()));
}
