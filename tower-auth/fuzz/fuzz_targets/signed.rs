// Included by the targets whose text is only read below a good signature.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;

pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

pub fn sign(header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", B64.encode(header), B64.encode(payload));
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let provider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
    let signer = (provider.signer_factory)(&jsonwebtoken::Algorithm::HS256, &key).unwrap();
    format!("{signed}.{}", B64.encode(signer.try_sign(signed.as_bytes()).unwrap()))
}
