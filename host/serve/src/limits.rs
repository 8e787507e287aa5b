//! What a server takes and keeps at most.

use std::time::Duration;

/// More producers than a node has; each connection costs a file descriptor and some 20 KiB.
const CONNECTIONS: usize = 256;
/// A producer that is merely slow is done by then; one that holds a connection on purpose is not.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// As long as for reading: a producer that asks has to take the answer, too.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Room for all that a CloudEvent may have in headers, and a long token.
const HEAD_BYTES: usize = 64 << 10;
/// The most extension attributes that an event may have, and what clients and proxies add.
const HEADERS: usize = 200;
/// A batch of many thousands of records; larger ones gain nothing and hold up others.
const BODY_BYTES: usize = 16 << 20;
/// As above: what counts is what has to be held in memory.
const DECODED_BYTES: usize = 16 << 20;
/// Far above any usage record, and above what brokers take as one message.
const RECORD_BYTES: usize = 1 << 20;
/// As many as fit in a body of the shortest records there are, more or less.
const RECORDS: usize = 65_536;
/// Sixteen of the largest requests, compressed and decoded; the others are told to come again.
const BYTES_UNDER_WAY: usize = 512 << 20;
/// Enough to see what is wrong with a producer, and still an answer that a person can read.
const TOLD_ERRORS: usize = 100;
/// Some 2 MB of memory.
const KEYS: usize = 10_000;
/// Longer than clients keep trying; what comes later is told by the ids, which are the same.
const KEY_AGE: Duration = Duration::from_secs(600);

/// Limits of a [`Server`](crate::Server), for each of its listeners where it is about connections and
/// for all of them together where it is about memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are open at once, on each listener. Further ones wait until one is closed.
    pub connections: usize,
    /// How long the head of a request may take, from the moment that the connection is ready for
    /// one, and again how long its body may take.
    pub read_timeout: Duration,
    /// How long a client may take none of its answer.
    pub write_timeout: Duration,
    /// Size of a request's head: its first line and its headers. At least 8 KiB.
    pub head_bytes: usize,
    /// Number of headers.
    pub headers: usize,
    /// Size of a body as it is sent.
    pub body_bytes: usize,
    /// Size of a body when it is decompressed.
    pub decoded_bytes: usize,
    /// Size of one record as it is sent, with its envelope.
    pub record_bytes: usize,
    /// Number of records in a request.
    pub records: usize,
    /// Bytes of all bodies that are held at one time, until their records are durable.
    pub bytes_under_way: usize,
    /// Number of errors that an answer tells; of the others it tells how many.
    pub told_errors: usize,
    /// Number of idempotency keys that are remembered.
    pub keys: usize,
    /// How long an idempotency key is remembered after its request was answered.
    pub key_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            read_timeout: READ_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            head_bytes: HEAD_BYTES,
            headers: HEADERS,
            body_bytes: BODY_BYTES,
            decoded_bytes: DECODED_BYTES,
            record_bytes: RECORD_BYTES,
            records: RECORDS,
            bytes_under_way: BYTES_UNDER_WAY,
            told_errors: TOLD_ERRORS,
            keys: KEYS,
            key_age: KEY_AGE,
        }
    }
}
