//! Records over TCP, to a receiver that ends the connection once it has all of them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long it is quiet before it looks again.
const NAP: Duration = Duration::from_millis(5);

/// Why records did not arrive, or may not have.
pub(crate) enum Lost {
    /// The receiver does not take them.
    Refused(String),
    /// It may have got them.
    Doubt(String),
}

/// Where they go.
#[derive(Debug)]
pub(crate) struct Tcp {
    to: String,
    patience: Duration,
    stream: Option<TcpStream>,
}

impl Tcp {
    pub(crate) fn new(to: &str, patience: Duration) -> Self {
        Self { to: to.to_owned(), patience, stream: None }
    }

    /// Sends them over a connection of their own.
    pub(crate) fn send(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let mut stream = self.connect()?;
        let end = Instant::now() + self.patience;
        write(&mut stream, lines, end)
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .and_then(|()| wait(end, || stream.read(&mut [0]).map(drop)))
            .map_err(|error| Lost::Doubt(error.to_string()))
    }

    /// Sends them over the connection that there was, and asks nothing.
    pub(crate) fn send_on(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let end = Instant::now() + self.patience;
        write(&mut stream, lines, end).map_err(|error| Lost::Doubt(error.to_string()))?;
        self.stream = Some(stream);
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream, Lost> {
        let stream = TcpStream::connect(&self.to).and_then(|stream| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        stream.map_err(|error| Lost::Refused(error.to_string()))
    }
}

fn write(stream: &mut TcpStream, mut lines: &[u8], end: Instant) -> io::Result<()> {
    while !lines.is_empty() {
        let written = wait(end, || stream.write(lines))?;
        lines = lines.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Does it once that can be done.
fn wait<T>(end: Instant, mut with: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match with() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(NAP);
            }
            done => return done,
        }
    }
}
