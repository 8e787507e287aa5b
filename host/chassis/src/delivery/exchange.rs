//! Another version of the plugin takes over, between two batches.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Books, Delivery, Pace, Probation, Thresholds};
use crate::logger::Level;
use crate::plugin::{CallError, Interrupter, OpenRequest, Plugin, PluginError, SinkPlugin};
use crate::status::SinkState;

/// A version of a plugin, and what it is opened with.
#[derive(Clone)]
pub(crate) struct Charge {
    pub(crate) plugin: Arc<dyn Plugin>,
    pub(crate) request: OpenRequest,
}

impl Charge {
    /// Makes an instance. A panic in what runs it is an error as any other.
    pub(crate) fn open(&self) -> Result<Box<dyn SinkPlugin>, PluginError> {
        self.guarded("open", || self.plugin.open(self.request.clone()))
    }

    /// Makes a call. A panic in what runs it is an error as any other.
    pub(super) fn guarded<T, E: From<PluginError>>(
        &self,
        call: &'static str,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let answer = catch_unwind(AssertUnwindSafe(run));
        answer.unwrap_or_else(|panic| Err(E::from(self.panicked(call, &*panic))))
    }

    /// What a panic in the host is to the plugin that it was for.
    fn panicked(&self, call: &'static str, panic: &(dyn Any + Send)) -> PluginError {
        let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        PluginError::Trapped {
            plugin: self.request.plugin.clone(),
            call,
            reason: format!("the host panicked: {}", words.unwrap_or_default()),
            last_words: String::new(),
        }
    }
}

/// The instance that is at work, for those who may end its calls.
pub(crate) struct Running(Mutex<Present>);

struct Present {
    interrupter: Interrupter,
    /// Calls are to end for good, also those of instances to come.
    ending: bool,
}

impl Running {
    pub(super) fn new(plugin: &dyn SinkPlugin) -> Arc<Self> {
        let interrupter = plugin.interrupter();
        Arc::new(Self(Mutex::new(Present { interrupter, ending: false })))
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the call that the present instance is in.
    pub(crate) fn interrupt(&self) {
        self.present().interrupter.interrupt();
    }

    /// So it does, and every call after it.
    pub(crate) fn end(&self) {
        let mut present = self.present();
        present.ending = true;
        present.interrupter.interrupt();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.present().ending
    }

    pub(super) fn is_now(&self, plugin: &dyn SinkPlugin) {
        let mut present = self.present();
        present.interrupter = plugin.interrupter();
        if present.ending {
            present.interrupter.interrupt();
        }
    }
}

/// What an exchange came to.
pub(crate) struct Exchanged {
    /// For how long nothing was delivered because of it.
    pub(crate) stall: Duration,
    /// Whether what was under way was cut off, and is handed over again.
    pub(crate) cut: bool,
    /// Why the new version did not open. The old one goes on.
    pub(crate) refused: Option<String>,
}

impl Delivery {
    /// Puts another version in the place of the one in charge: that one is asked to make good what it
    /// has taken and is closed, or is dropped where it does not answer, and what it has not made good
    /// is handed to the new one. Where that one does not open, the old one is opened again.
    ///
    /// Where it is to `insist`, the new one is in charge even if it does not open, which is tried
    /// again and again. Either way nothing is left of a probation. `gone` is called when the old
    /// instance is: from then on it can't be interrupted any more.
    pub(crate) fn exchange(
        &mut self,
        next: Charge,
        probation: Option<Thresholds>,
        insist: bool,
        books: &mut dyn Books,
        gone: impl FnOnce(),
    ) -> Exchanged {
        let started = Instant::now();
        let cut = self.retire(books);
        gone();
        self.probation = None;
        let opened = next.open();
        let refused = match opened {
            Ok(plugin) => {
                let previous = std::mem::replace(&mut self.charge, next);
                self.probation = probation
                    .map(|thresholds| Probation::new(previous, thresholds, self.pace.clone()));
                self.begin(plugin, books);
                None
            }
            Err(error) => {
                if insist {
                    self.charge = next;
                    // There is no instance of it that could be opened again.
                    self.spoiled = true;
                    let version = self.charge.plugin.version();
                    books.take_over(&version);
                    self.digest = version.digest;
                }
                Some(error.to_string())
            }
        };
        Exchanged { stall: started.elapsed(), cut, refused }
    }

    /// The instance in charge is to go: what it has taken is made good or in hand again. Whether it
    /// was cut off in the middle of that.
    fn retire(&mut self, books: &mut dyn Books) -> bool {
        let mut cut = self.spoiled;
        if let Err(error) = self.flush_and_settle(books) {
            self.ended_badly("the flush before the exchange failed", &error);
            cut |= self.spoiled && !self.unflushed.is_empty();
        }
        if !self.needs_reopen
            && let Err(error) = self.guarded("close", |plugin| plugin.close())
        {
            self.ended_badly("the close before the exchange failed", &error);
        }
        self.gone();
        cut
    }

    /// Asks the plugin to make good what it has taken, and takes note of what became of it.
    fn flush_and_settle(&mut self, books: &mut dyn Books) -> Result<(), CallError> {
        if self.needs_reopen {
            return Ok(());
        }
        self.guarded("flush", |plugin| plugin.flush())?;
        let mut again = Vec::new();
        for (item, exceptions) in std::mem::take(&mut self.unflushed) {
            again.extend(self.settle(&item, exceptions, books).0);
        }
        again.into_iter().rev().for_each(|item| self.work.push_front(item));
        Ok(())
    }

    /// So it does; where that fails, it is in hand again.
    pub(crate) fn make_good_what_there_is(&mut self, books: &mut dyn Books) {
        if self.unflushed.is_empty() {
            return;
        }
        if let Err(error) = self.flush_and_settle(books) {
            self.ended_badly("a flush failed", &error);
            self.gone();
        }
    }

    fn ended_badly(&mut self, message: &str, error: &CallError) {
        self.spoiled |= matches!(error, CallError::Stopped(PluginError::Interrupted { .. }));
        self.log(Level::Warn, message, &[("reason", error.to_string().into())]);
        self.broke(error);
    }

    /// A new instance begins, with a clean record.
    fn begin(&mut self, plugin: Box<dyn SinkPlugin>, books: &mut dyn Books) {
        self.plugin = plugin;
        self.running.is_now(&*self.plugin);
        self.about = self.charge.plugin.description();
        let version = self.charge.plugin.version();
        books.take_over(&version);
        self.digest = version.digest;
        self.pace = Pace::default();
        (self.needs_reopen, self.spoiled) = (false, false);
        (self.failures, self.fruitless, self.not_before) = (0, 0, None);
        self.searching = false;
        // What stopped another version need not stop this one.
        self.work.iter_mut().for_each(|item| item.strikes = 0);
        self.state.set(SinkState::Working);
    }

    /// Why the version in charge has to go back to where it came from, and to which that is.
    pub(crate) fn failed_probation(&mut self) -> Option<(String, Charge)> {
        let failed = self.probation.take_if(|probation| probation.has_failed())?;
        failed.into_failure()
    }

    /// Whether the version in charge has just proved itself.
    pub(crate) fn passed_probation(&mut self) -> bool {
        let now = Instant::now();
        self.probation.take_if(|probation| probation.until() <= now).is_some()
    }

    /// When it will have, if nothing comes between.
    pub(crate) fn probation_until(&self) -> Option<Instant> {
        self.probation.as_ref().map(Probation::until)
    }
}
