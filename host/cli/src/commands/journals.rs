//! The journals that a configuration has on disk.

use anyhow::Context as _;
use wasink::config::Config;
use wasink::journal::Offline;
use wasink::record::Stream;

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
