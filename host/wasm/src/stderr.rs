//! What plugins write to their standard output and error.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasink_chassis::logger::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::words::Words;

/// How many bytes may be written in one go.
const BUDGET: usize = 64 << 10;

/// How many lines of last words are kept, and how much of each.
const TAIL_LINES: usize = 8;
const TAIL_LINE_BYTES: usize = 512;

/// How a line begins that says what the stack behind it is about: Go's.
const HEADLINES: [&str; 2] = ["panic: ", "fatal error: "];

/// Keeps the last lines that a guest wrote, and hands each to the log at debug level.
#[derive(Clone)]
pub(crate) struct Tail {
    words: Words,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    whole: VecDeque<String>,
    partial: Vec<u8>,
    /// What a stack is about that comes behind it, in languages that have it so, once it is no more
    /// among the last lines.
    headline: Option<String>,
}

impl Tail {
    pub(crate) fn new(words: Words) -> Self {
        Self { words, lines: Arc::default() }
    }

    /// The last lines, as one line.
    pub(crate) fn last_words(&self) -> String {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.partial.is_empty() {
            lines.end_line();
        }
        lines.joined()
    }

    fn push(&self, bytes: &[u8]) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for &byte in bytes {
            if byte == b'\n' {
                let line = lines.end_line();
                if self.words.enabled(Level::Debug) {
                    let fields = vec![("line".to_owned(), line.into())];
                    self.words.line(Level::Debug, "plugin wrote".to_owned(), fields);
                }
            } else if lines.partial.len() < TAIL_LINE_BYTES {
                lines.partial.push(byte);
            }
        }
    }
}

impl Lines {
    fn end_line(&mut self) -> String {
        let line: String = String::from_utf8_lossy(&self.partial)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let line = line.trim_end().to_owned();
        self.partial.clear();
        if self.whole.len() == TAIL_LINES
            && let Some(gone) = self.whole.pop_front()
            && HEADLINES.iter().any(|begin| gone.starts_with(begin))
        {
            self.headline = Some(gone);
        }
        self.whole.push_back(line.clone());
        line
    }

    fn joined(&self) -> String {
        // A hint for the author's terminal, of no use from inside a sandbox.
        let hint = "note: run with `RUST_BACKTRACE=1`";
        let said = |line: &&String| !line.is_empty() && !line.starts_with(hint);
        // One that is among the last lines is about what comes last.
        let is_headline = |line: &String| HEADLINES.iter().any(|begin| line.starts_with(begin));
        let headline = self.headline.iter().filter(|_| !self.whole.iter().any(is_headline));
        let mut words: Vec<_> = headline.flat_map(|line| [line.as_str(), "…"]).collect();
        words.extend(self.whole.iter().filter(said).map(String::as_str));
        words.join(" | ")
    }
}

impl IsTerminal for Tail {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Tail {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, and this host does not give that.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Tail {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Tail {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(BUDGET)
    }
}

/// The process's own standard error, for a plugin that was granted it.
#[derive(Clone, Copy)]
pub(crate) struct ProcessStderr;

impl IsTerminal for ProcessStderr {
    fn is_terminal(&self) -> bool {
        // So that nobody colours what may be read by a machine.
        false
    }
}

impl StdoutStream for ProcessStderr {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, and this host does not give that.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for ProcessStderr {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for ProcessStderr {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut stderr = std::io::stderr().lock();
        let failed = |error: std::io::Error| StreamError::LastOperationFailed(error.into());
        stderr.write_all(&bytes).map_err(failed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(BUDGET)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        // Whole, whatever its size: other threads write there as well.
        self.write(bytes)
    }
}

#[cfg(test)]
mod tests {
    use wasink_chassis::limits::{LimitCounts, Limits};

    use super::*;
    use crate::words::testing::words;

    #[test]
    fn of_last_words_a_few_lines_are_kept_none_too_long_and_none_that_a_terminal_acts_on() {
        let (words, heard) = words(Limits::default(), &LimitCounts::default());
        let tail = Tail::new(words);
        for n in 0..100 {
            tail.push(format!("line\u{1b}\r\t{n}\n").as_bytes());
        }
        assert_eq!(heard.lines(), 100);
        let kept: Vec<_> = (92..100).map(|n| format!("line   {n}")).collect();
        assert_eq!(tail.last_words(), kept.join(" | "));
        // The end of a line that has none may never come.
        tail.push(&vec![b'x'; 10 << 20]);
        assert_eq!(tail.lines.lock().unwrap().partial.len(), TAIL_LINE_BYTES);
        assert_eq!(tail.last_words().len(), 7 * "line   99 | ".len() + TAIL_LINE_BYTES);
    }

    fn said(text: &str) -> String {
        let mut lines = Lines::default();
        for line in text.lines() {
            lines.partial.extend(line.bytes());
            lines.end_line();
        }
        lines.joined()
    }

    #[test]
    fn what_a_long_stack_is_about_is_said_with_its_end() {
        let stack: String = (0..9).map(|n| format!("frame {n}\n")).collect();
        let end = "frame 1 | frame 2 | frame 3 | frame 4 | frame 5 | frame 6 | frame 7 | frame 8";
        assert_eq!(
            said(&format!("before\npanic: nil map\n\n{stack}")),
            format!("panic: nil map | … | {end}")
        );
        // A shorter one has it itself, and what was long ago is not what it is about.
        assert_eq!(said("panic: a\n1\n2\n"), "panic: a | 1 | 2");
        let two = format!("panic: old\n{stack}panic: new\n1\n");
        assert!(said(&two).ends_with("frame 8 | panic: new | 1"), "{}", said(&two));
        assert!(!said(&two).contains("old"), "{}", said(&two));
    }
}
