//! What operators can ask, under which path.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::bodies::{Doubt, Letters, Start, Swap, limit, read};
use super::operator::{Operator, Refusal, RefusalKind};
use super::{CONNECTIONS, POSITIONS_BYTES};
use crate::Limits;
use crate::body::{Held, Room, decode, receive};
use crate::form::{Encoding, Form};
use crate::linger::{UnderWay, linger};
use crate::problem::{Kind, Problem, to_json};
use crate::routes::document;

/// What this server takes and answers, as an OpenAPI 3.1 document.
const OPENAPI: &str = include_str!("../admin-openapi.json");

/// What plugins and sinks are called is not longer.
const LONGEST_NAME: usize = 64;

/// When to come again where too many operations are under way.
const SOON: Duration = Duration::from_secs(1);

/// What all requests share.
pub(super) struct App {
    operator: Arc<dyn Operator>,
    limits: Limits,
    /// The same for bodies that name dead letters.
    long: Limits,
    room: Arc<Room>,
    /// Places for operations: a client that goes away leaves its operation behind.
    places: Arc<Semaphore>,
    /// Dropped with the last request.
    _alive: mpsc::Sender<()>,
}

type Shared = State<Arc<App>>;
type Named = Result<Path<String>, PathRejection>;
type Answered = Result<Response, Problem>;

impl App {
    pub(super) fn new(
        operator: Arc<dyn Operator>,
        limits: Limits,
        alive: mpsc::Sender<()>,
    ) -> Arc<Self> {
        let long = Limits {
            body_bytes: POSITIONS_BYTES,
            decoded_bytes: POSITIONS_BYTES,
            ..limits.clone()
        };
        let room = Room::new(limits.bytes_under_way);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        Arc::new(Self { operator, limits, long, room, places, _alive: alive })
    }

    /// Lets the operator do something, on a thread of its own. It goes on when the client does not
    /// wait any longer.
    async fn ask(
        self: Arc<Self>,
        what: impl FnOnce(&dyn Operator) -> Result<Value, Refusal> + Send + 'static,
    ) -> Answered {
        let place = self.place()?;
        let app = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let answer = what(&*app.operator);
            drop(place);
            answer
        });
        let answer = asked.await.map_err(|_| {
            Problem::new(Kind::Internal, "the operation broke off; the log may say more")
        })?;
        Ok(document(to_json(&answer.map_err(refused)?)))
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let detail = "too many operations are under way at this moment, ask again";
            Problem::new(Kind::Busy, detail).retry_after(SOON)
        })
    }

    /// The body of a request, with its place among all bodies.
    async fn body(&self, limits: &Limits, request: Request) -> Result<(Vec<u8>, Held), Problem> {
        let (parts, body) = request.into_parts();
        if !is_empty(&parts.headers) && !matches!(Form::of(&parts.headers), Ok(Form::Json)) {
            let detail = "a body is taken as `application/json` alone";
            return Err(Problem::new(Kind::MediaType, detail));
        }
        let encoding = Encoding::of(&parts.headers)?;
        let mut held = self.room.enter()?;
        let bytes = receive(body, limits, &mut held).await?;
        let bytes = decode(encoding, bytes, limits.decoded_bytes, &mut held)?;
        Ok((bytes, held))
    }
}

/// Whether a request says that it has no body.
fn is_empty(headers: &HeaderMap) -> bool {
    let has = |name| headers.contains_key(name);
    let length = headers.get(CONTENT_LENGTH);
    !has(CONTENT_TYPE)
        && !has(axum::http::header::TRANSFER_ENCODING)
        && length.is_none_or(|length| length == "0")
}

fn refused(refusal: Refusal) -> Problem {
    let Refusal { kind, detail, operation } = refusal;
    let kind = match kind {
        RefusalKind::NotFound => Kind::Unknown,
        RefusalKind::Conflict => Kind::Conflict,
        RefusalKind::Invalid => Kind::Invalid,
        RefusalKind::Failed => Kind::Failed,
        RefusalKind::Unsupported => Kind::Unsupported,
    };
    let problem = Problem::new(kind, detail);
    match operation {
        Some(operation) => problem.with_operation(operation),
        None => problem,
    }
}

/// The name in a path: one that a plugin or a sink can have.
fn name(path: Named) -> Result<String, Problem> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    match path {
        Ok(Path(name)) if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed) => {
            Ok(name)
        }
        _ => {
            let detail = "a name is 1 to 64 of `a`-`z`, `0`-`9` and `-`";
            Err(Problem::new(Kind::Unknown, detail))
        }
    }
}

/// All paths.
pub(super) fn routes(app: Arc<App>, under_way: Arc<UnderWay>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/plugins", get(plugins))
        .route("/v1/history", get(history))
        .route("/v1/reload", post(reload))
        .route("/v1/plugins/{name}/history", get(plugin_history))
        .route("/v1/plugins/{name}/swap", post(swap))
        .route("/v1/plugins/{name}/rollback", post(roll_back))
        .route("/v1/plugins/{name}/trial", get(trial).post(start_trial))
        .route("/v1/plugins/{name}/trial/promote", post(promote))
        .route("/v1/plugins/{name}/trial/abort", post(abort))
        .route("/v1/sinks/{sink}/dead/replay", post(replay_dead))
        .route("/v1/sinks/{sink}/dead/purge", post(purge_dead))
        .route("/v1/sinks/{sink}/held", post(end_doubt))
        .route("/openapi.json", get(openapi))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
        .layer(middleware::from_fn_with_state(under_way, linger))
}

async fn status(State(app): Shared) -> Answered {
    app.ask(|operator| Ok(operator.status())).await
}

async fn plugins(State(app): Shared) -> Answered {
    app.ask(|operator| operator.plugins()).await
}

async fn history(State(app): Shared, RawQuery(query): RawQuery) -> Answered {
    let limit = limit(query.as_deref())?;
    app.ask(move |operator| operator.history(None, limit)).await
}

async fn plugin_history(State(app): Shared, path: Named, RawQuery(query): RawQuery) -> Answered {
    let (name, limit) = (name(path)?, limit(query.as_deref())?);
    app.ask(move |operator| operator.history(Some(&name), limit)).await
}

async fn swap(State(app): Shared, path: Named, request: Request) -> Answered {
    let name = name(path)?;
    let (body, held) = app.body(&app.limits, request).await?;
    let to = read::<Swap>(&body)?.target()?;
    drop(held);
    app.ask(move |operator| operator.swap(&name, &to)).await
}

async fn roll_back(State(app): Shared, path: Named) -> Answered {
    let name = name(path)?;
    app.ask(move |operator| operator.roll_back(&name)).await
}

async fn reload(State(app): Shared) -> Answered {
    app.ask(|operator| operator.reload()).await
}

async fn trial(State(app): Shared, path: Named) -> Answered {
    let name = name(path)?;
    app.ask(move |operator| operator.trial(&name)).await
}

async fn start_trial(State(app): Shared, path: Named, request: Request) -> Answered {
    let name = name(path)?;
    let (body, held) = app.body(&app.limits, request).await?;
    let trial = read::<Start>(&body)?.trial()?;
    drop(held);
    app.ask(move |operator| operator.start_trial(&name, &trial)).await
}

async fn promote(State(app): Shared, path: Named) -> Answered {
    let name = name(path)?;
    app.ask(move |operator| operator.promote(&name)).await
}

async fn abort(State(app): Shared, path: Named) -> Answered {
    let name = name(path)?;
    app.ask(move |operator| operator.abort(&name)).await
}

async fn replay_dead(State(app): Shared, path: Named, request: Request) -> Answered {
    let name = name(path)?;
    let (body, held) = app.body(&app.long, request).await?;
    let (stream, positions) = read::<Letters>(&body)?.chosen()?;
    drop((body, held));
    app.ask(move |operator| operator.replay_dead(&name, stream, &positions)).await
}

async fn purge_dead(State(app): Shared, path: Named, request: Request) -> Answered {
    let name = name(path)?;
    let (body, held) = app.body(&app.long, request).await?;
    let (stream, positions) = read::<Letters>(&body)?.chosen()?;
    drop((body, held));
    app.ask(move |operator| operator.purge_dead(&name, stream, &positions)).await
}

async fn end_doubt(State(app): Shared, path: Named, request: Request) -> Answered {
    let name = name(path)?;
    let (body, held) = app.body(&app.limits, request).await?;
    let verdict = read::<Doubt>(&body)?.verdict();
    drop(held);
    app.ask(move |operator| operator.end_doubt(&name, verdict)).await
}

async fn openapi() -> Response {
    document(OPENAPI)
}

async fn nothing() -> Problem {
    Problem::new(Kind::NotFound, "`/openapi.json` describes all that there is")
}

async fn wrong_method(request: Request) -> Problem {
    let path = request.uri().path();
    if path.starts_with("/v1/plugins/") && path.ends_with("/trial") {
        let detail = "a trial is read with `GET` and started with `POST`";
        return Problem::new(Kind::Method, detail).allow("GET, HEAD, POST");
    }
    let read = ["/v1/status", "/v1/plugins", "/openapi.json"].contains(&path)
        || path.ends_with("/history");
    if read {
        Problem::new(Kind::Method, "this is read with `GET`").allow("GET, HEAD")
    } else {
        Problem::new(Kind::Method, "this is done with `POST`").allow("POST")
    }
}
