//! What a person sees: a bar and a line per provider on a terminal, few plain lines elsewhere; every event in the log of `--events`.

use super::happened;
use crate::compute::{
    event_log::{EventLog, Happened, Pace},
    provider_log::ProviderLog,
};
use alloy_primitives::{Address, B256};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use keystead_blobs::Note;
use serde_json::Value;
use std::{
    io::{IsTerminal as _, stderr},
    sync::Arc,
    time::{Duration, Instant},
};

/// Plain lines tell progress at every so many percent.
const PERCENT_STEP: u64 = 20;
/// How often lines of a terminal are drawn anew.
const REDRAW: Duration = Duration::from_millis(200);
/// Events that are worth a line even where nobody watches.
const GRAVE: [&str; 8] =
    ["wrong", "convicted", "not-audited", "announced-late", "left-out", "unit-failed", "taken-back", "not-paid"];

/// One provider, as a line.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) account: Address,
    pub(super) steps: u64,
    /// What it was promised, as a person reads it.
    pub(super) paid: String,
    pub(super) stand: String,
}

/// The display of one map, on standard error.
#[derive(Debug)]
pub(super) struct Show {
    bars: Option<Bars>,
    log: Arc<EventLog>,
    /// How far the log says that the units are.
    pace: Option<Pace>,
    told: u64,
    begin: Instant,
    /// What providers say.
    says: ProviderLog,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    units: ProgressBar,
    rows: Vec<ProgressBar>,
    drawn: Option<Instant>,
}

impl Show {
    pub(super) fn new(log: Arc<EventLog>, says: ProviderLog) -> Self {
        let bars = stderr().is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let units = all.add(ProgressBar::new(1));
            if let Ok(style) = ProgressStyle::with_template("{spinner} units {bar:40} {pos}/{len}  {elapsed}  {msg}") {
                units.set_style(style);
            }
            Bars { all, units, rows: Vec::new(), drawn: None }
        });
        Self { bars, log, pace: None, told: 0, begin: Instant::now(), says }
    }

    /// A sentence that stays.
    pub(super) fn say(&self, line: &str) {
        match &self.bars {
            // The line is lost only with the terminal.
            Some(bars) => drop(bars.all.println(line)),
            None => plain(line),
        }
    }

    /// This process goes on with the map of another one, which has so many units done of so many.
    pub(super) fn goes_on(&mut self, job: B256, (done, total): (u64, u64)) {
        self.log.recall(job);
        self.log.tell(&happened::resumed(job, (done, total)));
        // That was told now, or before.
        self.is_news(done, total);
    }

    fn is_news(&mut self, done: u64, total: u64) -> bool {
        self.pace.get_or_insert_with(|| Pace::new(total)).is_news(done, total)
    }

    /// Something that happened, with its reason and its numbers.
    pub(super) fn event(&self, kind: &str, provider: Option<Address>, detail: &str, facts: Value) {
        let happened = Happened { event: kind, provider, detail, facts };
        self.log.tell(&happened);
        self.person(&happened);
    }

    /// Likewise, but in the log only if that has not told it yet.
    pub(super) fn once(&self, happened: &Happened<'_>) {
        self.log.tell_once(happened);
        self.person(happened);
    }

    /// For the log alone, which tells it once.
    pub(super) fn note(&self, happened: &Happened<'_>) {
        self.log.tell_once(happened);
    }

    /// A provider says something of its side. Its line passed over what was too much.
    pub(super) fn says(&self, provider: Address, note: &Note) {
        if let Some(line) = self.says.hear(provider, note) {
            self.say(&line);
        }
        if self.says.is_event(note) {
            self.log.tell(&happened::note(provider, note));
        }
    }

    /// What begins this map's part of the log.
    pub(super) fn begins(&self, planned: &Happened<'_>) {
        self.log.tell(planned);
    }

    fn person(&self, Happened { event: kind, provider, detail, .. }: &Happened<'_>) {
        let who = provider.map_or_else(String::new, |provider| format!("{provider} "));
        match &self.bars {
            Some(bars) => drop(bars.all.println(format!("{who}{kind}: {detail}"))),
            None if GRAVE.contains(kind) => plain(&format!("{who}{kind}: {detail}")),
            None => tracing::debug!("{who}{kind}: {detail}"),
        }
    }

    /// How many units are done of how many, what each provider does, and how far audits are.
    pub(super) fn progress(&mut self, (done, total): (u64, u64), rows: &[Row], audits: &str) {
        if self.is_news(done, total) {
            self.note(&happened::progress(done, total));
        }
        let rate = |steps: u64| {
            steps
                .saturating_mul(1_000)
                .checked_div(self.begin.elapsed().as_millis().try_into().unwrap_or(u64::MAX))
                .unwrap_or_default()
        };
        if let Some(bars) = &mut self.bars {
            if bars.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
                return;
            }
            bars.drawn = Some(Instant::now());
            bars.units.set_length(total);
            bars.units.set_position(done);
            let rate = rate(rows.iter().map(|row| row.steps).sum());
            let audits = if audits.is_empty() { String::new() } else { format!("  {audits}") };
            bars.units.set_message(format!("{rate} steps/s{audits}"));
            while bars.rows.len() < rows.len() {
                let row = bars.all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("  {msg}") {
                    row.set_style(style);
                }
                bars.rows.push(row);
            }
            for (bar, row) in bars.rows.iter().zip(rows) {
                bar.set_message(line(row));
                bar.tick();
            }
            return;
        }
        let percent = done.saturating_mul(100).checked_div(total.max(1)).unwrap_or(100);
        let step = percent.checked_div(PERCENT_STEP).unwrap_or_default();
        if step > self.told {
            self.told = step;
            plain(&format!("units done: {done} of {total}"));
        }
    }

    /// What each provider did and was promised, at the end.
    pub(super) fn table(&self, rows: &[Row]) {
        rows.iter().for_each(|row| self.say(&format!("  {}", line(row))));
    }

    /// Leaves the terminal clean.
    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.rows.iter().for_each(ProgressBar::finish_and_clear);
            bars.units.finish_and_clear();
        }
    }
}

fn line(row: &Row) -> String {
    format!("{}  {:>8} steps  {:>20}  {}", row.account, row.steps, row.paid, row.stand)
}

#[allow(clippy::print_stderr, reason = "progress for the person who waits")]
fn plain(line: &str) {
    eprintln!("{line}");
}
