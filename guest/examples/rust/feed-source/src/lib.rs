//! A feed in one file: line `n` of `feed.jsonl` is the event with control version `n`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wasink_guest::serde_json::{self, Value};
use wasink_guest::{
    Context, ControlEvent, Description, Error, Failure, FeedSource, Need, NoSettings,
    export_feed_source,
};

/// The source: its file, and the place up to which it was read.
#[derive(Debug)]
pub struct Feed {
    path: PathBuf,
    /// The version of the last line that was read, and where the next one begins.
    version: u64,
    offset: u64,
}

impl FeedSource for Feed {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("1.0.0", "a feed in one file")
            .settings_schema(NoSettings::SCHEMA)
            .needs(Need::Directory, "its file is there")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self::in_directory(Path::new("/data")))
    }

    fn poll(&mut self, since: u64, max: u32, _: Duration) -> Result<Vec<ControlEvent>, Failure> {
        // Opened anew each time: it may not be there yet, or be put in place of another.
        let mut file = match File::open(&self.path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if since != self.version {
            (self.version, self.offset) = (0, 0);
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut events = Vec::new();
        while events.len() < max as usize {
            let mut line = String::new();
            let length = file.read_line(&mut line)? as u64;
            // What has no end is still being written.
            if !line.ends_with('\n') {
                break;
            }
            self.version += 1;
            self.offset += length;
            if self.version > since {
                let event = event(&line, self.version);
                let broken = |what| {
                    Failure::broken(format!("line {} of `feed.jsonl`: {what}", self.version))
                };
                events.push(event.map_err(broken)?);
            }
        }
        Ok(events)
    }
}

impl Feed {
    /// Reads the file in this directory, once there is one.
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join("feed.jsonl"), version: 0, offset: 0 }
    }
}

fn event(line: &str, control_version: u64) -> Result<ControlEvent, String> {
    let object: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| object.get(key).and_then(Value::as_i64);
    Ok(ControlEvent {
        event_id: text("event_id").ok_or("it has no `event_id`")?,
        event_type: text("event_type").ok_or("it has no `event_type`")?,
        tenant_id: text("tenant_id"),
        stack_id: text("stack_id"),
        version: number("version"),
        base_version: number("base_version"),
        artifact_ref: text("artifact_ref"),
        checksum: text("checksum"),
        created_at: text("created_at"),
        control_version,
    })
}

export_feed_source!(Feed);
