//! Appends records to a file, as the sink `file` does, until it turns bad.
//!
//! Its setting is the one that `file` has as well: `path`. What it does wrong, and after how many
//! records, stands in its own bytes, where tests write it over: so versions of one plugin, which have
//! the settings of one sink, do wrong in different ways.

use std::hint::black_box;
use std::time::Duration;

use serde::Deserialize;
use wasink_guest::Encoding;
use wasink_guest::prelude::*;

/// What it does, and after how many records: `panic 1000`. Found in the file by its beginning.
static ORDERS: [u8; 64] = *b"what the plugin turned does: keep 0                             ";

/// The plugin.
#[derive(Debug)]
pub struct Turned {
    file: AppendFile,
    does: String,
    after: u64,
    records: u64,
}

/// Where it appends to.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// The file.
    pub path: String,
}

impl Sink for Turned {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("6.6.6", "appends records to a file until it turns bad").all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        let orders = String::from_utf8_lossy(black_box(&ORDERS)).into_owned();
        let (_, orders) = orders.split_once(':').unwrap_or_default();
        let mut words = orders.split_whitespace();
        let does = words.next().unwrap_or_default().to_owned();
        let after = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        match does.as_str() {
            "refuse" => return Err(Error::new("the ledger's door is locked")),
            "linger" => std::thread::sleep(Duration::from_secs(3_600)),
            _ => {}
        }
        let file = Directory::data()?.open_append(&settings.path)?;
        Ok(Self { file, does, after, records: 0 })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        if self.records >= self.after {
            self.turn();
        }
        self.file
            .append(batch, Encoding::Jsonl, 0)
            .map_err(|error| Failure::broken(error.to_string()))?;
        self.records += u64::from(batch.len());
        Ok(Outcomes::delivered())
    }
}

impl Turned {
    fn turn(&self) {
        match self.does.as_str() {
            "panic" => panic!("told to panic after {} records", self.after),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "wait" => std::thread::sleep(Duration::from_secs(3_600)),
            "leak" => std::mem::forget(black_box(vec![1_u8; 32 << 20])),
            _ => {}
        }
    }
}

export_sink!(Turned);
