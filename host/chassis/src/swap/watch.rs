//! Looks at the plugin directories and asks for what is new there.
//!
//! By looking, not by being told: a link to another version, a directory on a network or in a
//! container, an editor that writes in place and a deploy that renames all look the same to it.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::Swaps;
use super::stage::{SwapError, Target};
use crate::plugin::Sighting;

/// A thread that ends with this.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Nothing is ever sent: that it goes is the sign.
    _ending: SyncSender<()>,
}

/// What was seen of a plugin's file.
#[derive(Default)]
struct Look {
    last: Option<Sighting>,
    /// What has been dealt with.
    settled: Option<Sighting>,
}

impl Watcher {
    /// Looks every `interval`. A file is taken when it has looked the same twice, so that one that
    /// is being written is left alone for a while longer.
    pub(crate) fn start(swaps: &Arc<Swaps>, interval: Duration) -> std::io::Result<Self> {
        let (ending, ended) = sync_channel(0);
        let swaps: Weak<Swaps> = Arc::downgrade(swaps);
        let mut looks = BTreeMap::new();
        thread::Builder::new().name("wasink-watch".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
                let Some(swaps) = swaps.upgrade() else { return };
                look(&swaps, &mut looks);
            }
        })?;
        Ok(Self { _ending: ending })
    }
}

fn look(swaps: &Swaps, looks: &mut BTreeMap<String, Look>) {
    for name in swaps.names() {
        let sighting = swaps.sighting(&name);
        let look = looks.entry(name.to_string()).or_default();
        let steady = sighting == look.last;
        look.last.clone_from(&sighting);
        if !steady || sighting == look.settled {
            continue;
        }
        if sighting.is_none() {
            // Gone: the version in charge goes on, from memory and from the store.
            look.settled = None;
            continue;
        }
        let dealt_with = match swaps.is_news(&name) {
            Ok(false) => true,
            // A file that can't be read is asked for as well, so that it is told why.
            Ok(true) | Err(_) => !matches!(
                swaps.swap(name.as_str(), &Target::Directory),
                Err(SwapError::Busy { .. } | SwapError::Closed)
            ),
        };
        if dealt_with {
            look.settled = sighting;
        }
    }
}
