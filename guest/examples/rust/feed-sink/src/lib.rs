//! A feed in one file: line `n` of `feed.jsonl` is the event with control version `n`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
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
        if let Err(failure) = self.append_lines(&lines) {
            self.versions.retain(|_, version| *version <= known);
            // None is appended after the first that fails, and the results of all behind it say so.
            let is_new = |result: &Result<u64, _>| result.as_ref().is_ok_and(|v| *v > known);
            let first = results.iter().position(is_new).unwrap_or(results.len());
            results.iter_mut().skip(first).for_each(|result| *result = Err(failure.clone()));
        }
        results
    }
}

impl Feed {
    /// Keeps its file in this directory.
    pub fn in_directory(directory: &Path) -> Result<Self, Error> {
        let told = |error: io::Error| Error::new(format!("feed.jsonl: {error}"));
        let mut options = OpenOptions::new();
        let path = directory.join("feed.jsonl");
        let mut file = options.read(true).append(true).create(true).open(path).map_err(told)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(told)?;
        // What is behind the last whole line was cut off while it was written, and not acknowledged.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(told)?;
        bytes.truncate(whole);
        let mut versions = HashMap::new();
        for (line, version) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            let wrong = |what| Error::new(format!("line {version} of feed.jsonl: {what}"));
            let event: Value =
                serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
            let id = event.get("event_id").and_then(Value::as_str);
            let id = id.ok_or_else(|| wrong("it has no `event_id`".to_owned()))?;
            if let Some(first) = versions.insert(id.to_owned(), version) {
                return Err(wrong(format!("it has the `event_id` of line {first}")));
            }
        }
        Ok(Self { file, versions })
    }

    /// Appends all of it and makes it durable, or nothing.
    fn append_lines(&mut self, lines: &str) -> Result<(), Failure> {
        let retry = |error: io::Error| Failure::retry(format!("feed.jsonl: {error}"));
        // The seek says how long the file is, and has the next write work after one that failed: a
        // stream into a file is closed by an error.
        let length = self.file.seek(SeekFrom::End(0)).map_err(retry)?;
        let appended = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        appended.map_err(|error| match self.file.set_len(length) {
            Ok(()) => retry(error),
            // Lines are there that have no versions. The next instance reads them.
            Err(error) => Failure::broken(format!("feed.jsonl: {error}")),
        })
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
