//! Idempotency keys: a request that is sent again is answered again, and appended once.
//!
//! A key is remembered for a while after its request. What is not remembered, because it is too long
//! ago or the process ended meanwhile, is appended again, with the same ids: they are made from the
//! key and the body, so receivers know the records.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};
use wasink_record::{RecordId, Stream};

use crate::form::one;
use crate::problem::{Kind, Problem};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Room for a UUID and a few words.
const LONGEST: usize = 255;

/// Keeps the digests of this crate apart from all others. Ids depend on it: it never changes.
const DOMAIN: &[u8] = b"wasink idempotency 1\0";

pub(crate) type Digest = [u8; 32];

/// The key of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The key that the headers hold: a string as in structured fields, or the bare text.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let wrong = |what: &str| {
            let detail = format!(
                "{what}; an `Idempotency-Key` is a text of 1 to {LONGEST} printable ASCII \
                 characters in quotes, such as `\"8e03978e-40d5-43dd-bc93-6894a57f9324\"`"
            );
            Problem::new(Kind::BadKey, detail)
        };
        let Some(text) = one(headers, &HEADER).map_err(|problem| wrong(&problem))? else {
            return Ok(None);
        };
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(|| wrong("the quotes do not match"))?,
            None if text.contains(['"', ' ', ',', ';']) => {
                return Err(wrong("the key has to be in quotes"));
            }
            None => text.to_owned(),
        };
        match key.len() {
            0 => Err(wrong("the key is empty")),
            1..=LONGEST => Ok(Some(Self(key))),
            _ => Err(wrong("the key is too long")),
        }
    }

    /// The id of the record with this index, in this request and no other. The same request has the
    /// same ids at any time and in any process. They have the shape of version 7 and are made of no
    /// time, so they do not sort by it.
    pub(crate) fn id(&self, stream: Stream, body: &Digest, index: usize) -> RecordId {
        let digest = self.digest(stream).chain_update(body).chain_update(number(index)).finalize();
        let id = digest.iter().take(16).fold(0, |id, byte| id << 8 | u128::from(*byte));
        let id = id & !(0xf << 76 | 0b11 << 62) | 0x7 << 76 | 0b10 << 62;
        RecordId::from_bytes(id.to_be_bytes())
    }

    fn digest(&self, stream: Stream) -> Sha256 {
        let stream = stream.as_str();
        Sha256::new_with_prefix(DOMAIN)
            .chain_update(number(stream.len()))
            .chain_update(stream)
            .chain_update(number(self.0.len()))
            .chain_update(&self.0)
    }
}

/// The inside of a string whose first quote is taken off; nothing may follow it.
fn unquote(quoted: &str) -> Option<String> {
    let mut key = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(key),
            '\\' => key.push(characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            other => key.push(other),
        }
    }
}

/// A digest of all that makes a request what it is, besides its key: of the body when it is
/// decompressed, its type, and the attributes that are headers.
pub(crate) fn digest_of(headers: &HeaderMap, body: &[u8]) -> Digest {
    let mut meant: Vec<_> = headers
        .iter()
        .filter(|(name, _)| *name == "content-type" || name.as_str().starts_with("ce-"))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    // Whoever sends it again may write them in another order.
    meant.sort_unstable();
    let mut digest = Sha256::new_with_prefix(DOMAIN).chain_update(number(meant.len()));
    for (name, value) in meant {
        digest.update(number(name.len()));
        digest.update(name);
        digest.update(number(value.len()));
        digest.update(value);
    }
    digest.chain_update(body).finalize().into()
}

fn number(number: usize) -> [u8; 8] {
    u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes()
}

/// The keys that are remembered, of all streams.
///
/// Of a request that was answered only the digest is kept. The answer is made again from the body,
/// which comes with the key: it reads the same, and the ids are made from it.
#[derive(Debug)]
pub(crate) struct Keys {
    most: usize,
    age: Duration,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    requests: HashMap<Digest, Request>,
    /// Those that are done, in the order in which they were.
    done: VecDeque<(Instant, Digest)>,
}

#[derive(Debug)]
struct Request {
    body: Digest,
    done: bool,
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) enum Known {
    /// Nothing: go on, and say through the claim how it ends.
    New(Claim),
    /// It is done.
    Done,
}

impl Keys {
    pub(crate) fn new(most: usize, age: Duration) -> Arc<Self> {
        Arc::new(Self { most, age, memory: Mutex::default() })
    }

    /// Takes the key for a request, unless there is one with it.
    pub(crate) fn claim(
        self: &Arc<Self>,
        key: &Key,
        stream: Stream,
        body: Digest,
        now: Instant,
    ) -> Result<Known, Problem> {
        let key: Digest = key.digest(stream).finalize().into();
        let mut memory = self.memory();
        memory.forget(self.most, self.age, now);
        match memory.requests.get(&key) {
            Some(request) if request.body != body => Err(Problem::new(
                Kind::KeyReused,
                "another request had this `Idempotency-Key` and another body; a new request needs \
                 a new key",
            )),
            Some(Request { done: true, .. }) => Ok(Known::Done),
            Some(_) => Err(Problem::new(
                Kind::KeyInUse,
                "the request with this `Idempotency-Key` is still under way; ask again for its \
                 answer",
            )
            .retry_after(Duration::from_secs(1))),
            None => {
                memory.requests.insert(key, Request { body, done: false });
                Ok(Known::New(Claim { keys: self.clone(), key, kept: false }))
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn forget(&mut self, most: usize, age: Duration, now: Instant) {
        while let Some((since, key)) = self.done.front()
            && (self.done.len() > most || now.saturating_duration_since(*since) >= age)
        {
            self.requests.remove(key);
            self.done.pop_front();
        }
    }
}

/// A key whose request is under way. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Claim {
    keys: Arc<Keys>,
    key: Digest,
    kept: bool,
}

impl Claim {
    /// Remembers the key: its records are durable.
    pub(crate) fn keep(mut self, now: Instant) {
        self.kept = true;
        let mut memory = self.keys.memory();
        if let Some(request) = memory.requests.get_mut(&self.key) {
            request.done = true;
            memory.done.push_back((now, self.key));
        }
        memory.forget(self.keys.most, self.keys.age, now);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.keys.memory().requests.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
