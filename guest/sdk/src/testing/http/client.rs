//! A client for tests: HTTP/1.1 with a connection for each request.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::http::{Answer, Beyond, Client, Error, Request, Scheme};

/// No test waits longer.
const LONGEST: Duration = Duration::from_secs(86_400);

/// No head of an answer is longer.
const LONGEST_HEAD: usize = 65_536;

pub(super) fn send(client: &Client, request: &Request) -> Result<Answer, Error> {
    if request.url.scheme() == Scheme::Https {
        return Err(Error::NotConnected("no TLS in a test".to_owned()));
    }
    let deadline = Instant::now() + client.timeouts.total.min(LONGEST);
    let host = request.url.host().trim_start_matches('[').trim_end_matches(']');
    let address = (host, request.url.port())
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| Error::NotConnected(format!("no address of `{host}`")))?;
    let stream = TcpStream::connect_timeout(&address, client.timeouts.connect)
        .map_err(|error| Error::NotConnected(error.to_string()))?;
    let wait = client.timeouts.first_byte;
    let mut connection = Connection { stream, buffer: Vec::new(), deadline, wait };
    connection.exchange(client, request)
}

/// Status and headers.
type Head = (u16, Vec<(String, Vec<u8>)>);

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    deadline: Instant,
    wait: Duration,
}

impl Connection {
    fn exchange(&mut self, client: &Client, request: &Request) -> Result<Answer, Error> {
        // A receiver may answer without having read all, and end the connection: what it said counts.
        let sent = self.send(request);
        let (status, headers) = match self.head() {
            Ok(head) => head,
            Err(error) => return Err(sent.err().map_or(error, |sent| doubt(&sent))),
        };
        self.wait = client.timeouts.between_bytes;
        if sent.is_err() && (200..300).contains(&status) {
            return Err(Error::InDoubt("it was answered before all of it was sent".to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new(), cut: false };
        self.body(&mut answer, client)?;
        Ok(answer)
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            request.method.as_str(),
            request.url.path_and_query(),
            request.url.authority(),
            request.body.len(),
        );
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(&request.body)
    }

    /// The head of the final answer: those that only say to go on are skipped.
    fn head(&mut self) -> Result<Head, Error> {
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                    break at;
                }
                if self.buffer.len() > LONGEST_HEAD {
                    return Err(Error::TooLarge("its headers".to_owned()));
                }
                if !self.more()? {
                    return Err(Error::InDoubt("the connection was ended".to_owned()));
                }
            };
            let rest = self.buffer.split_off(end + 4);
            let head = std::mem::replace(&mut self.buffer, rest);
            let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
            let status = first
                .strip_prefix("HTTP/1.")
                .and_then(|rest| rest.get(2..5))
                .and_then(|digits| digits.parse::<u16>().ok())
                .filter(|status| (100..1000).contains(status))
                .ok_or_else(|| Error::InDoubt("the answer is no HTTP".to_owned()))?;
            if status < 200 && status != 101 {
                continue;
            }
            let headers = lines
                .filter_map(|line| {
                    let at = line.iter().position(|byte| *byte == b':')?;
                    let name = String::from_utf8_lossy(line.get(..at)?).into_owned();
                    Some((name, line.get(at + 1..)?.trim_ascii().to_vec()))
                })
                .collect();
            return Ok((status, headers));
        }
    }

    fn body(&mut self, answer: &mut Answer, client: &Client) -> Result<(), Error> {
        if matches!(answer.status, 204 | 304) {
            return Ok(());
        }
        let chunked = answer
            .header("Transfer-Encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if chunked {
            loop {
                let line = self.line()?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let length = usize::from_str_radix(digits, 16)
                    .map_err(|_| Error::InDoubt("a chunk without a length".to_owned()))?;
                if length == 0 {
                    return Ok(());
                }
                if self.take(Some(length), answer, client)? {
                    return Ok(());
                }
                self.line()?;
            }
        }
        let length = match answer.header("Content-Length").map(str::parse) {
            None => None,
            Some(Ok(length)) => Some(length),
            Some(Err(_)) => {
                return Err(Error::InDoubt("its `Content-Length` is no number".to_owned()));
            }
        };
        self.take(length, answer, client).map(drop)
    }

    /// Takes so many bytes of the body, or all there are, and says whether the rest is not wanted.
    fn take(
        &mut self,
        length: Option<usize>,
        answer: &mut Answer,
        client: &Client,
    ) -> Result<bool, Error> {
        let mut left = length.unwrap_or(usize::MAX);
        while left > 0 {
            if self.buffer.is_empty() && !self.more()? {
                return match length {
                    None => Ok(false),
                    Some(_) => Err(Error::InDoubt("half an answer".to_owned())),
                };
            }
            let now = self.buffer.len().min(left);
            left -= now;
            let piece: Vec<u8> = self.buffer.drain(..now).collect();
            let room = client.answer_bytes.saturating_sub(answer.body.len());
            answer.body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if piece.len() > room {
                if client.beyond == Beyond::Fail {
                    return Err(Error::TooLarge(format!(
                        "more than {} bytes",
                        client.answer_bytes
                    )));
                }
                answer.cut = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn line(&mut self) -> Result<String, Error> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            if self.buffer.len() > LONGEST_HEAD || !self.more()? {
                return Err(Error::InDoubt("half an answer".to_owned()));
            }
        }
    }

    /// Reads what there is, and says whether there was anything.
    fn more(&mut self) -> Result<bool, Error> {
        let mut piece = [0; 8192];
        let left = self.left().map_err(|error| doubt(&error))?;
        let wait = left.min(self.wait).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(wait)).map_err(|error| doubt(&error))?;
        let read = self.stream.read(&mut piece).map_err(|error| doubt(&error))?;
        self.buffer.extend_from_slice(piece.get(..read).unwrap_or_default());
        Ok(read > 0)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

fn doubt(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::InDoubt("it took too long".to_owned())
        }
        _ => Error::InDoubt(error.to_string()),
    }
}
