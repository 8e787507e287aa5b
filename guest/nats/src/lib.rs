//! What the plugins for NATS JetStream have in common: settings, and a connection that is made when it
//! is first needed.
//!
//! A plugin runs while it is called and stands still in between, its connection too: nothing answers
//! the server's pings then. So a connection that has rested is asked for a sign of life before it is
//! used, and one on which anything went wrong is given up for a new one. What was under way on it is in
//! doubt, which the ids of messages settle: the server knows those that it has had.

mod settings;

use std::future::Future;
use std::io;
use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, Context};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use wasink_guest::{Description, Error, Failure, Need, secret};

pub use async_nats;
pub use settings::{Server, Unknown};

/// A connection that has rested for longer is asked for a sign of life.
const RESTED: Duration = Duration::from_secs(1);

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
}

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

    /// Runs `work` on the connection, which is told whether it is a new one. Where it says so, or has
    /// not come to an end after `most`, the connection is given up.
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
        let done = runtime.block_on(async {
            let (context, new) = match alive(up.take(), server.timeout()).await {
                Some(context) => (context, false),
                None => (connect(server, name).await?, true),
            };
            match timeout(most, work(context.clone(), new)).await {
                Ok(Ok(done)) => Ok((context, done)),
                Ok(Err(Broken(failure))) => Err(failure),
                Err(_) => Err(Failure::in_doubt("the server took too long to answer")),
            }
        });
        let (context, done) = done?;
        *up = Some(Up { context, used: Instant::now() });
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

    /// Ends the connection.
    pub fn close(mut self) {
        let Some(up) = self.up.take() else { return };
        // Whoever ends it does not wait for it.
        let drained = async { timeout(Duration::from_secs(1), up.context.client().drain()).await };
        drop(self.runtime.block_on(drained));
    }
}

/// Why a connection is of no more use, and what that means for who has used it.
#[derive(Debug)]
pub struct Broken(pub Failure);

/// The connection, if it is there still.
async fn alive(up: Option<Up>, patience: Duration) -> Option<Context> {
    let Up { context, used } = up?;
    if used.elapsed() < RESTED {
        return Some(context);
    }
    let client = context.client();
    // A ping goes out behind all else, and what comes before its answer is read as well.
    let answer = timeout(patience.min(RESTED), client.flush()).await;
    matches!(answer, Ok(Ok(()))).then_some(context)
}

async fn connect(server: &Server, name: &str) -> Result<Context, Failure> {
    let mut reasons = Vec::new();
    for address in &server.servers {
        match connect_to(server, address, name).await {
            Ok(context) => return Ok(context),
            Err(reason) => reasons.push(format!("{address}: {reason}")),
        }
    }
    Err(Failure::retry(format!("there is no connection: {}", reasons.join("; "))))
}

async fn connect_to(server: &Server, address: &str, name: &str) -> Result<Context, String> {
    // Not by the runtime, which would need a thread for it.
    let mut found = address.to_socket_addrs().map_err(|error| error.to_string())?;
    let found = found.next().ok_or("its name leads to no address")?;
    let client = options(server, name)?.connect(format!("nats://{found}")).await;
    let client = client.map_err(|error| match denied(&error) {
        true => "it is not granted; write it into `grants.tcp`".to_owned(),
        false => reason(&error),
    })?;
    let mut builder = jetstream::ContextBuilder::new();
    builder = match &server.domain {
        Some(domain) => return Ok(builder.domain(domain).timeout(server.timeout()).build(client)),
        None => builder,
    };
    Ok(builder.timeout(server.timeout()).build(client))
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
