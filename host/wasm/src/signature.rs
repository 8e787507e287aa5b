//! Detached signatures: Ed25519 (RFC 8032) over the bytes of a component, in a file beside it.
//!
//! The file `x.wasm.sig` holds the 64 bytes as they are, as `openssl pkeyutl -sign -rawin` writes
//! them, or in Base64. Keys are PEM files with a `PUBLIC KEY`, as `openssl pkey -pubout` writes them.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey as _;

use crate::error::EngineError;
use crate::find::{read, signature_of};

/// Longest file of a key or a signature, in bytes.
const MOST: u64 = 4096;

/// What vouches for a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signature {
    /// It comes with the program.
    Needless,
    /// There is no file.
    Missing,
    /// What the file holds.
    Given(Vec<u8>),
}

impl Signature {
    /// What lies beside a component.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        match read(&signature_of(path), MOST) {
            Ok(bytes) => Ok(Self::Given(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Missing),
            Err(error) => Err(error),
        }
    }
}

/// Who may sign.
#[derive(Debug)]
pub(crate) struct Keys(Vec<VerifyingKey>);

impl Keys {
    /// Reads the keys. Without one, nothing needs a signature.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, EngineError> {
        let key = |path: &PathBuf| {
            let wrong =
                |reason: String| EngineError::Key { path: path.display().to_string(), reason };
            let pem = read(path, MOST).map_err(|error| wrong(format!("can't read it: {error}")))?;
            let pem = String::from_utf8_lossy(&pem);
            VerifyingKey::from_public_key_pem(pem.trim()).map_err(|error| {
                wrong(format!(
                    "it is no Ed25519 public key in PEM ({error}); `openssl pkey -in KEY -pubout` \
                     writes one"
                ))
            })
        };
        paths.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of the keys has signed these bytes; says why not.
    pub(crate) fn check(&self, bytes: &[u8], signature: &Signature) -> Result<(), String> {
        let given = match signature {
            _ if self.0.is_empty() => return Ok(()),
            Signature::Needless => return Ok(()),
            Signature::Missing => {
                return Err(
                    "it is not signed, and `plugin_keys` asks for that: put the signature \
                            beside it, in a file of the same name with `.sig` behind it"
                        .to_owned(),
                );
            }
            Signature::Given(given) => given,
        };
        let signature = parse(given).ok_or(
            "its signature is neither 64 bytes nor their Base64; `openssl pkeyutl -sign -rawin` \
             makes one",
        )?;
        let by_one = |key: &VerifyingKey| key.verify_strict(bytes, &signature).is_ok();
        if self.0.iter().any(by_one) {
            return Ok(());
        }
        Err("its signature is by none of the keys in `plugin_keys`, or over other bytes".to_owned())
    }
}

fn parse(given: &[u8]) -> Option<ed25519_dalek::Signature> {
    if let Ok(signature) = ed25519_dalek::Signature::from_slice(given) {
        return Some(signature);
    }
    let decoded = STANDARD.decode(given.trim_ascii()).ok()?;
    ed25519_dalek::Signature::from_slice(&decoded).ok()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::EncodePublicKey as _;
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn keys(directory: &Path, signers: &[&SigningKey]) -> Keys {
        let paths: Vec<_> =
            (0..signers.len()).map(|n| directory.join(format!("{n}.pem"))).collect();
        for (path, signer) in paths.iter().zip(signers) {
            let pem = signer.verifying_key().to_public_key_pem(Default::default()).unwrap();
            std::fs::write(path, pem).unwrap();
        }
        Keys::read(&paths).unwrap()
    }

    #[test]
    fn one_of_the_keys_must_have_signed_these_very_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second, stranger] = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let keys = keys(directory.path(), &[&first, &second]);
        let by = |key: &SigningKey| key.sign(b"component").to_bytes().to_vec();
        let check = |bytes: &[u8], signature| keys.check(bytes, &Signature::Given(signature));
        assert_eq!(check(b"component", by(&first)), Ok(()));
        assert_eq!(check(b"component", by(&second)), Ok(()));
        assert_eq!(
            check(b"component", format!("{}\n", STANDARD.encode(by(&second))).into()),
            Ok(())
        );
        assert!(check(b"component", by(&stranger)).unwrap_err().contains("none of the keys"));
        assert!(check(b"componenT", by(&first)).unwrap_err().contains("other bytes"));
        assert!(check(b"component", b"short".to_vec()).unwrap_err().contains("64 bytes"));
        assert!(keys.check(b"component", &Signature::Missing).unwrap_err().contains(".sig"));
        assert_eq!(keys.check(b"component", &Signature::Needless), Ok(()));
    }

    #[test]
    fn without_keys_nothing_needs_a_signature() {
        let keys = Keys::read(&[]).unwrap();
        assert_eq!(keys.check(b"component", &Signature::Missing), Ok(()));
    }

    #[test]
    fn a_key_that_is_none_is_told_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        std::fs::write(&path, "-----BEGIN NOTHING-----").unwrap();
        let error = Keys::read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.contains("key.pem") && error.contains("-pubout"), "{error}");
        let missing = Keys::read(&[directory.path().join("none.pem")]).unwrap_err().to_string();
        assert!(missing.contains("none.pem") && missing.contains("can't read it"), "{missing}");
    }
}
