//! The table, in Markdown.

use std::fmt;

/// Rows of text.
#[derive(Default)]
pub(crate) struct Table(Vec<[String; 5]>);

const HEAD: [&str; 5] = ["what", "wasink", "peer", "ratio", "goal"];

impl Table {
    /// A row: what was measured, ours, the peer's, the ratio of the two, and the goal.
    pub(crate) fn row(
        &mut self,
        what: impl Into<String>,
        ours: impl Into<String>,
        peer: impl Into<String>,
        ratio: impl Into<String>,
        goal: impl Into<String>,
    ) {
        self.0.push([what.into(), ours.into(), peer.into(), ratio.into(), goal.into()]);
    }

    /// A row of something that has no peer.
    pub(crate) fn alone(&mut self, what: impl Into<String>, ours: impl Into<String>, goal: &str) {
        self.row(what, ours, "", "", goal);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, cells: &[&str; 5]| {
            writeln!(f, "| {} |", cells.join(" | "))
        };
        line(f, &HEAD)?;
        line(f, &["---"; 5])?;
        self.0.iter().try_for_each(|row| line(f, &row.each_ref().map(String::as_str)))
    }
}
