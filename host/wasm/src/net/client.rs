//! A client for one origin, and what its errors mean.

use std::error::Error as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client as Pooled, Error as PooledError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use wasink_chassis::config::HttpGrant;
use wasink_chassis::limits::Limits;
use wasmtime_wasi_http::{Error, WasiBody};

use super::connect::{ConnectError, Connector};
use super::names::Lookups;

/// How long a connection that nothing uses is kept.
const IDLE: Duration = Duration::from_secs(60);

/// The smallest buffer that hyper reads an answer's head into.
const SMALLEST_BUFFER: usize = 8 << 10;

/// A client whose connections all go to one origin.
#[derive(Clone)]
pub(super) enum Client {
    Direct(Pooled<HttpsConnector<Connector>, WasiBody>),
    Proxied(Pooled<HttpsConnector<Tunnel<Connector>>, WasiBody>),
}

impl Client {
    /// Reads the certificates that are trusted.
    ///
    /// # Errors
    ///
    /// What is wrong with them, or with the proxy, for the operator.
    pub(super) fn new(
        grant: &HttpGrant,
        lookups: Lookups,
        patience: Duration,
        limits: &Limits,
    ) -> Result<Self, String> {
        let mut builder = Pooled::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(limits.http_requests)
            .http1_max_buf_size(limits.http_header_bytes.max(SMALLEST_BUFFER));
        let tls = match &grant.ca {
            Some(path) => own_authorities(path)?,
            None => system_authorities()?,
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = connector.enable_http1();
        Ok(match &grant.proxy {
            None => {
                let checked =
                    Connector::to_origin(&grant.origin, &grant.networks, lookups, patience);
                Self::Direct(builder.build(connector.wrap_connector(checked)))
            }
            Some(proxy) => {
                let uri: Uri = proxy.to_string().parse().map_err(|_| "no proxy".to_owned())?;
                let checked = Connector::to_proxy(proxy, lookups, patience);
                Self::Proxied(builder.build(connector.wrap_connector(Tunnel::new(uri, checked))))
            }
        })
    }

    pub(super) async fn send(
        &self,
        request: Request<WasiBody>,
    ) -> Result<Response<Incoming>, PooledError> {
        match self {
            Self::Direct(client) => client.request(request).await,
            Self::Proxied(client) => client.request(request).await,
        }
    }
}

/// Trusts whom the system trusts. Read once: it takes some milliseconds.
fn system_authorities() -> Result<ClientConfig, String> {
    static CONFIG: OnceLock<Result<ClientConfig, String>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        // What can't be read there is not trusted; a connection that needed it says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        config(roots)
    };
    CONFIG.get_or_init(read).clone()
}

/// Trusts those in a file and nobody else.
fn own_authorities(path: &Path) -> Result<ClientConfig, String> {
    let shown = path.display();
    let read = CertificateDer::pem_file_iter(path)
        .map_err(|error| format!("the certificates in `{shown}`: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in read {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| format!("the certificates in `{shown}`: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("there is no certificate in `{shown}`"));
    }
    config(roots)
}

fn config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What an error of the client means to a guest: whether anything was sent, above all.
pub(super) fn error_of(error: &PooledError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(ConnectError(error)) = error.downcast_ref() {
            return again(error);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return tls(error);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            // What a body has to say is said by whoever made it.
            let inner = error.source().and_then(|inner| inner.downcast_ref::<Error>());
            return inner.map_or_else(|| error_of_hyper(error), again);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>()
            && let Some(inner) = inner.get_ref()
        {
            if let Some(ConnectError(error)) = inner.downcast_ref() {
                return again(error);
            }
            if let Some(error) = inner.downcast_ref::<rustls::Error>() {
                return tls(error);
            }
        }
        cause = error.source();
    }
    if error.is_connect() { Error::ConnectionRefused } else { Error::ConnectionTerminated }
}

/// What hyper's own errors mean to a guest.
pub(super) fn error_of_hyper(error: &hyper::Error) -> Error {
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_parse() {
        Error::HttpProtocolError
    } else {
        Error::ConnectionTerminated
    }
}

fn tls(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Error::TlsCertificateError
        }
        rustls::Error::AlertReceived(alert) => {
            Error::TlsAlertReceived { alert_id: None, alert_message: Some(format!("{alert:?}")) }
        }
        _ => Error::TlsProtocolError,
    }
}

/// The same error once more: they can't be cloned.
fn again(error: &Error) -> Error {
    match error {
        Error::DestinationNotFound => Error::DestinationNotFound,
        Error::DestinationUnavailable => Error::DestinationUnavailable,
        Error::DestinationIpProhibited => Error::DestinationIpProhibited,
        Error::ConnectionRefused => Error::ConnectionRefused,
        Error::ConnectionTimeout => Error::ConnectionTimeout,
        Error::HttpRequestBodySize(size) => Error::HttpRequestBodySize(*size),
        Error::DnsError { rcode, info_code } => {
            Error::DnsError { rcode: rcode.clone(), info_code: *info_code }
        }
        _ => Error::ConnectionTerminated,
    }
}
