//! A receiver over TCP that behaves as it is told. It knows no protocol, so it says nothing.

use std::io::{self, ErrorKind, Read as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{LOOK, locked};

/// So much is read before a connection is reset.
const SOME: usize = 16;
/// So much is read at a time by one that is slow.
const LITTLE: usize = 512;
/// What was sent is here after so long without more: the system has it sooner than the receiver.
const SETTLED: Duration = Duration::from_secs(2);

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpMood {
    /// It takes everything.
    Takes,
    /// Nothing listens.
    Refuses,
    /// It takes connections, and reads nothing.
    NeverReads,
    /// It reads a little, and resets the connection.
    Resets,
    /// Each connection ends as soon as it is there.
    Ends,
    /// It takes everything, a little at a time.
    Slow,
}

impl TcpMood {
    /// What a receiver does that behaves so.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Takes => "reads them and says nothing",
            Self::Refuses => "refuses connections",
            Self::NeverReads => "takes the connection and reads nothing",
            Self::Resets => "resets the connection while they come",
            Self::Ends => "ends the connection at once",
            Self::Slow => "reads them slowly",
        }
    }
}

/// A receiver on a port of its own on 127.0.0.1, for as long as it is kept.
pub(crate) struct TcpReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// A connection with its own port, so that nobody else gets that while nothing listens there.
    _anchor: (TcpStream, TcpStream),
    listening: Mutex<Option<Listening>>,
}

/// Waits for connections.
struct Listening {
    thread: JoinHandle<()>,
    ending: Arc<AtomicBool>,
}

struct Shared {
    mood: Mutex<TcpMood>,
    got: Mutex<Got>,
    came: Condvar,
    connections: Mutex<Vec<Connection>>,
}

/// What has come.
#[derive(Default)]
struct Got {
    bytes: Vec<u8>,
    /// How much that was ever, with what is forgotten.
    total: u64,
}

struct Connection {
    stream: TcpStream,
    /// Reads it; absent where nobody does.
    thread: Option<JoinHandle<()>>,
}

impl TcpReceiver {
    pub(crate) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let anchor = (TcpStream::connect(address)?, listener.accept()?.0);
        let shared = Arc::new(Shared {
            mood: Mutex::new(TcpMood::Takes),
            got: Mutex::default(),
            came: Condvar::new(),
            connections: Mutex::default(),
        });
        let listening = Mutex::new(Some(Listening::new(listener, shared.clone())?));
        Ok(Self { address, shared, _anchor: anchor, listening })
    }

    /// `127.0.0.1:port`.
    pub(crate) fn target(&self) -> String {
        self.address.to_string()
    }

    /// From now on it behaves so. It is another one that does: connections to the one before end.
    pub(crate) fn is(&self, mood: TcpMood) -> io::Result<()> {
        let mut listening = locked(&self.listening);
        if let Some(listening) = listening.take() {
            listening.end(self.address);
        }
        *locked(&self.shared.mood) = mood;
        self.shared.end_connections();
        if mood != TcpMood::Refuses {
            let listener = TcpListener::bind(self.address)?;
            *listening = Some(Listening::new(listener, self.shared.clone())?);
        }
        Ok(())
    }

    /// Waits until this is among what has come, or nothing comes any more; whether it is.
    pub(crate) fn comes(&self, what: &[u8]) -> bool {
        let mut got = locked(&self.shared.got);
        let mut looked = 0_usize;
        loop {
            // It may have begun in what was there before.
            let from = looked.min(got.bytes.len()).saturating_sub(what.len());
            let new = got.bytes.get(from..).unwrap_or_default();
            if new.windows(what.len()).any(|window| window == what) {
                return true;
            }
            looked = got.bytes.len();
            let (total, end) = (got.total, Instant::now() + SETTLED);
            while got.total == total {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                let waited = self.shared.came.wait_timeout(got, left);
                got = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Looks at what has come and was not forgotten.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&[u8]) -> T) -> T {
        at(&locked(&self.shared.got).bytes)
    }

    /// Forgets what has come so far.
    pub(crate) fn forget(&self) {
        locked(&self.shared.got).bytes.clear();
    }
}

impl Drop for TcpReceiver {
    fn drop(&mut self) {
        if let Some(listening) = locked(&self.listening).take() {
            listening.end(self.address);
        }
        self.shared.end_connections();
    }
}

impl Listening {
    fn new(listener: TcpListener, shared: Arc<Shared>) -> io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let of_thread = ending.clone();
        let work = move || {
            for stream in listener.incoming() {
                if of_thread.load(Ordering::SeqCst) {
                    return;
                }
                // How a connection ends is the client's to tell.
                drop(stream.and_then(|stream| shared.take(stream)));
            }
        };
        let thread = thread::Builder::new().name("wasink-kit-tcp".to_owned()).spawn(work)?;
        Ok(Self { thread, ending })
    }

    fn end(self, address: SocketAddr) {
        self.ending.store(true, Ordering::SeqCst);
        // Whoever waits for a connection gets one.
        drop(TcpStream::connect(address));
        drop(self.thread.join());
    }
}

impl Shared {
    fn take(self: &Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let mood = *locked(&self.mood);
        match mood {
            // Nothing that has another handle would end with this one.
            TcpMood::Ends | TcpMood::Refuses => return Ok(()),
            TcpMood::Resets => return reset(stream),
            TcpMood::Takes | TcpMood::NeverReads | TcpMood::Slow => {}
        }
        let mut thread = None;
        if mood != TcpMood::NeverReads {
            let (shared, stream) = (self.clone(), stream.try_clone()?);
            let work = move || drop(shared.read(stream, mood));
            let builder = thread::Builder::new().name("wasink-kit-tcp".to_owned());
            thread = Some(builder.spawn(work)?);
        }
        let mut connections = locked(&self.connections);
        connections.retain(|connection| {
            connection.thread.as_ref().is_none_or(|thread| !thread.is_finished())
        });
        connections.push(Connection { stream, thread });
        Ok(())
    }

    fn read(&self, mut stream: TcpStream, mood: TcpMood) -> io::Result<()> {
        let mut some = vec![0; if mood == TcpMood::Slow { LITTLE } else { 1 << 16 }];
        loop {
            let read = match stream.read(&mut some) {
                // Whoever waits for that is told that all of it has come.
                Ok(0) => return stream.shutdown(Shutdown::Both),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut got = locked(&self.got);
            got.bytes.extend(some.iter().take(read));
            got.total += read as u64;
            self.came.notify_all();
            drop(got);
            if mood == TcpMood::Slow {
                if *locked(&self.mood) != mood {
                    return Ok(());
                }
                thread::sleep(LOOK);
            }
        }
    }

    fn end_connections(&self) {
        let connections = std::mem::take(&mut *locked(&self.connections));
        for Connection { stream, thread } in connections {
            // What has come by now is read all the same.
            drop(stream.shutdown(Shutdown::Both));
            if let Some(thread) = thread {
                drop(thread.join());
            }
        }
    }
}

/// Reads a little, and leaves the rest: to a system that is a reason to reset the connection.
fn reset(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.read_exact(&mut [0; SOME])?;
    stream.peek(&mut [0]).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_comes_is_kept_and_its_port_stays_its_own_while_nothing_listens() -> io::Result<()> {
        let receiver = TcpReceiver::new()?;
        let mut stream = TcpStream::connect(receiver.address)?;
        stream.write_all(b"before")?;
        assert!(receiver.comes(b"before"));
        receiver.is(TcpMood::Refuses)?;
        assert_eq!(stream.read(&mut [0])?, 0, "it was told that the receiver has gone");
        for _ in 0..3 {
            let refused = TcpStream::connect(receiver.address).map_err(|error| error.kind());
            assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
        }
        receiver.is(TcpMood::Takes)?;
        receiver.forget();
        TcpStream::connect(receiver.address)?.write_all(b"after")?;
        assert!(receiver.comes(b"after"));
        assert_eq!(receiver.look(<[u8]>::to_vec), b"after");
        Ok(())
    }

    #[test]
    fn connections_end_as_its_mood_says() -> io::Result<()> {
        let receiver = TcpReceiver::new()?;
        receiver.is(TcpMood::Ends)?;
        assert_eq!(TcpStream::connect(receiver.address)?.read(&mut [0])?, 0);
        receiver.is(TcpMood::Resets)?;
        let mut stream = TcpStream::connect(receiver.address)?;
        stream.write_all(&[b'x'; 100])?;
        let reset = stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(reset.err(), Some(ErrorKind::ConnectionReset));
        receiver.is(TcpMood::Slow)?;
        let mut stream = TcpStream::connect(receiver.address)?;
        stream.write_all(&[b'x'; LITTLE + 1])?;
        stream.write_all(b"end")?;
        assert!(receiver.comes(b"xend"));
        Ok(())
    }
}
