//! What an operator can ask of a running process.

use std::path::PathBuf;

use serde_json::Value;
use wasink_record::Stream;

/// Does what operators ask for. Each call may block; each is made on a thread of its own, several at
/// a time. Whether two of them exclude each other is for the implementation to say, with
/// [`RefusalKind::Conflict`].
pub trait Operator: Send + Sync + 'static {
    /// How it goes: streams, sinks, what is pending.
    fn status(&self) -> Value;

    /// The plugins that are in charge of sinks: `{"plugins": […]}`.
    ///
    /// # Errors
    ///
    /// Why there is no answer. So for all that follows.
    fn plugins(&self) -> Result<Value, Refusal>;

    /// What happened to a plugin, or to all, the newest last and at most `limit` of it:
    /// `{"events": […]}`.
    ///
    /// # Errors
    ///
    /// Where there is no such plugin.
    fn history(&self, plugin: Option<&str>, limit: usize) -> Result<Value, Refusal>;

    /// Puts another version in charge of all sinks of a plugin. The answer is the plugin as
    /// [`plugins`](Self::plugins) has it.
    ///
    /// # Errors
    ///
    /// Where there is no such plugin or version, it can't be loaded or opened, or another operation is
    /// under way. The version that was in charge is so still.
    fn swap(&self, plugin: &str, to: &Target) -> Result<Value, Refusal>;

    /// Puts the version before in charge again. The answer is as for [`swap`](Self::swap).
    ///
    /// # Errors
    ///
    /// Where there is none, and as for [`swap`](Self::swap).
    fn roll_back(&self, plugin: &str) -> Result<Value, Refusal>;

    /// Reads the configuration again and does what it says now. The answer says what that was.
    ///
    /// # Errors
    ///
    /// Where the configuration is wrong, or has a change that needs a restart. Nothing is changed
    /// then.
    fn reload(&self) -> Result<Value, Refusal>;

    /// Tries another version beside the one in charge. The answer is as for
    /// [`trial`](Self::trial).
    ///
    /// # Errors
    ///
    /// As for [`swap`](Self::swap).
    fn start_trial(&self, plugin: &str, trial: &Trial) -> Result<Value, Refusal>;

    /// How the trial of a plugin goes, or went.
    ///
    /// # Errors
    ///
    /// Where there is none.
    fn trial(&self, plugin: &str) -> Result<Value, Refusal>;

    /// Puts the version on trial in charge. The answer is as for [`swap`](Self::swap).
    ///
    /// # Errors
    ///
    /// Where there is none.
    fn promote(&self, plugin: &str) -> Result<Value, Refusal>;

    /// Ends the trial of a plugin; the version in charge goes on. The answer is its report.
    ///
    /// # Errors
    ///
    /// Where there is none.
    fn abort(&self, plugin: &str) -> Result<Value, Refusal>;

    /// Hands the dead letters at these positions, which rise, to the plugin that the sink has now:
    /// `{"delivered": n, "refused": [{"id", "reason"}]}`.
    ///
    /// # Errors
    ///
    /// Where there is no such sink, or its plugin can't be called now.
    fn replay_dead(&self, sink: &str, stream: Stream, positions: &[u64]) -> Result<Value, Refusal>;

    /// Removes the dead letters at these positions, which rise: `{"purged": n}`.
    ///
    /// # Errors
    ///
    /// Where there is no such sink.
    fn purge_dead(&self, sink: &str, stream: Stream, positions: &[u64]) -> Result<Value, Refusal>;

    /// Settles what is in doubt at a sink, on each of its streams: `{"ended": [{"stream", "from",
    /// "to"}]}`, where `to` is the position after the last. Empty where nothing is in doubt.
    ///
    /// # Errors
    ///
    /// Where there is no such sink.
    fn end_doubt(&self, sink: &str, verdict: Verdict) -> Result<Value, Refusal>;
}

/// Which version is to be in charge, or on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// What the plugin directories have under the plugin's name now.
    Directory,
    /// This file. The path is absolute.
    File(PathBuf),
    /// What had this version before, or a digest that begins so, with or without its `sha256:`.
    Version(String),
}

/// A version on trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// How it is tried.
    pub kind: TrialKind,
    /// Which it is.
    pub to: Target,
    /// After so many records it is over.
    pub records: Option<u64>,
    /// After so many failures it is over.
    pub failures: Option<u64>,
}

/// How a version is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrialKind {
    /// It sees copies, and what it does with them does not count.
    Shadow,
    /// It gets a part of the records for real.
    Canary {
        /// Which part: above 0, below 1.
        share: f64,
    },
}

/// What is to become of records that may have reached their receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does not have them: they are handed over again.
    Resend,
    /// It has them: they count as delivered.
    Discard,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The reason, and the way out.
    pub detail: String,
    /// The operation that is under way, where that is the reason.
    pub operation: Option<Value>,
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), operation: None }
    }
}

/// Kinds of reasons, each with a status of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such plugin, sink, version or trial: 404.
    NotFound,
    /// Something else is under way: 409.
    Conflict,
    /// What is asked for makes no sense as things are: 422.
    Invalid,
    /// It was tried, and failed: 500.
    Failed,
    /// This process can't do that: 501.
    Unsupported,
}
