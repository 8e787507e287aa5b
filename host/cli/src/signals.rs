//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once. SIGHUP asks a daemon
//! to read its configuration again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::commands::News;
use crate::exit::Exit;

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
}

/// Sends the first signal to `news`, and ends the process at the second. SIGHUP, where it is
/// `hangups` that are wanted too, is sent each time; else it ends the process, as the system has it.
pub(crate) fn watch(news: SyncSender<News>, hangups: bool) -> std::io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
        // In this order: the second signal finds the flag that the first one set.
        flag::register_conditional_shutdown(signal, exit as i32, asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if hangups {
        signals.add_signal(SIGHUP)?;
    }
    thread::Builder::new().name("wasink-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGINT => Signal::Interrupt,
                SIGHUP => Signal::Hangup,
                _ => Signal::Terminate,
            };
            // A full channel has one of each on its way already.
            drop(news.try_send(News::Signal(signal)));
        }
    })?;
    Ok(())
}
