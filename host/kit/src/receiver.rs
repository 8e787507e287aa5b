//! A receiver over HTTP that behaves as it is told, and one over TCP.

mod tcp;

use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) use tcp::{TcpMood, TcpReceiver};

/// How often a connection looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// As many headers as a request may have.
const HEADERS: usize = 128;
/// What an answer goes on with that comes a byte at a time.
const WHOLE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes everything.
    Takes,
    /// It says this status, and takes nothing.
    Refuses(u16),
    /// It takes the request, and the connection ends without an answer.
    Ends,
    /// It takes the request, and says nothing at all.
    Silent,
    /// It takes the request, and its answer is cut off within its first line.
    CutsOff,
    /// It takes the request, and what it answers is no HTTP.
    Babbles,
    /// It takes everything, and answers a byte at a time.
    Drips,
    /// It takes the request, and a gateway in front of it has no patience: after a while that says 504.
    GivesUp,
    /// It takes the request, and says something of which only those who know it can tell what it means.
    Says(&'static Answer),
}

/// An answer that is right by HTTP, and whose meaning is a matter between the receiver and the plugin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What a receiver does that answers so.
    words: &'static str,
    status: u16,
    /// Whole lines of its head.
    headers: &'static str,
    body: &'static str,
}

/// Answers to four records.
pub(crate) const ANSWERS: &[Answer] = &[
    Answer { words: "says 409 and no more", status: 409, headers: "", body: "" },
    Answer {
        words: "says 409, and that they are duplicates",
        status: 409,
        headers: "Content-Type: application/json\r\n",
        body: r#"{"error":"duplicate","duplicates":4}"#,
    },
    Answer {
        words: "says 200, and that two of them are duplicates",
        status: 200,
        headers: "Content-Type: application/json\r\n",
        body: r#"{"accepted":2,"duplicates":2}"#,
    },
    Answer {
        words: "says 207, and of each something else",
        status: 207,
        headers: "Content-Type: application/json\r\n",
        body: r#"{"results":[{"index":0,"status":201},{"index":1,"status":409},{"index":2,"status":422},{"index":3,"status":503}]}"#,
    },
    Answer {
        words: "says 207, and something of records that it was not sent",
        status: 207,
        headers: "Content-Type: application/json\r\n",
        body: r#"{"results":[{"index":4294967295,"status":409},{"index":-1,"status":422}]}"#,
    },
    Answer {
        words: "says 422, and that the second is not right",
        status: 422,
        headers: "Content-Type: application/json\r\n",
        body: r#"{"status":422,"error_details":{"1":{"code":["is_invalid"]}}}"#,
    },
    Answer {
        words: "says 200, and what is no JSON though it says so",
        status: 200,
        headers: "Content-Type: application/json\r\n",
        body: "<html>\u{0}ok",
    },
    Answer { words: "says 204", status: 204, headers: "", body: "" },
    Answer { words: "says 413", status: 413, headers: "", body: "" },
    Answer { words: "says 302, and not where to", status: 302, headers: "", body: "" },
    Answer {
        words: "says 429 and to come back after what is no number",
        status: 429,
        headers: "Retry-After: soon\r\n",
        body: "",
    },
    Answer {
        words: "says 503 and to come back after more seconds than there are",
        status: 503,
        headers: "Retry-After: 99999999999999999999\r\n",
        body: "",
    },
];

impl Mood {
    /// What a receiver does that behaves so.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Takes => "takes them".to_owned(),
            Self::Refuses(status) => format!("says {status}"),
            Self::Ends => "reads them and ends the connection".to_owned(),
            Self::Silent => "reads them and says nothing".to_owned(),
            Self::CutsOff => "reads them and answers half a line".to_owned(),
            Self::Babbles => "reads them and answers what is no HTTP".to_owned(),
            Self::Drips => "answers a byte at a time".to_owned(),
            Self::GivesUp => "reads them, and whose gateway then says 504".to_owned(),
            Self::Says(answer) => answer.words.to_owned(),
        }
    }
}

/// A receiver on a port of its own on 127.0.0.1, for as long as it is kept.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    mood: Mutex<Mood>,
    bodies: Mutex<Vec<Body>>,
    requests: AtomicUsize,
    ending: AtomicBool,
}

/// The body of a request.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) gzipped: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    pub(crate) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Takes),
            bodies: Mutex::default(),
            requests: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("wasink-kit-receiver".to_owned())
            .spawn(move || accept(&listener, &of_thread))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it behaves so.
    pub(crate) fn is(&self, mood: Mood) {
        *locked(&self.shared.mood) = mood;
    }

    /// How many requests it has had.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Does something with each body so far that has not been forgotten.
    pub(crate) fn each_body<E>(&self, with: impl FnMut(&Body) -> Result<(), E>) -> Result<(), E> {
        locked(&self.shared.bodies).iter().try_for_each(with)
    }

    /// Forgets the bodies so far.
    pub(crate) fn forget(&self) {
        locked(&self.shared.bodies).clear();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Whoever waits for a connection gets one.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            if shared.ending.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            // How a connection ends is the client's to tell.
            scope.spawn(move || drop(serve(stream, shared)));
        }
    });
}

/// Requests of one connection, one after the other.
fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_nodelay(true)?;
    let mut from = Wire { stream, buffer: Vec::new(), ending: &shared.ending };
    while let Some(body) = from.request()? {
        let mood = *locked(&shared.mood);
        shared.requests.fetch_add(1, Ordering::SeqCst);
        locked(&shared.bodies).push(body);
        let stream = &mut from.stream;
        match mood {
            Mood::Takes => stream.write_all(WHOLE)?,
            Mood::Refuses(status) => {
                write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")?;
            }
            Mood::Ends => return stream.shutdown(Shutdown::Both),
            Mood::Silent => {
                // For as long as the client has patience.
                while from.more()? {}
                return Ok(());
            }
            Mood::CutsOff => return stream.write_all(b"HTTP/1.1 20"),
            Mood::Babbles => return stream.write_all(b"220 mail.example.com ESMTP\r\n"),
            Mood::Drips => {
                for byte in WHOLE {
                    stream.write_all(&[*byte])?;
                    thread::sleep(LOOK);
                }
            }
            Mood::GivesUp => {
                thread::sleep(LOOK.saturating_mul(10));
                stream.write_all(b"HTTP/1.1 504 No\r\nContent-Length: 0\r\n\r\n")?;
            }
            Mood::Says(Answer { status, headers, body, .. }) => {
                write!(stream, "HTTP/1.1 {status} So\r\n{headers}")?;
                // One without content has no length either.
                if *status != 204 {
                    write!(stream, "Content-Length: {}\r\n", body.len())?;
                }
                write!(stream, "\r\n{body}")?;
            }
        }
    }
    Ok(())
}

/// A connection, as far as it has been read.
struct Wire<'a> {
    stream: TcpStream,
    buffer: Vec<u8>,
    ending: &'a AtomicBool,
}

impl Wire<'_> {
    /// Reads some more; `false` at the connection's end, or the receiver's.
    fn more(&mut self) -> io::Result<bool> {
        let mut some = [0; 16 << 10];
        loop {
            if self.ending.load(Ordering::SeqCst) {
                return Ok(false);
            }
            match self.stream.read(&mut some) {
                Ok(read) => {
                    self.buffer.extend(some.iter().take(read));
                    return Ok(read > 0);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The body of the next request; `None` where there is none any more.
    fn request(&mut self) -> io::Result<Option<Body>> {
        let (head, length, gzipped) = loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&self.buffer).map_err(io::Error::other)?;
            if let httparse::Status::Complete(head) = parsed {
                let value = |name: &str| {
                    let found = request.headers.iter();
                    let mut found = found.filter(|header| header.name.eq_ignore_ascii_case(name));
                    found.next().map(|header| String::from_utf8_lossy(header.value).into_owned())
                };
                let length = value("content-length").and_then(|length| length.parse().ok());
                let chunked = value("transfer-encoding").is_some();
                let gzipped = value("content-encoding").is_some_and(|coding| coding == "gzip");
                break (head, if chunked { None } else { Some(length.unwrap_or(0)) }, gzipped);
            }
            if !self.more()? {
                return Ok(None);
            }
        };
        self.buffer.drain(..head);
        let bytes = match length {
            Some(length) => self.take(length)?,
            None => self.chunks()?,
        };
        Ok(Some(Body { bytes, gzipped }))
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let parsed = httparse::parse_chunk_size(&self.buffer);
            match parsed.map_err(|_| io::Error::other("a chunk has no size"))? {
                httparse::Status::Complete((head, size)) => {
                    self.buffer.drain(..head);
                    let size = usize::try_from(size).map_err(io::Error::other)?;
                    all.extend(self.take(size)?);
                    // The end of its line; of the last, that of the body.
                    self.take(2)?;
                    if size == 0 {
                        return Ok(all);
                    }
                }
                httparse::Status::Partial => {
                    if !self.more()? {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(receiver: &Receiver, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(receiver.address)?;
        stream.write_all(request.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn bodies_are_kept_whatever_their_length_is_told_by() -> io::Result<()> {
        let receiver = Receiver::new()?;
        let known = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let chunked =
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
        let answer = ask(&receiver, &format!("{known}{chunked}"))?;
        assert_eq!(answer.matches("200 OK").count(), 2, "{answer}");
        let mut bodies = Vec::new();
        receiver.each_body(|body| {
            bodies.push(body.bytes.clone());
            io::Result::Ok(())
        })?;
        assert_eq!(bodies, [b"abc", b"def"]);
        receiver.is(Mood::Refuses(503));
        assert!(ask(&receiver, known)?.starts_with("HTTP/1.1 503 "));
        receiver.is(Mood::CutsOff);
        assert_eq!(ask(&receiver, known)?, "HTTP/1.1 20");
        assert_eq!(receiver.requests(), 4);
        Ok(())
    }
}
