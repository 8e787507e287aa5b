//! `wasink run`: from standard input to the sinks.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use wasink::config::Config;
use wasink::logger::{Level, Line, Logger as _};
use wasink::record::Stream;
use wasink::{Chassis, SinkState, Status, StreamLedger};

use crate::exit::{Exit, Failure};
use crate::flags::Run;
use crate::input::{Counts, Input, Lines};
use crate::out;
use crate::process;
use crate::screen::Screen;
use crate::show;
use crate::signals::{self, Signal};

/// How often the terminal shows how it goes.
const REFRESH: Duration = Duration::from_millis(200);

/// What the main thread waits for.
pub(crate) enum News {
    /// The input has come to its end, or could not be read on.
    InputEnded(Result<(), std::io::Error>),
    /// Somebody wants an end.
    Signal(Signal),
}

pub(super) fn run(mut config: Config, flags: &Run) -> Result<Exit, Failure> {
    let stream = Stream::from(flags.stream);
    // The other sinks would open, leave an empty file and get nothing.
    config.sinks.retain(|sink| sink.streams.contains(&stream));
    if config.sinks.is_empty() {
        return Err(Failure::new(
            Exit::Config,
            anyhow::anyhow!("no sink takes the stream `{stream}`, so its records would be lost"),
        ));
    }
    let screen = Arc::new(Screen::new(config.log));
    process::prepare(&config);
    let chassis = Chassis::open_with(&config, screen.clone())?;
    let before = chassis.status();
    if !flags.quiet && !config.sinks.iter().any(|sink| sink.grants.stderr) {
        screen.show_progress();
    }

    let (news, incoming) = sync_channel(4);
    signals::watch(news.clone(), false)?;
    let counts = Arc::new(Counts::default());
    let lines = Lines {
        stream,
        structured: flags.structured,
        event_source: flags
            .event_source
            .clone()
            .unwrap_or_else(|| format!("wasink/{}", config.node_id)),
        event_type: flags.event_type.clone(),
    };
    if !flags.quiet && std::io::stdin().is_terminal() {
        out::tell("wasink: waiting for lines on standard input; Ctrl-D ends it\n");
    }
    let reader = Input::new(lines, &chassis, counts.clone(), screen.clone());
    let started = Instant::now();
    // Not joined: after a signal it may sit in a read that never returns.
    thread::Builder::new().name("wasink-input".to_owned()).spawn(move || {
        let ended = reader.read(&mut std::io::stdin().lock());
        drop(news.send(News::InputEnded(ended)));
    })?;

    let news = loop {
        match incoming.recv_timeout(REFRESH) {
            Ok(news) => break news,
            Err(RecvTimeoutError::Timeout) => {
                screen.refresh(&chassis.status(), &counts, started.elapsed());
            }
            Err(RecvTimeoutError::Disconnected) => {
                break News::InputEnded(Err(std::io::Error::other("the reader is gone")));
            }
        }
    };
    if matches!(news, News::Signal(_)) {
        let message = "finishing what was accepted; once more ends at once";
        screen.log(&Line { level: Level::Warn, sink: None, message, fields: &[] });
    }
    let status = close(&chassis, &screen, &counts, started, flags.close_timeout).since(&before);
    screen.end_progress();
    let exit = exit(&news, &status, &counts);
    let summary = show::Summary {
        status: &status,
        counts: &counts,
        elapsed: started.elapsed(),
        sinks: &config.sinks,
    };
    if flags.json {
        out::print(&show::json(&summary.json(exit)))?;
    } else if !flags.quiet {
        out::tell(&summary.text());
    }
    if let News::InputEnded(Err(error)) = news {
        let error = anyhow::Error::new(error).context("can't read standard input to its end");
        return Err(Failure::new(Exit::Read, error));
    }
    Ok(exit)
}

/// Closes, and goes on showing how it goes meanwhile.
fn close(
    chassis: &Chassis,
    screen: &Screen,
    counts: &Counts,
    started: Instant,
    timeout: Duration,
) -> Status {
    thread::scope(|scope| {
        let (closed, closing) = sync_channel(1);
        // Where nobody listens any more, nobody needs to hear it.
        scope.spawn(move || drop(closed.send(chassis.close(timeout))));
        loop {
            match closing.recv_timeout(REFRESH) {
                Ok(status) => return status,
                Err(RecvTimeoutError::Timeout) => {
                    screen.refresh(&chassis.status(), counts, started.elapsed());
                }
                Err(RecvTimeoutError::Disconnected) => return chassis.status(),
            }
        }
    })
}

fn exit(news: &News, status: &Status, counts: &Counts) -> Exit {
    let dropped = |stream: &StreamLedger| stream.dropped_full + stream.dropped_closed;
    let dropped = status.streams.iter().map(dropped).sum::<u64>() + status.dropped();
    let degraded = status.sinks.iter().any(|sink| matches!(sink.state, SinkState::Degraded { .. }));
    let lost = degraded && counts.read() > counts.refused();
    match news {
        News::InputEnded(Err(_)) => Exit::Read,
        _ if status.pending() > 0 || dropped > 0 || lost => Exit::Undelivered,
        News::Signal(Signal::Interrupt) => Exit::Interrupted,
        News::Signal(Signal::Terminate | Signal::Hangup) => Exit::Terminated,
        News::InputEnded(Ok(())) if refused(counts, status) => Exit::Input,
        News::InputEnded(Ok(())) => Exit::Success,
    }
}

/// Whether there are records that are in no sink, and not for want of time.
fn refused(counts: &Counts, status: &Status) -> bool {
    let too_large = status.streams.iter().any(|stream| stream.dropped_too_large > 0);
    counts.refused() > 0 || status.refused() > 0 || too_large
}
