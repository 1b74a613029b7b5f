//! One source alone is asked in a hurry; the same source twice is asked the long way. Nobody can tell which it was.

use tower_versioning::settings::Select;
use tower_versioning::{Registry, Source, VersionLayer};

use crate::support::{day, get, name, send_to, v};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    fn of<'a>(&mut self, pieces: &[&'a str]) -> &'a str {
        pieces[self.below(pieces.len())]
    }
}

const TEXTS: [&str; 22] = [
    "1",
    "2",
    "1.0",
    "2.1",
    "2.1.0",
    "1.0.0",
    "3-beta",
    "3-BETA",
    "2026-03-01",
    "2026-03-01.1",
    "7",
    "9",
    "01",
    "x",
    "",
    " 1",
    "1 ",
    "1,1",
    "1, 2",
    "2.10",
    "1.0.0.0",
    "20260301",
];

fn layer(many: bool, life: bool, select: Select, sources: Vec<Source>) -> VersionLayer {
    let mut builder = Registry::builder()
        .select(select)
        .version(v("1"), |v| if life { v.deprecated(day(1)).sunset(day(2)).gone_after_sunset() } else { v });
    for text in ["2.1", "3-beta", "2026-03-01", "7"] {
        builder = builder.version(v(text), |v| v);
    }
    if many {
        for minor in 11..40 {
            builder = builder.version(tower_versioning::Version::new(2, minor), |v| v);
        }
    }
    VersionLayer::new(builder.build().unwrap()).sources(sources).wall_clock(|| day(3))
}

fn request(random: &mut Random) -> http::Request<String> {
    let (one, two) = (random.of(&TEXTS).to_owned(), random.of(&TEXTS).to_owned());
    let weights = ["", ";q=1", ";q=0.5", ";q=0", ";Q=.8", ";q=2", ";q=0.500", ";q"];
    let range = |random: &mut Random, text: &str| {
        let name = random.of(&["v", "V", "w", " v", "v "]);
        let quote = random.of(&["", "", "", "\""]);
        let kind = random.of(&["a/b", "application/json", "*/*", " a/b", "application/signed-exchange"]);
        let (first, last) = (random.of(&weights), random.of(&weights));
        format!("{kind}{first};{name}={quote}{text}{quote}{last}")
    };
    let uri = match random.below(8) {
        0 => format!("http://h:1/v{one}/x"),
        1 => format!("/v{one}?v={two}"),
        2 => format!("/V{one}/v{two}"),
        3 => format!("/api/v{one}"),
        4 => format!("//v{one}/x"),
        5 => format!("/v{one}/?x/v2"),
        _ => "/x".to_owned(),
    };
    let mut request = get(&uri.replace(' ', ""));
    for (field, chance) in [("api-version", 3), ("x-version", 3), ("accept", 2), ("content-type", 6)] {
        let lines = if random.below(chance) == 0 { 1 + random.below(12) / 11 } else { 0 };
        for _ in 0..lines {
            let text = random.of(&TEXTS).to_owned();
            let value = match field {
                "accept" => {
                    let ranges: Vec<String> = (0..=random.below(3))
                        .map(|_| {
                            let text = random.of(&TEXTS).to_owned();
                            range(random, &text)
                        })
                        .collect();
                    ranges.join(random.of(&[",", ", ", ",,"]))
                }
                "content-type" => range(random, &text),
                _ => text,
            };
            request.headers_mut().append(name(field), value.parse().unwrap());
        }
    }
    for index in 0..random.below(20) {
        request
            .headers_mut()
            .insert(http::HeaderName::try_from(format!("x-{index}")).unwrap(), "1".parse().unwrap());
    }
    request
}

#[tokio::test]
async fn one_source_in_a_hurry_says_what_it_says_at_leisure() {
    // 10⁵ requests when `TOWER_ASSURE` is set.
    let times = if std::env::var_os("TOWER_ASSURE").is_some() { 3_000 } else { 40 };
    let mut random = Random(0x5eed);
    let mut served = 0;
    for source in [
        Source::path(""),
        Source::path_kept(""),
        Source::path("/api"),
        Source::header(name("api-version")),
        Source::header(name("x-version")),
        Source::media_type("v"),
        Source::media_type("v").only(["application/json"]),
    ] {
        for (many, life, select) in [
            (false, false, Select::Exact),
            (true, false, Select::Exact),
            (false, true, Select::Exact),
            (true, true, Select::LatestMinor),
            (false, false, Select::NearestLower),
        ] {
            let quick = layer(many, life, select.clone(), vec![source.clone()]);
            let slow = layer(many, life, select, vec![source.clone(), source.clone()]);
            for _ in 0..times {
                let request = request(&mut random);
                let own = |headers: &mut http::HeaderMap| {
                    headers.insert("vary", "accept".parse().unwrap());
                };
                let one = send_to(&quick, request.clone(), own).await;
                let two = send_to(&slow, request.clone(), own).await;
                assert_eq!(
                    (one.status, &one.body, &one.headers),
                    (two.status, &two.body, &two.headers),
                    "{request:?} {source:?}"
                );
                served += u32::from(one.status == 200);
            }
        }
    }
    assert!(served > times * 35 / 20, "{served}");
}
