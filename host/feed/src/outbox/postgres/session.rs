//! The connection: made anew once it is lost, with a transaction that lasts over several calls, and a
//! deadline for each call that holds whatever the server does.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::OutboxError;

/// How long one address may take to accept a connection, where the URL says nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a statement may take. The server ends it then.
const STATEMENT: Duration = Duration::from_secs(30);

/// How long it may wait for what others have locked.
const LOCK: Duration = Duration::from_secs(10);

/// How long a call may take that the server does not end, since it is gone or hangs.
const CALL: Duration = Duration::from_secs(40);

/// A server and what is going on there.
pub(super) struct Session {
    config: Config,
    tls: MakeRustlsConnect,
    /// Where it is, for errors. Without the password.
    place: String,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    link: Option<Link>,
    /// Whether a transaction is open.
    open: bool,
    /// How long the server keeps an open transaction in which nothing is asked for.
    pub(super) idle: Duration,
}

/// A connection.
struct Link {
    client: Client,
    /// Moves the bytes, and ends with the reason.
    carrier: JoinHandle<Result<(), Error>>,
    /// Whether the database keeps any character.
    unicode: bool,
}

/// What a server says, or why it says nothing.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Told {
    text: String,
    source: Option<Error>,
}

impl Told {
    /// In words: by itself an error of the client says no more than its kind.
    pub(super) fn new(error: Error) -> Self {
        Self { text: words(&error), source: Some(error) }
    }

    fn at(place: &str, error: Error) -> Self {
        Self { text: format!("`{place}`: {}", words(&error)), source: Some(error) }
    }

    fn plain(text: String) -> Self {
        Self { text, source: None }
    }
}

impl From<Told> for OutboxError {
    fn from(told: Told) -> Self {
        Self(told.into())
    }
}

impl Session {
    /// Makes none yet.
    pub(super) fn new(
        url: &str,
        password: Option<&str>,
        authorities: Option<&Path>,
        idle: Duration,
    ) -> Result<Self, OutboxError> {
        let mut config = config(url)?;
        if let Some(password) = password {
            config.password(password);
        }
        let place = place(&config);
        let told = |text| OutboxError::from(Told::plain(format!("`{place}`: {text}")));
        let tls = MakeRustlsConnect::new(tls(authorities).map_err(told)?);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| told(format!("no event loop: {error}")))?;
        Ok(Self { config, tls, place, runtime: Some(runtime), link: None, open: false, idle })
    }

    /// Where the server is.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether the database keeps any character; where not, only those of ASCII are safe.
    pub(super) fn unicode(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.unicode)
    }

    /// Begins a transaction, on a new connection where there is none. One that was left open is rolled
    /// back.
    pub(super) fn begin(&mut self) -> Result<(), OutboxError> {
        if std::mem::take(&mut self.open) {
            // Asked for, so that it is done: a connection that is closed is noticed some time later.
            // Where that fails the connection is closed, and makes way for a new one.
            drop(self.call(async |client| client.batch_execute("ROLLBACK").await));
        }
        self.connect()?;
        // Each statement is to see what others have committed by then, whatever the database or the
        // role has for a default. Limits are the transaction's own, so that they hold behind a pool of
        // connections as well. A host that is gone is noticed in two minutes.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
             SET LOCAL statement_timeout = {}; \
             SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; \
             SET LOCAL tcp_keepalives_idle = 60; \
             SET LOCAL tcp_keepalives_interval = 15; \
             SET LOCAL tcp_keepalives_count = 4",
            STATEMENT.as_millis(),
            LOCK.as_millis(),
            self.idle.as_millis().min(i32::MAX.unsigned_abs().into()),
        );
        self.call(async |client| client.batch_execute(&begin).await)?;
        self.open = true;
        Ok(())
    }

    /// Ends the transaction, where one is open.
    pub(super) fn commit(&mut self) -> Result<(), OutboxError> {
        if self.open {
            self.call(async |client| client.batch_execute("COMMIT").await)?;
            self.open = false;
        }
        Ok(())
    }

    /// Asks, in the transaction that is open or else in one of its own. An error ends the transaction
    /// and the connection.
    pub(super) fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, OutboxError> {
        if self.open {
            return self.call(work);
        }
        self.begin()?;
        let found = self.call(work)?;
        self.commit()?;
        Ok(found)
    }

    fn connect(&mut self) -> Result<(), OutboxError> {
        let Some(runtime) = &self.runtime else { return Err(self.lost()) };
        if let Some(link) = &self.link {
            runtime.block_on(caught_up());
            if !link.carrier.is_finished() {
                return Ok(());
            }
            self.link = None;
        }
        let hosts = self.config.get_hosts().len().max(self.config.get_hostaddrs().len()).max(1);
        let one = self.config.get_connect_timeout().copied().unwrap_or(CONNECT);
        // A name may have a second address; and who accepts may still say nothing.
        let all = one.saturating_mul(u32::try_from(hosts).unwrap_or(u32::MAX)).saturating_mul(2);
        let connected =
            runtime.block_on(async { timeout(all, self.config.connect(self.tls.clone())).await });
        let (client, connection) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => {
                let text = format!("can't connect to `{}`: {}", self.place, words(&error));
                return Err(Told { text, source: Some(error) }.into());
            }
            Err(_) => {
                let text = format!("can't connect to `{}`: no answer in {all:?}", self.place);
                return Err(Told::plain(text).into());
            }
        };
        let unicode = connection.parameter("server_encoding").is_some_and(|name| name == "UTF8");
        let carrier = runtime.spawn(connection);
        self.link = Some(Link { client, carrier, unicode });
        Ok(())
    }

    fn call<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, OutboxError> {
        let (Some(runtime), Some(link)) = (&self.runtime, &mut self.link) else {
            return Err(self.lost());
        };
        let asked = async {
            caught_up().await;
            work(&link.client).await
        };
        let error = match runtime.block_on(async { timeout(CALL, asked).await }) {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => {
                // Whoever waits is told that the connection is closed; why is told to the carrier.
                let ended = error.is_closed() && link.carrier.is_finished();
                let reason = ended.then(|| runtime.block_on(&mut link.carrier));
                match reason {
                    Some(Ok(Err(reason))) => Told::at(&self.place, reason),
                    _ => Told::at(&self.place, error),
                }
            }
            Err(_) => Told::plain(format!("`{}`: no answer in {CALL:?}", self.place)),
        };
        self.discard();
        Err(error.into())
    }

    /// Closes the connection at once, which makes the server roll back.
    fn discard(&mut self) {
        self.open = false;
        let (Some(runtime), Some(link)) = (&self.runtime, self.link.take()) else { return };
        if !link.carrier.is_finished() {
            link.carrier.abort();
            // It has been told to end: only then the socket is closed.
            drop(runtime.block_on(link.carrier));
        }
    }

    fn lost(&self) -> OutboxError {
        Told::plain(format!("`{}`: the connection is lost", self.place)).into()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not by waiting for a name that is being looked up.
            runtime.shutdown_background();
        }
    }
}

/// Lets the carrier read what has come while nobody asked, which may be why the connection has ended:
/// once for the event loop to see it, and once for the carrier.
async fn caught_up() {
    for _ in 0..2 {
        yield_now().await;
    }
}

/// The settings of a URL, or of pairs of keys and values. What is wrong with one is not repeated: there
/// may be a password in it.
pub(super) fn config(url: &str) -> Result<Config, OutboxError> {
    let refused = || {
        let text = "the URL of the database is not understood: it is \
                    `postgres://user:password@host:port/database?sslmode=require`, `sslmode` is \
                    `disable`, `prefer` or `require`, and `%`, `/`, `?`, `@`, `:` and `#` in a name or \
                    a password are written as `%25`, `%2F`, `%3F`, `%40`, `%3A` and `%23`";
        OutboxError::from(Told::plain(text.to_owned()))
    };
    if let Some((_, rest)) = url.split_once("://") {
        // A character of a password that is not escaped must not make a host of its rest.
        let ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest.get(..ends).unwrap_or_default();
        if authority.matches('@').count() > 1 || rest.get(ends..).unwrap_or_default().contains('@')
        {
            return Err(refused());
        }
    }
    let mut config: Config = url.parse().map_err(|_| refused())?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        let text = "the URL of the database names no host: as `postgres://user@host/database`, or \
                    `postgres:///database?user=user&host=/run/postgresql` for a Unix socket";
        return Err(Told::plain(text.to_owned()).into());
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_application_name().is_none() {
        config.application_name("wasink");
    }
    Ok(config)
}

fn place(config: &Config) -> String {
    let port = |index: usize| {
        let ports = config.get_ports();
        ports.get(index).or(ports.first()).copied().unwrap_or(5432)
    };
    let mut hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(index)),
            Host::Unix(directory) => directory.display().to_string(),
        })
        .collect();
    if hosts.is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        hosts = addresses.map(|(index, address)| format!("{address}:{}", port(index))).collect();
    }
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}

/// Trusts the authorities in a file, or else those of the system.
fn tls(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authorities {
        let told = |error: String| format!("the certificates in `{}`: {error}", path.display());
        let found = CertificateDer::pem_file_iter(path).map_err(|error| told(error.to_string()))?;
        for certificate in found {
            let certificate = certificate.map_err(|error| told(error.to_string()))?;
            roots.add(certificate).map_err(|error| told(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(told("there is none".to_owned()));
        }
    } else {
        // What can't be read there is not trusted; a connection that needed it says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn words(error: &Error) -> String {
    if let Some(told) = error.as_db_error() {
        let more = [told.detail(), told.hint()].into_iter().flatten();
        let more: String = more.map(|more| format!("; {}", more.trim_end_matches('.'))).collect();
        return format!("{}{more} (SQLSTATE {})", told.message(), told.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let reason = error.source().and_then(|error| error.downcast_ref::<std::io::Error>());
    if reason.and_then(|error| error.get_ref()).is_some_and(|error| error.is::<rustls::Error>()) {
        text += "; `SSL_CERT_FILE` names a file with authorities that are to be trusted, and \
                 `sslmode=disable` in the URL does without TLS";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_password() {
        for (url, shown) in [
            ("postgres://app:secret@db:5433/shop", "db:5433/shop"),
            ("postgres://app:secret@db", "db:5432/app"),
            ("postgres://app:secret@a,b:1/shop", "a:5432,b:1/shop"),
            ("postgres:///shop?user=app&password=secret&host=/run/x", "/run/x/shop"),
            ("host=db user=app password=secret dbname=shop", "db:5432/shop"),
            ("hostaddr=::1 port=7 user=app password=secret", "::1:7/app"),
        ] {
            assert_eq!(place(&config(url).unwrap()), shown);
        }
    }

    #[test]
    fn a_url_that_is_not_understood_is_not_repeated() {
        for url in [
            "postgres://app:sec@ret@db/shop",
            "postgres://app:sec/secret@db/shop",
            "postgres://app:sec?secret@db/shop",
            "postgres://app:sec#secret@db/shop",
            "postgres://app:ret:secret@db:secret/shop",
            "postgres:///shop?host=db&user=app&password=sec@ret",
            "postgres://app:p@db/shop?secret=1",
            "postgres://app:p@db/shop?sslmode=secret",
            "postgres://app:secret@/shop",
            "host=db password=more secret",
            "secret",
        ] {
            let told = config(url).unwrap_err().to_string();
            assert!(!told.contains("secret") && !told.contains("ret@"), "{url}: {told}");
        }
    }
}
