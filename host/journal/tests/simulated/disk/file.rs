//! The bytes of a file: what processes see, what is durable, and what a crash makes of the difference.

use crate::simulated::chance::Chance;

/// What reaches the disk as a whole or not at all, in bytes.
const SECTOR: usize = 512;

/// The bytes of a file. Where it is dirty, `seen` is ahead of `durable`.
#[derive(Debug, Default, Clone)]
pub(super) struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// By sector.
    dirty: Vec<bool>,
}

impl File {
    /// A file with these bytes, all of them durable.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), seen: bytes, dirty: Vec::new() }
    }

    /// What processes see.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.contains(&true)
    }

    pub(super) fn resize(&mut self, len: usize) {
        let from = len.min(self.seen.len());
        let to = len.max(self.seen.len());
        self.seen.resize(len, 0);
        self.touch(from, to);
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if offset + bytes.len() > self.seen.len() {
            self.resize(offset + bytes.len());
        }
        self.seen[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.touch(offset, offset + bytes.len());
    }

    fn touch(&mut self, from: usize, to: usize) {
        let (first, behind) = (from / SECTOR, to.div_ceil(SECTOR));
        if self.dirty.len() < behind {
            self.dirty.resize(behind, false);
        }
        self.dirty[first..behind].fill(true);
    }

    /// The bytes of a sector, of those that are there.
    fn sector(bytes: &[u8], sector: usize) -> &[u8] {
        let from = (sector * SECTOR).min(bytes.len());
        &bytes[from..(from + SECTOR).min(bytes.len())]
    }

    fn put(bytes: &mut [u8], sector: usize, content: &[u8]) {
        let from = (sector * SECTOR).min(bytes.len());
        let to = (from + content.len()).min(bytes.len());
        bytes[from..to].copy_from_slice(&content[..to - from]);
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.seen.len(), 0);
        for sector in
            std::mem::take(&mut self.dirty).iter().enumerate().filter(|(_, dirty)| **dirty)
        {
            let content = Self::sector(&self.seen, sector.0);
            Self::put(&mut self.durable, sector.0, content);
        }
    }

    /// A sync that failed: nobody will try again with what was to be synced. Some file systems go on
    /// to show it, others show what is on the disk.
    pub(super) fn drop_dirty(&mut self, show_durable: bool) {
        let dirty = std::mem::take(&mut self.dirty);
        if show_durable {
            for (sector, _) in dirty.iter().enumerate().filter(|(_, dirty)| **dirty) {
                let mut content = Self::sector(&self.durable, sector).to_vec();
                content.resize(SECTOR, 0);
                Self::put(&mut self.seen, sector, &content);
            }
        }
    }

    pub(super) fn lose_power(&mut self, chance: &mut Chance) {
        let (old, new) = (self.durable.len(), self.seen.len());
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.contains(&true) {
            let len = match chance.below(3) {
                0 => old,
                1 => new,
                _ => {
                    let (low, high) = (old.min(new), old.max(new));
                    (low + chance.below(high - low + 1)).next_multiple_of(SECTOR).min(high)
                }
            };
            self.durable.resize(len, 0);
            // All of one kind now and then: the mixture alone would hardly ever be all or nothing.
            let odds = chance.below(5);
            for (sector, _) in dirty.iter().enumerate().filter(|(_, dirty)| **dirty) {
                if chance.below(4) < odds {
                    let content = Self::sector(&self.seen, sector);
                    Self::put(&mut self.durable, sector, content);
                }
            }
        }
        self.seen.clone_from(&self.durable);
    }
}
