//! Where a checker gets what a check needs, in which order, and how long each source may take.
//!
//! # Design
//! The provider at its registered address, the customer's node if the chain names one, then the accounts that found the unit wrong in an earlier round. A
//! source that is silent or slow is left for the next one: it has its part of the time that is left, and a least pace after its first seconds. Whole groups
//! that came stay on the disk, so that the next source, or the next try, goes on from there. Who may still ask the customer in public interrupts the
//! last source when a quarter of the time has passed, asks, and goes on fetching: what comes after all takes the question back.
//!
//! # Invariants
//! No source, alone or with others, keeps a checker for longer than the time of its check.
//!
//! Spec: specs/0008-audit.md §10.

use super::{step::MARGIN_SECONDS, work::Errand};
use crate::compute::windows::{CHECK_ROUNDS, Case, Finding, Revealed, SLOTS, Which};
use alloy_primitives::Address;
use eyre::Result;
use futures::future::join_all;
use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Sources of one attempt.
const SOURCES_MAX: usize = 6;
/// A source may need so long to be found, to ask its node who is on duty, and to read its disk.
const GRACE: Duration = Duration::from_secs(8);
/// Bytes a second that a source sends at least, on the average since its grace: a line slower than that brings no input in the time of a check.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// How often it is looked how far a source is.
const TICK: Duration = Duration::from_millis(500);
/// Who leaves so little of its time for a source had better ask another.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// Bytes that came from one source in one attempt.
#[derive(Debug, Default)]
pub(super) struct Received(AtomicU64);

impl Received {
    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Errand<'_> {
    /// Addresses, of which all but the register's form are strangers' words; the first is the provider's.
    pub(super) async fn sources(&self) -> Result<Vec<String>> {
        let (windows, market, which) = (&self.agent.windows, &self.agent.book.market, self.record.which);
        let mut found = vec![market.endpoint_of(self.window.provider).await?];
        found.extend(windows.handed(which.window, self.record.from_block).await?);
        for account in self.accusers().await? {
            // Who is not in the register serves nobody.
            found.extend(market.endpoint_of(account).await);
        }
        Ok(distinct(found))
    }

    /// Who found the unit wrong before. Asked slot by slot: a window may have more events than a node gives at once.
    async fn accusers(&self) -> Result<Vec<Address>> {
        let (windows, case) = (&self.agent.windows, self.case);
        let earlier = earlier(self.record.which, case);
        let checks: Result<Vec<Revealed>> =
            join_all(earlier.into_iter().map(|which| windows.revealed(which))).await.into_iter().collect();
        Ok(accusers(&checks?, case))
    }

    /// How long the next source may take from now on, if so many are left with it. What others took is gone from the time that is left.
    pub(super) fn patience(&self, sources_left: usize) -> Duration {
        let (check_seconds, round) = (self.window.check_seconds, self.record.which.round);
        let may_ask = round == 0 && self.case.asked_at == 0 && !self.case.opened && !self.window.is_named();
        let longer = if self.case.extended { check_seconds / 2 } else { 0 };
        let ask =
            may_ask.then(|| Ask { check: Duration::from_secs(check_seconds), longer: Duration::from_secs(longer) });
        patience(self.until.saturating_duration_since(Instant::now()), sources_left, ask)
    }
}

/// The time in whose first half this checker may ask in public.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// The time to check.
    check: Duration,
    /// So much longer it is since another checker asked, which does not move the time to ask.
    longer: Duration,
}

/// A source's part of the time that is left.
fn patience(left: Duration, sources_left: usize, ask: Option<Ask>) -> Duration {
    let part_of =
        |time: Duration| u32::try_from(sources_left).ok().and_then(|sources| time.checked_div(sources)).unwrap_or(time);
    let Some(Ask { check, longer }) = ask else { return part_of(left) };
    let quarters = |count| check.saturating_mul(count).checked_div(4).unwrap_or_default();
    // `left` ends a margin before the time to check does.
    let asking = quarters(3).saturating_sub(Duration::from_secs(MARGIN_SECONDS));
    // What is left until a quarter has passed is shared, so that no source leaves the next one nothing of it.
    let to_ask = left.saturating_sub(longer);
    if to_ask <= quarters(2) { part_of(left) } else { part_of(to_ask.saturating_sub(asking)).max(PATIENCE_MIN) }
}

/// The checks of a unit that were revealed in rounds before this one, the oldest first.
fn earlier(than: Which, case: &Case) -> Vec<Which> {
    let slots = |round| (0..SLOTS).map(move |slot| Which { round, slot, ..than });
    let rounds = 0..than.round.min(CHECK_ROUNDS);
    rounds.flat_map(slots).filter(|which| case.has_revealed(which.round, which.slot)).collect()
}

/// Accounts whose check says *wrong*, each once, in their order.
fn accusers(checks: &[Revealed], case: &Case) -> Vec<Address> {
    let mut accounts: Vec<Address> = Vec::new();
    for Revealed { account, finding, own } in checks {
        // Of class exact the contract compares with what the provider opened.
        let differs = case.opened && *finding == Finding::Compare as u8 && *own != case.value;
        let says_wrong = differs || *finding == Finding::Wrong as u8;
        if says_wrong && !accounts.contains(account) {
            accounts.push(*account);
        }
    }
    accounts.truncate(SOURCES_MAX);
    accounts
}

/// Each once, in order.
fn distinct(found: Vec<String>) -> Vec<String> {
    let mut sources: Vec<String> = Vec::new();
    for source in found {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources.truncate(SOURCES_MAX);
    sources
}

/// Whether a source has sent so little in so long that another one is asked.
const fn is_slow(elapsed: Duration, bytes: u64) -> bool {
    bytes < elapsed.saturating_sub(GRACE).as_secs().saturating_mul(BYTES_PER_SECOND_MIN)
}

/// Waits for what comes from one source.
///
/// # Errors
/// Why the source was given up.
pub(super) async fn within<T>(
    limit: Duration,
    received: &Received,
    work: impl Future<Output = T>,
) -> Result<T, String> {
    let begun = Instant::now();
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = sleep(TICK) => {}
        }
        let (elapsed, bytes) = (begun.elapsed(), received.bytes());
        if elapsed >= limit || is_slow(elapsed, bytes) {
            return Err(format!("a source takes too long: seconds={} bytes={bytes}", elapsed.as_secs()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::windows::Stage;
    use alloy_primitives::B256;
    use std::future::{pending, ready};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn sources_share_the_time_and_the_last_one_leaves_enough_to_ask() {
        let seconds = |seconds| Duration::from_secs(seconds);
        // With nobody to ask the last source has all that is left.
        assert_eq!(patience(seconds(90), 3, None), seconds(30));
        assert_eq!(patience(seconds(90), 1, None), seconds(90));
        // Of 160 s to check 157 are left: it asks when 40 have passed, and could until 80.
        let ask = Ask { check: seconds(160), longer: Duration::ZERO };
        assert_eq!(patience(seconds(157), 1, Some(ask)), seconds(40));
        // Four share 39 s: nobody leaves the next one nothing of them.
        assert_eq!(patience(seconds(156), 4, Some(ask)), Duration::from_millis(9_750));
        assert_eq!(patience(seconds(137), 2, Some(ask)), seconds(10));
        assert_eq!(patience(seconds(117), 1, Some(ask)), PATIENCE_MIN, "a quarter has passed");
        // Too late to ask.
        assert_eq!(patience(seconds(80), 1, Some(ask)), seconds(80));
        // Another asked and took it back: there is more time to check, and none more to ask.
        let longer = Ask { longer: seconds(80), ..ask };
        assert_eq!(patience(seconds(237), 1, Some(longer)), seconds(40));
        assert_eq!(patience(seconds(150), 1, Some(longer)), seconds(150));
    }

    #[test]
    fn a_source_has_a_grace_and_then_a_least_pace() {
        assert!(!is_slow(GRACE, 0));
        let later = GRACE.saturating_add(SECOND.saturating_mul(10));
        let least = BYTES_PER_SECOND_MIN.saturating_mul(10);
        assert!(is_slow(later, least.saturating_sub(1)) && !is_slow(later, least));
    }

    #[test]
    fn accusers_are_those_who_say_wrong() {
        let value = B256::repeat_byte(5);
        let check = |account: u8, finding: Finding, own: u8| Revealed {
            account: Address::repeat_byte(account),
            finding: finding as u8,
            own: B256::repeat_byte(own),
        };
        let checks = [
            check(1, Finding::Compare, 5),
            check(2, Finding::Compare, 6),
            check(3, Finding::Wrong, 0),
            check(4, Finding::Inconclusive, 6),
            check(5, Finding::Unpaid, 6),
            check(2, Finding::Compare, 6),
        ];
        let of = |opened| accusers(&checks, &Case { opened, value, ..Case::of(Stage::Checking, 1) });
        let accounts = |bytes: &[u8]| bytes.iter().copied().map(Address::repeat_byte).collect::<Vec<_>>();
        assert_eq!(of(true), accounts(&[2, 3]));
        assert_eq!(of(false), accounts(&[3]));
    }

    #[test]
    fn only_what_was_revealed_of_this_unit_before_is_looked_at() {
        // Slots 1 and 4 of round 0, slot 2 of round 1.
        let case = Case { revealed_mask: 0x4_0012, ..Case::of(Stage::Checking, 2) };
        let of = |round| {
            let than = Which { window: B256::ZERO, unit: 3, round, slot: 9 };
            let found = earlier(than, &case);
            assert!(found.iter().all(|which| which.unit == 3));
            found.iter().map(|which| (which.round, which.slot)).collect::<Vec<_>>()
        };
        assert!(of(0).is_empty());
        assert_eq!(of(1), [(0, 1), (0, 4)]);
        assert_eq!(of(4), [(0, 1), (0, 4), (1, 2)]);
    }

    #[test]
    fn a_source_is_asked_once_and_not_too_many_are() {
        let names: Vec<String> = ["a", "b", "a"].map(str::to_owned).into();
        assert_eq!(distinct(names), ["a", "b"]);
        let many = (0..20_u32).map(|number| number.to_string()).collect();
        assert_eq!(distinct(many).len(), SOURCES_MAX);
    }

    #[tokio::test]
    async fn a_source_that_sends_nothing_is_left_when_its_time_is_over() {
        let received = Received::default();
        assert_eq!(within(SECOND, &received, ready(7)).await, Ok(7));
        let left = within(TICK, &received, pending::<u32>()).await;
        assert!(left.unwrap_err().contains("takes too long"));
    }
}
