//! What the threads of sinks tell, and what follows from it.

use super::Swaps;
use super::board::Board;
use super::stage::{Stage, Step};
use super::ticket::{Came, Report};
use crate::config::PluginName;

impl Swaps {
    /// Takes in what a sink's thread tells.
    pub(crate) fn report(&self, report: Report) {
        let Report { sink, ticket, came } = report;
        let mut board = self.board();
        let site = board.sites.iter().find(|site| site.config.name == sink).cloned();
        let Some(name) = site.map(|site| site.config.plugin.clone()) else { return };
        let Some(entry) = board.plugins.get_mut(&name) else { return };
        match came {
            Came::TakenOver { stall } => {
                if let Some(one) = entry.round.get_mut(&ticket) {
                    one.outcome = Some(Ok(stall));
                }
                self.end_of_return(&mut board, &name);
            }
            Came::Refused(reason) => {
                if let Some(one) = entry.round.get_mut(&ticket) {
                    one.outcome = Some(Err(reason));
                }
                self.end_of_return(&mut board, &name);
            }
            Came::GraceExpired => {
                entry.grace_expiries += 1;
                let what = "the batch under way took longer than the grace period; it was cut off \
                            and is delivered again";
                self.note(&mut board, &name, Some(&sink), None, what.to_owned());
            }
            Came::Proven => {
                if entry.probation.remove(&sink) && entry.probation.is_empty() {
                    entry.step(Step::Proven);
                    let version = board.version(&name);
                    let what = "it has proved itself".to_owned();
                    self.note(&mut board, &name, None, version.as_ref(), what);
                }
            }
            Came::Returned(reason) => self.returned(&mut board, &name, &sink, ticket, reason),
        }
        self.changed.notify_all();
    }

    /// A sink has gone back by itself: the others have to as well.
    fn returned(
        &self,
        board: &mut Board,
        name: &PluginName,
        sink: &str,
        ticket: u64,
        reason: String,
    ) {
        let Some(entry) = board.plugins.get_mut(name) else { return };
        if let Some(one) = entry.round.get_mut(&ticket) {
            // Others are still on their way; whoever waits for them deals with it.
            one.outcome = Some(Err(reason));
            return;
        }
        if !entry.probation.remove(sink) {
            return;
        }
        let failed = entry.charge.as_ref().map(|plugin| plugin.version());
        let (others, before) = (std::mem::take(&mut entry.probation), entry.previous.take());
        let reason = format!("sink `{sink}`: {reason}");
        entry.reason = Some(reason.clone());
        // What has failed is none to go back to.
        entry.charge.clone_from(&before);
        // Where another version is being prepared, that goes on.
        entry.step(Step::Failed);
        self.note(board, name, None, failed.as_ref(), format!("failed: {reason}"));
        if let Some(failed) = &failed {
            board.versions.forget(name.as_str(), &failed.digest);
        }
        if let Some(before) = before {
            board.hand_over(name, &before, None, |sink| others.contains(sink));
            self.remember(board, name, &before);
        }
        self.end_of_return(board, name);
    }

    /// Where all sinks have gone back, that is over.
    fn end_of_return(&self, board: &mut Board, name: &PluginName) {
        let Some(entry) = board.plugins.get_mut(name) else { return };
        if entry.stage == Stage::Returning && entry.answered() {
            entry.round.clear();
            entry.step(Step::Returned);
            let version = board.version(name);
            let what = "the version before is in charge again".to_owned();
            self.note(board, name, None, version.as_ref(), what);
        }
    }
}
