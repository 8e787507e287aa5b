//! Receives a body: so much of it, in so much time, and decompresses it.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use zstd::zstd_safe::DParameter;

use crate::Limits;
use crate::form::Encoding;
use crate::problem::{Kind, Problem};

/// What a request takes besides its body: so that many small ones count, too.
const OVERHEAD: usize = 16 << 10;

/// How much is decompressed at once.
const STEP: usize = 64 << 10;

/// The largest window that a frame may ask the decoder for, as a power of 2: 8 MiB, what RFC 9659
/// allows in HTTP.
const WINDOW: u32 = 23;

/// When to come again where too much is under way.
const SOON: Duration = Duration::from_secs(1);

/// The bytes that all requests together may still hold.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

impl Room {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    /// The room of one request.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Held, Problem> {
        let mut held = Held { room: self.clone(), bytes: 0 };
        held.grow(OVERHEAD)?;
        Ok(held)
    }
}

/// The bytes that one request holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Held {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let take = |free: usize| free.checked_sub(bytes);
        match self.room.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Problem::new(
                Kind::Busy,
                "too many bytes of requests are under way at this moment, send it again",
            )
            .retry_after(SOON)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a body to its end.
pub(crate) async fn receive(
    mut body: Body,
    limits: &Limits,
    held: &mut Held,
) -> Result<Vec<u8>, Problem> {
    let most = limits.body_bytes;
    // Known in advance, it need not be sent first.
    if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(too_large(most, "as it is sent"));
    }
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::new(Kind::BadBody, format!("the body is cut off or malformed: {error}"))
                    .hang_up()
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(too_large(most, "as it is sent"));
            }
            held.grow(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    tokio::time::timeout(limits.read_timeout, reading).await.unwrap_or_else(|_| {
        let seconds = limits.read_timeout.as_secs_f64();
        let detail = format!("the body was not complete after {seconds} seconds");
        Err(Problem::new(Kind::Timeout, detail).hang_up())
    })
}

/// What a body holds when it is decompressed.
pub(crate) fn decode(
    encoding: Encoding,
    bytes: Vec<u8>,
    most: usize,
    held: &mut Held,
) -> Result<Vec<u8>, Problem> {
    let decoded = match encoding {
        Encoding::Identity if bytes.len() <= most => return Ok(bytes),
        Encoding::Identity => return Err(too_large(most, "decompressed")),
        Encoding::Gzip => inflate(MultiGzDecoder::new(bytes.as_slice()), most, held),
        Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(bytes.as_slice())
            .and_then(|mut decoder| {
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW))?;
                Ok(decoder)
            })
            .map_err(Unfit::Broken)
            .and_then(|decoder| inflate(decoder, most, held)),
    };
    decoded.map_err(|unfit| match unfit {
        Unfit::Broken(error) => {
            let detail = format!("the body is not what its `Content-Encoding` says: {error}");
            Problem::new(Kind::BadBody, detail)
        }
        Unfit::Refused(problem) => problem,
    })
}

enum Unfit {
    Broken(io::Error),
    Refused(Problem),
}

/// Stops as soon as there is too much, whatever else would come.
fn inflate(mut from: impl Read, most: usize, held: &mut Held) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::new();
    let mut step = vec![0; STEP];
    loop {
        let got = match from.read(&mut step) {
            Ok(0) => return Ok(out),
            Ok(got) => step.get(..got).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unfit::Broken(error)),
        };
        if out.len() + got.len() > most {
            return Err(Unfit::Refused(too_large(most, "decompressed")));
        }
        held.grow(got.len()).map_err(Unfit::Refused)?;
        out.extend_from_slice(got);
    }
}

fn too_large(most: usize, how: &str) -> Problem {
    let detail = format!("the body has more than {most} bytes {how}, divide it");
    Problem::new(Kind::TooLarge, detail)
}
