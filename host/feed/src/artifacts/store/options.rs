//! Which store, and what it takes to open it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, CredentialProvider, ObjectStore, RetryConfig};
use url::Url;
use wasink_chassis::{Secret, SecretError};

use super::client::{Authorities, Connector};
use super::key;
use crate::artifacts::LARGEST;

/// Which store to open, and how. What has to stay secret stands in `secrets` and nowhere else.
#[derive(Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// `file:///directory`, `s3://bucket/prefix`, `https://host/prefix` or, where the setting
    /// `allow_http` says so, `http://host/prefix`. Without user, query and fragment.
    pub url: String,
    /// Largest artifact, in bytes. Default: 64 MiB.
    pub limit: u64,
    /// How long a connection may take, from the lookup of the name to the end of TLS's handshake.
    /// Default: 10 s.
    pub connect_timeout: Duration,
    /// How long it may take to get or to put one artifact, all in all. Default: 2 min.
    pub timeout: Duration,
    /// By name:
    ///
    /// - `allow_http`: `true` to go without TLS. What is read is checked all the same; but who stands in
    ///   between can read it, and can say that it is missing.
    /// - `ca`: a file with the certificates of the authorities to trust, in PEM, instead of the system's.
    /// - of `s3://`: `region`, which is needed unless there is an `endpoint`; `endpoint`, the URL of a
    ///   server that is not Amazon's; `path_style`, `true` where the bucket stands in the path (as it does
    ///   with an `endpoint`) and `false` where it stands in the host's name, also in that of the
    ///   `endpoint`; `anonymous`, `true` to sign nothing.
    pub settings: BTreeMap<String, String>,
    /// By name: of `s3://`, `access_key_id`, `secret_access_key` and `session_token`; of `https://`,
    /// `token`, the bearer's. Each is read again as often as it says, so that it can change.
    pub secrets: BTreeMap<String, Secret>,
}

/// Why a store can't be opened. No text of it holds a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// The URL is none of a store.
    #[error("the URL of the store of artifacts: {reason}")]
    Url {
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A setting is wrong, missing or unknown.
    #[error("setting `{name}` of the store of artifacts: {reason}")]
    Setting {
        /// Its name.
        name: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A secret is missing or unknown.
    #[error("secret `{name}` of the store of artifacts: {reason}")]
    Secret {
        /// Its name.
        name: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// The directory can't be used.
    #[error("the directory of artifacts `{}`: {reason}", path.display())]
    Directory {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The system does not give what is needed.
    #[error("the store of artifacts: {reason}")]
    System {
        /// What is missing.
        reason: String,
    },
}

/// A store that was opened, and what it calls itself.
pub(super) struct Opened {
    pub(super) store: Box<dyn ObjectStore>,
    /// What keys are put behind.
    pub(super) prefix: Path,
    /// Where it is a directory.
    pub(super) root: Option<PathBuf>,
}

impl StoreOptions {
    /// A store at this URL, and everything else as by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            limit: LARGEST,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_mins(2),
            settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// The same with this setting.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// The same with this secret.
    #[must_use]
    pub fn with_secret(mut self, name: impl Into<String>, secret: Secret) -> Self {
        self.secrets.insert(name.into(), secret);
        self
    }

    pub(super) fn open(&self) -> Result<Opened, StoreOpenError> {
        let url = plain(&self.url).map_err(|reason| StoreOpenError::Url { reason })?;
        match url.scheme() {
            "file" => self.open_directory(&url),
            "s3" => self.open_s3(&url),
            "http" | "https" => self.open_http(url),
            other => Err(wrong_url(format!(
                "`{other}` is no scheme of a store; there are `file`, `s3`, `https` and `http`"
            ))),
        }
    }

    fn open_directory(&self, url: &Url) -> Result<Opened, StoreOpenError> {
        self.only(&[], &[])?;
        let path = url.to_file_path().ok().filter(|_| self.url.starts_with("file:///"));
        let path = path.ok_or_else(|| {
            wrong_url("a directory is named by its whole path: `file:///srv/artifacts`".to_owned())
        })?;
        let wrong = |reason| StoreOpenError::Directory { path: path.clone(), reason };
        let metadata = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?;
        if !metadata.is_dir() {
            return Err(wrong("it is no directory".to_owned()));
        }
        let store = LocalFileSystem::new_with_prefix(&path);
        let store = store.map_err(|error| wrong(error.to_string()))?.with_fsync(true);
        Ok(Opened { store: Box::new(store), prefix: Path::default(), root: Some(path) })
    }

    fn open_http(&self, mut url: Url) -> Result<Opened, StoreOpenError> {
        self.only(&["allow_http", "ca"], &["token"])?;
        self.encrypted(&url, "url")?;
        let token = self.secrets.get("token").cloned();
        if token.is_some() && url.scheme() != "https" {
            return Err(wrong_secret(
                "token",
                "it is sent as it is, so the URL has to be `https://`",
            ));
        }
        // Keys are put behind what is there, with a `/` between.
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let connector = self.connector(url.scheme() == "https", token)?;
        let store = HttpBuilder::new()
            .with_url(url)
            .with_retry(self.retry())
            .with_http_connector(connector)
            .build();
        let store = Box::new(store.map_err(|error| wrong_url(error.to_string()))?);
        Ok(Opened { store, prefix: Path::default(), root: None })
    }

    fn open_s3(&self, url: &Url) -> Result<Opened, StoreOpenError> {
        let settings = ["allow_http", "anonymous", "ca", "endpoint", "path_style", "region"];
        self.only(&settings, &["access_key_id", "secret_access_key", "session_token"])?;
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty() && url.port().is_none());
        let bucket = bucket
            .ok_or_else(|| wrong_url("it names no bucket: `s3://bucket/prefix`".to_owned()))?;
        let prefix = url.path().trim_matches('/');
        let prefix = if prefix.is_empty() {
            Some(Path::default())
        } else {
            Path::from_url_path(prefix)
                .ok()
                .and_then(|path| key::path(&Path::default(), path.as_ref()))
        };
        let prefix = prefix.ok_or_else(|| {
            wrong_url("what stands behind the bucket is no prefix of keys".to_owned())
        })?;
        let endpoint = self.settings.get("endpoint").map(|endpoint| self.endpoint(endpoint));
        let endpoint = endpoint.transpose()?;
        let region = self.settings.get("region").map(String::as_str);
        let region = match (region, &endpoint) {
            (Some(region), _) if !region.is_empty() => region,
            // Who is not Amazon has one region, and most call it so.
            (None, Some(_)) => "us-east-1",
            _ => return Err(wrong_setting("region", "say in which region the bucket is")),
        };
        // A name with a dot has no certificate as part of a host's.
        let in_path = endpoint.is_some() || bucket.contains('.');
        let path_style = self.flag("path_style")?.unwrap_or(in_path);
        let is_encrypted = endpoint.as_ref().is_none_or(|endpoint| endpoint.scheme() == "https");
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_virtual_hosted_style_request(!path_style)
            .with_retry(self.retry())
            .with_http_connector(self.connector(is_encrypted, None)?);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        builder = match self.keys()? {
            Some(keys) => builder.with_credentials(Arc::new(keys)),
            None => builder.with_skip_signature(true),
        };
        let store = builder.build();
        let reason =
            |error: object_store::Error| StoreOpenError::System { reason: error.to_string() };
        Ok(Opened { store: Box::new(store.map_err(reason)?), prefix, root: None })
    }

    fn endpoint(&self, text: &str) -> Result<Url, StoreOpenError> {
        let endpoint = plain(text).map_err(|reason| wrong_setting("endpoint", &reason))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(wrong_setting("endpoint", "it has to begin with `https://` or `http://`"));
        }
        self.encrypted(&endpoint, "endpoint")?;
        Ok(endpoint)
    }

    /// The keys to sign with, or none where nothing is to be signed.
    fn keys(&self) -> Result<Option<Keys>, StoreOpenError> {
        if self.flag("anonymous")?.unwrap_or(false) {
            return match self.secrets.keys().next() {
                Some(name) => {
                    Err(wrong_secret(name, "nothing is signed where `anonymous` is true"))
                }
                None => Ok(None),
            };
        }
        let needed = |name: &str| {
            let reason = "it is needed to sign requests, unless `anonymous` is true";
            self.secrets.get(name).cloned().ok_or_else(|| wrong_secret(name, reason))
        };
        let (id, key) = (needed("access_key_id")?, needed("secret_access_key")?);
        Ok(Some(Keys { id, key, token: self.secrets.get("session_token").cloned() }))
    }

    fn connector(
        &self,
        encrypted: bool,
        token: Option<Secret>,
    ) -> Result<Connector, StoreOpenError> {
        let authorities = match self.settings.get("ca") {
            _ if !encrypted => Authorities::None,
            Some(path) => Authorities::File(FilePath::new(path)),
            None => Authorities::System,
        };
        Connector::new(authorities, self.connect_timeout, token)
            .map_err(|reason| StoreOpenError::System { reason })
    }

    /// Whoever needs an artifact comes again by himself: these are for what passes at once.
    fn retry(&self) -> RetryConfig {
        let (init_backoff, max_backoff) = (Duration::from_millis(100), Duration::from_secs(1));
        let backoff = BackoffConfig { init_backoff, max_backoff, base: 2. };
        RetryConfig { backoff, max_retries: 2, retry_timeout: self.timeout }
    }

    /// Whether no other settings and secrets are there.
    fn only(&self, settings: &[&str], secrets: &[&str]) -> Result<(), StoreOpenError> {
        let known = |names: &[&str]| match names {
            [] => "there are none for a directory".to_owned(),
            names => format!("for such a URL there are `{}`", names.join("`, `")),
        };
        if let Some(name) = self.settings.keys().find(|name| !settings.contains(&name.as_str())) {
            let reason = if secrets.contains(&name.as_str()) {
                "it is a secret: name it among those".to_owned()
            } else {
                format!("it is unknown; {}", known(settings))
            };
            return Err(StoreOpenError::Setting { name: name.clone(), reason });
        }
        match self.secrets.keys().find(|name| !secrets.contains(&name.as_str())) {
            Some(name) => Err(wrong_secret(name, &format!("it is unknown; {}", known(secrets)))),
            None => Ok(()),
        }
    }

    /// Whether a URL may be used without TLS, if it is.
    fn encrypted(&self, url: &Url, named: &str) -> Result<(), StoreOpenError> {
        if self.flag("allow_http")?.unwrap_or(false) || url.scheme() == "https" {
            return Ok(());
        }
        let reason = format!("it has to be `true` for a `{named}` that begins with `http://`");
        Err(wrong_setting("allow_http", &reason))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, StoreOpenError> {
        let value = self.settings.get(name).map(|value| value.parse());
        value.transpose().map_err(|_| wrong_setting(name, "it is `true` or `false`"))
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What has not been looked at may hold what it should not.
        let url = plain(&self.url).map_or_else(|_| "…".to_owned(), String::from);
        f.debug_struct("StoreOptions")
            .field("url", &url)
            .field("limit", &self.limit)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("settings", &self.settings.keys())
            .field("secrets", &self.secrets.keys())
            .finish()
    }
}

/// What requests are signed with, read whenever one is.
#[derive(Debug)]
struct Keys {
    id: Secret,
    key: Secret,
    token: Option<Secret>,
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let read = |secret: &Secret| {
            let text = secret.get().map_err(Box::<SecretError>::new);
            let text =
                text.map_err(|source| object_store::Error::Generic { store: "S3", source })?;
            Ok::<_, object_store::Error>(text.expose().to_owned())
        };
        let token = self.token.as_ref().map(read).transpose()?;
        let (key_id, secret_key) = (read(&self.id)?, read(&self.key)?);
        Ok(Arc::new(AwsCredential { key_id, secret_key, token }))
    }
}

/// A URL that holds nothing that should not be shown. Errors do not repeat it.
fn plain(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is none: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it names a user; credentials are named among the secrets".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it has a `?` or a `#`; it is a place and nothing else".to_owned());
    }
    if url.cannot_be_a_base() {
        return Err("it is no place, as `https://host/prefix` is".to_owned());
    }
    Ok(url)
}

fn wrong_url(reason: String) -> StoreOpenError {
    StoreOpenError::Url { reason }
}

fn wrong_setting(name: &str, reason: &str) -> StoreOpenError {
    StoreOpenError::Setting { name: name.to_owned(), reason: reason.to_owned() }
}

fn wrong_secret(name: &str, reason: &str) -> StoreOpenError {
    StoreOpenError::Secret { name: name.to_owned(), reason: reason.to_owned() }
}
