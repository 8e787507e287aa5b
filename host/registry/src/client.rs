//! One request after another, over the host's own HTTP and TLS: no proxies, nothing from the
//! environment, and no answer is read without a limit.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

use crate::error::RegistryError;

/// How long something may take before it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A connection, from the name's address to the end of TLS's handshake. Default: 10 s.
    pub connect: Duration,
    /// The registry's next word. Default: 30 s.
    pub word: Duration,
    /// One exchange in all, however much is transferred. Default: 10 min.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            word: Duration::from_secs(30),
            whole: Duration::from_secs(600),
        }
    }
}

pub(crate) struct Client {
    pooled: Pooled<Timed, Full<Bytes>>,
    patience: Patience,
}

/// Gives a connection so long to come about.
#[derive(Clone)]
struct Timed {
    inner: HttpsConnector<TcpConnector>,
    limit: Duration,
}

/// The bytes of an answer, one run after another.
pub(crate) struct Body {
    body: Incoming,
    place: String,
    limit: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("there was no connection within {0:?}")]
struct NoConnection(Duration);

impl Client {
    /// Trusts whom the system trusts, or those in the file `authorities` and nobody else.
    pub(crate) fn new(
        authorities: Option<&Path>,
        patience: Patience,
    ) -> Result<Self, RegistryError> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let config = tls(authorities).map_err(RegistryError::Options)?;
        let https = HttpsConnectorBuilder::new().with_tls_config(config);
        let inner = https.https_or_http().enable_http1().wrap_connector(tcp);
        let pooled = Pooled::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(Timed { inner, limit: patience.connect });
        Ok(Self { pooled, patience })
    }

    /// The head of the answer, and what there is to be read behind it. Whoever uploads is given the time
    /// of a whole exchange for it.
    pub(crate) async fn send(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, RegistryError> {
        let place = place(url);
        let limit = match request.method().is_safe() {
            true => self.patience.word + self.patience.connect,
            false => self.patience.whole,
        };
        let answer = tokio::time::timeout(limit, self.pooled.request(request)).await;
        let answer = answer.map_err(|_| RegistryError::Late { place: place.clone(), limit })?;
        let answer = answer.map_err(|error| {
            let (place, reason) = (place.clone(), chain(&error));
            match error.is_connect() {
                true => RegistryError::Unreachable { place, reason },
                false => RegistryError::CutOff { place, reason },
            }
        })?;
        let limit = self.patience.word;
        Ok(answer.map(|body| Body { body, place, limit }))
    }
}

impl Body {
    /// The next of them; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let frame = tokio::time::timeout(self.limit, self.body.frame()).await;
            let late = |_| RegistryError::Late { place: self.place.clone(), limit: self.limit };
            let Some(frame) = frame.map_err(late)? else { return Ok(None) };
            let frame = frame.map_err(|error| RegistryError::CutOff {
                place: self.place.clone(),
                reason: chain(&error),
            })?;
            // Trailers are nothing to us.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    /// All of them, if they are not more than `limit`; `None` where they are.
    pub(crate) async fn all(mut self, limit: usize) -> Result<Option<Bytes>, RegistryError> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if bytes.len() > limit - all.len() {
                return Ok(None);
            }
            all.extend_from_slice(&bytes);
        }
        Ok(Some(all.freeze()))
    }
}

impl Service<Uri> for Timed {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, ctx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(ctx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(uri), self.limit);
        Box::pin(async move {
            let connected = tokio::time::timeout(limit, connecting).await;
            connected.map_err(|_| NoConnection(limit))?
        })
    }
}

/// The host and the port of an address, for messages.
pub(crate) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An error and what led to it, without saying anything twice.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = error.source();
    }
    text
}

fn tls(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => {
            // What can't be read there is not trusted; a connection that needed it says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let shown = path.display();
            let wrong = |error: String| format!("the certificates in `{shown}`: {error}");
            let read = CertificateDer::pem_file_iter(path);
            for certificate in read.map_err(|error| wrong(error.to_string()))? {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(format!("there is no certificate in `{shown}`"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
