//! The vectors of C2SP/wycheproof that concern JWS: the signature step alone, and, where the folder has the files of JOSE,
//! whole tokens. `WYCHEPROOF` names the folder; without it `scripts/wycheproof` says where its own copy is.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Backend, verify_jws};
use crate::keys::{Algorithm, KeySet, StaticKeys};

const BACKENDS: &[Backend] = &[
    #[cfg(feature = "aws-lc-rs")]
    Backend::AwsLcRs,
    #[cfg(feature = "rust-crypto")]
    Backend::RustCrypto,
];

/// Files whose vectors are for one algorithm of ours.
const SIGNATURES: [(Algorithm, &[&str]); 12] = [
    (Algorithm::Hs256, &["hmac_sha256"]),
    (Algorithm::Hs384, &["hmac_sha384"]),
    (Algorithm::Hs512, &["hmac_sha512"]),
    (Algorithm::Es256, &["ecdsa_secp256r1_sha256_p1363", "ecdsa_secp256r1_sha256"]),
    (Algorithm::Es384, &["ecdsa_secp384r1_sha384_p1363", "ecdsa_secp384r1_sha384"]),
    (Algorithm::EdDsa, &["ed25519"]),
    (
        Algorithm::Rs256,
        &[
            "rsa_signature_2048_sha256",
            "rsa_signature_3072_sha256",
            "rsa_signature_4096_sha256",
            "rsa_signature_8192_sha256",
        ],
    ),
    (
        Algorithm::Rs384,
        &[
            "rsa_signature_2048_sha384",
            "rsa_signature_3072_sha384",
            "rsa_signature_4096_sha384",
            "rsa_signature_8192_sha384",
        ],
    ),
    (
        Algorithm::Rs512,
        &[
            "rsa_signature_2048_sha512",
            "rsa_signature_3072_sha512",
            "rsa_signature_4096_sha512",
            "rsa_signature_8192_sha512",
        ],
    ),
    (
        Algorithm::Ps256,
        &[
            "rsa_pss_2048_sha256_mgf1_0",
            "rsa_pss_2048_sha256_mgf1_32",
            "rsa_pss_2048_sha256_mgf1sha1_20",
            "rsa_pss_3072_sha256_mgf1_32",
            "rsa_pss_4096_sha256_mgf1_32",
            "rsa_pss_misc",
        ],
    ),
    (Algorithm::Ps384, &["rsa_pss_2048_sha384_mgf1_48", "rsa_pss_4096_sha384_mgf1_48", "rsa_pss_misc"]),
    (Algorithm::Ps512, &["rsa_pss_4096_sha512_mgf1_32", "rsa_pss_4096_sha512_mgf1_64", "rsa_pss_misc"]),
];

fn folder() -> PathBuf {
    std::env::var_os("WYCHEPROOF").map_or_else(fetched, PathBuf::from)
}

fn fetched() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/wycheproof");
    let told = Command::new(script).arg("--where").output().expect("scripts/wycheproof runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).expect("a path").trim_end().into()
}

fn read(path: &Path) -> Option<Value> {
    let text = std::fs::read(path).ok()?;
    Some(serde_json::from_slice(&text).expect("a file of vectors"))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn hex(value: &Value, name: &str) -> Vec<u8> {
    let digits = text(value, name);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Each form in which the group has its key.
fn keys(algorithm: Algorithm, group: &Value, test: &Value) -> Vec<Result<StaticKeys, String>> {
    let mut keys = Vec::new();
    if group["type"] == "MacTest" {
        keys.push(StaticKeys::hmac(algorithm, &hex(test, "key")));
    } else {
        keys.push(StaticKeys::pem(algorithm, text(group, "publicKeyPem").as_bytes()));
        keys.push(StaticKeys::der(algorithm, &hex(group, "publicKeyDer")));
        for name in ["publicKeyJwk", "keyJwk"] {
            if group[name].is_object()
                && group[name]["alg"].as_str().is_none_or(|alg| alg == algorithm.name())
            {
                keys.push(StaticKeys::jwk(group[name].to_string().as_bytes()));
            }
        }
    }
    keys.into_iter().map(|key| key.map_err(|error| error.to_string())).collect()
}

/// Whether JWS means what the group is about when it names the algorithm (RFC 7518 §3.5: the salt is as long as the hash).
fn is_of_jws(algorithm: Algorithm, group: &Value) -> bool {
    let bits = algorithm.hash_size() * 8;
    match text(group, "type") {
        "MacTest" => group["tagSize"] == bits,
        "RsassaPssVerify" => {
            let hash = format!("SHA-{bits}");
            group["sha"] == hash.as_str()
                && group["mgf"] == "MGF1"
                && group["mgfSha"] == hash.as_str()
                && group["sLen"] == algorithm.hash_size()
        }
        // DER instead of two numbers.
        "EcdsaVerify" => false,
        _ => true,
    }
}

#[test]
fn signatures() {
    let mut sums: BTreeMap<_, usize> = BTreeMap::new();
    let folder = folder();
    let everything = std::env::var_os("TOWER_ASSURE").is_some();
    for (algorithm, files) in SIGNATURES {
        for name in files {
            let path = folder.join(format!("{name}_test.json"));
            let file = read(&path).unwrap_or_else(|| panic!("{} is not there", path.display()));
            for group in file["testGroups"].as_array().unwrap() {
                let ours = is_of_jws(algorithm, group);
                for test in group["tests"].as_array().unwrap() {
                    if !ours && test["result"] != "valid" {
                        // What is wrong there may be right here.
                        continue;
                    }
                    let signature = [hex(test, "sig"), hex(test, "tag")].concat();
                    let mut outcomes = Vec::new();
                    for (key, backend) in keys(algorithm, group, test)
                        .iter()
                        .flat_map(|key| BACKENDS.iter().map(move |b| (key, b)))
                    {
                        let own = format!("{backend:?}") == "RustCrypto";
                        let too_long = own && name.contains("_8192_");
                        // Without optimization this backend takes milliseconds for a vector of RSA.
                        let sampled = own && name.starts_with("rsa") && !everything;
                        if sampled && test["tcId"].as_u64().is_none_or(|id| id % 16 != 1) {
                            continue;
                        }
                        let outcome = key.as_ref().map_err(String::as_str).and_then(|key| {
                            let key = key.set().select(None, algorithm).ok_or("not for this algorithm")?;
                            Ok(algorithm.admits_signature(signature.len())
                                && backend.good(key, algorithm, &hex(test, "msg"), &signature))
                        });
                        if too_long {
                            assert_eq!(outcome, Ok(false), "this backend stops at 4096 bits");
                            assert!(key.iter().all(|key| {
                                key.set().select(None, algorithm).is_none_or(|key| !key.suits(*backend))
                            }));
                        } else {
                            outcomes.push(outcome.map_err(str::to_owned));
                        }
                    }
                    if outcomes.is_empty() {
                        continue;
                    }
                    let place = format!("{} {}: {outcomes:?} {test}", path.display(), test["tcId"]);
                    let first = |outcome: &Result<bool, _>| outcome.as_ref().ok().copied();
                    assert!(outcomes.iter().all(|one| first(one) == first(&outcomes[0])), "{place}");
                    let (result, outcome) = (text(test, "result"), first(&outcomes[0]));
                    if result == "invalid" || !ours {
                        assert_ne!(outcome, Some(true), "{place}");
                    }
                    if result == "valid" && ours {
                        assert_ne!(outcome, Some(false), "{place}");
                    }
                    let why = match outcomes.into_iter().next() {
                        Some(Err(fault)) => fault,
                        Some(Ok(true)) => "accepted".to_owned(),
                        _ => "refused".to_owned(),
                    };
                    let kind = if ours { result.to_owned() } else { "not of JWS".to_owned() };
                    *sums.entry((algorithm.name(), kind, why)).or_default() += 1;
                }
            }
        }
    }
    for ((algorithm, result, outcome), count) in sums {
        println!("{algorithm}: {result}, {outcome}: {count}");
    }
}

/// Tokens where this crate deliberately, or the file by itself, is of another opinion. Numbers of the file as of 2025.
const OTHERWISE: [(&str, u64, &str); 10] = [
    ("json_web_signature", 346, "PS384 with a key whose alg is PS256"),
    ("json_web_signature", 350, "PS384 with a key whose alg is PS256"),
    ("json_web_signature", 347, "ES512"),
    ("json_web_signature", 351, "ES512"),
    ("json_web_signature", 372, "characters that are not of base64url"),
    ("json_web_signature", 373, "characters that are not of base64url"),
    ("json_web_signature", 367, "the very text of 357, which is valid"),
    ("json_web_signature", 370, "the very text of 357, which is valid"),
    ("json_web_key", 1, "secrets and public keys in one set, which StaticKeys refuses"),
    ("json_web_key", 4, "the second key with this kid cannot be read"),
];

#[test]
fn tokens() {
    let mut sums: BTreeMap<_, usize> = BTreeMap::new();
    let folder = folder();
    for name in ["json_web_signature", "json_web_key"] {
        let Some(file) = read(&folder.join(format!("{name}_test.json"))) else {
            println!("{name}: not in this folder");
            continue;
        };
        for group in file["testGroups"].as_array().unwrap() {
            let key = if group["public"].is_object() { &group["public"] } else { &group["private"] };
            let set = if key["keys"].is_array() { key.clone() } else { serde_json::json!({ "keys": [key] }) };
            let set = KeySet::from_jwks(set.to_string().as_bytes()).unwrap();
            for test in group["tests"].as_array().unwrap() {
                let (id, result) = (test["tcId"].as_u64().unwrap(), text(test, "result"));
                for backend in BACKENDS {
                    let outcome = verify_jws(text(test, "jws"), &set, *backend);
                    let otherwise = OTHERWISE.iter().any(|(file, other, _)| *file == name && *other == id);
                    let as_wanted = outcome.is_ok() == (result == "valid");
                    assert!(as_wanted != otherwise, "{name} {id} {backend:?}: {outcome:?} {test}");
                    *sums.entry((name, result.to_owned(), outcome.is_ok())).or_default() += 1;
                }
            }
        }
    }
    for ((name, result, accepted), count) in sums {
        println!("{name}: {result}, accepted {accepted}: {}", count / BACKENDS.len());
    }
}
