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
            let mut line = Vec::new();
            let length = file.read_until(b'\n', &mut line)? as u64;
            // What has no end is still being written.
            if !line.ends_with(b"\n") {
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

fn event(line: &[u8], control_version: u64) -> Result<ControlEvent, String> {
    let object: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Ok(ControlEvent {
        event_id: text(&object, "event_id")?.ok_or("it has no `event_id`")?,
        event_type: text(&object, "event_type")?.ok_or("it has no `event_type`")?,
        tenant_id: text(&object, "tenant_id")?,
        stack_id: text(&object, "stack_id")?,
        version: number(&object, "version")?,
        base_version: number(&object, "base_version")?,
        artifact_ref: text(&object, "artifact_ref")?,
        checksum: text(&object, "checksum")?,
        created_at: text(&object, "created_at")?,
        control_version,
    })
}

fn text(object: &Value, key: &str) -> Result<Option<String>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("its `{key}` is no text")),
    }
}

fn number(object: &Value, key: &str) -> Result<Option<i64>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("its `{key}` is no number of 64 bits")),
        },
    }
}

export_feed_source!(Feed);
