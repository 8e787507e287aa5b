//! What the plugins for NATS JetStream have in common: settings, and a connection that is made when it
//! is first needed.
//!
//! A plugin runs while it is called and stands still in between, its connection too: nothing answers
//! the server's pings then, and nobody notices that it is gone. So one that has rested for long is given
//! up for a new one, and so is one on which anything went wrong, or that the client has made anew behind
//! our back: what was found out about the server has to be found out again. What was under way on it is
//! in doubt, which the ids of messages settle: the server knows those that it has had.

mod settings;

use std::future::Future;
use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout_at;
use wasink_guest::{Description, Error, Failure, Need, secret};

pub use async_nats;
pub use settings::{Server, Unknown};

/// A connection that has rested for longer may have gone without a word.
const RESTED: Duration = Duration::from_secs(10);

/// Publishes that may wait for their answers at a time.
pub const IN_FLIGHT: usize = 1_000;

/// A connection to one of the servers that are set.
#[derive(Debug)]
pub struct Link {
    runtime: Runtime,
    server: Server,
    name: String,
    up: Option<Up>,
}

#[derive(Debug)]
struct Up {
    context: Context,
    used: Instant,
    /// The last that the server had to say.
    words: Words,
}

type Words = Arc<Mutex<Option<String>>>;

impl Link {
    /// Makes nothing of it yet: the connection is made when it is first needed.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings.
    pub fn new(server: Server, name: &str) -> Result<Self, Error> {
        server.check()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, server, name: name.to_owned(), up: None })
    }

    /// Runs `work` on the connection, which is told whether it is a new one. Where it says so, or all of
    /// it has not come to an end after `most`, the connection is given up.
    ///
    /// # Errors
    ///
    /// That there is no connection: nothing was sent then. Otherwise what `work` says, and in doubt
    /// where it took too long.
    pub fn run<T, F: Future<Output = Result<T, Broken>>>(
        &mut self,
        most: Duration,
        work: impl FnOnce(Context, bool) -> F,
    ) -> Result<T, Failure> {
        let Self { runtime, server, name, up } = self;
        let until = tokio::time::Instant::now() + most;
        let done = runtime.block_on(async {
            let (up, new) = match up.take().filter(Up::is_alive) {
                Some(up) => (up, false),
                None => match timeout_at(until, connect(server, name)).await {
                    Ok(connected) => (connected?, true),
                    Err(_) => {
                        let why = "there is no connection: the servers took too long to answer";
                        return Err(Failure::retry(why));
                    }
                },
            };
            match timeout_at(until, work(up.context.clone(), new)).await {
                Ok(Ok(done)) => Ok((up, done)),
                Ok(Err(Broken(failure))) => Err(up.with_words(failure)),
                Err(_) => {
                    Err(up.with_words(Failure::in_doubt("the server took too long to answer")))
                }
            }
        });
        let (mut up, done) = done?;
        up.used = Instant::now();
        self.up = Some(up);
        Ok(done)
    }

    /// Gives the connection up: the next call gets a new one.
    pub fn give_up(&mut self) {
        self.up = None;
    }

    /// How long the server may take for one answer.
    pub fn patience(&self) -> Duration {
        self.server.timeout()
    }

    /// How long a call may take, with the making of a connection: below what a host gives a call.
    pub fn most(&self) -> Duration {
        self.patience().saturating_mul(3)
    }
}

impl Up {
    /// Whether it is the connection that was made, and has not rested for long.
    fn is_alive(&self) -> bool {
        let connects = self.context.client().statistics().connects.load(Ordering::Relaxed);
        connects == 1 && self.used.elapsed() < RESTED
    }

    /// A failure with what the server had to say, which it says to nobody in particular: that something
    /// is not permitted, above all.
    fn with_words(&self, failure: Failure) -> Failure {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(words) = words else { return failure };
        match failure {
            Failure::Retry { reason, .. } => Failure::retry(format!("{reason}; it says: {words}")),
            // A server that does not permit it has not got it.
            Failure::InDoubt { reason, .. } if words.contains("ermissions") => {
                Failure::retry(format!("{reason}; it says: {words}"))
            }
            Failure::InDoubt { reason, .. } => {
                Failure::in_doubt(format!("{reason}; it says: {words}"))
            }
            other => other,
        }
    }
}

/// Why a connection is of no more use, and what that means for who has used it.
#[derive(Debug)]
pub struct Broken(pub Failure);

async fn connect(server: &Server, name: &str) -> Result<Up, Failure> {
    let mut reasons = Vec::new();
    for address in &server.servers {
        match connect_to(server, address, name).await {
            Ok(up) => return Ok(up),
            Err(reason) => reasons.push(format!("{address}: {reason}")),
        }
    }
    Err(Failure::retry(format!("there is no connection: {}", reasons.join("; "))))
}

async fn connect_to(server: &Server, address: &str, name: &str) -> Result<Up, String> {
    // Not by the runtime, which would need a thread for it.
    let found = address
        .to_socket_addrs()
        .map_err(|error| if denied(&error) { NOT_GRANTED.to_owned() } else { error.to_string() })?;
    let mut why = "its name leads to no address".to_owned();
    for found in found {
        let words = Words::default();
        let said = words.clone();
        let options = options(server, name)?.event_callback(move |event| {
            if matches!(event, Event::ServerError(_)) {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                *said = Some(event.to_string());
            }
            std::future::ready(())
        });
        match options.connect(format!("nats://{found}")).await {
            Ok(client) => {
                let context = context(server, client);
                return Ok(Up { context, used: Instant::now(), words });
            }
            Err(error) if denied(&error) => why = NOT_GRANTED.to_owned(),
            Err(error) => why = reason(&error),
        }
    }
    Err(why)
}

const NOT_GRANTED: &str = "it is not granted; write it into `grants.tcp`";

fn context(server: &Server, client: Client) -> Context {
    let builder = jetstream::ContextBuilder::new();
    let timeout = server.timeout();
    match &server.domain {
        Some(domain) => builder.domain(domain).timeout(timeout).build(client),
        None => builder.timeout(timeout).build(client),
    }
}

fn options(server: &Server, name: &str) -> Result<ConnectOptions, String> {
    let patience = server.timeout();
    let mut options = ConnectOptions::new()
        .name(name)
        .connection_timeout(patience)
        .request_timeout(Some(patience))
        // It is this plugin that makes a new one.
        .max_reconnects(1)
        // Those are not granted.
        .ignore_discovered_servers();
    let read = |name: &str| {
        let missing = || format!("the secret `{name}` is not granted, or can't be read");
        secret(name).ok_or_else(missing)
    };
    if let Some(name) = &server.token {
        options = options.token(read(name)?.trim().to_owned());
    }
    if let (Some(user), Some(name)) = (&server.user, &server.password) {
        options = options.user_and_password(user.clone(), read(name)?.trim().to_owned());
    }
    if let Some(name) = &server.credentials {
        // What is in them is nobody's business, so no more is said.
        options = options
            .credentials(&read(name)?)
            .map_err(|_| format!("the secret `{name}` holds no credentials of NATS"))?;
    }
    Ok(options)
}

/// Whether the sandbox does not let it through.
fn denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let found = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if found == Some(io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What it means for a message that it was not acknowledged.
pub fn refused(error: &PublishError) -> Failure {
    let reason = reason(error);
    let mut cause = std::error::Error::source(error);
    let mut code = None;
    while let Some(error) = cause {
        code = code.or(error.downcast_ref::<jetstream::Error>().map(|error| error.error_code().0));
        cause = error.source();
    }
    match (error.kind(), code) {
        (PublishErrorKind::MaxPayloadExceeded, _) | (_, Some(TOO_LARGE | HEADER_TOO_LARGE)) => {
            Failure::rejected(reason)
        }
        (PublishErrorKind::StreamNotFound, _) => Failure::retry(reason),
        (_, Some(STORE_FAILED)) if reason.contains("maximum") => Failure::retry(reason),
        (_, Some(code)) if NOT_STORED.contains(&code) => Failure::retry(reason),
        // No answer, or one of which nobody knows what came before it.
        _ => Failure::in_doubt(reason),
    }
}

/// Codes of refusals. Source: `server/errors.json` of nats-server.
const TOO_LARGE: u64 = 10_054;
const HEADER_TOO_LARGE: u64 = 10_097;
const STORE_FAILED: u64 = 10_077;
/// No resources, no storage, no memory; no JetStream, not for this account; another stream than was
/// expected; a condition that did not hold; a sealed stream.
const NOT_STORED: [u64; 10] =
    [10_023, 10_047, 10_028, 10_076, 10_039, 10_060, 10_070, 10_071, 10_109, 10_002];

/// An error with those behind it.
pub fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// What every plugin for JetStream needs.
#[must_use]
pub fn asks(description: Description) -> Description {
    description
        .needs(Need::Tcp("/servers/0".to_owned()), "publishes or reads there")
        .can_use(Need::Tcp("/servers/1".to_owned()), "goes there where the first can't be reached")
        .can_use(Need::Tcp("/servers/2".to_owned()), "goes there where the others can't be reached")
        .needs(Need::Secret("/token".to_owned()), "shows who it is")
        .needs(Need::Secret("/password".to_owned()), "shows who it is")
        .needs(Need::Secret("/credentials".to_owned()), "shows who it is")
}
