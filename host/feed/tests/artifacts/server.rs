//! An HTTP server that gives whatever a test wants given.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server on 127.0.0.1, for as long as a test has it.
pub(crate) struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

/// What was asked for.
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it came, with its query.
    pub(crate) target: String,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What is sent: these bytes, then what `then` says, then the end of the connection.
#[derive(Clone)]
pub(crate) struct Answer {
    head: Vec<u8>,
    body: Vec<u8>,
    then: Then,
}

#[derive(Clone)]
enum Then {
    Close,
    /// Nothing, until whoever asked has gone.
    Hold,
    /// Pieces without end, until whoever asked has gone.
    Pieces,
    /// A byte each time.
    Drip(Duration),
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Server {
    pub(crate) fn plain(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::started(None, answer)
    }

    /// One whose certificate, for `localhost`, is in the directory's file `ca`.
    pub(crate) fn tls(
        directory: &Path,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(directory.join("ca"), own.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        Self::started(Some(Arc::new(config)), answer)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn started(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let (is_over, answer) = (ended.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), tls, answer) = (stream, tls.clone(), answer.clone()) else {
                    continue;
                };
                thread::spawn(move || serve(stream, tls, &*answer));
            }
        });
        Self { address, ended }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// One request a connection. Whoever asked may have gone, so nothing that fails here matters.
fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, answer: &dyn Fn(&Request) -> Answer) {
    let raw = stream.try_clone().unwrap();
    let stream: Box<dyn Stream> = match tls {
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream)),
        None => Box::new(stream),
    };
    let mut stream = BufReader::new(stream);
    if let Some(request) = read(&mut stream) {
        drop(answer(&request).send(stream.get_mut()));
    } else {
        // What is no HTTP is not answered, and not hung up on.
        drop(std::io::copy(&mut stream, &mut std::io::sink()));
    }
    drop(raw.shutdown(std::net::Shutdown::Both));
}

fn read(stream: &mut BufReader<Box<dyn Stream>>) -> Option<Request> {
    let line = |stream: &mut BufReader<Box<dyn Stream>>| {
        let mut line = Vec::new();
        stream.take(8 << 10).read_until(b'\n', &mut line).ok()?;
        String::from_utf8(line).ok().map(|line| line.trim_end().to_owned())
    };
    let first = line(stream)?;
    let mut words = first.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if version != "HTTP/1.1" {
        return None;
    }
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let header = line(stream)?;
        let Some((name, value)) = header.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// A whole one.
    pub(crate) fn of(status: &str, body: Vec<u8>) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
        Self { head: (head + "Connection: close\r\n").into_bytes(), body, then: Then::Close }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.head.extend(format!("{name}: {value}\r\n").into_bytes());
        self
    }

    /// These bytes, whatever they are.
    pub(crate) fn raw(bytes: Vec<u8>) -> Self {
        Self { head: Vec::new(), body: bytes, then: Then::Close }
    }

    /// A body that never ends: an artifact's, or an error's.
    pub(crate) fn endless(is_artifact: bool) -> Self {
        let status = if is_artifact { "200 OK" } else { "403 Forbidden" };
        let head = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n");
        Self { then: Then::Pieces, ..Self::raw(head.into_bytes()) }
    }

    pub(crate) fn held(self) -> Self {
        Self { then: Then::Hold, ..self }
    }

    pub(crate) fn dripping(self, every: Duration) -> Self {
        Self { then: Then::Drip(every), ..self }
    }

    fn send(&self, stream: &mut dyn Stream) -> std::io::Result<()> {
        let mut all = self.head.clone();
        if !all.is_empty() {
            all.extend(b"\r\n");
        }
        all.extend(&self.body);
        stream.write_all(&all)?;
        stream.flush()?;
        loop {
            match self.then {
                Then::Close => return Ok(()),
                Then::Hold if stream.read(&mut [0; 64])? == 0 => return Ok(()),
                Then::Hold => {}
                Then::Pieces => stream.write_all(b"8\r\nnot yet!\r\n")?,
                Then::Drip(every) => {
                    stream.write_all(b"x")?;
                    // This is the misbehaviour: nothing waits for it but the limit under test.
                    thread::sleep(every);
                }
            }
        }
    }
}
