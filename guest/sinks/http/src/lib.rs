//! Sink `http`: sends records to a receiver over HTTP, and tells record by record what became of
//! them.
//!
//! Settings; `url` is needed, all others are optional:
//!
//! | name | default | |
//! | --- | --- | --- |
//! | `url` | | where the requests go; with a profile the origin is enough. The origin must be granted by `grants.http` |
//! | `method` | `POST` | or `PUT` |
//! | `profile` | | a receiver whose ways are known: `openmeter`, `lago`, `stripe` |
//! | `format` | `json-array` | `json-array`, `ndjson`, `cloudevents-batch`, `cloudevents-structured` (one a request) |
//! | `content_type` | the format's | another media type |
//! | `headers` | | constant headers; credentials are refused here |
//! | `max_records` | `1024` | at most so many records in a request; `openmeter` and `lago` 100, `stripe` 1 |
//! | `max_bytes` | `1048576` | at most so many bytes in a request, before they are compressed |
//! | `max_requests` | `1000` | at most so many requests in one call |
//! | `idempotency_header` | | header that names the request |
//! | `id_header` | | header with the same name of the request, for webhooks that the host signs |
//! | `compress` | `none` | `gzip` |
//! | `timeouts.connect_ms` | `5000` | until there is a connection |
//! | `timeouts.first_byte_ms` | `10000` | from then until the answer begins |
//! | `timeouts.between_bytes_ms` | `10000` | between two pieces of the answer |
//! | `timeouts.request_ms` | `10000` | for one request and its answer |
//! | `timeouts.call_ms` | `20000` | for all requests of one call; keep it below the sink's `timeout` |
//! | `answer_bytes` | `65536` | so much of an answer is read |
//! | `duplicate` | | answers that mean that the receiver has the records already: a list of `status`, `contains` and `of` |
//! | `results` | | where it stands in an answer what became of each record: JSON Pointers `list`, `id` or `index`, `status`, `message`; values `delivered`, `duplicate`, `rejected`; `unnamed`; `statuses` |
//! | `unbillable` | `false` | profiles: whether usage that nobody is charged for is sent as well |
//! | `customer` | `tenant` | profiles: the field of a usage event that names the customer: `tenant`, `src`, `stack` |
//! | `event_customer` | `subject` | `lago`, `stripe`: what names the customer of a CloudEvent: `subject`, or an extension attribute |
//! | `event_value` | | `stripe`: JSON Pointer to the quantity in the data of a CloudEvent; needed for the stream `events` |
//! | `event_type`, `source` | `wasink.usage`, `wasink` | `openmeter`: type and source of the events that are made of usage |
//! | `code` | | `lago`: code of the billable metric; needed |
//! | `event_name`, `value` | | `stripe`: the meter's event name, and the quantity of a usage event that is billed; needed, the second for the stream `usage` |
//! | `customer_key`, `value_key` | `stripe_customer_id`, `value` | `stripe`: the meter's payload keys |
//!
//! **Nothing is lost, and nothing is thrown away for a wrong setting.** A record is delivered once
//! the receiver has said so in a whole answer. It is rejected only where the receiver refuses that
//! very record: of a request that is refused, halves are sent until the culprit is alone. A wrong
//! address, a missing grant, a redirect, a receiver that is down: all that is tried again.
//!
//! **Twice is possible, and can be recognised.** An answer that got lost leaves it open whether the
//! receiver took the request, so the same records are sent again, with the same ids. The name of a
//! request is made of the ids in it: the same records in one request always have the same name.
//! After a restart, or once part of a batch is settled, records may come in other requests than
//! before; then it is the ids of the records by which the receiver must recognise them.

mod body;
mod fate;
mod judge;
mod key;
mod profiles;
mod results;
mod run;
mod settings;

use wasink_guest::http::{Client, Method, Timeouts, Url};
use wasink_guest::{Batch, Context, Description, Error, Failure, Need, Outcomes, Sink};

use body::Writing;
pub use settings::{
    Compress, Duplicate, Extent, Format, Label, Profile, Quantity, Results, Settings, Unnamed,
    Verb, Waits,
};

/// The shortest time for which a receiver is known to recognise an id: a day, at Stripe. What the
/// host holds back for a person is then never sent blindly to a receiver with a profile.
const DEDUP_SECONDS: u64 = 86_400;

/// The sink.
#[derive(Debug)]
pub struct Http {
    url: Url,
    method: Method,
    writing: Writing,
    /// Sent with every request.
    headers: Vec<(String, String)>,
    client: Client,
    max_records: usize,
    max_bytes: usize,
    /// Fewer records in a request than that, while it is found out which of them are refused.
    narrow: Option<usize>,
    settings: Settings,
}

impl Sink for Http {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "sends records to a receiver over HTTP")
            .all_streams()
            .settings_schema(settings::SCHEMA)
            .dedup_window(DEDUP_SECONDS)
            .needs(Need::Http("/url".to_owned()), "sends the records there")
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        let url = settings.check()?;
        let writing = Writing::new(&settings);
        let url = match writing.default_path() {
            Some(path) if url.path_and_query() == "/" => url.with_path(path)?,
            _ => url,
        };
        let content_type = settings.content_type.as_deref().unwrap_or(writing.frame().content_type);
        let mut headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        if !settings.headers.keys().any(|name| name.eq_ignore_ascii_case("user-agent")) {
            let agent = concat!("wasink-sink-http/", env!("CARGO_PKG_VERSION"));
            headers.push(("User-Agent".to_owned(), agent.to_owned()));
        }
        headers.extend(settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if settings.compress == Compress::Gzip {
            headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
        }
        let waits = settings.timeouts;
        let timeouts = Timeouts {
            connect: settings::millis(waits.connect_ms),
            first_byte: settings::millis(waits.first_byte_ms),
            between_bytes: settings::millis(waits.between_bytes_ms),
            total: settings::millis(waits.request_ms),
        };
        let most = writing.frame().most;
        Ok(Self {
            url,
            method: settings.method.into(),
            headers,
            client: Client { timeouts, answer_bytes: settings.answer_bytes, ..Client::default() },
            max_records: settings.max_records.unwrap_or(1024).min(most),
            max_bytes: settings.max_bytes.unwrap_or(1_048_576),
            narrow: None,
            writing,
            settings,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        run::write(self, batch)
    }
}

wasink_guest::export_sink!(Http);

#[cfg(test)]
mod tests;
