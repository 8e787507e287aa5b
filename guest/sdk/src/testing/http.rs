//! Requests over TCP in a plugin's own tests, and a receiver that behaves as badly as it is told.
//!
//! ```
//! use wasink_guest::http::{Client, Request};
//! use wasink_guest::testing::http::{Receiver, Reply, over_tcp};
//!
//! over_tcp();
//! let receiver = Receiver::new(|_| Reply::status(503).header("Retry-After", "7"));
//! let answer = Client::default().send(&Request::post(receiver.url("/events"))).unwrap();
//! assert_eq!(answer.status, 503);
//! assert_eq!(receiver.received()[0].path, "/events");
//! ```

mod client;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::Url;

/// From now on this thread's requests go over TCP, without encryption.
pub fn over_tcp() {
    crate::native::set_http(client::send);
}

/// A request as a receiver got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Such as `POST`.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lowercase, in order.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Received {
    /// The first header of this name, which is in lowercase.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a receiver does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    manner: Manner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Manner {
    Whole,
    Raw,
    Reset,
    Drip(Duration),
    Endless(Vec<u8>),
    Silent,
}

impl Reply {
    /// An answer as it should be, with an empty body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), manner: Manner::Whole }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Just these bytes, and then the connection's end.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { manner: Manner::Raw, body: bytes.into(), ..Self::status(0) }
    }

    /// These bytes, and then the connection is reset, since the body of the request was not read
    /// to its end: it must have one.
    pub fn reset(bytes: impl Into<Vec<u8>>) -> Self {
        Self { manner: Manner::Reset, body: bytes.into(), ..Self::status(0) }
    }

    /// These bytes, one at a time, with this long between two.
    pub fn drip(bytes: impl Into<Vec<u8>>, between: Duration) -> Self {
        Self { manner: Manner::Drip(between), body: bytes.into(), ..Self::status(0) }
    }

    /// These bytes, and then those again and again without an end.
    pub fn endless(bytes: impl Into<Vec<u8>>, again: impl Into<Vec<u8>>) -> Self {
        Self { manner: Manner::Endless(again.into()), body: bytes.into(), ..Self::status(0) }
    }

    /// Nothing at all, for as long as the client waits.
    pub fn silent() -> Self {
        Self { manner: Manner::Silent, ..Self::status(0) }
    }
}

/// A receiver on a port of its own on 127.0.0.1, for as long as it is kept.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// A receiver that replies to each request as `reply` says, one connection after the other.
    ///
    /// # Panics
    ///
    /// Where there is no port to be had.
    #[expect(clippy::expect_used, reason = "without a port there is no test")]
    pub fn new(reply: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on 127.0.0.1");
        let address = listener.local_addr().expect("the port has a number");
        let received = Arc::new(Mutex::new(Vec::new()));
        let ending = Arc::new(AtomicBool::new(false));
        let (seen, end) = (received.clone(), ending.clone());
        let thread = std::thread::spawn(move || serve(&listener, reply, &seen, &end));
        Self { address, received, ending, thread: Some(thread) }
    }

    /// A URL of this receiver.
    ///
    /// # Panics
    ///
    /// Where the path is none.
    #[expect(clippy::expect_used, reason = "the test's own mistake")]
    pub fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().expect("a path that begins with `/`")
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        locked(&self.received).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // It waits for a connection, so it gets one.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    listener: &TcpListener,
    mut reply: impl FnMut(&Received) -> Reply,
    seen: &Mutex<Vec<Received>>,
    ending: &AtomicBool,
) {
    for stream in listener.incoming() {
        if ending.load(Ordering::SeqCst) {
            return;
        }
        // What the client makes of a connection that fails is what the test looks at.
        drop(stream.and_then(|stream| exchange(stream, &mut reply, seen)));
    }
}

/// No client of a test waits longer.
const LONGEST: Duration = Duration::from_secs(30);

fn exchange(
    mut stream: TcpStream,
    reply: &mut impl FnMut(&Received) -> Reply,
    seen: &Mutex<Vec<Received>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(LONGEST))?;
    stream.set_write_timeout(Some(LONGEST))?;
    // Byte by byte, so that a body that is not wanted stays unread.
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.extend(byte);
    }
    let mut request = read_head(&String::from_utf8_lossy(&head));
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    // All of it is known while its last byte is still unread, which is what a reset needs.
    if let Some((last, most)) = body.split_last_mut() {
        stream.read_exact(most)?;
        if stream.peek(std::slice::from_mut(last))? == 0 {
            return Ok(());
        }
    }
    request.body = body;
    let answer = reply(&request);
    if answer.manner != Manner::Reset && !request.body.is_empty() {
        stream.read_exact(&mut byte)?;
    }
    locked(seen).push(request);
    respond(&mut stream, &answer)
}

fn read_head(head: &str) -> Received {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let method = first.next().unwrap_or_default();
    let path = first.next().unwrap_or_default();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Received { method, path, headers, body: Vec::new() }
}

fn respond(stream: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    match &reply.manner {
        Manner::Whole => {
            let mut head = format!("HTTP/1.1 {} Reply\r\n", reply.status);
            for (name, value) in &reply.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            // Said, or else a client sends its next request into a connection that is about to end.
            head.push_str("Connection: close\r\n");
            head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len()));
            stream.write_all(head.as_bytes())?;
            stream.write_all(&reply.body)?;
            stream.shutdown(Shutdown::Write)
        }
        Manner::Raw => {
            stream.write_all(&reply.body)?;
            stream.shutdown(Shutdown::Write)
        }
        // A connection with something unread is not ended but reset.
        Manner::Reset => stream.write_all(&reply.body),
        Manner::Drip(between) => {
            for byte in reply.body.chunks(1) {
                stream.write_all(byte)?;
                if left(stream, *between)? {
                    return Ok(());
                }
            }
            Ok(())
        }
        Manner::Endless(again) => {
            stream.write_all(&reply.body)?;
            loop {
                stream.write_all(again)?;
            }
        }
        Manner::Silent => left(stream, LONGEST).map(drop),
    }
}

/// Waits this long, or until the client has gone, and says whether it has.
fn left(stream: &mut TcpStream, wait: Duration) -> io::Result<bool> {
    stream.set_read_timeout(Some(wait))?;
    match stream.read(&mut [0]) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Ok(false)
        }
        other => other.map(|read| read == 0),
    }
}
