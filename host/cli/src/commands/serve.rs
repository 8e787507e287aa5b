//! `wasink serve`: from HTTP to the sinks.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use wasink::config::{Config, Sources};
use wasink::feeds::Feeds;
use wasink::logger::{Level, Line, Logger as _};
use wasink::{Admission, Chassis, Status};
use wasink_serve::{AdminServer, Limits, Listen, Parts, Recorders, Server, Token};

use crate::commands::News;
use crate::exit::{Exit, Failure};
use crate::flags::Serve;
use crate::out;
use crate::process;
use crate::screen::Screen;
use crate::show;
use crate::signals::{self, Signal};

mod operator;

/// How long calls of feeds' ends may go on once a signal has come. What they do not finish is done
/// after the next start.
const FEED_GRACE: Duration = Duration::from_millis(500);

/// How long an operation that an operator has asked for may go on once a signal has come.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

pub(super) fn run(config: &Config, sources: Sources, flags: &Serve) -> Result<Exit, Failure> {
    let listen = listen(config)?;
    let screen = Arc::new(Screen::new(config.log));
    process::prepare(config);
    let chassis = Arc::new(Chassis::open_with(config, screen.clone())?);
    chassis.watch(config).context("can't watch the plugin directories")?;
    let before = chassis.status();
    let (news, incoming) = sync_channel(4);
    signals::watch(news, true)?;
    let feeds = Arc::new(Feeds::open(config, chassis.plugin_source(), screen.clone())?);
    let admin = start_admin(config, sources.clone(), &chassis, &feeds, &screen)?;
    let server = start(&listen, config, &chassis, &screen)?;

    // The sender lives in the thread that watches for signals, which never ends.
    let signal = loop {
        match incoming.recv() {
            Ok(News::Signal(Signal::Hangup)) => reload(&chassis, &sources, &screen),
            Ok(News::Signal(signal)) => break signal,
            _ => break Signal::Terminate,
        }
    };
    let message = "finishing; what is not delivered in time is kept for the next start";
    screen.log(&Line { level: Level::Warn, sink: None, message, fields: &[] });
    let deadline = Instant::now() + flags.close_timeout;
    let unanswered = server.stop(flags.close_timeout);
    feeds.stop(FEED_GRACE);
    // What an operator has asked for may take longer than all the rest.
    if let Some(admin) = admin {
        admin.stop(ADMIN_GRACE);
    }
    let status = chassis.close(deadline.saturating_duration_since(Instant::now())).since(&before);
    let kept = status.pending();
    if flags.json {
        let summary = json!({ "kept": kept, "unanswered": unanswered, "status": status });
        out::print(&show::json(&summary))?;
    } else {
        status.sinks.iter().for_each(|sink| out::tell(&format!("{}\n", show::sink_progress(sink))));
        if kept > 0 {
            let kept = show::number(kept);
            out::tell(&format!(
                "{kept} are kept in the journal; the next start goes on with them\n"
            ));
        }
    }
    Ok(match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate | Signal::Hangup => Exit::Terminated,
    })
}

/// Goes over to the configuration as it is now, or says why not. What it changes the chassis tells.
fn reload(chassis: &Chassis, sources: &Sources, screen: &Screen) {
    let reloaded = wasink::load(sources)
        .map_err(|errors| errors.to_string())
        .inspect(process::prepare)
        .and_then(|config| chassis.reload(&config).map_err(|error| error.to_string()));
    if let Err(reason) = reloaded {
        screen.log(&Line {
            level: Level::Error,
            sink: None,
            message: "the configuration was not taken",
            fields: &[("reason".to_owned(), reason.into())],
        });
    }
}

fn listen(config: &Config) -> Result<Listen, Failure> {
    let token = match &config.listen.token_file {
        None => None,
        Some(path) => Some(Token::from_file(path).context("listen.token_file")?),
    };
    let (http, socket) = (config.listen.http, config.listen.socket.clone());
    if http.is_none() && socket.is_none() {
        let error =
            anyhow::anyhow!("nowhere to listen: both `listen.http` and `listen.socket` are empty");
        return Err(Failure::new(Exit::Config, error));
    }
    Ok(Listen { http, socket, token })
}

/// The door for operators, where the configuration has one.
fn start_admin(
    config: &Config,
    sources: Sources,
    chassis: &Arc<Chassis>,
    feeds: &Arc<Feeds>,
    screen: &Arc<Screen>,
) -> Result<Option<AdminServer>, Failure> {
    let Some(path) = &config.listen.admin else { return Ok(None) };
    let operator = operator::Running { chassis: chassis.clone(), feeds: feeds.clone(), sources };
    let operator = Arc::new(operator);
    let admin = AdminServer::start(path, operator, screen.clone()).context("listen.admin")?;
    Ok(Some(admin))
}

fn start(
    listen: &Listen,
    config: &Config,
    chassis: &Arc<Chassis>,
    screen: &Arc<Screen>,
) -> Result<Server, Failure> {
    let recorders = Recorders::new(|stream| chassis.recorder(stream));
    let asked = chassis.clone();
    let mut parts = Parts::new(recorders);
    parts.logger = screen.clone();
    parts.ready = Arc::new(move || ready(&asked.status()));
    let record = config.journals.iter().map(|journal| journal.record.get()).max().unwrap_or(0);
    let limits =
        Limits { record_bytes: usize::try_from(record).unwrap_or(usize::MAX), ..Limits::default() };
    Ok(Server::start(listen, limits, &parts)?)
}

/// Whether every stream takes records.
fn ready(status: &Status) -> Result<(), String> {
    let closed = status.streams.iter().filter_map(|stream| match &stream.admission {
        Admission::Open => None,
        Admission::Full { reason, .. } | Admission::Unavailable { reason } => {
            Some(format!("{}: {reason}", stream.stream))
        }
    });
    let closed: Vec<_> = closed.collect();
    if closed.is_empty() { Ok(()) } else { Err(closed.join("; ")) }
}
