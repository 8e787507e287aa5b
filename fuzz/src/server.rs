//! A client of a server's Unix socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Far longer than anything may take; a server that does not answer by then hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, with the status line.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads the first answer that is not in passing: `None` where there is none.
    ///
    /// # Panics
    ///
    /// Where it is not HTTP, or shorter than it says.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        loop {
            if bytes.is_empty() {
                return None;
            }
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let end = end.unwrap_or_else(|| panic!("no head: {}", bytes.escape_ascii()));
            let (head, body) = bytes.split_at(end + 4);
            let head = std::str::from_utf8(head).expect("a head is ASCII").to_ascii_lowercase();
            let status = head.strip_prefix("http/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
            let status: u16 = status.unwrap_or_else(|| panic!("no status: {head}"));
            if status < 200 {
                bytes = body;
                continue;
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().expect("a length is a number"));
            assert!(body.len() >= length || head.contains("allow:"), "cut off: {head}");
            let body = body[..length.min(body.len())].to_vec();
            return Some(Self { status, head, body });
        }
    }

    /// Its body as JSON.
    ///
    /// # Panics
    ///
    /// Where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.head, self.body.escape_ascii()))
    }
}

/// Sends a request that ends its connection, and returns the answer; `None` where the server broke
/// off, which it may do with one that it does not take.
///
/// # Panics
///
/// Where the server does not answer.
#[must_use]
pub fn send(socket: &Path, request: &[u8]) -> Option<Answer> {
    Answer::read(&talk(socket, request, false))
}

/// Sends whatever bytes these are, says that there are no more, and reads what comes.
///
/// # Panics
///
/// Where the server leaves the connection open.
pub fn exchange(socket: &Path, bytes: &[u8]) {
    talk(socket, bytes, true);
}

fn talk(socket: &Path, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // A server that has seen enough closes the connection before all is sent.
    let _broken = stream.write_all(bytes);
    if ends {
        let _closed = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            panic!("the server hangs; so far it said: {}", answer.escape_ascii())
        }
        // A reset says that it did not read all of it.
        Ok(_) | Err(_) => answer,
    }
}
