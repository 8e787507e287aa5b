//! Takes records in over HTTP: `POST /v1/{stream}`, on TCP and on a Unix socket.
//!
//! A [`Server`] owns a small runtime. It hands the records of each request to a [`Door`] and answers
//! when they are durable: an answer with a status of 2xx is a receipt. What it takes and answers is
//! described by the OpenAPI document that it serves as `/openapi.json`.
//!
//! **In part or whole.** Of a request whose records are not all good, the good ones are taken and
//! the others told, with their places in the body. Where the door refuses, nothing is taken; only of
//! one that closes meanwhile that is not known. A JSON array that is not JSON is refused whole.
//!
//! **CloudEvents.** In the stream `events` an event is the record, and keeps its own id beside the
//! record's. In the other streams the data of an event is the record; the envelope's id becomes the
//! record's where it is a UUID of version 7, as those that wasink writes are, and is dropped
//! otherwise.
//!
//! **Idempotency keys.** A request that comes again with the same `Idempotency-Key` and the same
//! body is answered again and appended once, for as long as the key is remembered. That ends with
//! the process, so ids under a key are made from the key, the stream, the body and the index: a
//! request that is appended twice has the same ids twice, and receivers know the duplicates. Such
//! ids do not sort by time.
//!
//! **Operators.** An [`AdminServer`] listens on a Unix socket of its own, and lets an [`Operator`] do
//! what it is asked for: tell how it goes, exchange plugins, settle what sinks could not.

mod limits;
mod token;

mod admin;
mod answer;
mod body;
mod connections;
mod door;
mod error;
mod fault;
mod form;
mod guard;
mod keys;
mod life;
mod linger;
mod post;
mod problem;
mod records;
mod routes;
mod server;
mod socket;

pub use admin::AdminServer;
pub use admin::operator::{Operator, Refusal, RefusalKind, Target, Trial, TrialKind, Verdict};
pub use door::{Appending, Door, Recorders};
pub use error::{ServeError, TokenError};
pub use limits::Limits;
pub use server::{Listen, Parts, Ready, Server};
pub use token::Token;
pub use wasink_chassis::AppendError;
