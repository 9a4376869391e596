//! What a world is made from, and what comes out.

use super::{CheatRow, CrookRow};
use crate::seats::panels;
use serde::Serialize;

/// What is simulated.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) providers: u32,
    pub(crate) hours: f64,
    /// The share of online time that is asked for.
    pub(crate) load: f64,
    /// The chance that a provider leaves within a window, over all windows, comes out as a result; this is the mean session, hours.
    pub(crate) session_hours: f64,
    pub(crate) away_hours: f64,
    /// Of those who leave within a window.
    pub(crate) vanish: f64,
    pub(crate) straggle: f64,
    /// A checker's machine finds nothing, or shows a right unit as wrong.
    pub(crate) nothing: f64,
    pub(crate) flip: f64,
    /// The share of providers that cheat; with any a third of the seats colludes.
    pub(crate) cheating: f64,
    /// Messages and blocks take their time, and inputs move at what lines bear; outputs are not timed.
    pub(crate) latency: bool,
    /// Some customers cheat.
    pub(crate) crooked: bool,
}

impl Scenario {
    pub(crate) const fn new(seed: u64, providers: u32, hours: f64) -> Self {
        Self {
            seed,
            providers,
            hours,
            load: 0.7,
            session_hours: 2.0,
            away_hours: 1.0,
            vanish: 0.3,
            straggle: 0.01,
            nothing: 0.003,
            flip: 0.000_1,
            cheating: 0.0,
            latency: false,
            crooked: false,
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) events: u64,
    pub(crate) windows_ordered: u64,
    pub(crate) windows_complete: u64,
    /// Units of complete windows.
    pub(crate) units_paid: u64,
    pub(crate) units_paid_twice: u64,
    pub(crate) units_lost: u64,
    /// Units computed, also in vain.
    pub(crate) units_run: u64,
    pub(crate) leases: u64,
    pub(crate) leases_drained: u64,
    pub(crate) leases_vanished: u64,
    pub(crate) leases_straggled: u64,
    /// Of leases, those whose provider left before the end.
    pub(crate) churn: f64,
    pub(crate) units_drawn: u64,
    pub(crate) checks_run: u64,
    pub(crate) seats_offline: u64,
    pub(crate) inconclusive: u64,
    /// Honest providers slashed.
    pub(crate) false_slashes: u64,
    /// Checkers whose broken machine accused an honest provider, and lost.
    pub(crate) broken_checkers: u64,
    /// Checks per unit paid, all windows.
    pub(crate) overhead: f64,
    /// The same, of providers with at least 1,000 verified units.
    pub(crate) overhead_settled: f64,
    pub(crate) wait_ms_p50: u64,
    pub(crate) wait_ms_p95: u64,
    /// From a window's order until its provider computes.
    pub(crate) run_ms_p50: u64,
    pub(crate) run_ms_p95: u64,
    pub(crate) run_ms_p99: u64,
    /// From a window's commitment until its pay may be claimed.
    pub(crate) hold_ms_p50: u64,
    pub(crate) hold_ms_p95: u64,
    /// From a window's order to its last unit, over what the chosen provider needs alone.
    pub(crate) stretch_p50: f64,
    pub(crate) stretch_p95: f64,
    /// Windows that waited for a provider at the worst time.
    pub(crate) waiting_max: u64,
    /// Windows that were opened for an audit: a window of which several providers did a part is opened for each.
    pub(crate) commitments: u64,
    /// Of these, those that a conviction forfeited: their units are ordered again.
    pub(crate) refunded: u64,
    /// Of the checks, those that were votes on panels; the panels; and the units that came before one.
    pub(crate) ballots: u64,
    pub(crate) panels: u64,
    pub(crate) disputes: u64,
    /// Checks of units that their customer knew to be wrong, beside all others.
    pub(crate) canaries: u64,
    /// Of these, the ones that came to a seat that looks.
    pub(crate) canaries_found: u64,
    /// Wrong units that were paid for.
    pub(crate) wrong_paid: u64,
    /// Each kind of cheat.
    pub(crate) cheats: Vec<CheatRow>,
    /// Each kind of customer that cheats.
    pub(crate) crooks: Vec<CrookRow>,
}

impl Outcome {
    /// What was voted about one unit.
    pub(super) fn voted(&mut self, ballots: u32) {
        self.ballots = self.ballots.saturating_add(u64::from(ballots));
        self.panels = self.panels.saturating_add(u64::from(panels(ballots)));
        self.disputes = self.disputes.saturating_add(u64::from(ballots > 0));
    }
}
