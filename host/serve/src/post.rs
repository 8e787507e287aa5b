//! `POST /v1/{stream}`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use wasink_chassis::AppendError;
use wasink_record::{RecordId, Stream};

use crate::answer::Answer;
use crate::body::{self, Held};
use crate::fault::{Fault, Faults};
use crate::form::{Encoding, Form};
use crate::keys::{Claim, Digest, Key, Known, digest_of};
use crate::problem::{Kind, Problem};
use crate::records::{self, Batch, Read};
use crate::routes::App;

/// Bodies up to this size are read where they are received; larger ones would hold up others.
const INLINE: usize = 32 << 10;

/// When to come again where the daemon is ending: another will be there, if any.
const AFTER_RESTART: Duration = Duration::from_secs(5);

/// Takes the records of a request. What it answers with is durable.
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().strip_prefix("/v1/").unwrap_or_default();
    let stream: Stream = name.parse().map_err(|_| unknown_stream())?;
    let key = Key::of(&parts.headers)?;
    let form = Form::of(&parts.headers)?;
    let encoding = Encoding::of(&parts.headers)?;
    let mut held = app.room.enter()?;
    let bytes = body::receive(body, &app.limits, &mut held).await?;

    let job = Job {
        app: app.clone(),
        stream,
        form,
        encoding,
        headers: parts.headers,
        keyed: key.is_some(),
    };
    let (batch, digest, held) = if bytes.len() <= INLINE && encoding == Encoding::Identity {
        job.read(bytes, held)?
    } else {
        let read = tokio::task::spawn_blocking(move || job.read(bytes, held));
        read.await.map_err(|_| internal())??
    };
    let Batch { records, faults } = batch;
    let Some(key) = key.filter(|_| !records.is_empty()) else {
        let ids = append(&app, stream, records, None, held).await?;
        return Ok(Answer::new(ids, faults).respond(false));
    };

    let identified = |read: Read| {
        let id = read.id.unwrap_or_else(|| key.id(stream, &digest, read.index));
        Read { id: Some(id), ..read }
    };
    let records: Vec<_> = records.into_iter().map(identified).collect();
    match app.keys.claim(&key, stream, digest, Instant::now())? {
        Known::Done => {
            let ids = records.iter().filter_map(|read| read.id).collect();
            Ok(Answer::new(ids, faults).respond(true))
        }
        Known::New(claim) => {
            let ids = append(&app, stream, records, Some(claim), held).await?;
            Ok(Answer::new(ids, faults).respond(false))
        }
    }
}

/// All that reading a body needs.
struct Job {
    app: Arc<App>,
    stream: Stream,
    form: Form,
    encoding: Encoding,
    headers: HeaderMap,
    keyed: bool,
}

impl Job {
    fn read(self, bytes: Vec<u8>, mut held: Held) -> Result<(Batch, Digest, Held), Problem> {
        let limits = &self.app.limits;
        let bytes = body::decode(self.encoding, bytes, limits.decoded_bytes, &mut held)?;
        let now = self.app.clock.now();
        let batch = records::read(self.form, self.stream, &self.headers, &bytes, limits, now)?;
        let digest = if self.keyed { digest_of(&self.headers, &bytes) } else { Digest::default() };
        Ok((batch, digest, held))
    }
}

/// Appends records and waits until they are durable. That goes on when the client does not wait any
/// longer: whether it was done has to be known when the request comes again.
async fn append(
    app: &Arc<App>,
    stream: Stream,
    records: Vec<Read>,
    claim: Option<Claim>,
    held: Held,
) -> Result<Vec<RecordId>, Problem> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let indexes: Vec<_> = records.iter().map(|read| read.index).collect();
    let records = records.into_iter().map(|read| (read.id, read.record)).collect();
    let app = app.clone();
    let appending = tokio::spawn(async move {
        let appended = app.door.append(stream, records).await;
        if let (Ok(_), Some(claim)) = (&appended, claim) {
            claim.keep(Instant::now());
        }
        drop(held);
        appended
    });
    let appended = appending.await.map_err(|_| internal())?;
    appended.map_err(|error| refused(stream, &error, &indexes))
}

/// What to answer where nothing was appended.
fn refused(stream: Stream, error: &AppendError, indexes: &[usize]) -> Problem {
    match error {
        AppendError::Full { retry_after } => {
            Problem::new(Kind::Full, error.to_string()).retry_after(*retry_after)
        }
        AppendError::Unavailable { retry_after, .. } => {
            Problem::new(Kind::Unavailable, error.to_string()).retry_after(*retry_after)
        }
        AppendError::TooLarge { index, bytes, limit } => {
            let index = indexes.get(*index).copied().unwrap_or(*index);
            let message = format!("the record takes {bytes} bytes, {limit} is the most");
            let detail = format!("{message}; no record of the request was taken, leave it out");
            let fault = Fault { index, line: None, column: None, field: None, message };
            let faults = Faults { told: vec![fault], more: 0 };
            Problem::new(Kind::RecordTooLarge, detail).with_answer(Answer::new(Vec::new(), faults))
        }
        AppendError::NoSink => Problem::new(
            Kind::NoSink,
            format!("no sink takes the stream `{stream}`: name it in the `streams` of a sink"),
        ),
        AppendError::Closed => {
            Problem::new(Kind::Closed, error.to_string()).retry_after(AFTER_RESTART)
        }
        _ => internal(),
    }
}

fn unknown_stream() -> Problem {
    let names = Stream::ALL.map(|stream| format!("`{stream}`")).join(", ");
    Problem::new(Kind::UnknownStream, format!("unknown stream, the streams are {names}"))
}

fn internal() -> Problem {
    Problem::new(Kind::Internal, "the request could not be dealt with; the log may say more")
}
