//! Requests over HTTP: to origins that were granted, with what the host puts on them, within bounds.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use wasink_chassis::Secret;
use wasink_chassis::config::{Credential, HttpOrigin};
use wasink_chassis::limits::{Limit, LimitCounts, Limits};
use wasink_chassis::logger::Level;
use wasink_chassis::plugin::Grants;
use wasink_record::{Clock as _, SystemClock};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::answer::AnswerBody;
use super::client::{Client, error_of};
use super::credential::Seal;
use super::names::Lookups;
use super::told::Told;
use crate::words::Words;

/// How long a connection may take to be made, unless the guest has less patience.
const CONNECT: Duration = Duration::from_secs(30);

/// What a header costs beside its name and its value.
const HEADER: usize = 32;

/// Methods that have a receiver repeat what it was sent, credentials among it, or make a connection of
/// a request.
const NEVER_SENT: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// The origins that one sink may send to, with their connections. It outlives instances.
pub(crate) struct Outlets {
    outlets: Vec<Outlet>,
    permits: Arc<Semaphore>,
    limits: Limits,
    reached: LimitCounts,
    words: Words,
    /// What was not granted, which is the guest's choice, and what went wrong at what was.
    refused: Told,
    failed: Told,
}

struct Outlet {
    origin: HttpOrigin,
    client: Client,
    seal: Seal,
}

impl Outlet {
    /// The request with its address as it is granted, however the guest spells it, and with the port
    /// in it: that is what connections are kept by, and what a proxy is asked for.
    fn addressed(&self, mut request: Request<WasiBody>) -> Result<Request<WasiBody>, Error> {
        let HttpOrigin { https, host, port } = &self.origin;
        let path = request.uri().path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(if *https { "https" } else { "http" })
            .authority(format!("{host}:{port}"))
            .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")));
        *request.uri_mut() = uri.build().map_err(|_| Error::HttpRequestUriInvalid)?;
        let named = self.origin.to_string();
        let named = named.split_once("://").map_or("", |(_, host)| host);
        let named = HeaderValue::from_str(named).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(HOST, named);
        Ok(request)
    }
}

impl Outlets {
    /// Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// What is wrong with a grant, for the operator.
    pub(crate) fn new(
        grants: &Grants,
        limits: Limits,
        reached: LimitCounts,
        words: Words,
        lookups: &Lookups,
    ) -> Result<Arc<Self>, String> {
        let secret = |name: &str| {
            let found = grants.credentials.iter().find(|secret| secret.name() == name);
            found.cloned().ok_or_else(|| format!("secret `{name}` was not read"))
        };
        let mut outlets = Vec::new();
        for grant in &grants.http {
            let patience = CONNECT.min(limits.http_time);
            let client = Client::new(grant, lookups.clone(), patience, &limits)
                .map_err(|reason| format!("`{}`: {reason}", grant.origin))?;
            let credential = grant.credential.as_ref().map(|credential| {
                let secret = secret(&credential.secret().name)?;
                Ok::<(Credential, Secret), String>((credential.clone(), secret))
            });
            let signature = grant.signature.as_ref().map(|signature| secret(&signature.name));
            let seal =
                Seal { credential: credential.transpose()?, signature: signature.transpose()? };
            outlets.push(Outlet { origin: grant.origin.clone(), client, seal });
        }
        let permits = Arc::new(Semaphore::new(limits.http_requests.min(Semaphore::MAX_PERMITS)));
        let (refused, failed) = (Told::default(), Told::default());
        Ok(Arc::new(Self { outlets, permits, limits, reached, words, refused, failed }))
    }

    fn outlet(&self, uri: &Uri) -> Option<&Outlet> {
        let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
        let origin = HttpOrigin::parse(&origin).ok()?;
        self.outlets.iter().find(|outlet| outlet.origin == origin)
    }

    /// Says once what did not get through, and why.
    fn tell(&self, told: &Told, level: Level, message: &str, origin: String, reason: String) {
        if told.is_news(format!("{message}{origin}{reason}")) {
            let fields =
                [("origin".to_owned(), origin.into()), ("reason".to_owned(), reason.into())];
            self.words.tell(level, message, &fields);
        }
    }

    fn refuse(&self, uri: &Uri) -> Error {
        let scheme = uri.scheme_str().unwrap_or("https");
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // Neither path nor query: they may hold what is nobody's business.
        let mut origin = format!("{scheme}://{}", authority.rsplit('@').next().unwrap_or_default());
        crate::words::cut(&mut origin, 300);
        let reason =
            "it is not granted; where it should be, write it into the sink's `grants.http`";
        let message = "a request was refused";
        self.tell(&self.refused, Level::Warn, message, origin, reason.to_owned());
        Error::HttpRequestDenied
    }

    fn check_head(&self, headers: &HeaderMap) -> Result<(), Error> {
        let length =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + HEADER;
        let length: usize = headers.iter().map(length).sum();
        if length > self.limits.http_header_bytes {
            self.reached.reached(Limit::HttpHeaders);
            return Err(Error::HttpRequestHeaderSectionSize(u32::try_from(length).ok()));
        }
        Ok(())
    }

    async fn send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Sent, Error> {
        let deadline = Instant::now() + self.limits.http_time;
        let sent = timeout_at(deadline, self.clone().send_by(request, options, deadline)).await;
        match sent {
            Ok(sent) => sent,
            Err(_) => {
                self.reached.reached(Limit::HttpTime);
                Err(Error::HttpResponseTimeout)
            }
        }
    }

    async fn send_by(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
        deadline: Instant,
    ) -> Result<Sent, Error> {
        let Some(outlet) = self.outlet(request.uri()) else {
            return Err(self.refuse(request.uri()));
        };
        if NEVER_SENT.contains(&request.method().as_str()) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        self.check_head(request.headers())?;
        let request = outlet.addressed(request)?;
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.reached.reached(Limit::HttpRequests);
                let permit = self.permits.clone().acquire_owned().await;
                permit.map_err(|_| Error::ConnectionLimitReached)?
            }
        };
        let (request, permit) = self.sealed(outlet, request, permit).await?;
        let between = options.between_bytes_timeout.unwrap_or(self.limits.http_time);
        // Making the connection is a part of it: the guest can't tell where one ends.
        let first = options.first_byte_timeout.unwrap_or(self.limits.http_time);
        let connect = options.connect_timeout.unwrap_or(CONNECT);
        let answered =
            timeout_at(Instant::now() + first.saturating_add(connect), outlet.client.send(request));
        let answer = answered.await.map_err(|_| Error::ConnectionReadTimeout)?;
        // Not with the last of the answer: a guest may wait for another one before it reads this.
        drop(permit);
        let answer = answer.map_err(|error| self.explain(outlet, error_of(&error), &error))?;
        let (most, reached) = (self.limits.http_answer_bytes, self.reached.clone());
        let body =
            |incoming| AnswerBody::new(incoming, most, between, deadline, reached).boxed_unsync();
        Ok((answer.map(body), Box::new(async { Ok(()) })))
    }

    /// The request with what the host puts on it, and its body within bounds. The permit goes with
    /// the reading of secrets, which goes on where the guest has dropped the request.
    async fn sealed(
        &self,
        outlet: &Outlet,
        request: Request<WasiBody>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Request<WasiBody>, OwnedSemaphorePermit), Error> {
        let most = self.limits.http_request_bytes;
        let too_large = {
            let reached = self.reached.clone();
            move || {
                reached.reached(Limit::HttpRequest);
                Error::HttpRequestBodySize(Some(most))
            }
        };
        let size = usize::try_from(most).unwrap_or(usize::MAX);
        let (mut head, body) = request.into_parts();
        let too_large = Arc::new(too_large);
        let explain = {
            let too_large = too_large.clone();
            move |error: Box<dyn std::error::Error + Send + Sync>| match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(_) => too_large(),
            }
        };
        let (signed, body): (Option<Bytes>, WasiBody) = if outlet.seal.signature.is_some() {
            let whole = Limited::new(body, size).collect().await.map_err(&explain)?.to_bytes();
            (Some(whole.clone()), Full::new(whole).map_err(|never| match never {}).boxed_unsync())
        } else {
            (None, Limited::new(body, size).map_err(explain).boxed_unsync())
        };
        let seal = outlet.seal.clone();
        let mut headers = std::mem::take(&mut head.headers);
        // Secrets may have to be read, and this thread is that of all connections.
        let sealed = tokio::task::spawn_blocking(move || {
            seal.authorize(&mut headers)?;
            if let Some(body) = signed {
                let seconds = SystemClock.now().unix_nanos() / 1_000_000_000;
                seal.sign(&mut headers, &body, seconds)?;
            }
            Ok::<_, String>((headers, permit))
        });
        let sealed = sealed.await.map_err(|error| Error::InternalError(Some(error.to_string())))?;
        let (headers, permit) = sealed.map_err(|reason| {
            let message = "a request could not be given its credential";
            self.tell(&self.failed, Level::Error, message, outlet.origin.to_string(), reason);
            Error::ConfigurationError
        })?;
        head.headers = headers;
        Ok((Request::from_parts(head, body), permit))
    }

    /// Tells the operator what a guest can't: why a connection did not come to be.
    fn explain(
        &self,
        outlet: &Outlet,
        error: Error,
        cause: &hyper_util::client::legacy::Error,
    ) -> Error {
        let reason = match &error {
            Error::DestinationIpProhibited => {
                "its name leads to an address that is not public; where that is right, write the \
                 address's network into `networks` beside its `origin`"
                    .to_owned()
            }
            Error::HttpResponseHeaderSectionSize(_) => {
                self.reached.reached(Limit::HttpHeaders);
                "the headers of an answer are larger than `limits.http_headers`, or more than 100"
                    .to_owned()
            }
            Error::HttpRequestBodySize(_) => return error,
            _ => {
                let mut reason = cause.to_string();
                let mut source = std::error::Error::source(cause);
                while let Some(error) = source {
                    reason = format!("{reason}: {error}");
                    source = error.source();
                }
                reason
            }
        };
        let message = "a request did not get through";
        self.tell(&self.failed, Level::Warn, message, outlet.origin.to_string(), reason);
        error
    }
}

/// Takes an instance's requests.
pub(crate) struct Http(pub(crate) Arc<Outlets>);

impl WasiHttpHooks for Http {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(self.0.clone().send(request, options.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SystemResolver;
    use crate::net::told::MOST;
    use crate::words::testing::words;

    #[test]
    fn a_guest_that_asks_for_all_there_is_does_not_fill_the_log() {
        let (limits, reached) = (Limits::default(), LimitCounts::default());
        let (words, heard) = words(limits, &reached);
        let lookups = Lookups::new(Arc::new(SystemResolver));
        let outlets = Outlets::new(&Grants::default(), limits, reached, words, &lookups).unwrap();
        for port in 1..1_000 {
            outlets.refuse(&format!("http://a.example:{port}/").parse().unwrap());
        }
        assert_eq!(heard.lines(), MOST);
    }
}
