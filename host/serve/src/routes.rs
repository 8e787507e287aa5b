//! What there is, under which path.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, extract::Request};
use tokio::sync::mpsc;
use wasink_record::Clock;

use crate::body::Room;
use crate::door::Door;
use crate::guard::{self, Guard, Trusted};
use crate::keys::Keys;
use crate::linger::{UnderWay, linger};
use crate::problem::{Kind, Problem};
use crate::server::{Parts, Ready};
use crate::{Limits, post::post as take};

/// What this server takes and answers, as an OpenAPI 3.1 document.
const OPENAPI: &str = include_str!("openapi.json");

/// What all requests share.
pub(crate) struct App {
    pub(crate) door: Arc<dyn Door>,
    pub(crate) ready: Ready,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) room: Arc<Room>,
    pub(crate) keys: Arc<Keys>,
    /// Dropped with the last request.
    _alive: mpsc::Sender<()>,
}

impl App {
    pub(crate) fn new(parts: &Parts, limits: Limits, alive: mpsc::Sender<()>) -> Arc<Self> {
        Arc::new(Self {
            door: parts.door.clone(),
            ready: parts.ready.clone(),
            clock: parts.clock.clone(),
            room: Room::new(limits.bytes_under_way),
            keys: Keys::new(limits.keys, limits.key_age),
            limits,
            _alive: alive,
        })
    }
}

/// All paths, for a listener with this guard.
pub(crate) fn routes(app: Arc<App>, guard: Guard, under_way: Arc<UnderWay>) -> Router {
    Router::new()
        .route("/v1/{stream}", post(take))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/openapi.json", get(openapi))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .layer(middleware::from_fn_with_state(under_way, linger))
}

/// That it answers at all is the answer.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(
    State(app): State<Arc<App>>,
    Extension(Trusted(trusted)): Extension<Trusted>,
) -> Result<&'static str, Problem> {
    match (app.ready)() {
        Ok(()) => Ok("ok\n"),
        // The reason may name paths and plugins: nothing for strangers.
        Err(_) if !trusted => {
            Err(Problem::new(Kind::NotReady, "ask with the token for the reason"))
        }
        Err(reason) => Err(Problem::new(Kind::NotReady, reason)),
    }
}

async fn openapi() -> Response {
    document(OPENAPI)
}

/// An answer whose body is a document in JSON.
pub(crate) fn document(body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn nothing() -> Problem {
    let detail = "records go to `/v1/{stream}`; `/openapi.json` describes all that there is";
    Problem::new(Kind::NotFound, detail)
}

async fn wrong_method(request: Request) -> Problem {
    if request.uri().path().starts_with("/v1/") {
        Problem::new(Kind::Method, "records are sent with `POST`").allow("POST")
    } else {
        Problem::new(Kind::Method, "this is read with `GET`").allow("GET, HEAD")
    }
}
