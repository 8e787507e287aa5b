//! Requests over HTTP to where the operator lets the sink send them.
//!
//! The host makes the connection, with the TLS and the credentials that its configuration grants for
//! the origin; a plugin sees neither. What is not granted fails with [`Error::Denied`].
//!
//! ```no_run
//! use wasink_guest::http::{Client, Error, Request, Url};
//!
//! let client = Client::default();
//! let request = Request::post("https://billing.example/events".parse::<Url>()?)
//!     .header("Content-Type", "application/json")
//!     .body(b"[]".to_vec());
//! match client.send(&request) {
//!     Ok(answer) if answer.is_success() => {}
//!     Ok(answer) => println!("{}: {}", answer.status, answer.excerpt(200)),
//!     Err(Error::InDoubt(why)) => println!("the receiver may have it: {why}"),
//!     Err(error) => println!("the receiver has not got it: {error}"),
//! }
//! # Ok::<(), wasink_guest::http::Error>(())
//! ```
//!
//! Natively a request goes to whatever `native::set_http` has set for the thread; without it, it is
//! denied. For tests, `testing::http` has a client over TCP, and a receiver to be talked to.

mod answer;
mod url;
#[cfg(target_family = "wasm")]
mod wasi;

use std::fmt;
use std::time::Duration;

pub use answer::{Answer, excerpt, parse_date};
pub use url::{Scheme, Url};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Method {
    /// Its name in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One request. Its length is told to the receiver; all of the body is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is done.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Names and values, in order. `Host`, `Content-Length` and what belongs to a connection are
    /// not among them.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: Vec::new() }
    }

    /// A `POST`.
    pub fn post(url: Url) -> Self {
        Self::new(Method::Post, url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// What is wrong with its headers, if anything is: a name that is no token, a value with line
    /// ends or other control characters, a header that is not the plugin's to set.
    pub fn check(&self) -> Result<(), Error> {
        for (name, value) in &self.headers {
            check_header(name, value)?;
        }
        Ok(())
    }
}

/// Whether a request may carry this header; what is wrong with it otherwise.
pub fn check_header(name: &str, value: &str) -> Result<(), Error> {
    /// These say how the message itself is sent, which the host does.
    const OF_THE_CONNECTION: [&str; 12] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "expect",
    ];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Error::Invalid(format!("`{}` is no name of a header", name.escape_debug())));
    }
    if OF_THE_CONNECTION.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(Error::Invalid(format!("the header `{name}` is set by the host")));
    }
    if !value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)) {
        return Err(Error::Invalid(format!(
            "the value of the header `{name}` has other characters than printable ASCII"
        )));
    }
    Ok(())
}

/// How long is waited. After any of them the request is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// From then until the answer begins.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub between_bytes: Duration,
    /// From the beginning until the answer is there in full.
    pub total: Duration,
}

impl Default for Timeouts {
    /// 5 seconds for a connection, 10 for all. A call of the plugin has 30, unless its operator
    /// sets another number.
    fn default() -> Self {
        let total = Duration::from_secs(10);
        Self { connect: Duration::from_secs(5), first_byte: total, between_bytes: total, total }
    }
}

/// What becomes of an answer's body that is longer than wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// What comes after the limit is not read; [`Answer::cut`] says so.
    Cut,
    /// It fails with [`Error::TooLarge`].
    Fail,
}

/// Sends requests, one at a time, and waits for each answer. Redirects are answers like others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// How long is waited.
    pub timeouts: Timeouts,
    /// So many bytes of an answer's body are read.
    pub answer_bytes: usize,
    /// What becomes of an answer that is longer.
    pub beyond: Beyond,
}

impl Default for Client {
    /// The first 64 KiB of an answer are read.
    fn default() -> Self {
        Self { timeouts: Timeouts::default(), answer_bytes: 65_536, beyond: Beyond::Cut }
    }
}

impl Client {
    /// Sends a request and waits for the answer, whatever its status is.
    pub fn send(&self, request: &Request) -> Result<Answer, Error> {
        request.check()?;
        #[cfg(target_family = "wasm")]
        return wasi::send(self, request);
        #[cfg(not(target_family = "wasm"))]
        return crate::native::send_http(self, request);
    }
}

/// Why there is no answer. What the receiver knows of the request is told by the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It makes no request: an address or a header that is none. Nothing was sent.
    Invalid(String),
    /// The host does not let the plugin send there. Nothing was sent.
    Denied(String),
    /// There was no connection: the name is unknown, nobody listens, TLS did not agree, it took too
    /// long. Nothing was accepted.
    NotConnected(String),
    /// It was sent, at least in part, and no whole answer came. The receiver may have taken it.
    InDoubt(String),
    /// The answer is larger than wanted. The receiver may have taken the request.
    TooLarge(String),
}

impl Error {
    /// Whether the receiver may have taken what was sent.
    pub fn in_doubt(&self) -> bool {
        matches!(self, Self::InDoubt(_) | Self::TooLarge(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => write!(f, "it is no request: {why}"),
            Self::Denied(why) => write!(f, "the host does not allow it: {why}"),
            Self::NotConnected(why) => write!(f, "no connection: {why}"),
            Self::InDoubt(why) => write!(f, "sent, but there is no whole answer: {why}"),
            Self::TooLarge(why) => write!(f, "sent, but the answer is too large: {why}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
