//! Receivers whose ways are known: what they want in a request. How they answer is in `judge`.

use wasink_guest::serde_json::{self, Value, json, to_writer};
use wasink_guest::{
    Batch, CloudEvent, Encoding, Failure, Status, Stream, Timestamp, UsageEvent, Utc,
};

use crate::body::{ALONE, ARRAY, Frame, Pieces};
use crate::fate::Fate;
use crate::settings::{Label, Profile, Quantity, Settings};

/// The service's own tenant, whom nobody charges.
const SYSTEM: &str = "_sys";

/// How old an event is that Stripe still takes: 35 days.
const STRIPE_TAKES: i64 = 35 * 86_400 * 1_000_000_000;

/// A profile with what was set for it.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) profile: Profile,
    unbillable: bool,
    customer: Label,
    /// `subject`, or the name of an extension attribute.
    event_customer: String,
    to: To,
}

#[derive(Debug)]
enum To {
    Openmeter { event_type: String, source: String },
    Lago { code: String },
    Stripe(Stripe),
}

#[derive(Debug)]
struct Stripe {
    event_name: String,
    /// Needed for usage.
    value: Option<Quantity>,
    /// Needed for CloudEvents.
    event_value: Option<String>,
    customer_key: String,
    value_key: String,
}

impl Ready {
    pub(crate) fn new(profile: Profile, settings: &Settings) -> Self {
        let or =
            |set: &Option<String>, default: &str| set.clone().unwrap_or_else(|| default.to_owned());
        let to = match profile {
            Profile::Openmeter => To::Openmeter {
                event_type: or(&settings.event_type, "wasink.usage"),
                source: or(&settings.source, "wasink"),
            },
            Profile::Lago => To::Lago { code: or(&settings.code, "") },
            Profile::Stripe => To::Stripe(Stripe {
                event_name: or(&settings.event_name, ""),
                value: settings.value,
                event_value: settings.event_value.clone(),
                customer_key: or(&settings.customer_key, "stripe_customer_id"),
                value_key: or(&settings.value_key, "value"),
            }),
        };
        let event_customer = or(&settings.event_customer, "subject");
        let customer = settings.customer.unwrap_or_default();
        Self { profile, unbillable: settings.unbillable, customer, event_customer, to }
    }

    pub(crate) fn frame(&self) -> Frame {
        match self.to {
            To::Openmeter { .. } => {
                Frame { most: 100, content_type: "application/cloudevents-batch+json", ..ARRAY }
            }
            To::Lago { .. } => Frame { open: r#"{"events":["#, close: "]}", most: 100, ..ARRAY },
            To::Stripe(_) => Frame { content_type: "application/x-www-form-urlencoded", ..ALONE },
        }
    }

    pub(crate) fn default_path(&self) -> &'static str {
        match self.to {
            To::Openmeter { .. } => "/api/v1/events",
            To::Lago { .. } => "/api/v1/events/batch",
            To::Stripe(_) => "/v1/billing/meter_events",
        }
    }

    fn takes(&self) -> &'static [Stream] {
        match self.to {
            To::Stripe(Stripe { event_value: None, .. }) => &[Stream::Usage],
            To::Stripe(Stripe { value: None, .. }) => &[Stream::Events],
            _ => &[Stream::Usage, Stream::Events],
        }
    }

    fn customer<'e>(&self, event: &'e UsageEvent) -> &'e str {
        match self.customer {
            Label::Tenant => &event.tenant,
            Label::Src => &event.src,
            Label::Stack => &event.stack,
        }
    }
}

/// Each record of a batch as the receiver wants it.
pub(crate) fn pieces(ready: &Ready, batch: &Batch, ids: &[String]) -> Result<Pieces, Failure> {
    let stream = batch.stream();
    if !ready.takes().contains(&stream) {
        let takes: Vec<&str> = ready.takes().iter().map(|stream| stream.as_str()).collect();
        // A wrong configuration makes no dead letters.
        return Err(Failure::retry(format!(
            "the profile `{}` takes the stream `{}`, and this is `{stream}`; leave it out of the \
             sink's `streams`{}",
            ready.profile.as_str(),
            takes.join("` and `"),
            match ready.to {
                To::Stripe(_) if stream == Stream::Events => ", or set `event_value`",
                To::Stripe(_) if stream == Stream::Usage => ", or set `value`",
                _ => "",
            },
        )));
    }
    if stream == Stream::Events {
        return events(ready, batch, ids);
    }
    let mut pieces = Pieces::default();
    for (event, id) in batch.usage()?.iter().zip(ids) {
        match settled(ready, event) {
            Some(fate) => pieces.push_settled(fate),
            None => pieces.push(|out| usage(ready, event, id, out)),
        }
    }
    Ok(pieces)
}

/// What becomes of an event that is not to be sent.
fn settled(ready: &Ready, event: &UsageEvent) -> Option<Fate> {
    if !ready.unbillable && (!event.billable || event.tenant == SYSTEM) {
        return Some(Fate::Delivered);
    }
    if ready.customer(event).is_empty() {
        let field = match ready.customer {
            Label::Tenant => "tenant",
            Label::Src => "src",
            Label::Stack => "stack",
        };
        return Some(Fate::Rejected(format!("its `{field}` is empty, so there is no customer")));
    }
    too_old(ready, event.emitted_at)
}

fn too_old(ready: &Ready, time: Timestamp) -> Option<Fate> {
    let now = Timestamp::try_from(wasink_guest::now().as_nanos()).unwrap_or(Timestamp::MAX);
    let old = now.saturating_sub(time) > STRIPE_TAKES;
    (old && ready.profile == Profile::Stripe).then_some(Fate::Expired)
}

fn usage(ready: &Ready, event: &UsageEvent, id: &str, out: &mut Vec<u8>) {
    let customer = ready.customer(event);
    match &ready.to {
        To::Openmeter { event_type, source } => json_line(
            &json!({
                "specversion": "1.0",
                "id": id,
                "source": source,
                "type": event_type,
                "subject": customer,
                "time": Utc::from_timestamp(event.emitted_at).to_string(),
                "datacontenttype": "application/json",
                "data": properties(event),
            }),
            out,
        ),
        To::Lago { code } => {
            lago(code, id, customer, event.emitted_at, &properties(event), out);
        }
        To::Stripe(meter) => {
            let quantity = match meter.value.unwrap_or(Quantity::Count) {
                Quantity::DurationMs => event.duration_ms,
                Quantity::BytesIn => event.bytes_in,
                Quantity::BytesOut => event.bytes_out,
                Quantity::MemBytes => event.mem_bytes,
                Quantity::Fuel => event.fuel,
                Quantity::Count => 1,
            };
            stripe(meter, id, customer, event.emitted_at, &quantity.to_string(), out);
        }
    }
}

fn lago(code: &str, id: &str, of: &str, time: Timestamp, properties: &Value, out: &mut Vec<u8>) {
    json_line(
        &json!({
            "transaction_id": id,
            "external_subscription_id": of,
            "code": code,
            "timestamp": seconds_and_millis(time),
            "properties": properties,
        }),
        out,
    );
}

fn stripe(meter: &Stripe, id: &str, of: &str, time: Timestamp, value: &str, out: &mut Vec<u8>) {
    let seconds = time.div_euclid(1_000_000_000).to_string();
    let customer_key = format!("payload[{}]", meter.customer_key);
    let value_key = format!("payload[{}]", meter.value_key);
    form(
        &[
            ("event_name", &meter.event_name),
            ("identifier", id),
            ("timestamp", &seconds),
            (&customer_key, of),
            (&value_key, value),
        ],
        out,
    );
}

/// What is told of a usage event beside its customer: all quantities as integers, and the names by
/// which they may be grouped.
fn properties(event: &UsageEvent) -> Value {
    json!({
        "rid": event.rid,
        "tenant": event.tenant,
        "src": event.src,
        "stack": event.stack,
        "status": match event.status {
            Status::Ok => "ok",
            Status::Error => "error",
        },
        "duration_ms": event.duration_ms,
        "bytes_in": event.bytes_in,
        "bytes_out": event.bytes_out,
        "mem_bytes": event.mem_bytes,
        "fuel": event.fuel,
    })
}

fn events(ready: &Ready, batch: &Batch, ids: &[String]) -> Result<Pieces, Failure> {
    let events = batch.events()?;
    if let To::Openmeter { .. } = ready.to {
        // They are sent as they are, if it can be told whose they are.
        let mut pieces = Pieces::of_lines(batch.encode(Encoding::CloudeventsJsonl));
        for (index, event) in events.iter().enumerate() {
            if event.subject.as_deref().unwrap_or_default().is_empty() {
                let reason = "it has no `subject`, so there is no customer";
                pieces.settle(index, Fate::Rejected(reason.to_owned()));
            }
        }
        return Ok(pieces);
    }
    let mut pieces = Pieces::default();
    for (event, id) in events.iter().zip(ids) {
        let mut bytes = Vec::new();
        match cloudevent(ready, event, id, &mut bytes) {
            Ok(()) => pieces.push(|out| out.append(&mut bytes)),
            Err(fate) => pieces.push_settled(fate),
        }
    }
    Ok(pieces)
}

/// Writes a CloudEvent as Lago or Stripe wants it; what becomes of it where that can't be.
fn cloudevent(ready: &Ready, event: &CloudEvent, id: &str, out: &mut Vec<u8>) -> Result<(), Fate> {
    let rejected = |reason: &str| Err(Fate::Rejected(reason.to_owned()));
    let name = ready.event_customer.as_str();
    let customer = match name {
        "subject" => event.subject.clone(),
        name => extension(event, name),
    };
    let Some(customer) = customer.filter(|customer| !customer.is_empty()) else {
        return rejected(&format!("it has no `{name}`, so there is no customer"));
    };
    let Some(time) = event.time else { return rejected("it has no `time`") };
    if let Some(fate) = too_old(ready, time) {
        return Err(fate);
    }
    let data = event.data.as_deref().unwrap_or_default();
    let data: Value = serde_json::from_slice(data).unwrap_or_default();
    match &ready.to {
        To::Lago { code } => {
            let flat = |value: &Value| value.is_string() || value.is_number();
            if !data.as_object().is_some_and(|data| data.values().all(flat)) {
                return rejected("its data is no object of texts and numbers");
            }
            lago(code, id, &customer, time, &data, out);
        }
        To::Stripe(meter) => {
            let pointer = meter.event_value.as_deref().unwrap_or_default();
            let value = match data.pointer(pointer) {
                Some(Value::Number(number)) if number.is_u64() => number.to_string(),
                Some(Value::String(text)) if is_decimal(text) => text.clone(),
                _ => {
                    return rejected(&format!(
                        "at `{pointer}` its data has no quantity: a whole number, or a decimal \
                         number as text"
                    ));
                }
            };
            stripe(meter, id, &customer, time, &value, out);
        }
        // As it is, elsewhere.
        To::Openmeter { .. } => {}
    }
    Ok(())
}

/// The text of an extension attribute.
fn extension(event: &CloudEvent, name: &str) -> Option<String> {
    let (_, json) = event.extensions.iter().find(|(key, _)| key == name)?;
    match serde_json::from_str(json).ok()? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Digits, with or without a fraction.
fn is_decimal(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

fn json_line(value: &Value, out: &mut Vec<u8>) {
    // A list in memory takes everything, and a value that was made here is JSON.
    drop(to_writer(out, value));
}

/// Seconds since 1970 as a decimal number, to the millisecond.
fn seconds_and_millis(timestamp: Timestamp) -> String {
    let millis = timestamp.div_euclid(1_000_000);
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    format!("{sign}{}.{:03}", millis / 1_000, millis % 1_000)
}

/// `application/x-www-form-urlencoded`
fn form(fields: &[(&str, &str)], out: &mut Vec<u8>) {
    for (place, (name, value)) in fields.iter().enumerate() {
        if place > 0 {
            out.push(b'&');
        }
        percent(name, out);
        out.push(b'=');
        percent(value, out);
    }
}

fn percent(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}
