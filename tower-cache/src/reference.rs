//! References (RFC 3986 §4.1) in `Location` and `Content-Location`, resolved as clients resolve them.

/// The absolute URI that `reference` means in a response from `base`, an absolute `http` or `https` URI; without its
/// fragment. `None` where it means nothing that a cache of these schemes knows.
pub(crate) fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next()?;
    let (scheme, rest) = base.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let absolute = |scheme: &str, rest: &str| {
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = divided(target);
        (!authority.is_empty()).then(|| joined(scheme, authority, path, query))
    };
    if let Some((scheme, rest)) = scheme_of(reference) {
        return absolute(scheme, rest.strip_prefix("//")?);
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return absolute(scheme, rest);
    }
    let (named, named_query) = divided(reference);
    let merged = match named {
        "" => return Some(joined(scheme, authority, path, named_query.or(query))),
        named if named.starts_with('/') => named.to_owned(),
        named => format!("{}/{named}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
    };
    Some(joined(scheme, authority, &merged, named_query))
}

fn divided(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

fn joined(scheme: &str, authority: &str, path: &str, query: Option<&str>) -> String {
    let mut uri = format!("{scheme}://{authority}{}", without_dots(path));
    if let Some(query) = query {
        uri.push('?');
        uri.push_str(query);
    }
    uri
}

/// The scheme and what follows the colon, if there is one (§3.1).
fn scheme_of(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let first = scheme.bytes().next()?.is_ascii_alphabetic();
    let all = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (first && all).then_some((scheme, rest))
}

/// A path without `.` and `..` (§5.2.4); one that is empty is `/`.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        let last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 3986 §5.4, those that stay within http.
        for (reference, target) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://x/y/../z?a#b", "https://x/z?a"),
        ] {
            assert_eq!(resolve("http://a/b/c/d;p?q", reference).as_deref(), Some(target), "{reference}");
        }
        for other in ["http:g", "http:/g", "mailto:a@b", "http://"] {
            assert_eq!(resolve("http://a/b/c/d;p?q", other), None, "{other}");
        }
        assert_eq!(resolve("http://a", "g").as_deref(), Some("http://a/g"));
        assert_eq!(resolve("http://a?q", "").as_deref(), Some("http://a/?q"));
    }
}
