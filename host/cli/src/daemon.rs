//! Asks a running `wasink serve`, over its admin socket.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use wasink::config::Config;

use crate::show;

/// How long the answer to a question may take. An operation may take any time: whoever asked for it
/// can stop waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any answer has, in bytes.
const LONGEST: u64 = 256 << 20;

/// More headers than any answer has.
const HEADERS: usize = 32;

/// Where a running process with this configuration would listen.
#[derive(Debug)]
pub(crate) struct Daemon {
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// The configuration says so.
    #[error("no wasink is serving with this configuration: `listen.admin` is empty")]
    Nowhere,
    /// Nobody listens.
    #[error("no wasink is serving with this configuration: nothing listens on `{}`", .path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
    },
    /// The system refuses, or the other side broke off.
    #[error("can't ask the wasink that listens on `{}`: {source}", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It does not answer.
    #[error(
        "the wasink that listens on `{}` gave no answer in {} seconds",
        .path.display(), PATIENCE.as_secs()
    )]
    Slow {
        /// The socket.
        path: PathBuf,
    },
    /// It does not speak as it should.
    #[error("what listens on `{}` gave no answer that can be read: {what}", .path.display())]
    Strange {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It says no.
    #[error("{}", refusal(.0))]
    Refused(Value),
}

impl DaemonError {
    /// Whether there is nobody to ask.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Nowhere | Self::Absent { .. })
    }
}

/// A refusal's reason, with what is under way where that is it.
fn refusal(problem: &Value) -> String {
    let member = |key: &str| problem.get(key).and_then(Value::as_str).map(show::printable);
    let text = member("detail").or_else(|| member("title")).unwrap_or_default();
    match problem.get("operation").filter(|operation| !operation.is_null()) {
        Some(operation) => {
            format!("{text}; under way: {}", show::printable(&operation.to_string()))
        }
        None => text,
    }
}

impl Daemon {
    pub(crate) fn of(config: &Config) -> Result<Self, DaemonError> {
        let path = config.listen.admin.clone().ok_or(DaemonError::Nowhere)?;
        Ok(Self { path })
    }

    /// Whether anybody listens.
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.connect(), Err(error) if error.is_absent())
    }

    /// Asks something that changes nothing.
    pub(crate) fn get(&self, path: &str) -> Result<Value, DaemonError> {
        self.ask("GET", path, None, Some(PATIENCE))
    }

    /// Has something done. Returns when it is done, however long that takes.
    pub(crate) fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, DaemonError> {
        self.ask("POST", path, body, None)
    }

    fn connect(&self) -> Result<UnixStream, DaemonError> {
        let path = || self.path.clone();
        UnixStream::connect(&self.path).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                DaemonError::Absent { path: path() }
            }
            _ => DaemonError::Io { path: path(), source },
        })
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Option<Duration>,
    ) -> Result<Value, DaemonError> {
        let fail = |source: io::Error| match source.kind() {
            // A read or a write that takes too long is told as one that would block.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                DaemonError::Slow { path: self.path.clone() }
            }
            _ => DaemonError::Io { path: self.path.clone(), source },
        };
        let mut stream = self.connect()?;
        stream.set_read_timeout(patience).map_err(fail)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if !body.is_empty() {
            head.push_str("Content-Type: application/json\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let sent = stream.write_all(head.as_bytes());
        let mut bytes = Vec::new();
        let read = stream.take(LONGEST).read_to_end(&mut bytes);
        if bytes.is_empty() {
            // A refusal may come before all of the request was sent, so what came counts first.
            sent.map_err(fail)?;
        }
        read.map_err(fail)?;
        let (status, body) = answer(&bytes)
            .map_err(|what| DaemonError::Strange { path: self.path.clone(), what })?;
        if (200..300).contains(&status) { Ok(body) } else { Err(DaemonError::Refused(body)) }
    }
}

/// The status and the body of an answer.
fn answer(bytes: &[u8]) -> Result<(u16, Value), String> {
    if bytes.is_empty() {
        return Err("it broke off, and whether it has done anything is not known".to_owned());
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(bytes).map_err(|error| error.to_string())?;
    let httparse::Status::Complete(end) = parsed else {
        return Err("it broke off".to_owned());
    };
    let body = bytes.get(end..).unwrap_or_default();
    let length = answer
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    if length != Some(body.len()) {
        return Err("its length is not what it says".to_owned());
    }
    let status = answer.code.unwrap_or_default();
    let body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{answer, refusal};

    #[test]
    fn a_whole_answer_is_read_and_what_is_cut_off_or_strange_is_told() {
        let whole = b"HTTP/1.1 409 Conflict\r\nContent-Length: 7\r\ndate: x\r\n\r\n{\"a\":1}";
        assert_eq!(answer(whole).unwrap(), (409, json!({ "a": 1 })));
        for cut in 0..whole.len() {
            assert!(answer(&whole[..cut]).is_err(), "{cut}");
        }
        for strange in [
            &b"SSH-2.0-OpenSSH_9.6\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1 ",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
        ] {
            assert!(answer(strange).is_err(), "{strange:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_with_what_is_under_way_and_nothing_that_a_terminal_acts_on() {
        let problem = json!({ "title": "no", "detail": "not \u{1b}[2J now" });
        assert_eq!(refusal(&problem), "not \\u{1b}[2J now");
        let problem = json!({ "title": "no", "operation": { "stage": "preparing\u{7}" } });
        assert_eq!(refusal(&problem), "no; under way: {\"stage\":\"preparing\\u0007\"}");
    }
}
