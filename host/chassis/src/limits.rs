//! How much plugins may use, and how often they came up against it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::hooks::{Hooks, NoHooks};

/// How much a plugin may use, in one place. The defaults are generous for a plugin in a compiled
/// language and enough for one in Python or JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest component file, in bytes. Default: 64 MiB; a component that carries a JavaScript or
    /// Python runtime is about 20 MB.
    pub component_bytes: u64,
    /// How long a component may take to compile. Default: 5 min; a component of 20 MB takes half a
    /// minute on one slow processor.
    pub compile_time: Duration,
    /// How long `describe` may take. Default: 10 s.
    pub describe_time: Duration,
    /// Most linear memory of one instance, in bytes. Default: 256 MiB.
    pub memory_bytes: usize,
    /// Most elements in one table. Default: 100,000.
    pub table_elements: usize,
    /// Most core instances, memories and tables within one component instance. Default: 100 each.
    pub instances: usize,
    /// Most files, sockets, streams and other things of the host that an instance may hold. Default:
    /// 256; each may be a file descriptor of the process.
    pub handles: usize,
    /// Most bytes that a call between guest and host may make the host allocate. Default: 64 MiB.
    pub host_call_bytes: usize,
    /// Longest text in an answer, in bytes; the rest is cut. Default: 4 KiB.
    pub text_bytes: usize,
    /// Longest log message or field, in bytes; the rest is cut. Default: 8 KiB.
    pub log_bytes: usize,
    /// Most fields of one log line. Default: 64; the rest is left out.
    pub log_fields: usize,
    /// Most log lines a second; ten times as many may come at once. Default: 100.
    pub log_rate: usize,
    /// Most bytes in the data directory. Default: 64 GiB.
    pub directory_bytes: u64,
    /// Most HTTP requests that may wait for their answers at a time. Default: 16.
    pub http_requests: usize,
    /// Most bytes of a request's headers and of an answer's, each. Default: 64 KiB.
    pub http_header_bytes: usize,
    /// Most bytes of a request's body. Default: 64 MiB.
    pub http_request_bytes: u64,
    /// Most bytes of an answer's body. Default: 16 MiB.
    pub http_answer_bytes: u64,
    /// How long one request may take in all. Default: 5 min.
    pub http_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: 64 << 20,
            compile_time: Duration::from_secs(300),
            describe_time: Duration::from_secs(10),
            memory_bytes: 256 << 20,
            table_elements: 100_000,
            instances: 100,
            handles: 256,
            host_call_bytes: 64 << 20,
            text_bytes: 4 << 10,
            log_bytes: 8 << 10,
            log_fields: 64,
            log_rate: 100,
            directory_bytes: 64 << 30,
            http_requests: 16,
            http_header_bytes: 64 << 10,
            http_request_bytes: 64 << 20,
            http_answer_bytes: 16 << 20,
            http_time: Duration::from_secs(300),
        }
    }
}

/// A limit that a plugin can come up against, named as its key in `[limits]` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// A component file was too large.
    Component,
    /// A component took too long to compile.
    Compile,
    /// A component took too long to describe itself.
    Describe,
    /// More memory was asked for.
    Memory,
    /// A larger table was asked for.
    Table,
    /// More modules, memories or tables were asked for.
    Instances,
    /// More handles were asked for.
    Handles,
    /// A call would have moved more bytes.
    HostCall,
    /// A call did not return in time.
    Call,
    /// A text of an answer was cut.
    Text,
    /// Something of a log line was cut.
    LogLine,
    /// Fields of a log line were left out.
    LogFields,
    /// A log line was left out.
    LogRate,
    /// The data directory was full.
    Directory,
    /// A request had to wait for others.
    HttpRequests,
    /// The headers of a request or of an answer were too large.
    HttpHeaders,
    /// A request's body was too large.
    HttpRequest,
    /// An answer's body was too large.
    HttpAnswer,
    /// A request took too long.
    HttpTime,
}

impl Limit {
    /// All there are.
    pub const ALL: [Self; 19] = [
        Self::Component,
        Self::Compile,
        Self::Describe,
        Self::Memory,
        Self::Table,
        Self::Instances,
        Self::Handles,
        Self::HostCall,
        Self::Call,
        Self::Text,
        Self::LogLine,
        Self::LogFields,
        Self::LogRate,
        Self::Directory,
        Self::HttpRequests,
        Self::HttpHeaders,
        Self::HttpRequest,
        Self::HttpAnswer,
        Self::HttpTime,
    ];

    /// The key that sets it, without its table; `timeout` of the sink for [`Call`](Self::Call).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Compile => "compile",
            Self::Describe => "describe",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Instances => "instances",
            Self::Handles => "handles",
            Self::HostCall => "host_call",
            Self::Call => "timeout",
            Self::Text => "text",
            Self::LogLine => "log_line",
            Self::LogFields => "log_fields",
            Self::LogRate => "log_rate",
            Self::Directory => "directory",
            Self::HttpRequests => "http_requests",
            Self::HttpHeaders => "http_headers",
            Self::HttpRequest => "http_request",
            Self::HttpAnswer => "http_answer",
            Self::HttpTime => "http_time",
        }
    }
}

/// How often one plugin came up against each limit since the start. Clones share their counts.
#[derive(Clone)]
pub struct LimitCounts(Arc<Counts>);

struct Counts {
    whose: String,
    counts: [AtomicU64; Limit::ALL.len()],
    hooks: Arc<dyn Hooks>,
}

impl LimitCounts {
    /// None yet, for the sink or the plugin of this name; `hooks` are told of each.
    pub fn new(whose: impl Into<String>, hooks: Arc<dyn Hooks>) -> Self {
        Self(Arc::new(Counts { whose: whose.into(), counts: Default::default(), hooks }))
    }

    /// Once more.
    pub fn reached(&self, limit: Limit) {
        if let Some(count) = self.0.counts.get(limit as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.hooks.limit_reached(&self.0.whose, limit);
    }

    /// How often.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0.counts.get(limit as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Those that were reached.
    pub fn nonzero(&self) -> LimitsReached {
        let counts = Limit::ALL.into_iter().map(|limit| (limit, self.get(limit)));
        LimitsReached(counts.filter(|(_, count)| *count > 0).collect())
    }
}

impl Default for LimitCounts {
    fn default() -> Self {
        Self::new("", Arc::new(NoHooks))
    }
}

impl std::fmt::Debug for LimitCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LimitCounts").field(&self.nonzero()).finish()
    }
}

/// Limits that were reached, and how often. As JSON it is an object with their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsReached(pub BTreeMap<Limit, u64>);

impl Serialize for LimitsReached {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(limit, count)| (limit.as_str(), count)))
    }
}
