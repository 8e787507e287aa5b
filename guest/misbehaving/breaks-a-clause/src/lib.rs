//! Sends records over HTTP and keeps every clause of the contract but the one that its settings name.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use wasink_guest::http::{Client, Request, Url};
use wasink_guest::prelude::*;

/// Says that records were written here, to whoever opens next.
const WRITTEN: &str = "written";
/// Says that the receiver has refused something.
const REFUSED: &str = "refused";

/// The plugin.
#[derive(Debug)]
pub struct BreaksAClause {
    breaks: Breaks,
    url: Url,
    client: Client,
    directory: Directory,
    /// What it should have sent.
    kept: Vec<u8>,
    /// Ids that it has had.
    seen: HashSet<String>,
    /// What it never gives back.
    hoard: Vec<Vec<u8>>,
    /// Records since the last flush.
    since: u32,
    /// Whether it was given any.
    written: bool,
}

/// Which clause is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaks {
    /// Settings that are not right make it trap.
    OpenRefuses,
    /// It does not open where an instance has written and ended well.
    OpenAgain,
    /// It can't be flushed where there is nothing to make good.
    FlushAnswers,
    /// It does not end well once it has written.
    CloseAnswers,
    /// Large batches are too much for it, again and again.
    WriteAnswers,
    /// It traps on an end of a line in a text.
    WriteValues,
    /// What it has had it rejects.
    WriteRepeats,
    /// It sends nothing until it is flushed, and says that it had.
    WriteKeeps,
    /// It keeps a little of each record.
    MemoryBounded,
    /// It does not look at the answer.
    ReceiverRefuses,
    /// It says `retry` where an answer is lost.
    ReceiverDoubt,
    /// It waits for an answer however long it takes.
    ReceiverPatience,
    /// It gives up for ever once it was refused.
    ReceiverRecovers,
}

/// What it is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What it breaks.
    pub breaks: Breaks,
    /// Where records go.
    pub url: serde_json::Value,
}

impl Sink for BreaksAClause {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "keeps all clauses but one")
            .all_streams()
            .settings_schema(r#"{"type":"object","properties":{"breaks":{},"url":{}}}"#)
            .needs(Need::Directory, "remembers there what it has to")
            .needs(Need::Http("/url".to_owned()), "sends the records there")
    }

    #[expect(clippy::panic, reason = "it does wrong")]
    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        let Settings { breaks, url } = settings;
        let url: Result<Url, _> = url.as_str().unwrap_or_default().parse();
        let url = match url {
            Err(_) if breaks == Breaks::OpenRefuses => panic!("it expects a URL"),
            url => url.map_err(|error| Error::new(error.to_string()))?,
        };
        let directory = Directory::data()?;
        if breaks == Breaks::OpenAgain && directory.exists(WRITTEN)? {
            return Err(Error::new("somebody was here"));
        }
        let mut client = Client::default();
        let (short, long) = (Duration::from_secs(2), Duration::from_secs(3_600));
        let patience = if breaks == Breaks::ReceiverPatience { long } else { short };
        client.timeouts.first_byte = patience;
        client.timeouts.total = patience.max(Duration::from_secs(4));
        Ok(Self {
            breaks,
            url,
            client,
            directory,
            kept: Vec::new(),
            seen: HashSet::new(),
            hoard: Vec::new(),
            since: 0,
            written: false,
        })
    }

    #[expect(clippy::panic, reason = "it does wrong")]
    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        let lines = batch.encode(Encoding::Jsonl).into_vec();
        self.since += batch.len();
        self.written = true;
        match self.breaks {
            Breaks::WriteAnswers if batch.len() > 1_000 => {
                return Err(Failure::retry("that is too much at once"));
            }
            Breaks::WriteValues if lines.windows(2).any(|two| two == br"\n") => {
                panic!("it knows no such text")
            }
            Breaks::WriteRepeats => {
                let mut outcomes = Outcomes::delivered();
                let mut some = false;
                for (index, id) in batch.ids().into_iter().enumerate() {
                    if !self.seen.insert(id) {
                        outcomes.rejected(index, "it was here before");
                        some = true;
                    }
                }
                if some {
                    return Ok(outcomes);
                }
            }
            Breaks::WriteKeeps => {
                self.kept.extend(lines);
                return Ok(Outcomes::delivered());
            }
            Breaks::MemoryBounded => {
                self.hoard.extend((0..batch.len()).map(|_| vec![0; 1_000]));
            }
            _ => {}
        }
        self.send(lines)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.breaks == Breaks::FlushAnswers && self.since == 0 {
            return Err(Failure::broken("there is nothing to flush"));
        }
        self.since = 0;
        if self.kept.is_empty() {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.kept);
        self.send(kept).map(drop)
    }

    fn close(self) -> Result<(), Error> {
        if self.written {
            self.directory.write(WRITTEN, b"")?;
        }
        if self.breaks == Breaks::CloseAnswers { Err(Error::new("it ends badly")) } else { Ok(()) }
    }
}

impl BreaksAClause {
    fn send(&self, lines: Vec<u8>) -> Result<Outcomes, Failure> {
        if self.breaks == Breaks::ReceiverRecovers && self.directory.exists(REFUSED)? {
            return Err(Failure::retry("it was refused once"));
        }
        let status = match self.client.send(&Request::post(self.url.clone()).body(lines)) {
            Ok(answer) => answer.status,
            Err(error) if error.in_doubt() && self.breaks != Breaks::ReceiverDoubt => {
                return Err(Failure::in_doubt(error.to_string()));
            }
            Err(error) => return Err(Failure::retry(error.to_string())),
        };
        if (200..300).contains(&status) || self.breaks == Breaks::ReceiverRefuses {
            return Ok(Outcomes::delivered());
        }
        self.directory.write(REFUSED, b"")?;
        Err(Failure::retry(format!("the receiver says {status}")))
    }
}

export_sink!(BreaksAClause);
