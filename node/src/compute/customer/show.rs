//! What a person sees while a job runs: bars on a terminal, plain lines elsewhere.

use super::happened;
use crate::compute::{
    event_log::EventLog,
    provider_log::{ProviderLog, Quota},
};
use alloy_primitives::{Address, U256};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keystead_blobs::Note;
use std::{
    io::{IsTerminal as _, stderr},
    sync::Arc,
    time::{Duration, Instant},
};

/// Plain lines tell progress at every so many percent.
const PERCENT_STEP: u64 = 20;
/// How often a bar moves although nothing happened: so that one sees that it lives.
const TICK: Duration = Duration::from_millis(200);

/// The display of one job, on standard error, beside what programs are told.
#[derive(Debug)]
pub(super) struct Show {
    log: Arc<EventLog>,
    bar: Option<ProgressBar>,
    label: &'static str,
    /// The last step told in a plain line.
    told: u64,
    /// What providers say, and how much of it is heard.
    says: ProviderLog,
    quota: Quota,
}

impl Show {
    pub(super) fn new(log: Arc<EventLog>, says: ProviderLog) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg:<24} {bar:32} {pos}/{len}  {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { log, bar, label: "", told: 0, says, quota: Quota::default() }
    }

    /// What programs are told.
    pub(super) const fn log(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// A sentence that stays.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => plain(line),
        }
    }

    /// A provider says something of its side.
    pub(super) fn says(&mut self, about: (U256, Address), note: &Note) {
        if !self.quota.hears(Instant::now()) {
            return;
        }
        if let Some(line) = self.says.hear(about.1, note) {
            self.say(&line);
        }
        if self.says.is_event(note) {
            self.log.tell(&happened::note(about, note));
        }
    }

    /// How far something is; a new label begins a new bar.
    pub(super) fn progress(&mut self, label: &'static str, done: u64, total: u64) {
        let total = total.max(1);
        if self.label != label {
            self.label = label;
            self.told = 0;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(label);
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let step = percent.checked_div(PERCENT_STEP).unwrap_or_default();
        if step > self.told {
            self.told = step;
            plain(&format!("{label}: {done} of {total}"));
        }
    }

    /// Leaves the terminal clean.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[allow(clippy::print_stderr, reason = "progress for the person who waits")]
fn plain(line: &str) {
    eprintln!("{line}");
}
