//! A feed in one file: line `n` of `feed.jsonl` is the event with control version `n`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use wasink_guest::serde_json::{self, Map, Value, json};
use wasink_guest::{
    Context, ControlEvent, Description, Error, Failure, FeedSink, Need, NoSettings,
    export_feed_sink,
};

/// The sink: its file, and the version of each event in it.
#[derive(Debug)]
pub struct Feed {
    file: File,
    versions: HashMap<String, u64>,
}

impl FeedSink for Feed {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("1.0.0", "a feed in one file")
            .settings_schema(NoSettings::SCHEMA)
            .needs(Need::Directory, "keeps its file there")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Self::in_directory(Path::new("/data"))
    }

    fn append(&mut self, event: ControlEvent) -> Result<u64, Failure> {
        self.append_all(vec![event]).pop().unwrap_or(Ok(0))
    }

    fn append_all(&mut self, events: Vec<ControlEvent>) -> Vec<Result<u64, Failure>> {
        let known = self.versions.len() as u64;
        let mut lines = String::new();
        let mut results = Vec::with_capacity(events.len());
        for event in &events {
            let next = self.versions.len() as u64 + 1;
            let version = *self.versions.entry(event.event_id.clone()).or_insert(next);
            if version == next {
                lines.push_str(&line(event));
            }
            results.push(Ok(version));
        }
        if let Err(error) = self.append_lines(&lines) {
            self.versions.retain(|_, version| *version <= known);
            let failed =
                results.iter_mut().filter(|result| result.as_ref().is_ok_and(|v| *v > known));
            failed
                .for_each(|result| *result = Err(Failure::retry(format!("`feed.jsonl`: {error}"))));
        }
        results
    }
}

impl Feed {
    /// Keeps its file in this directory.
    pub fn in_directory(directory: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).append(true).create(true).open(directory.join("feed.jsonl"))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // What is behind the last whole line was cut off while it was written, and not acknowledged.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        let mut versions = HashMap::new();
        for (line, version) in text.get(..whole).unwrap_or_default().lines().zip(1..) {
            let event: Value = serde_json::from_str(line)
                .map_err(|error| Error::new(format!("line {version} of `feed.jsonl`: {error}")))?;
            let id = event.get("event_id").and_then(Value::as_str);
            let id = id.ok_or_else(|| {
                Error::new(format!("line {version} of `feed.jsonl` has no `event_id`"))
            })?;
            versions.insert(id.to_owned(), version);
        }
        Ok(Self { file, versions })
    }

    /// Appends all of it and makes it durable, or nothing.
    fn append_lines(&mut self, lines: &str) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let appended = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        if appended.is_err() {
            self.file.set_len(length)?;
        }
        appended
    }
}

/// An event as a line; its version is the number of the line.
fn line(event: &ControlEvent) -> String {
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        object.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("event_id", Some(json!(event.event_id)));
    put("event_type", Some(json!(event.event_type)));
    put("tenant_id", event.tenant_id.as_ref().map(|id| json!(id)));
    put("stack_id", event.stack_id.as_ref().map(|id| json!(id)));
    put("version", event.version.map(|version| json!(version)));
    put("base_version", event.base_version.map(|version| json!(version)));
    put("artifact_ref", event.artifact_ref.as_ref().map(|text| json!(text)));
    put("checksum", event.checksum.as_ref().map(|text| json!(text)));
    put("created_at", event.created_at.as_ref().map(|text| json!(text)));
    format!("{}\n", Value::Object(object))
}

export_feed_sink!(Feed);
