//! aws-lc-rs as a provider of jsonwebtoken. jsonwebtoken's own verifiers keep public keys as bytes and read them again for
//! each signature, which is an eighth of what RSA with 2048 bits takes. These keep what was read.

use std::sync::LazyLock;

use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

/// jsonwebtoken's own but for the verifiers.
pub(super) static PROVIDER: LazyLock<CryptoProvider> =
    LazyLock::new(|| CryptoProvider { verifier_factory: verifier, ..DEFAULT_PROVIDER.clone() });

struct Prepared {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl Verifier<Vec<u8>> for Prepared {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        // The reason is kept back by aws-lc-rs too.
        self.key.verify_sig(message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for Prepared {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// The sizes of RSA keys and of signatures are judged with each signature, as by jsonwebtoken's own.
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let prepared = match algorithm {
        Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256, key),
        Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384, key),
        Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512, key),
        Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256, key),
        Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384, key),
        Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512, key),
        Algorithm::ES256 => encoded(&signature::ECDSA_P256_SHA256_FIXED, key),
        Algorithm::ES384 => encoded(&signature::ECDSA_P384_SHA384_FIXED, key),
        Algorithm::EdDSA => encoded(&signature::ED25519, key),
        // Secrets are kept ready by jsonwebtoken itself.
        _ => return (DEFAULT_PROVIDER.verifier_factory)(algorithm, key),
    };
    Ok(Box::new(Prepared { algorithm: *algorithm, key: prepared? }))
}

fn rsa(parameters: &'static RsaParameters, key: &DecodingKey) -> Result<ParsedPublicKey> {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
            parsed.map_err(|fault| ErrorKind::InvalidRsaKey(fault.to_string()).into())
        }
        DecodingKeyKind::SecretOrDer(_) => encoded(parameters, key),
    }
}

fn encoded(algorithm: &'static dyn VerificationAlgorithm, key: &DecodingKey) -> Result<ParsedPublicKey> {
    ParsedPublicKey::new(algorithm, key.try_get_as_bytes()?).map_err(|_| ErrorKind::InvalidKeyFormat.into())
}
