//! An operator's directory, and the command in it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory in which the command runs.
pub(crate) struct Operator {
    directory: TempDir,
}

/// What a command that has ended has left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The exit status; panics where a signal killed it.
    pub(crate) fn exit(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("killed: {self:?}"))
    }

    /// The same, if it ended so.
    #[track_caller]
    pub(crate) fn expect(self, exit: i32) -> Self {
        assert_eq!(self.exit(), exit, "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Writes a file, with the directories that it is in.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.path(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("`{}`: {e}", path.display()))
    }

    /// Any program in this directory, with nothing in its environment that wasink looks at.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env_remove("COLUMNS");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WASINK_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// `wasink`, with the words of `arguments`.
    pub(crate) fn wasink(&self, arguments: &str) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_wasink"));
        command.args(arguments.split_whitespace());
        command
    }

    /// A line of shell, in which `$WASINK` is the command.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = self.program("sh");
        command.args(["-c", line]).env("WASINK", env!("CARGO_BIN_EXE_wasink"));
        command
    }

    /// Runs `wasink` without input, to its end.
    pub(crate) fn says(&self, arguments: &str) -> Ended {
        end(self.wasink(arguments), b"")
    }

    /// Runs `wasink` with this on standard input, to its end.
    pub(crate) fn feed(&self, arguments: &str, input: impl AsRef<[u8]>) -> Ended {
        end(self.wasink(arguments), input.as_ref())
    }

    /// Starts `wasink`, to talk to it while it runs.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        Running::start(self.wasink(arguments))
    }

    /// Waits until the file has so many whole lines, and returns it.
    #[track_caller]
    pub(crate) fn await_lines(&self, path: &str, lines: usize) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(self.path(path)).unwrap_or_default();
            if text.matches('\n').count() >= lines {
                return text;
            }
            assert!(Instant::now() < until, "`{path}` has not got {lines} lines: {text}");
            thread::yield_now();
        }
    }
}

impl Operator {
    /// Asks again and again until the answer is as it should be, and returns it.
    #[track_caller]
    pub(crate) fn await_json(&self, command: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.says(command).expect(0).json();
            if fits(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "`{command}` still says {answer:#}");
            thread::yield_now();
        }
    }
}

/// Runs a command with this on standard input, to its end.
pub(crate) fn end(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // It may end without having read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    Ended {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command at work. Killed where it is dropped.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: BufReader<ChildStderr>,
    told: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdin, stderr, told: String::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&mut self, input: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(input.as_ref()).unwrap();
        stdin.flush().unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Reads standard error up to a line that has `text` in it.
    #[track_caller]
    pub(crate) fn await_word(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).unwrap();
            self.told.push_str(&line);
            assert!(read > 0, "it ended without a word of `{text}`: {}", self.told);
            if line.contains(text) {
                return;
            }
        }
    }

    /// Sends a signal by its name: `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(sent.success(), "{line}");
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, and returns all that it has said.
    pub(crate) fn end(mut self) -> Ended {
        let mut stderr = std::mem::take(&mut self.told);
        self.stderr.read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        Ended { status, stdout: String::new(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is left to kill where it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How often `word` is in `text`.
pub(crate) fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}
