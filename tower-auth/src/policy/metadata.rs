//! Where the metadata of a protected resource is (RFC 9728 §3.1), and how challenges name it (§5.1).

use http::Uri;

use super::challenge;

/// `https://host/path` has its metadata at `https://host/.well-known/oauth-protected-resource/path`. `None` when the
/// identifier is no URL it may be: absolute, without a query or fragment.
pub(crate) fn location(resource: &str) -> Option<Uri> {
    let uri: Uri = resource.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    // It is quoted in challenges, where some of what `Uri` takes cannot stand (RFC 9110 §5.6.4).
    let quotable = resource.chars().all(challenge::fit);
    if !quotable || resource.contains('#') || uri.query().is_some() || !matches!(scheme, "https" | "http") {
        return None;
    }
    // Only the slash that follows the host goes; that of a longer path is part of the name.
    let path = if uri.path() == "/" { "" } else { uri.path() };
    format!("{scheme}://{authority}/.well-known/oauth-protected-resource{path}").parse().ok()
}

/// The challenge with `resource_metadata` at its end. One that has a single scheme and no parameters yet gets its first.
pub(crate) fn named(challenge: &str, url: &str) -> String {
    let separator = if challenge.contains(' ') { ',' } else { ' ' };
    let space = if separator == ',' { " " } else { "" };
    format!("{challenge}{separator}{space}resource_metadata=\"{url}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_9728() {
        for (resource, expected) in [
            (
                "https://resource.example.com",
                "https://resource.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://resource.example.com/",
                "https://resource.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://resource.example.com/resource1/",
                "https://resource.example.com/.well-known/oauth-protected-resource/resource1/",
            ),
            (
                "https://resource.example.com/resource1",
                "https://resource.example.com/.well-known/oauth-protected-resource/resource1",
            ),
        ] {
            assert_eq!(location(resource).unwrap().to_string(), expected);
        }
        for bad in ["/a", "https://a/#x", "https://a/?x", "ftp://a/", ""] {
            assert!(location(bad).is_none(), "{bad}");
        }
        let url = "https://resource.example.com/.well-known/oauth-protected-resource";
        // §5.1.
        assert_eq!(named("Bearer", url), format!("Bearer resource_metadata=\"{url}\""));
        assert_eq!(
            named("Bearer realm=\"x\"", url),
            format!("Bearer realm=\"x\", resource_metadata=\"{url}\"")
        );
    }
}
