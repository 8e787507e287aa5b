//! What came of trying a plugin.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use wasink_chassis::logger::printable;
use wasink_wasm::World;

use crate::Clause;
use crate::clause::OPENS;

/// What came of trying a plugin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The file.
    pub file: String,
    /// `sha256:` and the lowercase hexadecimal digest of the file; empty where it can't be read.
    pub digest: String,
    /// What it can be used as; `None` where that can't be told.
    pub world: Option<World>,
    /// Its own version; empty where it does not say.
    pub version: String,
    /// One for each clause that applies to its world, in the order in which they were tried.
    pub findings: Vec<Finding>,
    /// How close it came to its limits.
    pub headroom: Headroom,
    /// How long all of it took, in milliseconds.
    pub milliseconds: u64,
}

/// What came of one clause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The clause.
    pub clause: Clause,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// What came of a clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds, as far as it was tried.
    Kept,
    /// It does not.
    Broken {
        /// Where: the first few.
        evidence: Vec<Evidence>,
        /// How many more there are.
        more: usize,
    },
    /// It could not be tried.
    LeftOut {
        /// Why not.
        why: String,
    },
}

/// Where a clause does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What the plugin was given, or asked.
    pub sent: String,
    /// What came of it.
    pub came: String,
}

/// How close a plugin came to its limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Headroom {
    /// The call that took longest.
    pub slowest: String,
    /// How long that was.
    pub took: Duration,
    /// How long a call may take.
    pub deadline: Duration,
    /// The most memory that an instance had, in bytes.
    pub memory: u64,
    /// How much it may have.
    pub memory_limit: u64,
}

impl Report {
    /// Whether all clauses that could be tried hold.
    pub fn is_conforming(&self) -> bool {
        !self.findings.iter().any(|finding| matches!(finding.verdict, Verdict::Broken { .. }))
    }

    /// Whether the plugin was opened. Without that, most clauses are left out.
    pub fn was_opened(&self) -> bool {
        let of_opening = |finding: &&Finding| finding.clause == OPENS;
        let opening = self.findings.iter().find(of_opening);
        opening.is_some_and(|finding| matches!(finding.verdict, Verdict::Kept))
    }

    /// How many clauses hold, do not, and could not be tried.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Verdict) -> bool| {
            self.findings.iter().filter(|finding| is(&finding.verdict)).count()
        };
        (
            count(|verdict| matches!(verdict, Verdict::Kept)),
            count(|verdict| matches!(verdict, Verdict::Broken { .. })),
            count(|verdict| matches!(verdict, Verdict::LeftOut { .. })),
        )
    }

    /// What it comes to, for people: what is behind the findings.
    pub fn summary(&self) -> String {
        let (kept, broken, left_out) = self.counts();
        let took = Duration::from_millis(self.milliseconds);
        let mut text =
            format!("\n{kept} kept, {broken} broken, {left_out} left out, in {took:.1?}\n");
        let Headroom { slowest, took, deadline, memory, memory_limit } = &self.headroom;
        if !slowest.is_empty() {
            let _infallible = writeln!(
                text,
                "slowest call: `{slowest}`, {took:.1?} of {deadline:?}; memory: {} of {} MiB",
                memory.div_ceil(1 << 20),
                memory_limit >> 20
            );
        }
        let first = self.findings.iter().find(|one| matches!(one.verdict, Verdict::Broken { .. }));
        if let Some(first) = first {
            let _infallible = writeln!(
                text,
                "mend `{}` first: what comes behind it may come of it; docs/conformance.md says what \
                 it was given",
                first.clause.name
            );
        }
        text
    }

    /// The report as JUnit XML, a test case for each clause.
    ///
    /// # Errors
    ///
    /// Where the text can't be written as XML.
    pub fn junit(&self) -> Result<String, String> {
        let mut suite = TestSuite::new(self.file.as_str());
        for finding in &self.findings {
            let status = match &finding.verdict {
                Verdict::Kept => TestCaseStatus::success(),
                Verdict::Broken { evidence, .. } => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_type(finding.clause.name).set_message(finding.clause.says);
                    let lines: Vec<_> = evidence.iter().map(Evidence::text).collect();
                    status.set_description(lines.join("\n"));
                    status
                }
                Verdict::LeftOut { why } => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(why.as_str());
                    status
                }
            };
            let mut case = TestCase::new(finding.clause.name, status);
            case.set_classname(self.world.map_or_else(String::new, |world| world.to_string()));
            case.set_time(Duration::from_millis(finding.milliseconds));
            suite.add_test_case(case);
        }
        let mut report = quick_junit::Report::new("wasink plugins test");
        report.add_test_suite(suite);
        report.to_string().map_err(|error| error.to_string())
    }
}

impl Finding {
    /// For people.
    pub fn text(&self) -> String {
        let Clause { name, says, place } = self.clause;
        match &self.verdict {
            Verdict::Kept => format!("kept      {name}\n"),
            Verdict::LeftOut { why } => format!("left out  {name}: {}\n", printable(why)),
            Verdict::Broken { evidence, more } => {
                let mut text = format!("BROKEN    {name}: {says}\n          {place}\n");
                for one in evidence {
                    let _infallible = writeln!(text, "          {}", one.text());
                }
                if *more > 0 {
                    let _infallible = writeln!(text, "          and {more} more");
                }
                text
            }
        }
    }
}

impl Evidence {
    pub(crate) fn new(sent: impl Into<String>, came: impl Into<String>) -> Self {
        Self { sent: sent.into(), came: came.into() }
    }

    /// On one line of which a terminal acts on nothing: there are words of the plugin in it.
    fn text(&self) -> String {
        printable(&format!("{}: {}", self.sent, self.came)).to_string()
    }
}
