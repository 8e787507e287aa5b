//! `wasink serve` at work, and a client of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::operator::{Operator, Running};

/// The Unix socket, where nothing else is configured.
pub(crate) const SOCKET: &str = "wasink-data/wasink.sock";

/// Starts it, and returns once it takes records.
pub(crate) fn serve(operator: &Operator) -> Running {
    let mut running = operator.start("serve");
    running.await_word("wasink.sock");
    running
}

/// The same with a disk of so many bytes of its own at a place in the operator's directory: the disk
/// is what is returned with it, as seen from here. It is gone with the process.
pub(crate) fn serve_on_a_small_disk(
    operator: &Operator,
    place: &str,
    bytes: usize,
) -> (Running, PathBuf) {
    let place = operator.path(place);
    std::fs::create_dir_all(&place).unwrap();
    let line = format!(
        "mount -t tmpfs -o size={bytes} none {} && exec \"$WASINK\" serve",
        place.display()
    );
    let mut command = operator.program("unshare");
    // In name spaces of its own a user may mount what root may.
    command.args(["--map-root-user", "--mount", "sh", "-c", &line]);
    command.env("WASINK", env!("CARGO_BIN_EXE_wasink"));
    let mut running = Running::start(command);
    running.await_word("wasink.sock");
    let root = PathBuf::from(format!("/proc/{}/root", running.id()));
    let disk = root.join(place.strip_prefix("/").unwrap());
    (running, disk)
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn connect(operator: &Operator) -> Self {
        Self { stream: BufReader::new(UnixStream::connect(operator.path(SOCKET)).unwrap()) }
    }

    /// The status and the body of the answer; `None` where none came.
    pub(crate) fn post(&mut self, stream: &str, kind: &str, body: &str) -> Option<(u16, String)> {
        self.ask(&format!(
            "POST /v1/{stream} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub(crate) fn get(&mut self, path: &str) -> Option<(u16, String)> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
    }

    fn ask(&mut self, request: &str) -> Option<(u16, String)> {
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((status, String::from_utf8(body).ok()?))
    }
}
