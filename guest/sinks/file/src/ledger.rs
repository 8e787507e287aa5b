//! The file that is appended to, and how its lines stay whole.

use std::io;
use std::time::Duration;

use wasink_guest::{AppendFile, Batch, Directory, Encoding};

use crate::archive::Archive;

/// Longest text of a time in nanoseconds.
const LONGEST_TIME: u64 = 40;

/// So many looks in a row find the file of the same size before its last line counts as torn.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Ledger {
    directory: Directory,
    path: String,
    encoding: Encoding,
    file: AppendFile,
    /// Size of the file after this sink's last whole append: if it is still that, it ends in a
    /// whole line and nobody has to look.
    clean_at: Option<u64>,
    torn: Option<Torn>,
    /// When the file began, where that matters.
    began: Option<Duration>,
    timed: bool,
    moved: bool,
}

/// A batch of which only a part is in the file.
#[derive(Debug)]
struct Torn {
    position: u64,
    len: u32,
    written: u64,
    /// Size of the file after it, where that could be found out.
    size: Option<u64>,
}

impl Torn {
    fn is_of(&self, batch: &Batch) -> bool {
        self.position == batch.position() && self.len == batch.len()
    }
}

impl Ledger {
    /// Opens the file; where `timed`, it is known from then on how old it is.
    pub(crate) fn open(
        directory: Directory,
        path: String,
        encoding: Encoding,
        timed: bool,
    ) -> io::Result<Self> {
        let file = directory.open_append(&path)?;
        let mut ledger = Self {
            directory,
            path,
            encoding,
            file,
            clean_at: None,
            torn: None,
            began: None,
            timed,
            moved: false,
        };
        ledger.learn_age()?;
        Ok(ledger)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether, since this was last asked, the file was found moved or removed by somebody else.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Appends the batch, or what is still missing of it.
    pub(crate) fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let reopened = self.reopen_if_moved()?;
        let mut size = self.file.size()?;
        if size == 0 && self.timed {
            self.begin()?;
        }
        let skip = match &self.torn {
            Some(torn) if torn.is_of(batch) && !reopened && torn.size == Some(size) => torn.written,
            Some(torn) if torn.is_of(batch) => {
                let written = torn.written;
                size = self.close_torn_line(size)?;
                line_start(batch, self.encoding, written)
            }
            _ => {
                size = self.close_torn_line(size)?;
                0
            }
        };
        match self.file.append(batch, self.encoding, skip) {
            Ok(length) => {
                self.torn = None;
                self.clean_at = Some(size + length.saturating_sub(skip));
                Ok(())
            }
            Err(failed) => {
                self.clean_at = None;
                self.torn = Some(Torn {
                    position: batch.position(),
                    len: batch.len(),
                    written: failed.written.max(skip),
                    size: self.file.size().ok(),
                });
                Err(failed.error)
            }
        }
    }

    /// Renames the file if it has reached its size or its age. True if it did.
    pub(crate) fn rotate_if_due(
        &mut self,
        bytes: Option<u64>,
        age: Option<Duration>,
        now: Duration,
        archive: &Archive,
    ) -> io::Result<bool> {
        // What is missing of a batch belongs behind the rest of it.
        if self.torn.is_some() {
            return Ok(false);
        }
        // Others may have appended since, but that will be seen after the next batch.
        let size = match self.clean_at {
            Some(size) => size,
            None => self.file.size()?,
        };
        let too_big = bytes.is_some_and(|bytes| size >= bytes);
        let too_old = age.zip(self.began).is_some_and(|(age, began)| now >= began + age);
        if size == 0 || !(too_big || too_old) || self.reopen_if_moved()? {
            return Ok(false);
        }
        self.directory.rename(&self.path, &archive.free_name(now)?)?;
        self.reopen()?;
        Ok(true)
    }

    fn reopen_if_moved(&mut self) -> io::Result<bool> {
        if self.file.same_as(&self.path)? {
            return Ok(false);
        }
        self.reopen()?;
        self.moved = true;
        Ok(true)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = self.directory.open_append(&self.path)?;
        self.clean_at = None;
        self.began = None;
        self.learn_age()
    }

    /// Makes sure that the next line begins a line, and returns the size of the file then.
    fn close_torn_line(&mut self, mut size: u64) -> io::Result<u64> {
        if self.clean_at == Some(size) {
            return Ok(size);
        }
        // A file grows page by page while another process appends to it: what ends in the middle of
        // a line is torn only if it stays so.
        let mut looks = 0;
        while !matches!(self.file.last_byte()?, None | Some(b'\n')) {
            if looks == LOOKS {
                self.file.append_bytes(b"\n")?;
                return Ok(size + 1);
            }
            std::thread::sleep(BETWEEN_LOOKS);
            let now = self.file.size()?;
            looks = if now == size { looks + 1 } else { 0 };
            size = now;
        }
        Ok(size)
    }

    fn learn_age(&mut self) -> io::Result<()> {
        if !self.timed {
            return Ok(());
        }
        if self.file.size()? == 0 {
            return self.begin();
        }
        let known = self.directory.read(&self.beside(), LONGEST_TIME).ok();
        let known = known.and_then(|text| str::from_utf8(&text).ok()?.trim().parse::<u64>().ok());
        match known {
            Some(nanos) => self.began = Some(Duration::from_nanos(nanos)),
            None => self.begin()?,
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        let now = wasink_guest::now();
        self.began = Some(now);
        self.directory.write(&self.beside(), format!("{}\n", now.as_nanos()).as_bytes())
    }

    /// The file that says when this one began.
    fn beside(&self) -> String {
        match self.path.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/.{name}.began"),
            None => format!(".{}.began", self.path),
        }
    }
}

/// Where the line begins of which the byte at `written` would be the next.
fn line_start(batch: &Batch, encoding: Encoding, written: u64) -> u64 {
    let view = batch.encode(encoding);
    let written = usize::try_from(written).unwrap_or(usize::MAX).min(view.len());
    let whole = view.get(..written).unwrap_or_default();
    let start = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    u64::try_from(start).unwrap_or(u64::MAX)
}
