//! Sends records somewhere and keeps every clause of the contract but the one that its settings name.
//!
//! Where to stands in its own bytes, where tests write it over: over HTTP, over TCP, or to a file that
//! it makes good when it is flushed. What it tells of itself comes of that.

mod tcp;

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Duration;

use serde::Deserialize;
use tcp::{Lost, Tcp};
use wasink_guest::http::{Client, Request, Url};
use wasink_guest::prelude::*;
use wasink_guest::{Encoding, now};

/// Where records go: `http`, `tcp` or `file`. Found in the file by its beginning.
static WAY: [u8; 40] = *b"the way of breaks-a-clause is: http     ";

/// Says that records were written here, to whoever opens next.
const WRITTEN: &str = "written";
/// Says that the receiver has refused something.
const REFUSED: &str = "refused";
/// Says that something was written and is not good yet.
const OPEN: &str = "open";
/// The file of the way that is one.
const FILE: &str = "records";
/// When 2001 began, in seconds.
const CENTURY: u64 = 978_307_200;

/// The plugin.
#[derive(Debug)]
pub struct BreaksAClause {
    breaks: Breaks,
    way: Way,
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
    /// Where the batch before began and ended.
    last: (u64, u64),
    /// The latest time that it has seen.
    latest: Duration,
}

/// Where records go.
#[derive(Debug)]
enum Way {
    Http(Box<Client>, Url),
    Tcp(Tcp),
    File,
}

/// Which clause is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaks {
    /// None.
    Nothing,
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
    /// It wants no batch that begins within the one before.
    WriteRepeatsWithin,
    /// It counts on it that time goes on.
    WriteClock,
    /// What comes before this century it throws away.
    WriteClockLoses,
    /// It sends nothing until it is flushed, and says that it had.
    WriteKeeps,
    /// Where something was not made good before it ended, it begins with nothing.
    FlushKeeps,
    /// It keeps a little of each record.
    MemoryBounded,
    /// It does not look at the answer.
    ReceiverRefuses,
    /// It says `retry` where an answer is lost.
    ReceiverDoubt,
    /// It takes a connection for good, though it has ended.
    ReceiverRefusesLater,
    /// It traps on what it does not expect.
    ReceiverAnswers,
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
    /// Where records go over HTTP.
    #[serde(default)]
    pub url: serde_json::Value,
    /// Where records go over TCP.
    #[serde(default)]
    pub to: serde_json::Value,
}

/// What stands in its bytes.
fn way() -> String {
    let way = String::from_utf8_lossy(black_box(&WAY)).into_owned();
    way.rsplit(':').next().unwrap_or_default().trim().to_owned()
}

impl Sink for BreaksAClause {
    type Settings = Settings;

    fn describe() -> Description {
        let description = Description::new(env!("CARGO_PKG_VERSION"), "keeps all clauses but one")
            .all_streams()
            .settings_schema(r#"{"type":"object","properties":{"breaks":{},"url":{},"to":{}}}"#)
            .needs(Need::Directory, "remembers there what it has to");
        match &*way() {
            "tcp" => description.needs(Need::Tcp("/to".to_owned()), "sends the records there"),
            "file" => description.acknowledges_on_flush(),
            _ => description.needs(Need::Http("/url".to_owned()), "sends the records there"),
        }
    }

    #[expect(clippy::panic, reason = "it does wrong")]
    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        let Settings { breaks, url, to } = settings;
        let (short, long) = (Duration::from_secs(2), Duration::from_secs(3_600));
        let patience = if breaks == Breaks::ReceiverPatience { long } else { short };
        let way = match &*way() {
            "tcp" => {
                let to = to.as_str().ok_or_else(|| Error::new("it expects where to go"))?;
                Way::Tcp(Tcp::new(to, patience))
            }
            "file" => Way::File,
            _ => {
                let url: Result<Url, _> = url.as_str().unwrap_or_default().parse();
                let url = match url {
                    Err(_) if breaks == Breaks::OpenRefuses => panic!("it expects a URL"),
                    url => url.map_err(|error| Error::new(error.to_string()))?,
                };
                let mut client = Client::default();
                client.timeouts.first_byte = patience;
                client.timeouts.total = patience.max(Duration::from_secs(4));
                Way::Http(Box::new(client), url)
            }
        };
        let directory = Directory::data()?;
        if breaks == Breaks::OpenAgain && directory.exists(WRITTEN)? {
            return Err(Error::new("somebody was here"));
        }
        if breaks == Breaks::FlushKeeps && directory.exists(OPEN)? {
            directory.write(FILE, b"")?;
        }
        Ok(Self {
            breaks,
            way,
            directory,
            kept: Vec::new(),
            seen: HashSet::new(),
            hoard: Vec::new(),
            since: 0,
            written: false,
            last: (0, 0),
            latest: Duration::ZERO,
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
            Breaks::WriteRepeatsWithin => {
                let (begun, ended) = self.last;
                let begins = batch.position();
                self.last = (begins, begins + u64::from(batch.len()));
                if begun < begins && begins < ended {
                    return Err(Failure::rejected("that is the middle of something"));
                }
            }
            Breaks::WriteClock => {
                assert!(now() >= self.latest, "time goes on");
                self.latest = now();
            }
            Breaks::WriteClockLoses if now().as_secs() < CENTURY => {
                return Ok(Outcomes::delivered());
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
        if matches!(self.way, Way::File) && self.directory.exists(OPEN)? {
            self.directory.remove(OPEN)?;
        }
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
    fn send(&mut self, lines: Vec<u8>) -> Result<Outcomes, Failure> {
        if self.breaks == Breaks::ReceiverRecovers && self.directory.exists(REFUSED)? {
            return Err(Failure::retry("it was refused once"));
        }
        match &mut self.way {
            Way::File => {
                self.directory.write(OPEN, b"")?;
                self.directory.open_append(FILE)?.append_bytes(&lines)?;
                Ok(Outcomes::delivered())
            }
            Way::Http(client, url) => {
                let answer = client.send(&Request::post(url.clone()).body(lines));
                let lost = match answer {
                    Ok(answer) => return self.judge(answer.status),
                    Err(error) if error.in_doubt() => Lost::Doubt(error.to_string()),
                    Err(error) => Lost::Refused(error.to_string()),
                };
                self.fail(lost)
            }
            Way::Tcp(tcp) => {
                let sent = match self.breaks {
                    Breaks::ReceiverRefusesLater => tcp.send_on(&lines),
                    _ => tcp.send(&lines),
                };
                sent.map_or_else(|lost| self.fail(lost), |()| Ok(Outcomes::delivered()))
            }
        }
    }

    #[expect(clippy::panic, reason = "it does wrong")]
    fn judge(&self, status: u16) -> Result<Outcomes, Failure> {
        if (200..300).contains(&status) || self.breaks == Breaks::ReceiverRefuses {
            return Ok(Outcomes::delivered());
        }
        let why = format!("the receiver says {status}");
        match status {
            504 => self.fail(Lost::Doubt(why)),
            408 | 429 | 500.. => self.fail(Lost::Refused(why)),
            _ if self.breaks == Breaks::ReceiverAnswers => panic!("there is no such status"),
            _ => self.fail(Lost::Refused(why)),
        }
    }

    #[expect(clippy::panic, reason = "it does wrong")]
    fn fail(&self, lost: Lost) -> Result<Outcomes, Failure> {
        let is_tcp = matches!(self.way, Way::Tcp(_));
        match lost {
            _ if is_tcp && self.breaks == Breaks::ReceiverRefuses => Ok(Outcomes::delivered()),
            Lost::Refused(why) => {
                self.directory.write(REFUSED, b"")?;
                Err(Failure::retry(why))
            }
            Lost::Doubt(why) if self.breaks == Breaks::ReceiverDoubt => Err(Failure::retry(why)),
            Lost::Doubt(_) if is_tcp && self.breaks == Breaks::ReceiverAnswers => {
                panic!("connections do not break")
            }
            Lost::Doubt(why) => Err(Failure::in_doubt(why)),
        }
    }
}

export_sink!(BreaksAClause);
