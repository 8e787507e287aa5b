//! The HTTP client of stores: no redirects, no proxies, nothing from the environment, and answers that
//! are errors are never read at length.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderValue};
use http::{StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;
use wasink_chassis::{Secret, SecretError};

/// A connection that nothing has used for so long is not used again: nobody looks after it between two
/// artifacts, and servers close such.
const IDLE: Duration = Duration::from_secs(1);

/// So much of an answer that is an error is read, for the name of what is wrong.
const ERROR_BYTES: usize = 16 << 10;

/// Whom to trust.
#[derive(Debug, Clone, Copy)]
pub(super) enum Authorities<'a> {
    /// Nobody: no connection is encrypted.
    None,
    /// Whom the system trusts.
    System,
    /// Those in this file, in PEM, and nobody else.
    File(&'a Path),
}

/// A server's answer that is neither what was asked for nor that it is not there.
#[derive(Debug, thiserror::Error)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    /// S3's name for what is wrong.
    code: Option<String>,
}

/// Why there was no answer, or no end of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(String);

/// A client that object_store uses instead of its own.
#[derive(Debug, Clone)]
pub(super) struct Connector(HttpClient);

struct Client {
    pooled: Pooled<Timed, HttpRequestBody>,
    token: Option<Secret>,
}

/// Gives a connection so long to come about, from the name's address to the end of TLS's handshake.
#[derive(Clone)]
struct Timed {
    inner: HttpsConnector<TcpConnector>,
    limit: Duration,
}

impl Connector {
    /// A client that puts `token` on each request, as the bearer.
    ///
    /// # Errors
    ///
    /// What is wrong with the certificates, for the operator.
    pub(super) fn new(
        authorities: Authorities<'_>,
        connect_timeout: Duration,
        token: Option<Secret>,
    ) -> Result<Self, String> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config(config(authorities)?);
        let inner = https.https_or_http().enable_http1().wrap_connector(tcp);
        let pooled = Pooled::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(Timed { inner, limit: connect_timeout });
        Ok(Self(HttpClient::new(Client { pooled, token })))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(token) = &self.token {
            let bearer = bearer(token);
            let bearer =
                bearer.map_err(|error| HttpError::new_boxed(HttpErrorKind::Unknown, error))?;
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let answer = self.pooled.request(request).await.map_err(|error| {
            let kind = if error.is_connect() {
                HttpErrorKind::Connect
            } else {
                HttpErrorKind::Interrupted
            };
            HttpError::new(kind, NoAnswer(chain(&error)))
        })?;
        if answer.status().is_success() { whole(answer) } else { refused(answer).await }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answers {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " (`{code}`)")?;
        }
        if self.status.is_redirection() {
            f.write_str(", and redirects are not followed: name the place that it leads to")?;
        }
        Ok(())
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
            let late = |_| NoAnswer(format!("there was no connection within {limit:?}"));
            tokio::time::timeout(limit, connecting).await.map_err(late)?
        })
    }
}

/// The token's header. It is marked, so that nothing shows it.
fn bearer(token: &Secret) -> Result<HeaderValue, Box<dyn Error + Send + Sync>> {
    let text = token.get().map_err(Box::<SecretError>::new)?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", text.expose())).map_err(|_| {
        NoAnswer(format!("secret `{}` has characters that no header may have", token.name()))
    })?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// An answer whose end can be told from a connection that was lost.
fn whole(answer: http::Response<Incoming>) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = answer.into_parts();
    if !head.headers.contains_key(CONTENT_LENGTH) {
        let chunked = head.headers.contains_key(http::header::TRANSFER_ENCODING);
        if !chunked && head.version <= Version::HTTP_11 && !body.is_end_stream() {
            let reason = "the server does not say where its answer ends".to_owned();
            return Err(HttpError::new(HttpErrorKind::Decode, NoAnswer(reason)));
        }
        // object_store takes no answer without a length. It is used where an answer that was cut off is
        // asked for again, which needs a tag as well.
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        head.headers.remove(ETAG);
    }
    let body =
        body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, NoAnswer(chain(&error))));
    Ok(http::Response::from_parts(head, HttpResponseBody::new(body)))
}

/// An answer that is no success. What object_store has to see of those it gets without the body, which
/// would stand in its errors.
async fn refused(answer: http::Response<Incoming>) -> Result<HttpResponse, HttpError> {
    let (head, body) = answer.into_parts();
    let read = Limited::new(body, ERROR_BYTES).collect().await;
    let code = read.ok().and_then(|read| code_in(&read.to_bytes()));
    let no_bucket = code.as_deref() == Some("NoSuchBucket");
    let kind = match head.status {
        StatusCode::NOT_FOUND if !no_bucket => None,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED => None,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Some(HttpErrorKind::Request),
        StatusCode::NOT_IMPLEMENTED => Some(HttpErrorKind::Unknown),
        status if status.is_server_error() => Some(HttpErrorKind::Request),
        _ => Some(HttpErrorKind::Unknown),
    };
    match kind {
        None => Ok(http::Response::from_parts(head, HttpResponseBody::from(Bytes::new()))),
        Some(kind) => Err(HttpError::new(kind, Answered { status: head.status, code })),
    }
}

/// What stands in `<Code>` of S3's errors, if that is a name.
fn code_in(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_name =
        (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| code.to_owned())
}

/// An error and what led to it, without saying anything twice.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
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

fn config(authorities: Authorities<'_>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Authorities::None => {}
        Authorities::System => {
            // What can't be read there is not trusted; a connection that needed it says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Authorities::File(path) => {
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
