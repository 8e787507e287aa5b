//! Goes where it is told to, and tells how far it came: the reason that it rejects the first record
//! with is what it found. What it is not granted it must not reach.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

use serde::Deserialize;
use wasink_guest::Level;
use wasink_guest::http::{Client, Request};
use wasink_guest::prelude::*;
use wasink_guest::wasip2::clocks::monotonic_clock::subscribe_duration;
use wasink_guest::wasip2::filesystem::preopens::get_directories;
use wasink_guest::wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags,
};
use wasink_guest::wasip2::http::outgoing_handler::handle;
use wasink_guest::wasip2::http::types::{Fields, Method, OutgoingRequest, Scheme};
use wasink_guest::wasip2::random::random::get_random_bytes;

/// What it is told.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "errand", deny_unknown_fields)]
pub enum Settings {
    /// Sends a request, and tells the answer's status and body.
    Request {
        /// Where.
        url: String,
        /// Its headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Its body, this often.
        #[serde(default)]
        body: (String, usize),
    },
    /// Sends so many requests before it waits for the first answer, and tells how many came.
    AtOnce {
        /// The origin's authority.
        authority: String,
        /// How many.
        requests: usize,
        /// Their method; `GET` where it is left out.
        #[serde(default)]
        method: Option<String>,
    },
    /// Follows one redirect to wherever it leads.
    Follow {
        /// Where from.
        url: String,
    },
    /// Connects to `host:port`, says hello and tells the line that comes back.
    Connect {
        /// Where.
        to: String,
    },
    /// Looks a name up.
    Resolve {
        /// The name.
        name: String,
    },
    /// Waits for somebody to connect.
    Listen,
    /// Sends a datagram.
    Datagram {
        /// Where.
        to: String,
    },
    /// Tells a secret.
    Secret {
        /// Its name.
        name: String,
    },
    /// Tells all variables.
    Environment,
    /// Lists its directory in so many listings at once, and tells what one of them holds.
    List {
        /// How many.
        listings: usize,
    },
    /// Makes headers of so many KiB for a request that it never sends.
    Headers {
        /// How many.
        kib: usize,
    },
    /// Asks for so many bytes of chance at once, and tells how many came.
    Chance {
        /// How many.
        bytes: u64,
    },
    /// Holds more and more timers, and says so of each.
    Hold,
    /// Tells what becomes of three files: one that is there and was to be new, one that was made to be
    /// read and is written to, and one that is new as it was to be.
    Meddle,
    /// Fills its directory in this way.
    Fill {
        /// The way.
        by: String,
    },
}

/// The sink.
#[derive(Debug)]
pub struct Errand(Settings);

impl Sink for Errand {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "goes where it is told to").all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        Ok(Self(settings))
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let found = run(&self.0).unwrap_or_else(|error| format!("failed: {error}"));
        let mut outcomes = Outcomes::delivered();
        outcomes.rejected(0, found);
        Ok(outcomes)
    }
}

type Found = Result<String, Box<dyn std::error::Error>>;

fn run(settings: &Settings) -> Found {
    match settings {
        Settings::Request { url, headers, body } => {
            let mut request = Request::post(url.parse()?);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let answer = Client::default().send(&request.body(body.0.repeat(body.1)))?;
            Ok(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
        }
        Settings::AtOnce { authority, requests, method } => {
            at_once(authority, *requests, method.as_deref().unwrap_or("GET"))
        }
        Settings::Follow { url } => {
            let first = Client::default().send(&Request::post(url.parse()?))?;
            let next = first.header("location").unwrap_or_default();
            let second = Client::default().send(&Request::post(next.parse()?))?;
            Ok(format!("{} and then {}", first.status, second.status))
        }
        Settings::Connect { to } => {
            let mut stream = TcpStream::connect(to)?;
            stream.write_all(b"hello\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        }
        Settings::Resolve { name } => {
            let found: Vec<_> =
                (&**name, 0).to_socket_addrs()?.map(|a| a.ip().to_string()).collect();
            Ok(found.join(" "))
        }
        Settings::Listen => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            Ok(format!("listens at {}", listener.local_addr()?))
        }
        Settings::Datagram { to } => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            Ok(format!("sent {}", socket.send_to(b"hello", to)?))
        }
        Settings::Secret { name } => {
            Ok(wasink_guest::secret(name).unwrap_or_else(|| "none".to_owned()))
        }
        Settings::Environment => {
            let variables: Vec<_> = std::env::vars().map(|(n, v)| format!("{n}={v}")).collect();
            Ok(variables.join(" "))
        }
        Settings::List { listings } => {
            let open = (0..*listings).map(|_| fs::read_dir("/data"));
            let mut open: Vec<_> = open.collect::<Result<_, _>>()?;
            // One of each before the next, so that all are under way at once.
            open.iter_mut().for_each(|listing| drop(listing.next()));
            drop(open);
            let (mut files, mut folders, mut links) = (0, 0, 0);
            for entry in fs::read_dir("/data")? {
                let kind = entry?.file_type()?;
                files += usize::from(kind.is_file());
                folders += usize::from(kind.is_dir());
                links += usize::from(kind.is_symlink());
            }
            Ok(format!("{files} files, {folders} folders, {links} links"))
        }
        Settings::Headers { kib } => {
            let headers = Fields::new();
            for _ in 0..*kib {
                headers.append("x", &PIECE[..1024]).map_err(wasi)?;
            }
            Ok(format!("{} headers", headers.get("x").len()))
        }
        Settings::Chance { bytes } => Ok(format!("{} bytes", get_random_bytes(*bytes).len())),
        Settings::Hold => {
            let mut held = Vec::new();
            for _ in 0..ENOUGH {
                held.push(subscribe_duration(u64::MAX));
                wasink_guest::log(Level::Info, "holds one more", &[]);
            }
            Ok(format!("{} at once", held.len()))
        }
        Settings::Meddle => {
            let (directory, _) = placed()?;
            let open = |name: &str, more: OpenFlags, flags: DescriptorFlags| {
                directory.open_at(PathFlags::empty(), name, OpenFlags::CREATE | more, flags)
            };
            let (new, both) =
                (OpenFlags::EXCLUSIVE, DescriptorFlags::READ | DescriptorFlags::WRITE);
            let taken = open("f", new, both).is_err_and(|code| code == ErrorCode::Exist);
            let read = open("g", OpenFlags::empty(), DescriptorFlags::READ).map_err(wasi)?;
            let written = read.write(b"x", 0).is_ok();
            let made = open("h", new, both).is_ok();
            Ok(format!("taken: {taken}, written: {written}, made: {made}"))
        }
        Settings::Fill { by } => fill(by),
    }
}

fn at_once(authority: &str, requests: usize, method: &str) -> Found {
    let send = |_| {
        let headers = [("content-length".to_owned(), b"0".to_vec())];
        let headers = Fields::from_list(&headers).map_err(|error| format!("{error:?}"))?;
        let request = OutgoingRequest::new(headers);
        request.set_method(&Method::Other(method.to_owned())).map_err(|()| "no method")?;
        request.set_scheme(Some(&Scheme::Http)).map_err(|()| "no scheme")?;
        request.set_authority(Some(authority)).map_err(|()| "no authority")?;
        request.set_path_with_query(Some("/")).map_err(|()| "no path")?;
        handle(request, None).map_err(|code| format!("{code:?}"))
    };
    let sent = (0..requests).map(send).collect::<Result<Vec<_>, String>>()?;
    let mut answered = 0;
    for answer in sent {
        answer.subscribe().block();
        match answer.get() {
            Some(Ok(Ok(answer))) => answered += usize::from(answer.status() == 200),
            Some(Ok(Err(code))) => return Err(format!("{code:?}").into()),
            _ => {}
        }
    }
    Ok(format!("{answered} answers"))
}

const PIECE: [u8; 4096] = [b'x'; 4096];
const ENOUGH: u64 = 10_000;

/// As far as the standard library has no name for it.
fn wasi(error: impl std::fmt::Debug) -> std::io::Error {
    std::io::Error::other(format!("{error:?}"))
}

/// Its directory, and a file in it that can be written to at any place.
fn placed() -> std::io::Result<(Descriptor, Descriptor)> {
    let (directory, _) = get_directories().pop().ok_or_else(|| wasi("no directory"))?;
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let file = directory.open_at(PathFlags::empty(), "f", OpenFlags::CREATE, flags);
    Ok((directory, file.map_err(wasi)?))
}

/// Makes its directory grow until that fails, or for so long that it did not.
fn fill(by: &str) -> Found {
    fs::create_dir_all("/data/more")?;
    let mut open: Vec<File> = Vec::new();
    for n in 0..ENOUGH {
        let done = match by {
            "append" => OpenOptions::new()
                .create(true)
                .append(true)
                .open("/data/f")
                .and_then(|mut f| f.write_all(&PIECE)),
            "write" => {
                if open.is_empty() {
                    open.push(File::create("/data/f")?);
                }
                open.iter_mut().try_for_each(|file| file.write_all(&PIECE))
            }
            "set-size" => File::options()
                .create(true)
                .write(true)
                .truncate(false)
                .open("/data/f")
                .and_then(|f| f.set_len((n + 1) * 4096)),
            "files" => File::create(format!("/data/more/{n}")).map(drop),
            "directories" => fs::create_dir(format!("/data/more/{n}")),
            "links" => {
                fs::write("/data/f", "x")?;
                fs::hard_link("/data/f", format!("/data/more/{n}"))
            }
            // Without a stream, piece by piece.
            "placed" => {
                placed().and_then(|(_, file)| file.write(&PIECE, n * 4096).map(drop).map_err(wasi))
            }
            "placed-holes" => placed()
                .and_then(|(_, file)| file.write(b"x", (n + 1) * 4096).map(drop).map_err(wasi)),
            "symlinks" => placed().and_then(|(directory, _)| {
                directory.symlink_at("f", &format!("more/{n}")).map_err(wasi)
            }),
            // A byte far behind the end: what is between them takes room once somebody writes there.
            "holes" => {
                File::options().create(true).write(true).truncate(false).open("/data/f").and_then(
                    |mut file| {
                        file.seek(SeekFrom::Start((n + 1) * 4096))?;
                        file.write_all(b"x")
                    },
                )
            }
            // Nobody writes to it any more, and it has no name, and still it is there.
            "read-only" => File::create("/data/f").and_then(|mut file| {
                file.write_all(&PIECE)?;
                open.push(File::open("/data/f")?);
                fs::remove_file("/data/f")
            }),
            // A file that has no name any more is still there.
            "nameless" => File::create("/data/f").and_then(|mut file| {
                fs::remove_file("/data/f")?;
                file.write_all(&PIECE)?;
                open.push(file);
                Ok(())
            }),
            other => return Err(format!("no such way: {other}").into()),
        };
        if let Err(error) = done {
            return Ok(format!("{n} and then: {error}"));
        }
    }
    Ok(format!("{ENOUGH} without end"))
}

export_sink!(Errand);
