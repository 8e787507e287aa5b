//! The journals that a configuration has on disk.

use anyhow::Context as _;
use wasink::config::Config;
use wasink::journal::{Mending, Offline, OpenError};
use wasink::record::Stream;

use crate::daemon::Daemon;
use crate::exit::Failure;
use crate::flags::StreamName;

/// The journals there are, of one stream or of all.
pub(super) fn open(
    config: &Config,
    only: Option<StreamName>,
) -> Result<Vec<(Stream, Offline)>, Failure> {
    let mut journals = Vec::new();
    for stream in Stream::ALL {
        if only.is_some_and(|only| Stream::from(only) != stream) {
            continue;
        }
        let opened = wasink::open_journal(config, stream);
        let opened = opened.with_context(|| format!("can't open the journal of `{stream}`"))?;
        journals.extend(opened.map(|journal| (stream, journal)));
    }
    Ok(journals)
}

/// Who may change a journal.
pub(super) enum Lock<'a> {
    /// This process, as long as it has this.
    Ours(Mending<'a>),
    /// The process that has it open: it has to be asked.
    Theirs(Daemon),
}

/// Takes a journal's lock, or finds the process that has it.
///
/// # Errors
///
/// Where the journal can't be opened, or a process has it that can't be asked.
pub(super) fn lock<'a>(config: &Config, journal: &'a Offline) -> Result<Lock<'a>, OpenError> {
    match journal.lock() {
        Err(OpenError::Locked) => {
            let daemon = Daemon::of(config).ok().filter(Daemon::is_there);
            Ok(Lock::Theirs(daemon.ok_or(OpenError::Locked)?))
        }
        locked => locked.map(Lock::Ours),
    }
}
