//! What can be set.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use wasink_guest::Error;
use wasink_guest::http::{Method, Url, check_header};
use wasink_guest::serde_json::Value;

pub(crate) const SCHEMA: &str = include_str!("settings.json");

/// Settings of the sink; the crate's text says what each means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the requests go.
    pub url: String,
    /// What is done there.
    #[serde(default)]
    pub method: Verb,
    /// A receiver whose ways are known.
    pub profile: Option<Profile>,
    /// How records are written, where there is no profile.
    pub format: Option<Format>,
    /// Another media type than the format's own.
    pub content_type: Option<String>,
    /// Constant headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// At most so many records in a request.
    pub max_records: Option<usize>,
    /// At most so many bytes in a request, before they are compressed.
    pub max_bytes: Option<usize>,
    /// At most so many requests in one call.
    #[serde(default = "many")]
    pub max_requests: usize,
    /// The header that names the request, for a receiver that answers each only once.
    pub idempotency_header: Option<String>,
    /// The same name in another header, as signed webhooks have it.
    pub id_header: Option<String>,
    /// Whether requests are compressed.
    #[serde(default)]
    pub compress: Compress,
    /// How long is waited.
    #[serde(default)]
    pub timeouts: Waits,
    /// So much of an answer is read.
    #[serde(default = "answer_bytes")]
    pub answer_bytes: usize,
    /// Answers that mean that the receiver has the records already.
    #[serde(default)]
    pub duplicate: Vec<Duplicate>,
    /// Where in an answer it stands what became of each record.
    pub results: Option<Results>,
    /// Profiles: whether usage that nobody is charged for is sent as well.
    #[serde(default)]
    pub unbillable: bool,
    /// Profiles: the field of a usage event that names the customer.
    pub customer: Option<Label>,
    /// `lago`, `stripe`: what names the customer of a CloudEvent, its `subject` or an extension.
    pub event_customer: Option<String>,
    /// `stripe`: JSON Pointer to the quantity in the data of a CloudEvent.
    pub event_value: Option<String>,
    /// `openmeter`: the `type` of the events that are made of usage.
    pub event_type: Option<String>,
    /// `openmeter`: the `source` of the events that are made of usage.
    pub source: Option<String>,
    /// `lago`: code of the billable metric.
    pub code: Option<String>,
    /// `stripe`: the meter's event name.
    pub event_name: Option<String>,
    /// `stripe`: the quantity that is billed.
    pub value: Option<Quantity>,
    /// `stripe`: the meter's payload key of the customer.
    pub customer_key: Option<String>,
    /// `stripe`: the meter's payload key of the value.
    pub value_key: Option<String>,
}

/// What is done at the URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// `POST`
    #[default]
    Post,
    /// `PUT`
    Put,
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Post => Self::Post,
            Verb::Put => Self::Put,
        }
    }
}

/// A receiver whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// OpenMeter's events.
    Openmeter,
    /// Lago's batches of events.
    Lago,
    /// Stripe's meter events.
    Stripe,
}

impl Profile {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Openmeter => "openmeter",
            Self::Lago => "lago",
            Self::Stripe => "stripe",
        }
    }
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A JSON array of records in their own wire format.
    JsonArray,
    /// A line of JSON each.
    Ndjson,
    /// A JSON array of CloudEvents.
    CloudeventsBatch,
    /// One CloudEvent a request.
    CloudeventsStructured,
}

/// Whether requests are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compress {
    /// No.
    #[default]
    None,
    /// By gzip.
    Gzip,
}

/// How long is waited, in milliseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Waits {
    /// Until there is a connection.
    pub connect_ms: u64,
    /// From then until the answer begins.
    pub first_byte_ms: u64,
    /// Between two pieces of the answer.
    pub between_bytes_ms: u64,
    /// For one request and its answer.
    pub request_ms: u64,
    /// For all requests of one call.
    pub call_ms: u64,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            first_byte_ms: 10_000,
            between_bytes_ms: 10_000,
            request_ms: 10_000,
            call_ms: 20_000,
        }
    }
}

/// An answer that means that the receiver has the records already.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duplicate {
    /// Its status.
    pub status: u16,
    /// What its body has in it.
    pub contains: Option<String>,
    /// What it is said of.
    #[serde(default)]
    pub of: Extent,
}

/// What an answer is said of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// At least one record, and nobody knows which.
    #[default]
    Record,
    /// All records of the request.
    Request,
}

/// Where in an answer it stands what became of each record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// JSON Pointer to the list.
    #[serde(default)]
    pub list: String,
    /// JSON Pointer in an item to the record's id.
    pub id: Option<String>,
    /// JSON Pointer in an item to the record's index in the request.
    pub index: Option<String>,
    /// JSON Pointer in an item to what became of it.
    pub status: String,
    /// JSON Pointer in an item to words for people.
    pub message: Option<String>,
    /// What `status` is for one that was taken.
    #[serde(default)]
    pub delivered: Vec<Value>,
    /// For one that the receiver had already.
    #[serde(default)]
    pub duplicate: Vec<Value>,
    /// For one that it never takes.
    #[serde(default)]
    pub rejected: Vec<Value>,
    /// What became of those that the list does not name.
    #[serde(default)]
    pub unnamed: Unnamed,
    /// Statuses other than 2xx whose answers are read so too.
    #[serde(default)]
    pub statuses: Vec<u16>,
}

/// What became of records that a list does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unnamed {
    /// They come again.
    #[default]
    Retry,
    /// They were taken: the list names failures only.
    Delivered,
}

/// A field of a usage event that is a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// Who the work was for.
    #[default]
    Tenant,
    /// What kind of work it was.
    Src,
    /// What served it.
    Stack,
}

/// What of a usage event is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Wall time.
    DurationMs,
    /// Size of what came in.
    BytesIn,
    /// Size of what went out.
    BytesOut,
    /// Peak memory.
    MemBytes,
    /// Units of work.
    Fuel,
    /// 1 for each event.
    Count,
}

/// A day.
const LONGEST_MS: u64 = 86_400_000;

fn many() -> usize {
    1000
}

fn answer_bytes() -> usize {
    65_536
}

/// Names that credentials have. What the operator writes here is shown in many places, so a secret
/// must not be there.
fn is_secret(name: &str) -> bool {
    const WHOLE: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-auth"];
    const PART: [&str; 8] =
        ["api-key", "apikey", "api_key", "token", "secret", "password", "credential", "signature"];
    let name = name.to_ascii_lowercase();
    WHOLE.contains(&name.as_str()) || PART.iter().any(|part| name.contains(part))
}

impl Settings {
    /// The URL; what is wrong with the settings where something is.
    pub(crate) fn check(&self) -> Result<Url, Error> {
        let wrong =
            |setting: &str, why: String| Err(Error::new(format!("setting `{setting}`: {why}")));
        let url = match self.url.parse::<Url>() {
            Ok(url) => url,
            Err(error) => return wrong("url", error.to_string()),
        };
        for (name, value) in &self.headers {
            if is_secret(name) {
                return wrong(
                    &format!("headers.{name}"),
                    "credentials are not among the settings: grant them in the host's \
                     configuration, as `grants.http` of this sink"
                        .to_owned(),
                );
            }
            if let Some(own) = self.own_header(name) {
                return wrong(&format!("headers.{name}"), own.to_owned());
            }
            if let Err(error) = check_header(name, value) {
                return wrong(&format!("headers.{name}"), error.to_string());
            }
        }
        for (setting, name) in
            [("idempotency_header", &self.idempotency_header), ("id_header", &self.id_header)]
        {
            let Some(name) = name else { continue };
            if is_secret(name) {
                return wrong(setting, format!("`{name}` is for a credential, not for an id"));
            }
            if let Err(error) = check_header(name, "") {
                return wrong(setting, error.to_string());
            }
        }
        if let Some(text) = &self.content_type
            && let Err(error) = check_header("Content-Type", text)
        {
            return wrong("content_type", error.to_string());
        }
        let Waits { connect_ms, first_byte_ms, between_bytes_ms, request_ms, call_ms } =
            self.timeouts;
        let waits = [connect_ms, first_byte_ms, between_bytes_ms, request_ms, call_ms];
        for (setting, number) in [
            ("max_records", self.max_records.unwrap_or(1)),
            ("max_bytes", self.max_bytes.unwrap_or(1)),
            ("max_requests", self.max_requests),
            ("answer_bytes", self.answer_bytes),
        ] {
            if number == 0 {
                return wrong(setting, "`0` is too small".to_owned());
            }
        }
        if waits.contains(&0) {
            return wrong("timeouts", "a wait of `0` would never succeed".to_owned());
        }
        if waits.iter().any(|wait| *wait > LONGEST_MS) {
            return wrong("timeouts", format!("nobody waits longer than {LONGEST_MS} ms, a day"));
        }
        if let Some(results) = &self.results {
            results.check()?;
        }
        self.check_profile()?;
        Ok(url)
    }

    /// Why a header of this name is not for the operator to set.
    fn own_header(&self, name: &str) -> Option<&'static str> {
        let is = |own: &str| name.eq_ignore_ascii_case(own);
        let named = |own: &Option<String>| own.as_deref().is_some_and(is);
        if is("content-type") {
            Some("the format sets it; for another one there is `content_type`")
        } else if is("content-encoding") {
            Some("`compress` sets it")
        } else if named(&self.idempotency_header) || named(&self.id_header) {
            Some("its value is the sink's to set, since it is named as a header for ids")
        } else {
            None
        }
    }

    /// Whether the keys fit the profile.
    fn check_profile(&self) -> Result<(), Error> {
        let of_profiles = [
            (
                "customer",
                self.customer.is_some(),
                &[Profile::Openmeter, Profile::Lago, Profile::Stripe][..],
            ),
            ("event_customer", self.event_customer.is_some(), &[Profile::Lago, Profile::Stripe]),
            ("event_value", self.event_value.is_some(), &[Profile::Stripe]),
            ("event_type", self.event_type.is_some(), &[Profile::Openmeter]),
            ("source", self.source.is_some(), &[Profile::Openmeter]),
            ("code", self.code.is_some(), &[Profile::Lago]),
            ("event_name", self.event_name.is_some(), &[Profile::Stripe]),
            ("value", self.value.is_some(), &[Profile::Stripe]),
            ("customer_key", self.customer_key.is_some(), &[Profile::Stripe]),
            ("value_key", self.value_key.is_some(), &[Profile::Stripe]),
        ];
        for (setting, set, profiles) in of_profiles {
            if set && !self.profile.is_some_and(|profile| profiles.contains(&profile)) {
                let names: Vec<&str> = profiles.iter().map(|profile| profile.as_str()).collect();
                return Err(Error::new(format!(
                    "setting `{setting}`: it is for the profile `{}`",
                    names.join("` or `")
                )));
            }
        }
        let Some(profile) = self.profile else {
            if self.unbillable {
                return Err(Error::new(
                    "setting `unbillable`: without a profile, all records are sent",
                ));
            }
            return Ok(());
        };
        let name = profile.as_str();
        let of_formats = [
            ("format", self.format.is_some()),
            ("content_type", self.content_type.is_some()),
            ("results", self.results.is_some()),
            ("duplicate", !self.duplicate.is_empty()),
        ];
        if let Some((setting, _)) = of_formats.iter().find(|(_, set)| *set) {
            return Err(Error::new(format!(
                "setting `{setting}`: the profile `{name}` settles that; leave one of them out"
            )));
        }
        if self.method != Verb::Post {
            return Err(Error::new(format!(
                "setting `method`: the profile `{name}` is sent by POST"
            )));
        }
        if self.event_value.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            return Err(Error::new(
                "setting `event_value`: a JSON Pointer into the data begins with `/`",
            ));
        }
        let needed: &[(&str, bool)] = match profile {
            Profile::Openmeter => &[],
            Profile::Lago => &[("code", self.code.is_some())],
            Profile::Stripe => &[
                ("event_name", self.event_name.is_some()),
                ("value", self.value.is_some() || self.event_value.is_some()),
            ],
        };
        match needed.iter().find(|(_, set)| !set) {
            Some((setting, _)) => {
                Err(Error::new(format!("setting `{setting}`: the profile `{name}` needs it")))
            }
            None => Ok(()),
        }
    }
}

impl Results {
    fn check(&self) -> Result<(), Error> {
        let pointers = [
            ("list", Some(&self.list)),
            ("id", self.id.as_ref()),
            ("index", self.index.as_ref()),
            ("status", Some(&self.status)),
            ("message", self.message.as_ref()),
        ];
        for (setting, pointer) in pointers {
            if pointer.is_some_and(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
                return Err(Error::new(format!(
                    "setting `results.{setting}`: a JSON Pointer is empty or begins with `/`"
                )));
            }
        }
        if self.id.is_some() && self.index.is_some() {
            return Err(Error::new(
                "setting `results`: an item names its record by `id` or by `index`, not by both",
            ));
        }
        Ok(())
    }
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}
