//! A disk that loses power, and whose operations fail: what is not synced may be lost, in part and
//! in any order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::random::Random;
use crate::storage::Storage;

const SECTOR: usize = 512;

#[derive(Debug, Clone)]
pub(crate) struct Disk(Rc<RefCell<Inner>>);

/// A file that is open: it stays the same one under whatever name.
#[derive(Debug)]
pub(crate) struct Open(usize);

/// What happens at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, half done perhaps; those after it do not.
    Error,
    /// The process ends there, the operation half done perhaps.
    End,
}

#[derive(Debug, Clone, Default)]
struct Content {
    /// What everybody sees.
    seen: Vec<u8>,
    /// What has been synced.
    lasting: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Naming {
    Create(String, usize),
    Rename(String, String, usize),
}

#[derive(Debug, Clone)]
struct Inner {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    lasting_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    ended: bool,
    random: Random,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            contents: Vec::new(),
            names: BTreeMap::new(),
            lasting_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            operations: 0,
            fault: None,
            ended: false,
            random: Random::new(seed),
        })))
    }

    /// How many operations there have been.
    pub(crate) fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// The operation of this number, counted from now, does not go well.
    pub(crate) fn fail(&self, after: u64, fault: Fault) {
        let mut inner = self.0.borrow_mut();
        inner.fault = Some((inner.operations + after, fault));
    }

    /// From now on all goes well.
    pub(crate) fn heal(&self) {
        let mut inner = self.0.borrow_mut();
        (inner.fault, inner.ended) = (None, false);
    }

    /// Whether the process has ended.
    pub(crate) fn ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// What is not synced is lost, but for some of it.
    pub(crate) fn lose_power(&self) {
        let inner = &mut *self.0.borrow_mut();
        let mut names = inner.lasting_names.clone();
        // In their order up to some point, as with a journal of metadata, or any of them.
        let any = inner.random.one_in(2);
        let kept = inner.random.below(inner.unsynced_names.len() as u64 + 1);
        for (n, naming) in inner.unsynced_names.drain(..).enumerate() {
            let keep = if any { inner.random.one_in(2) } else { (n as u64) < kept };
            if keep {
                naming.apply(&mut names);
            }
        }
        (inner.names, inner.lasting_names) = (names.clone(), names);
        for content in &mut inner.contents {
            for (offset, bytes) in std::mem::take(&mut content.unsynced) {
                content.keep_some(offset, &bytes, &mut inner.random);
            }
            content.seen = content.lasting.clone();
        }
    }

    /// All there is, by name.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.0.borrow();
        inner
            .names
            .iter()
            .map(|(name, at)| (name.clone(), inner.contents[*at].seen.clone()))
            .collect()
    }

    /// Puts a file there that lasts.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let inner = &mut *self.0.borrow_mut();
        let (seen, lasting) = (bytes.to_vec(), bytes.to_vec());
        inner.contents.push(Content { seen, lasting, unsynced: Vec::new() });
        let at = inner.contents.len() - 1;
        inner.names.insert(name.to_owned(), at);
        inner.lasting_names.insert(name.to_owned(), at);
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, at) => drop(names.insert(name, at)),
            Self::Rename(from, to, at) => {
                if names.get(&from) == Some(&at) {
                    names.remove(&from);
                }
                names.insert(to, at);
            }
        }
    }
}

impl Content {
    fn write(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        if to.len() < offset + bytes.len() {
            to.resize(offset + bytes.len(), 0);
        }
        to[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Sectors of a write that reach the disk on their own; the length may be ahead of them.
    fn keep_some(&mut self, offset: usize, bytes: &[u8], random: &mut Random) {
        let all = random.one_in(4);
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
            if all || random.one_in(2) {
                Self::write(&mut self.lasting, offset + at, &bytes[at..end]);
            }
            at = end;
        }
    }
}

impl Inner {
    /// Whether this operation goes well.
    fn operation(&mut self) -> Result<(), Fault> {
        if self.ended {
            return Err(Fault::End);
        }
        let fault = self.fault.filter(|(at, _)| *at == self.operations).map(|(_, fault)| fault);
        self.operations += 1;
        match fault {
            None => Ok(()),
            Some(fault) => {
                self.ended = fault == Fault::End;
                Err(fault)
            }
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.clone().apply(&mut self.names);
        self.unsynced_names.push(naming);
    }
}

fn failed(_: Fault) -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Storage for Disk {
    type File = Open;

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let inner = &mut *self.0.borrow_mut();
        inner.operation().map_err(failed)?;
        Ok(inner.names.get(name).map(|at| inner.contents[*at].seen.clone()))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        let inner = &mut *self.0.borrow_mut();
        inner.operation().map_err(failed)?;
        Ok(inner.names.contains_key(name))
    }

    fn has_name(&self, file: &Open, name: &str) -> io::Result<bool> {
        let inner = &mut *self.0.borrow_mut();
        inner.operation().map_err(failed)?;
        Ok(inner.names.get(name) == Some(&file.0))
    }

    fn create(&self, name: &str) -> io::Result<Open> {
        let inner = &mut *self.0.borrow_mut();
        let went = inner.operation();
        if went.is_ok() || inner.random.one_in(2) {
            inner.contents.push(Content::default());
            let at = inner.contents.len() - 1;
            inner.name(Naming::Create(name.to_owned(), at));
        }
        went.map_err(failed)?;
        Ok(Open(inner.contents.len() - 1))
    }

    fn write(&self, file: &Open, bytes: &[u8], offset: u64) -> io::Result<()> {
        let inner = &mut *self.0.borrow_mut();
        let went = inner.operation();
        let taken = match went {
            Ok(()) => bytes.len(),
            Err(_) => usize::try_from(inner.random.below(bytes.len() as u64 + 1)).unwrap(),
        };
        let offset = usize::try_from(offset).unwrap();
        let content = &mut inner.contents[file.0];
        Content::write(&mut content.seen, offset, &bytes[..taken]);
        content.unsynced.push((offset, bytes[..taken].to_vec()));
        went.map_err(failed)
    }

    fn sync(&self, file: &Open) -> io::Result<()> {
        let inner = &mut *self.0.borrow_mut();
        let went = inner.operation();
        let content = &mut inner.contents[file.0];
        for (offset, bytes) in std::mem::take(&mut content.unsynced) {
            match went {
                Ok(()) => Content::write(&mut content.lasting, offset, &bytes),
                // What a failed sync has not written is forgotten: the next one will not write it.
                Err(_) => content.keep_some(offset, &bytes, &mut inner.random),
            }
        }
        went.map_err(failed)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let inner = &mut *self.0.borrow_mut();
        let went = inner.operation();
        if went.is_ok() || inner.random.one_in(2) {
            let at = *inner.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            inner.name(Naming::Rename(from.to_owned(), to.to_owned(), at));
        }
        went.map_err(failed)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let inner = &mut *self.0.borrow_mut();
        let went = inner.operation();
        let namings = std::mem::take(&mut inner.unsynced_names);
        let kept = match went {
            Ok(()) => namings.len() as u64,
            Err(_) => inner.random.below(namings.len() as u64 + 1),
        };
        for (naming, n) in namings.into_iter().zip(0..) {
            match n < kept {
                true => naming.apply(&mut inner.lasting_names),
                false => inner.unsynced_names.push(naming),
            }
        }
        went.map_err(failed)
    }
}
