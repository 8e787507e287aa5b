//! Secrets: read where they are kept, when they are needed, and shown nowhere.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::config::{SecretConfig, SecretSource};

/// The longest secret, in bytes: the largest of them are files with several certificates.
const LONGEST: usize = 64 << 10;

/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// How long a program may take to write a secret.
const PATIENCE: Duration = Duration::from_secs(10);

/// A secret, read where it is kept when it is asked for. Clones share what was read.
#[derive(Clone)]
pub struct Secret(Arc<Kept>);

struct Kept {
    config: SecretConfig,
    reads: Mutex<Reads>,
}

/// What came of reading it.
#[derive(Default)]
struct Reads {
    /// What it is, as far as is known.
    known: Option<(Instant, SecretText)>,
    /// When and why it could not be had.
    failed: Option<(Instant, String)>,
}

/// What a secret is. It is wiped from memory with its last clone, and not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Arc<Zeroizing<String>>);

/// Why a secret can't be had. It never holds anything of the secret.
#[derive(Debug, thiserror::Error)]
#[error("secret `{name}`: {reason}")]
pub struct SecretError {
    /// Name of the secret.
    name: String,
    /// What is wrong, and the way out.
    reason: String,
}

impl Secret {
    /// A secret that has not been read yet.
    pub fn new(config: SecretConfig) -> Self {
        Self(Arc::new(Kept { config, reads: Mutex::default() }))
    }

    /// The name by which grants name it.
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// The secret: as it was read last, or read anew where that is too long ago. Blocks while it is
    /// read, up to 10 seconds where a program has to write it. One that can't be read again is used
    /// on as it was.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    pub fn get(&self) -> Result<SecretText, SecretError> {
        let SecretConfig { name, refresh, .. } = &self.0.config;
        let asked = Instant::now();
        let mut reads = self.0.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, text)) = &reads.known
            && at.elapsed() <= *refresh
        {
            return Ok(text.clone());
        }
        let error = |reason| SecretError { name: name.clone(), reason };
        if let Some((at, reason)) = &reads.failed
            && *at >= asked
        {
            // Somebody found out while this caller waited, which may have taken long.
            return Err(error(reason.clone()));
        }
        let known = reads.known.take().map(|(_, text)| text);
        match self.read().or_else(|reason| known.ok_or(reason)) {
            Ok(text) => {
                *reads = Reads { known: Some((Instant::now(), text.clone())), failed: None };
                Ok(text)
            }
            Err(reason) => {
                reads.failed = Some((Instant::now(), reason.clone()));
                Err(error(reason))
            }
        }
    }

    /// Reads it, whether or not it was read before.
    fn read(&self) -> Result<SecretText, String> {
        match &self.0.config.source {
            SecretSource::File(path) => of_file(path),
            SecretSource::Environment(variable) => of_environment(variable),
            SecretSource::Command(command) => of_command(command, PATIENCE),
        }
    }
}

impl SecretText {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Text without the line's end that editors and programs put there.
    fn new(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let length = line.map_or(bytes.len(), <[u8]>::len);
        bytes.truncate(length);
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let text = String::from_utf8(std::mem::take(&mut *bytes));
        let text = text.map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            "it is not text (UTF-8); keep it in base64".to_owned()
        })?;
        Ok(Self(Arc::new(Zeroizing::new(text))))
    }
}

fn of_file(path: &Path) -> Result<SecretText, String> {
    let shown = path.display();
    // Asked before it is opened: opening a named pipe would wait for somebody to write into it.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("`{shown}` is not a file"));
    }
    let file = File::open(path).map_err(|error| format!("file `{shown}`: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("file `{shown}`: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("`{shown}` is not a file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o007 != 0 {
            return Err(format!(
                "everybody may read the file `{shown}` (its mode is {mode:04o}): `chmod o= {shown}`"
            ));
        }
    }
    SecretText::new(read(file).map_err(|reason| format!("file `{shown}`: {reason}"))?)
}

fn of_environment(variable: &str) -> Result<SecretText, String> {
    let text = std::env::var(variable).map_err(|error| match error {
        std::env::VarError::NotPresent => format!("the variable `{variable}` is not set"),
        std::env::VarError::NotUnicode(_) => format!("the variable `{variable}` is not UTF-8"),
    })?;
    SecretText::new(Zeroizing::new(text.into_bytes()))
        .map_err(|reason| format!("the variable `{variable}`: {reason}"))
}

fn of_command(command: &[String], patience: Duration) -> Result<SecretText, String> {
    let (program, arguments) = command.split_first().ok_or("no program is named")?;
    // Arguments may be as secret as what they lead to.
    let failed = |reason: String| format!("the program `{program}`: {reason}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let output = child.stdout.take().ok_or_else(|| failed("it has no output".to_owned()))?;
    let (sender, receiver) = sync_channel(1);
    let reader = thread::Builder::new().name("wasink-secret".to_owned());
    let started = reader.spawn(move || drop(sender.send(read(output))));
    let until = Instant::now() + patience;
    let bytes = match started {
        Ok(_) => receiver.recv_timeout(patience).map_err(|_| {
            failed(format!("it did not end within {patience:?}; run it by hand to see why"))
        }),
        Err(error) => Err(failed(error.to_string())),
    };
    // Who has nothing more to write has to end as well.
    while matches!(bytes, Ok(Ok(_)))
        && Instant::now() < until
        && matches!(child.try_wait(), Ok(None))
    {
        thread::sleep(LOOK);
    }
    // It may have ended by itself.
    drop(child.kill());
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    let bytes = bytes?.map_err(failed)?;
    if !status.success() {
        return Err(failed(format!("it ended with {status}; run it by hand to see why")));
    }
    SecretText::new(bytes).map_err(failed)
}

/// All of it, in one piece of memory that is wiped.
fn read(from: impl Read) -> Result<Zeroizing<Vec<u8>>, String> {
    // Room for the most from the start: growing would leave pieces of it behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let most = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
    from.take(most).read_to_end(&mut bytes).map_err(|error: io::Error| error.to_string())?;
    if bytes.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes, so it is no secret"));
    }
    Ok(bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.name()).finish()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

#[cfg(test)]
mod tests;
