//! The conformance kit: tries a plugin against the clauses of the contract, whoever built it and in
//! whatever language.
//!
//! It looks at the component from outside, through the host that runs it in production: what it says
//! about itself, what it does with records of all sorts, and what is left of them where it was to put
//! them. Each [`Clause`] is tried by itself, and holds, is broken, or could not be tried.
//!
//! And it measures what a plugin costs, see [`measure`]; and authors' own tests run a plugin in a
//! [`Harness`].

mod bench;
mod clause;
mod feed;
mod harness;
mod place;
mod receiver;
mod records;
mod report;
mod sink;
mod subject;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use wasink_chassis::config::{HttpOrigin, TcpTarget, check_settings};
use wasink_chassis::limits::Limits;
use wasink_chassis::plugin::{CallError, Description, Need, PluginError};
use wasink_wasm::{PluginReport, World};

pub use bench::{
    Asked, Bench, BenchReport, Compared, Cost, Figure, Memories, Memory, Started, measure,
};
pub use clause::Clause;
pub use harness::Harness;
pub use report::{Evidence, Finding, Headroom, Report, Verdict};

use clause::{
    ASKS, DESCRIBES, FITS, OPENS, ROUNDS, SAME, SCHEMA, STREAMS, SUMMARY, UNFIT, VERSION,
};
use place::Place;
use subject::{Stopped, Subject, host, place_in};

/// What is to be tried, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trial {
    /// The component.
    pub file: PathBuf,
    /// Its settings. Where its schema gives examples, what is left out is as in the first of them; and
    /// where it asks for HTTP at a place in its settings that is left out, the kit is the receiver.
    pub settings: Map<String, Value>,
    /// Grants as the configuration has them, beside what it asks for and the kit can give.
    pub grants: Map<String, Value>,
    /// For a source of a feed, a sink that puts events where it reads them: both get the same directory,
    /// and the same settings and grants. Without one its feed has what it has.
    pub feed_sink: Option<PathBuf>,
    /// How long a call may take. Default: 30 s.
    pub timeout: Duration,
    /// What it may use. Default: as without a configuration.
    pub limits: Limits,
    /// Where compiled code is kept for the next time. Default: nowhere.
    pub cache: Option<PathBuf>,
    /// How often it is opened and closed in a row. Default: 1000.
    pub rounds: usize,
    /// How many records it is given in a row. Default: 1,000,000.
    pub records: usize,
}

impl Trial {
    /// Tries the component in this file, with the defaults.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            settings: Map::new(),
            grants: Map::new(),
            feed_sink: None,
            timeout: Duration::from_secs(30),
            limits: Limits::default(),
            cache: None,
            rounds: 1_000,
            records: 1_000_000,
        }
    }
}

/// Why a plugin could not be tried: no fault of its own.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// A file or a directory.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The host that runs plugins, or what it says of the plugin.
    #[error("{0}")]
    Host(String),
}

impl From<Stopped> for KitError {
    fn from(stopped: Stopped) -> Self {
        Self::Host(stopped.reason())
    }
}

/// So much evidence is enough.
const MOST_EVIDENCE: usize = 5;

/// What is known of a clause that was tried.
type Tried = Result<(), String>;

/// The findings so far.
pub(crate) struct Run<'a> {
    findings: Vec<Finding>,
    told: &'a mut dyn FnMut(&Finding),
}

impl Run<'_> {
    /// Tries a clause: what is pushed is where it is broken; an error is why it could not be tried.
    pub(crate) fn check(
        &mut self,
        clause: Clause,
        check: impl FnOnce(&mut Vec<Evidence>) -> Tried,
    ) {
        let begun = Instant::now();
        let mut evidence = Vec::new();
        let verdict = match check(&mut evidence) {
            _ if !evidence.is_empty() => {
                let more = evidence.len().saturating_sub(MOST_EVIDENCE);
                evidence.truncate(MOST_EVIDENCE);
                Verdict::Broken { evidence, more }
            }
            Ok(()) => Verdict::Kept,
            Err(why) => Verdict::LeftOut { why },
        };
        let milliseconds = milliseconds_since(begun);
        let finding = Finding { clause, verdict, milliseconds };
        (self.told)(&finding);
        self.findings.push(finding);
    }

    /// Whether none of the clauses that `check` tries is broken.
    pub(crate) fn holds(
        &mut self,
        check: impl FnOnce(&mut Self) -> Result<(), KitError>,
    ) -> Result<bool, KitError> {
        let before = self.findings.len();
        check(self)?;
        let mut new = self.findings.iter().skip(before);
        Ok(!new.any(|finding| matches!(finding.verdict, Verdict::Broken { .. })))
    }

    /// None of these can be tried.
    pub(crate) fn leave_out(&mut self, clauses: &[Clause], why: &str) {
        for clause in clauses {
            self.check(*clause, |_| Err(why.to_owned()));
        }
    }
}

/// Tries a plugin against all clauses that apply to what it is. `told` gets each finding as it comes.
/// Blocks until all is tried: a minute for most plugins, longer for slow ones.
///
/// # Errors
///
/// What kept the kit from trying it. What is wrong with the plugin is in the report.
pub fn try_out(trial: &Trial, told: &mut dyn FnMut(&Finding)) -> Result<Report, KitError> {
    let begun = Instant::now();
    let file = trial.file.display().to_string();
    // What can't be read is no plugin.
    let len = std::fs::metadata(&trial.file)?.len();
    let scratch = tempfile::Builder::new().prefix("wasink-kit-").tempdir()?;
    let mut run = Run { findings: Vec::new(), told };
    let plugins = host(scratch.path(), trial)?;
    let report = plugins.report_file(&trial.file);
    let mut result = Report {
        file,
        digest: String::new(),
        world: None,
        version: String::new(),
        findings: Vec::new(),
        headroom: Headroom::default(),
        milliseconds: 0,
    };
    let (report, description) = match looked_at(&mut run, report, len) {
        Some(found) => found,
        None => {
            result.findings = run.findings;
            result.milliseconds = milliseconds_since(begun);
            return Ok(result);
        }
    };
    let world = report.inspection.world;
    result.digest = report.digest;
    result.world = Some(world);
    result.version.clone_from(&description.version);
    place_in(scratch.path(), &trial.file, world)?;
    says_the_same(&mut run, scratch.path(), trial, world, &description);
    about(&mut run, world, &description);
    let mut subject = Subject::new(scratch, plugins, world, description, trial);
    let place = subject.place()?;
    settings(&mut run, &subject, &place);
    match world {
        World::Sink => sink::check(&mut run, &mut subject, trial)?,
        World::FeedSource => feed::source(&mut run, &mut subject, trial)?,
        World::FeedSink => feed::sink(&mut run, &mut subject, trial)?,
    }
    result.headroom = subject.headroom();
    result.findings = run.findings;
    result.milliseconds = milliseconds_since(begun);
    Ok(result)
}

fn milliseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What it says before it is opened; `None` where there is nothing to go on with.
fn looked_at(
    run: &mut Run<'_>,
    report: Result<PluginReport, PluginError>,
    len: u64,
) -> Option<(PluginReport, Arc<Description>)> {
    let error = match report {
        Ok(report) => {
            let description = report.description.clone()?;
            run.check(FITS, |_| Ok(()));
            run.check(DESCRIBES, |_| Ok(()));
            return Some((report, description));
        }
        Err(error) => error,
    };
    let called = match &error {
        PluginError::Trapped { call, .. } | PluginError::TimedOut { call, .. } => {
            *call == "describe"
        }
        PluginError::Unusable { reason, .. } => reason.contains("describes itself"),
        _ => false,
    };
    let came = error.to_string();
    if called {
        run.check(FITS, |_| Ok(()));
        run.check(DESCRIBES, |evidence| {
            evidence.push(Evidence::new("`describe`", came));
            Ok(())
        });
    } else {
        run.check(FITS, |evidence| {
            evidence.push(Evidence::new(format!("the file, {len} bytes"), came));
            Ok(())
        });
    }
    None
}

fn says_the_same(
    run: &mut Run<'_>,
    scratch: &Path,
    trial: &Trial,
    world: World,
    description: &Description,
) {
    run.check(SAME, |evidence| {
        for n in 2..=3 {
            let again = host(scratch, trial).map_err(|error| error.to_string())?;
            let name = again.list_of(world).0.into_iter().next();
            let name = name.ok_or_else(|| "the kit lost the file".to_owned())?.name;
            let sent = format!("`describe`, on instance {n}");
            match again.report_of(world, &name).map(|report| report.description) {
                Ok(Some(said)) if *said == *description => {}
                Ok(said) => {
                    let came = format!("{said:?}, and the first time {description:?}");
                    evidence.push(Evidence::new(sent, came));
                }
                Err(error) => evidence.push(Evidence::new(sent, error.to_string())),
            }
        }
        Ok(())
    });
}

/// What it says about itself, taken by itself.
fn about(run: &mut Run<'_>, world: World, description: &Description) {
    let Description { version, summary, streams, asks, .. } = description;
    run.check(VERSION, |evidence| {
        if let Err(error) = semver::Version::parse(version) {
            evidence.push(Evidence::new(format!("the version `{version}`"), error.to_string()));
        }
        Ok(())
    });
    run.check(SUMMARY, |evidence| {
        if summary.trim().is_empty() {
            evidence.push(Evidence::new("the summary", "there is none"));
        } else if summary.contains(char::is_control) {
            evidence.push(Evidence::new("the summary", format!("{summary:?} is more than a line")));
        }
        Ok(())
    });
    run.check(STREAMS, |evidence| {
        if (world == World::Sink) == streams.is_empty() {
            let came = if streams.is_empty() { "none" } else { "some" };
            evidence.push(Evidence::new(format!("the streams of a {world}"), came));
        }
        Ok(())
    });
    run.check(ASKS, |evidence| {
        for ask in asks {
            let wrong = match &ask.need {
                Need::Http(to) | Need::Tcp(to) | Need::Secret(to) | Need::Environment(to)
                    if to.is_empty() =>
                {
                    Some("it is empty".to_owned())
                }
                Need::Http(to) if !to.starts_with('/') => {
                    HttpOrigin::of_url(to).err().map(str::to_owned)
                }
                Need::Tcp(to) if !to.starts_with('/') => {
                    TcpTarget::parse(to).err().map(str::to_owned)
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                evidence.push(Evidence::new(format!("{:?}", ask.need), wrong));
            }
            if ask.reason.trim().is_empty() {
                evidence.push(Evidence::new(format!("{:?}", ask.need), "it does not say what for"));
            }
        }
        Ok(())
    });
}

/// Its schema, and the examples in it.
fn settings(run: &mut Run<'_>, subject: &Subject, place: &Place) {
    run.check(SCHEMA, |evidence| {
        let schema = subject.description.settings_schema.as_ref();
        let schema = schema.ok_or_else(|| "it gives no schema".to_owned())?;
        let mut sample = subject.sample(place)?;
        let examples = schema.get("examples").and_then(Value::as_array);
        for (n, example) in examples.into_iter().flatten().enumerate() {
            let Some(example) = example.as_object() else {
                evidence.push(Evidence::new(format!("example {n}"), "it is no object"));
                continue;
            };
            sample.settings.clone_from(example);
            if let Err(errors) = check_settings(schema, &sample) {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                evidence.push(Evidence::new(format!("example {n}"), errors.join("; ")));
            }
        }
        // Without examples it is looked at all the same.
        sample.settings.clear();
        if let Err(errors) = check_settings(schema, &sample) {
            let unusable = errors.iter().map(ToString::to_string);
            let unusable = unusable.filter(|error| error.contains("is not right"));
            evidence.extend(unusable.map(|error| Evidence::new("the schema", error)));
        }
        Ok(())
    });
}

/// Opens it, with what it asks for.
pub(crate) fn opens<T>(run: &mut Run<'_>, open: impl FnOnce() -> Result<T, Stopped>) -> Option<T> {
    let mut opened = None;
    run.check(OPENS, |evidence| match open() {
        Ok(plugin) => {
            opened = Some(plugin);
            Ok(())
        }
        Err(Stopped::Fault(reason)) => {
            evidence.push(Evidence::new("`open`", reason));
            Ok(())
        }
        Err(Stopped::Unfit(reason)) => Err(format!("{reason}; give it the settings that it needs")),
    });
    opened
}

/// Opens and closes it again and again.
pub(crate) fn rounds(
    run: &mut Run<'_>,
    rounds: usize,
    mut round: impl FnMut() -> Result<(), String>,
) {
    run.check(ROUNDS, |evidence| {
        for n in 1..=rounds {
            if let Err(reason) = round() {
                evidence.push(Evidence::new(format!("round {n} of `open` and `close`"), reason));
                break;
            }
        }
        Ok(())
    });
}

/// Settings that are not right are answered.
pub(crate) fn unfit(run: &mut Run<'_>, subject: &Subject, place: &Place) {
    run.check(UNFIT, |evidence| {
        for (what, settings) in subject.unfit() {
            // The host keeps from it what its schema refuses; another host may not.
            if let Err(Stopped::Fault(reason)) = subject.opens_with(place, settings) {
                evidence.push(Evidence::new(format!("`open` with {what}"), reason));
            }
        }
        Ok(())
    });
}

/// What a call came to, for a report.
pub(crate) fn told(error: &CallError) -> String {
    error.to_string()
}
