//! Who asks.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

/// The longest file with a password and the longest of docker's configurations that is read, in bytes.
const MAX_PASSWORD: u64 = 16 << 10;
const MAX_CONFIG: u64 = 1 << 20;

/// A user's name and password. `Debug` shows neither; they are wiped from memory in the end.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: Zeroizing<String>,
}

/// Why there are no credentials. It never holds anything of one.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {reason}")]
#[non_exhaustive]
pub struct CredentialsError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Of docker's configuration, what is looked at.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: std::collections::BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    auth: Option<Zeroizing<String>>,
}

impl Credentials {
    /// These.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: Zeroizing::new(password.into()) }
    }

    /// With the password that is in a file, without the line's end behind it.
    ///
    /// # Errors
    ///
    /// Where the file can't be read, is longer than 16 KiB, is empty or is not UTF-8.
    pub fn with_password_file(
        user: impl Into<String>,
        path: &Path,
    ) -> Result<Self, CredentialsError> {
        let wrong = |reason: String| error(path, reason);
        let text = read(path, MAX_PASSWORD).map_err(|error| wrong(error.to_string()))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(wrong("there is no password in it".to_owned()));
        }
        Ok(Self::new(user, password))
    }

    /// Those that docker's configuration has under `auths` for a registry. `None` where it has none, or
    /// is not there. Programs that keep credentials are not asked.
    ///
    /// # Errors
    ///
    /// Where the file is there and can't be read or understood.
    pub fn of_docker(path: &Path, registry: &str) -> Result<Option<Self>, CredentialsError> {
        let wrong = |reason: String| error(path, reason);
        let text = match read(path, MAX_CONFIG) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        // What serde says of a wrong value may have the value in it.
        let config: DockerConfig = serde_json::from_str(&text).map_err(|error| {
            wrong(format!("it is not docker's configuration (line {})", error.line()))
        })?;
        let Some(auth) = config.auths.get(registry).and_then(|auth| auth.auth.as_ref()) else {
            return Ok(None);
        };
        let decoded = STANDARD.decode(auth.as_bytes()).ok().map(Zeroizing::new);
        let text = decoded.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let (user, password) = text.and_then(|text| text.split_once(':')).ok_or_else(|| {
            wrong(format!(
                "`auths.\"{registry}\".auth` is not the Base64 of a name, `:` and a password"
            ))
        })?;
        Ok(Some(Self::new(user, password)))
    }

    /// What stands behind `Basic` in a header.
    pub(crate) fn basic(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", self.user, &*self.password));
        Zeroizing::new(STANDARD.encode(pair.as_bytes()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

fn error(path: &Path, reason: String) -> CredentialsError {
    CredentialsError { path: path.display().to_string(), reason }
}

fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(credentials: &Credentials) -> String {
        String::from_utf8(STANDARD.decode(&*credentials.basic()).unwrap()).unwrap()
    }

    #[test]
    fn a_password_is_the_file_without_the_line_s_end_and_shown_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        for (content, password) in [("a b", "a b"), ("x:y\r\n", "x:y"), ("p\n", "p")] {
            std::fs::write(&path, content).unwrap();
            let credentials = Credentials::with_password_file("me", &path).unwrap();
            assert_eq!(pair(&credentials), format!("me:{password}"));
            assert!(!format!("{credentials:?}").contains(password), "{credentials:?}");
        }
        for content in [&b""[..], b"\n", b"\xff"] {
            std::fs::write(&path, content).unwrap();
            let error = Credentials::with_password_file("me", &path).unwrap_err().to_string();
            assert!(error.contains("password`: "), "{error}");
        }
        std::fs::write(&path, "x".repeat(20_000)).unwrap();
        assert!(Credentials::with_password_file("me", &path).is_err());
    }

    #[test]
    fn docker_s_configuration_is_asked_for_one_registry_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert!(Credentials::of_docker(&path, "r.example").unwrap().is_none());
        let auth = STANDARD.encode("me:secret");
        let config = format!(
            r#"{{"auths":{{"r.example":{{"auth":"{auth}"}},"kept.example":{{}},
                "odd.example":{{"auth":"c2VjcmV0"}}}},"credsStore":"desktop"}}"#
        );
        std::fs::write(&path, config).unwrap();
        let of = |registry| Credentials::of_docker(&path, registry);
        assert_eq!(pair(&of("r.example").unwrap().unwrap()), "me:secret");
        assert!(of("kept.example").unwrap().is_none() && of("example").unwrap().is_none());
        let error = of("odd.example").unwrap_err().to_string();
        assert!(error.contains("odd.example") && !error.contains("c2VjcmV0"), "{error}");
        std::fs::write(&path, r#"{"auths":{"r.example":{"auth":7}}}"#).unwrap();
        assert!(of("r.example").unwrap_err().to_string().contains("line 1"));
    }
}
