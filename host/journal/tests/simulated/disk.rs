//! A simulated disk: what processes see, what is durable, and what a crash makes of the difference.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use wasink_journal::{Lock, Storage, StorageFile};

use super::chance::Chance;

mod file;
mod handle;

use file::File;
use handle::Handle;

/// What can't be read is a multiple of it, in bytes.
pub(crate) const BLOCK: u64 = 4096;

/// How everything came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process was killed: what it had written is there.
    Kill,
    /// The power was lost: what was synced is there, and any part of the rest.
    Power,
}

/// What goes wrong on demand. Each number is of calls to come.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    /// The disk dies in the operation that this counts down to.
    pub(crate) dies_in: Option<u32>,
    /// The most that all files hold together, in bytes.
    pub(crate) capacity: Option<u64>,
    /// Syncs of a file that fail, drop what was to be synced, and tell so once.
    pub(crate) file_syncs: u32,
    /// Syncs of the directory that fail.
    pub(crate) directory_syncs: u32,
    pub(crate) reads: u32,
    /// Writes, and cuts of a file, that fail.
    pub(crate) writes: u32,
    pub(crate) renames: u32,
    pub(crate) removes: u32,
    /// Whether writes take only a part of what they are given.
    pub(crate) short_writes: bool,
}

/// One process's view of the disk. Clones are of the same process.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    shared: Arc<Mutex<State>>,
    process: u64,
}

#[derive(Debug)]
struct State {
    chance: Chance,
    /// The process that may use the disk; 0 while it is dead.
    process: u64,
    processes: u64,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    locked: bool,
    faults: Faults,
    tripped: u64,
    failed_syncs: u64,
    read_bytes: u64,
    early_names: u64,
    /// Blocks that can't be read, by file.
    unreadable: Vec<(usize, u64)>,
}

/// A change of names that is not durable.
#[derive(Debug, Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String, usize),
}

impl State {
    /// Does an operation, unless the disk is dead. Where it dies in this one, nobody knows whether it
    /// was done.
    fn operate<T>(
        &mut self,
        process: u64,
        operation: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.dies(process)? {
            if self.chance.below(2) == 0 {
                drop(operation(self));
            }
            return Err(dead());
        }
        operation(self)
    }

    /// Takes note of an operation, and whether the disk dies in it.
    fn dies(&mut self, process: u64) -> io::Result<bool> {
        self.check(process)?;
        match &mut self.faults.dies_in {
            Some(0) => {
                self.faults.dies_in = None;
                self.process = 0;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn check(&self, process: u64) -> io::Result<()> {
        if self.process == process { Ok(()) } else { Err(dead()) }
    }

    fn trip(&mut self, which: fn(&mut Faults) -> &mut u32) -> io::Result<()> {
        let left = which(&mut self.faults);
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        self.tripped += 1;
        Err(io::Error::from_raw_os_error(5))
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&file| self.files[file].bytes().len() as u64).sum()
    }

    fn lookup(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or(io::ErrorKind::NotFound.into())
    }
}

fn dead() -> io::Error {
    io::Error::other("the simulated disk is dead")
}

impl Disk {
    /// An empty disk, with a process that uses it.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            chance: Chance::new(seed),
            process: 1,
            processes: 1,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            locked: false,
            faults: Faults::default(),
            tripped: 0,
            failed_syncs: 0,
            read_bytes: 0,
            early_names: 0,
            unreadable: Vec::new(),
        };
        Self { shared: Arc::new(Mutex::new(state)), process: 1 }
    }

    /// A disk of its own with the same files, all of them durable, as a new process finds it.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new(0);
        let from = self.state();
        let mut to = copy.state();
        for (name, &file) in &from.names {
            let file = File::of(from.files[file].bytes().to_vec());
            let at = to.files.len();
            to.files.push(file);
            to.names.insert(name.clone(), at);
        }
        to.durable_names = to.names.clone();
        drop(to);
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap()
    }

    /// Whether the process can use the disk.
    pub(crate) fn is_alive(&self) -> bool {
        self.state().process == self.process
    }

    /// Changes what goes wrong.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    /// How many operations have failed on demand, beside those of a full disk.
    pub(crate) fn tripped(&self) -> u64 {
        self.state().tripped
    }

    /// How many files were renamed that were not whole on the disk.
    pub(crate) fn early_names(&self) -> u64 {
        self.state().early_names
    }

    /// How many bytes have been read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.state().read_bytes
    }

    /// How many syncs of files have failed, and dropped what was written.
    pub(crate) fn failed_syncs(&self) -> u64 {
        self.state().failed_syncs
    }

    /// What all files hold together, in bytes.
    pub(crate) fn used(&self) -> u64 {
        self.state().used()
    }

    /// Ends the process in this way, and gives the disk to a new one.
    pub(crate) fn crash(&self, crash: Crash) -> Self {
        let mut state = self.state();
        let state = &mut *state;
        if crash == Crash::Power {
            for file in &mut state.files {
                file.lose_power(&mut state.chance);
            }
            let odds = state.chance.below(5);
            for change in std::mem::take(&mut state.changes) {
                if state.chance.below(4) >= odds {
                    continue;
                }
                let names = &mut state.durable_names;
                match change {
                    Change::Create(name, file) => drop(names.insert(name, file)),
                    Change::Rename(from, to, file) => {
                        if names.get(&from) == Some(&file) {
                            names.remove(&from);
                        }
                        names.insert(to, file);
                    }
                    Change::Remove(name, file) => {
                        if names.get(&name) == Some(&file) {
                            names.remove(&name);
                        }
                    }
                }
            }
            state.names = state.durable_names.clone();
        }
        state.faults.dies_in = None;
        state.locked = false;
        state.processes += 1;
        state.process = state.processes;
        Self { shared: self.shared.clone(), process: state.processes }
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|&file| state.files[file].bytes().to_vec())
    }

    /// Puts a file there, durable at once.
    pub(crate) fn place(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        let mut state = self.state();
        let file = File::of(bytes.into());
        let at = state.files.len();
        state.files.push(file);
        state.names.insert(name.to_owned(), at);
        state.durable_names.insert(name.to_owned(), at);
    }

    /// Takes a file away, durably.
    pub(crate) fn displace(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// Makes the block of a file that holds this offset unreadable.
    pub(crate) fn spoil(&self, name: &str, offset: u64) {
        let mut state = self.state();
        let file = state.lookup(name).unwrap();
        state.unreadable.push((file, offset / BLOCK));
    }

    /// The names of files, in order.
    pub(crate) fn sorted_names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl Storage for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check(self.process)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = self.state().operate(self.process, |state| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = state.files.len();
            state.files.push(File::default());
            state.names.insert(name.to_owned(), file);
            state.changes.push(Change::Create(name.to_owned(), file));
            Ok(file)
        })?;
        Ok(Box::new(Handle::new(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let state = self.state();
        state.check(self.process)?;
        let file = state.lookup(name)?;
        Ok(Box::new(Handle::new(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().operate(self.process, |state| {
            state.trip(|faults| &mut faults.renames)?;
            let file = state.lookup(from)?;
            state.early_names += u64::from(state.files[file].is_dirty());
            state.names.remove(from);
            state.names.insert(to.to_owned(), file);
            state.changes.push(Change::Rename(from.to_owned(), to.to_owned(), file));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().operate(self.process, |state| {
            let file = state.lookup(name)?;
            state.trip(|faults| &mut faults.removes)?;
            state.names.remove(name);
            state.changes.push(Change::Remove(name.to_owned(), file));
            Ok(())
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.state().operate(self.process, |state| {
            state.trip(|faults| &mut faults.directory_syncs)?;
            state.durable_names = state.names.clone();
            state.changes.clear();
            Ok(())
        })
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Lock>>> {
        let mut state = self.state();
        state.check(self.process)?;
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        if !state.names.contains_key(name) {
            let file = state.files.len();
            state.files.push(File::default());
            state.names.insert(name.to_owned(), file);
        }
        Ok(Some(Box::new(Held(self.clone()))))
    }
}

#[derive(Debug)]
struct Held(Disk);

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.process == self.0.process {
            state.locked = false;
        }
    }
}
