//! Strong entity tags made of what is stored (RFC 9110 §8.8.3), for handlers that send none. Without the feature `etag`
//! there are none.

#[cfg(feature = "etag")]
pub(crate) use with::Tagger;
#[cfg(not(feature = "etag"))]
pub(crate) use without::Tagger;

#[cfg(feature = "etag")]
mod with {
    use http::{HeaderMap, HeaderValue, header};
    use sha2::{Digest, Sha256};

    /// Digests a content while it passes. SHA-256, of which 128 bits are kept: equal content has an equal tag in every
    /// process, and nobody finds another content for a tag, so that no client is told that it has what it has not.
    pub(crate) struct Tagger(Sha256);

    impl Tagger {
        /// For a response with these fields. The same octets in another type or coding are another representation
        /// (RFC 9110 §8.8.1).
        #[expect(clippy::unnecessary_wraps, reason = "the same with the feature and without")]
        pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
            let mut digest = Sha256::new();
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                for value in headers.get_all(&name) {
                    digest.update((value.len() as u64).to_be_bytes());
                    digest.update(value.as_bytes());
                }
                digest.update(u64::MAX.to_be_bytes());
            }
            Some(Self(digest))
        }

        pub(crate) fn data(&mut self, data: &[u8]) {
            self.0.update(data);
        }

        /// The field value.
        pub(crate) fn finish(self) -> Option<HeaderValue> {
            let digest = self.0.finalize();
            let mut value = String::with_capacity(34);
            value.push('"');
            for octet in &digest[..16] {
                for half in [octet >> 4, octet & 15] {
                    value.push(char::from(b"0123456789abcdef"[usize::from(half)]));
                }
            }
            value.push('"');
            value.try_into().ok()
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn tag(fields: &[(&'static str, &str)], content: &[&[u8]]) -> HeaderValue {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            let mut tagger = Tagger::of(&headers).unwrap();
            content.iter().for_each(|piece| tagger.data(piece));
            tagger.finish().unwrap()
        }

        #[test]
        fn the_same_in_other_pieces_and_different_in_any_other_way() {
            let json = [("content-type", "application/json")];
            let plain = tag(&json, &[b"ab"]);
            assert_eq!(plain.len(), 34);
            assert_eq!(tag(&json, &[b"a", b"", b"b"]), plain);
            assert_eq!(tag(&[json[0], ("x-other", "1")], &[b"ab"]), plain);
            for (fields, content) in [
                (&json[..], &[&b"abc"[..]][..]),
                (&json, &[]),
                (&[], &[b"ab"]),
                (&[("content-type", "text/plain")], &[b"ab"]),
                (&[json[0], ("content-encoding", "gzip")], &[b"ab"]),
                (&[json[0], ("content-language", "de")], &[b"ab"]),
                (&[("content-encoding", "application/json")], &[b"ab"]),
            ] {
                assert_ne!(tag(fields, content), plain, "{fields:?} {content:?}");
            }
        }
    }
}

#[cfg(not(feature = "etag"))]
mod without {
    use http::{HeaderMap, HeaderValue};

    /// Never made.
    pub(crate) enum Tagger {}

    impl Tagger {
        pub(crate) const fn of(_: &HeaderMap) -> Option<Self> {
            None
        }

        pub(crate) fn data(&mut self, _: &[u8]) {
            match *self {}
        }

        pub(crate) fn finish(self) -> Option<HeaderValue> {
            match self {}
        }
    }
}
