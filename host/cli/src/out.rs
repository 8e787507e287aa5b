//! Standard output, and the last words on standard error.

use std::io::{self, Write as _};

use crate::exit::Failure;
use crate::show::printable;

/// Prints a text, and a line's end where it has none.
///
/// That whoever reads the other end of a pipe has gone is no failure: `| head -1` has what it wants.
///
/// # Errors
///
/// Where standard output can't be written to for another reason.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    offer(text).map(drop)
}

/// Prints as [`print`] does, and says whether there is still somebody who reads it.
///
/// # Errors
///
/// As for [`print`].
pub(crate) fn offer(text: &str) -> Result<bool, Failure> {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let mut stdout = io::stdout().lock();
    let mut write = || {
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(end.as_bytes())?;
        stdout.flush()
    };
    match write() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(anyhow::Error::new(error).context("can't write to standard output").into())
        }
        Ok(()) => Ok(true),
    }
}

/// Writes lines to standard error. There is nowhere to say that it can't be written to.
pub(crate) fn tell(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Says what went wrong, each line of it in the command's name. Words of plugins and of files may be
/// in it.
pub(crate) fn complain(text: &str) {
    let line = |line: &str| format!("wasink: {}\n", printable(line));
    let lines: String = text.lines().map(line).collect();
    tell(&lines);
}
