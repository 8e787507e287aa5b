//! A client of plain sockets, which holds every answer against the OpenAPI document.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use super::document;
use super::kit::PATIENCE;

/// Where to connect.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A request in the making.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST", body: body.into(), ..Self::get(path) }
    }

    /// Records of a stream, one a line.
    pub(super) fn lines(stream: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::post(&format!("/v1/{stream}"), body).with("Content-Type", "application/x-ndjson")
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// All of it, on a connection that the server ends after it. `Host` and `Content-Length` are
    /// added where they are not there.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.path);
        let has = |name: &str| self.headers.iter().any(|(other, _)| other == name);
        if !has("Host") {
            text.push_str("Host: localhost\r\n");
        }
        if !has("Content-Length") && !has("Transfer-Encoding") {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        [text.as_bytes(), &self.body].concat()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    /// One that came as these bytes.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let answer = Self { status, headers: headers.collect(), body: body.to_owned() };
        let length = answer.header("content-length").unwrap_or("0");
        assert_eq!(length, body.len().to_string(), "the answer is cut off: {text}");
        answer
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The kind of problem that it is.
    pub(super) fn problem(&self) -> String {
        let json = self.json();
        assert_eq!(json["status"], self.status, "{self:?}");
        assert!(!json["title"].as_str().unwrap().is_empty());
        json["type"].as_str().unwrap().strip_prefix("urn:wasink:problem:").unwrap().to_owned()
    }

    pub(super) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        let json = self.json();
        let ids = json["ids"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }
}

/// A connection of either sort.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    pub(super) fn open(target: &Target) -> Self {
        match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                Self::Tcp(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                Self::Unix(stream)
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Says that nothing more will be sent.
    pub(super) fn end(&mut self) {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// What comes up to this and with it.
    pub(super) fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let mut byte = [0];
            match self {
                Self::Tcp(stream) => stream.read_exact(&mut byte).unwrap(),
                Self::Unix(stream) => stream.read_exact(&mut byte).unwrap(),
            }
            text.push(char::from(byte[0]));
        }
        text
    }

    /// All that comes until the server closes the connection.
    pub(super) fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &mut self {
            Self::Tcp(stream) => stream.read_to_end(&mut bytes).unwrap(),
            Self::Unix(stream) => stream.read_to_end(&mut bytes).unwrap(),
        };
        bytes
    }
}

/// Sends a request and returns the answer, which is one that the document has.
pub(super) fn send(target: &Target, request: &Request) -> Answer {
    let mut connection = Connection::open(target);
    connection.write(&request.bytes()).unwrap();
    finish(connection, request)
}

/// The answer of a request that was sent.
pub(super) fn finish(connection: Connection, request: &Request) -> Answer {
    let answer = Answer::read(&connection.rest());
    document::check(request, &answer);
    answer
}
