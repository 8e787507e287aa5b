//! Rotated files: their names, how many stay, and their compression.

mod compression;
mod name;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use wasink_guest::Directory;

use crate::Rotate;
use compression::{Compression, Progress};
use name::{Names, Old, stamp};

#[derive(Debug)]
pub(crate) struct Archive {
    directory: Directory,
    names: Names,
    keep: Option<usize>,
    gzip: bool,
    settle: Duration,
    /// When the directory is looked through next.
    look_at: Option<Duration>,
    compression: Option<Compression>,
    /// Files that could not be compressed: they wait until all others are.
    failed: BTreeSet<String>,
    /// Part of the names of this instance's unfinished files, so that no other writes to them.
    token: u128,
    fresh: bool,
}

impl Archive {
    pub(crate) fn new(directory: Directory, path: &str, rotate: &Rotate) -> Self {
        Self {
            directory,
            names: Names::of(path),
            keep: rotate.keep,
            gzip: rotate.gzip,
            settle: Duration::from_secs(rotate.settle_seconds),
            look_at: Some(Duration::ZERO),
            compression: None,
            failed: BTreeSet::new(),
            token: wasink_guest::now().as_nanos(),
            fresh: true,
        }
    }

    /// A name for the file that is rotated now, that nothing has yet.
    pub(crate) fn free_name(&self, now: Duration) -> io::Result<String> {
        let mut at = now;
        loop {
            let name = self.names.rotated(at);
            let compressed = format!("{name}{}", name::COMPRESSED);
            if !self.directory.exists(&name)? && !self.directory.exists(&compressed)? {
                return Ok(name);
            }
            at += Duration::from_nanos(1);
        }
    }

    /// Has the directory looked through at this time, or earlier.
    pub(crate) fn look_at(&mut self, at: Duration) {
        self.look_at = Some(self.look_at.map_or(at, |planned| planned.min(at)));
    }

    /// Does a bounded piece of the work: at most one look through the directory, or a part of one
    /// file's compression.
    pub(crate) fn step(&mut self, now: Duration) {
        if let Err(error) = self.try_step(now) {
            wasink_guest::warn!("cannot tidy rotated files"; error = error.to_string());
            self.look_at(now + self.settle.max(Duration::from_secs(1)));
        }
    }

    fn try_step(&mut self, now: Duration) -> io::Result<()> {
        if let Some(mut compression) = self.compression.take() {
            match compression.step(&self.directory) {
                Ok(Progress::More) => self.compression = Some(compression),
                Ok(Progress::Done) => self.look_at(now),
                Err(error) => {
                    compression.abandon(&self.directory);
                    self.failed.insert(compression.from().to_owned());
                    return Err(error);
                }
            }
            return Ok(());
        }
        match self.look_at {
            Some(at) if now >= at => {
                self.look_at = None;
                self.look(now)
            }
            _ => Ok(()),
        }
    }

    fn look(&mut self, now: Duration) -> io::Result<()> {
        let listed = self.directory.list(self.names.folder())?;
        if std::mem::take(&mut self.fresh) {
            // Left by an instance that is gone. One that is not will find its file gone, and begin
            // again.
            for left in listed.iter().filter(|name| self.names.is_unfinished(name)) {
                self.directory.remove(&self.names.at(left))?;
            }
        }
        let mut old: Vec<Old> = listed.into_iter().filter_map(|n| self.names.old(n)).collect();
        old.sort();
        let settled = stamp(now.saturating_sub(self.settle));
        if old.iter().any(|old| old.stamp > settled) {
            self.look_at(now + self.settle);
        }
        let stamps: BTreeSet<&String> = old.iter().map(|old| &old.stamp).collect();
        let surplus = self.keep.map_or(0, |keep| stamps.len().saturating_sub(keep));
        let last_surplus = surplus.checked_sub(1).and_then(|n| stamps.iter().nth(n));
        let mut plain = Vec::new();
        for file in old.iter().filter(|old| old.stamp <= settled) {
            let path = self.names.at(&file.name);
            if last_surplus.is_some_and(|last| file.stamp <= **last) {
                remove(&self.directory, &path)?;
            } else if !file.compressed && self.gzip {
                plain.push(path);
            }
        }
        self.compress_one_of(plain)
    }

    fn compress_one_of(&mut self, plain: Vec<String>) -> io::Result<()> {
        if plain.iter().all(|path| self.failed.contains(path)) {
            self.failed.clear();
        }
        let Some(path) = plain.into_iter().find(|path| !self.failed.contains(path)) else {
            return Ok(());
        };
        match Compression::begin(&self.directory, path.clone(), self.token) {
            Ok(compression) => self.compression = Some(compression),
            Err(error) => {
                self.failed.insert(path);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Another process may have been quicker.
fn remove(directory: &Directory, path: &str) -> io::Result<()> {
    match directory.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
