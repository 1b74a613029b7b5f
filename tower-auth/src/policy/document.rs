//! What the issuer's documents say: where they are, what they name, how long they hold.

use std::time::Duration;

use http::{HeaderMap, Uri, header};

use super::json::{self, Value};

/// Keys are never asked for more often than this by a clock: `max-age=0` does not make every request a fetch.
const MIN_LIFE: Duration = Duration::from_secs(30);

/// How long a key set holds: what `max-age` says (RFC 9111 §5.2.2.1), at most `cap`, which is the promise about removed
/// keys, and at least half a minute.
pub(crate) fn life(headers: &HeaderMap, cap: Duration) -> Duration {
    let mut life = cap;
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    for directive in values.flat_map(|value| value.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim();
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            life = Duration::ZERO;
        } else if name.eq_ignore_ascii_case("max-age")
            && let Ok(seconds) = value.trim().trim_matches('"').parse()
        {
            life = life.min(Duration::from_secs(seconds));
        }
    }
    life.max(MIN_LIFE).min(cap)
}

/// When the next fetch begins ahead of the end: between 70 and 80 % of the life, by chance, so that the instances of a
/// service do not ask all at once.
pub(crate) fn ahead(life: Duration, chance: u64) -> Duration {
    life / 1_000 * (700 + u32::try_from(chance % 101).unwrap_or(0))
}

/// Where the issuer's metadata is: OpenID Connect Discovery 1.0 §4 first, then RFC 8414 §3.1.
pub(crate) fn well_known(issuer: &str) -> Option<[Uri; 2]> {
    let uri: Uri = issuer.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    // "no query or fragment components" (RFC 8414 §2); `Uri` drops a fragment silently.
    if uri.query().is_some() || issuer.contains('#') || !matches!(scheme, "https" | "http") {
        return None;
    }
    let path = uri.path().trim_end_matches('/');
    let openid = format!("{scheme}://{authority}{path}/.well-known/openid-configuration");
    let oauth = format!("{scheme}://{authority}/.well-known/oauth-authorization-server{path}");
    Some([openid.parse().ok()?, oauth.parse().ok()?])
}

/// The `jwks_uri` of metadata whose `issuer` is exactly this one (RFC 8414 §3.3): otherwise anybody whose metadata we are
/// led to could name keys for this issuer. Its scheme is `https`, unless the issuer itself is not.
pub(crate) fn jwks_uri(metadata: &[u8], issuer: &str) -> Option<Uri> {
    let members = json::object(metadata).ok()?;
    let text = |name: &str| match members.iter().find(|(member, _)| member == name) {
        Some((_, Value::String(text))) => Some(text.into_cow()),
        _ => None,
    };
    if text("issuer")? != issuer {
        return None;
    }
    let uri: Uri = text("jwks_uri")?.parse().ok()?;
    let fits = match uri.scheme_str()? {
        "https" => true,
        "http" => issuer.starts_with("http://"),
        _ => false,
    };
    (fits && uri.host().is_some()).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives() {
        let cap = Duration::from_secs(300);
        for (value, seconds) in [
            ("", 300),
            ("public, max-age=120", 120),
            ("max-age=86400", 300),
            ("Max-Age=\"60\"", 60),
            ("max-age=0", 30),
            ("no-store", 30),
            ("max-age=x", 300),
        ] {
            let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, value.parse().unwrap())]);
            assert_eq!(life(&headers, cap).as_secs(), seconds, "{value}");
        }
        assert_eq!(life(&HeaderMap::new(), Duration::from_secs(5)).as_secs(), 5);
        assert_eq!((ahead(cap, 0).as_secs(), ahead(cap, 100).as_secs()), (210, 240));
        assert!(ahead(Duration::MAX, 100) < Duration::MAX);
    }

    #[test]
    fn places() {
        let [openid, oauth] = well_known("https://a.example/tenant/").unwrap();
        assert_eq!(openid, "https://a.example/tenant/.well-known/openid-configuration");
        assert_eq!(oauth, "https://a.example/.well-known/oauth-authorization-server/tenant");
        for bad in ["a.example", "/x", "ftp://a.example", "https://a.example?x", "https://a.example#x", ""] {
            assert_eq!(well_known(bad), None, "{bad}");
        }
    }

    #[test]
    fn metadata_is_believed_for_its_exact_issuer_only() {
        let good = r#"{"issuer":"https://a.example","jwks_uri":"https://keys.example/k","x":[1]}"#;
        let read = |text: &str| jwks_uri(text.as_bytes(), "https://a.example");
        assert_eq!(read(good).unwrap(), "https://keys.example/k");
        for (from, to) in [
            ("https://a.example", "https://a.example/"),
            ("https://a.example", "https://A.example"),
            ("\"issuer\":\"https://a.example\",", ""),
            ("https://keys", "http://keys"),
            ("https://keys.example", "file://keys.example"),
            ("https://keys.example/k", "/k"),
            ("\"x\"", "\"issuer\""),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(read(&bad), None, "{bad}");
        }
    }
}
