//! Keeps this provider's proof as the network wants it: before the first order, when due, when the hardware changed.
//!
//! # Design
//! [`need`] says, as a pure function, whether a proof is needed now and for which height; the loop does it and asks again. A proof has the machine to
//! itself like a job: work and proof never disturb each other's time. The owner comes first: on their return the workers end at once, and the round is
//! begun anew later, at another height.

use super::{
    chain::Chain,
    measure::{Device, Found, Workshop, measure},
    round,
    shelf::Shelf,
    words::{self, Share},
};
use crate::cli::{ProveWhen, Proving};
use eyre::{Context as _, Result};
use keystead_market::{
    record::{Attested, Claimed},
    touchstone::{
        due::{EPOCH_BLOCKS, epoch_height, is_due, quorum},
        lapse::STATED_WITHIN_BLOCKS,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// How often it is asked whether a proof is needed.
const POLL: Duration = Duration::from_secs(2);
/// How old the answer may be that nobody holds a seat who could check: seats come at the borders of epochs, which are further apart.
const NOBODY_MAX: Duration = Duration::from_secs(10);
/// How long after a round that failed the next one begins; each costs two transactions a device. Twice as long after each further one, up to
/// [`AGAIN_MAX`].
const AGAIN: Duration = Duration::from_secs(60);
/// A machine that is always too slow for its own claims spends a few fees an hour on learning it.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// Rounds tried one after the other before the first order is taken without a proof.
const FIRST_TRIES: u32 = 3;
/// How long the first order waits for the first random value of a chain that has just begun: some blocks. A chain that makes none is not waited for.
const YOUNG_MAX: Duration = Duration::from_secs(10);
const YOUNG_POLL: Duration = Duration::from_millis(200);

/// What the decision needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    pub(crate) when: ProveWhen,
    /// Somebody who could check it has a seat.
    pub(crate) checkers: bool,
    /// The devices are those that proved last.
    pub(crate) same_devices: bool,
    /// Height of the last proof.
    pub(crate) proved: Option<u64>,
    /// Newest height whose randomness is known.
    pub(crate) newest: u64,
    /// First height of the present epoch, if the provider is due in it.
    pub(crate) due: Option<u64>,
    /// Highest due height that was dealt with, one way or the other.
    pub(crate) dealt_with: Option<u64>,
    /// Readers do not count the last proof any more, or will not once the time of the present epoch's round is over.
    pub(crate) lapsed: bool,
}

/// The height at which a proof is needed now; `None` if none is.
pub(crate) fn need(stand: &Stand) -> Option<u64> {
    let Stand { when, checkers, same_devices, proved, newest, due, dealt_with, lapsed } = *stand;
    let wanted = match when {
        ProveWhen::Never => false,
        ProveWhen::Always => true,
        ProveWhen::Auto => checkers,
    };
    if !wanted || newest == 0 {
        return None;
    }
    match due {
        // All that are due meet at this height.
        Some(height) if dealt_with < Some(height) && proved < Some(height) => Some(height),
        // A due round that was missed is made up for at a newer height: until then nothing counts as proved.
        _ if proved.is_none() || !same_devices || lapsed => Some(newest),
        _ => None,
    }
}

/// Everything that a proof takes.
pub(crate) struct Keeper {
    pub(crate) chain: Chain,
    pub(crate) workshop: Workshop,
    pub(crate) found: Vec<Found>,
    pub(crate) when: ProveWhen,
    pub(crate) proving: Proving,
    pub(crate) shelf: Arc<Shelf>,
    devices: Vec<Device>,
    /// Memory that the record claims, MiB, by device number.
    claimed_mib: Vec<u64>,
    dealt_with: Option<u64>,
    /// This network has the contract; one that has it keeps it.
    has_touchstone: bool,
    /// When nobody held a seat who could check.
    nobody: Option<Instant>,
    /// Whether the proof of this height had lapsed in this epoch, when that was looked up.
    looked: Option<(u64, u64, bool)>,
}

impl Keeper {
    pub(crate) const fn new(
        chain: Chain,
        workshop: Workshop,
        found: Vec<Found>,
        when: ProveWhen,
        proving: Proving,
        shelf: Arc<Shelf>,
    ) -> Self {
        Self {
            chain,
            workshop,
            found,
            when,
            proving,
            shelf,
            devices: Vec::new(),
            claimed_mib: Vec::new(),
            dealt_with: None,
            has_touchstone: false,
            nobody: None,
            looked: None,
        }
    }

    /// What the record claims, so that the owner hears how much of it a proof shows.
    pub(crate) fn compare_with(&mut self, claimed: &Claimed) {
        let adapters = claimed.adapters.iter().map(|adapter| adapter.device().memory_mib);
        self.claimed_mib = std::iter::once(claimed.processor.memory_mib).chain(adapters).collect();
    }

    /// Whether a proof is needed now, and for which height.
    pub(crate) async fn needed(&mut self) -> Result<Option<u64>> {
        if self.when == ProveWhen::Never {
            return Ok(None);
        }
        self.has_touchstone = self.has_touchstone || self.chain.has_touchstone().await?;
        if !self.has_touchstone {
            return Ok(None);
        }
        let newest = self.chain.newest_random().await?;
        let epoch = epoch_height(newest);
        let due = match epoch {
            Some(height) if self.dealt_with < Some(height) => {
                let randomness = self.chain.randomness(height).await?;
                let me = self.chain.account.address();
                let due = randomness.is_some_and(|randomness| is_due(me, randomness));
                // A process that starts in the middle of an epoch is late for it.
                let late = self.dealt_with.is_none();
                if !due || late {
                    self.dealt_with = Some(height);
                }
                due.then_some(height).filter(|_| !late)
            }
            _ => None,
        };
        // Until the first epoch has passed there is nothing to be late for.
        self.dealt_with = self.dealt_with.or(Some(0));
        let stand = Stand {
            when: self.when,
            // Whoever needs no proof anyway asks for nobody.
            checkers: true,
            same_devices: self.same_devices(),
            proved: self.shelf.height(),
            newest,
            due,
            dealt_with: self.dealt_with,
            // A round that is due now can be stated in time yet, so nothing has lapsed; one that failed is made up for at once.
            lapsed: self.is_unstated(newest) || (due.is_none() && self.is_lapsed(epoch).await?),
        };
        if need(&stand).is_none() {
            return Ok(None);
        }
        let checkers = self.when == ProveWhen::Always || self.has_checkers(due.is_some()).await?;
        Ok(need(&Stand { checkers, ..stand }))
    }

    /// Whether somebody holds a seat who could check.
    async fn has_checkers(&mut self, is_due: bool) -> Result<bool> {
        if is_believed(self.nobody, is_due) {
            return Ok(false);
        }
        let found = self.chain.has_checkers().await?;
        self.nobody = (!found).then(Instant::now);
        Ok(found)
    }

    /// Whether readers never got to know of the last round.
    fn is_unstated(&self, newest: u64) -> bool {
        let stated = (stated_by(&self.shelf.statements()), self.shelf.checkers().len());
        self.shelf.height().is_some_and(|height| is_given_up(newest, height, stated))
    }

    /// Whether readers count the last proof no more, as they see it when the time of the present epoch's round is over. Looked up once an epoch.
    async fn is_lapsed(&mut self, epoch: Option<u64>) -> Result<bool> {
        let (Some(epoch), Some(proved)) = (epoch, self.shelf.height()) else { return Ok(false) };
        if let Some((then, of, lapsed)) = self.looked
            && (then, of) == (epoch, proved)
        {
            return Ok(lapsed);
        }
        let over = epoch.saturating_add(STATED_WITHIN_BLOCKS).saturating_add(1);
        let lapse = self.chain.draws(over, proved).await?.lapse(self.chain.account.address(), proved);
        if let Some(lapse) = lapse {
            tracing::info!("{lapse}");
        }
        self.looked = Some((epoch, proved, lapse.is_some()));
        Ok(lapse.is_some())
    }

    /// Whether what was found at this start is what proved last.
    fn same_devices(&self) -> bool {
        let found =
            self.found.iter().map(|found| (found.number, found.name.as_str(), self.proving.memory_mib(found.number)));
        found.eq(self.shelf.devices().iter().map(Device::identity))
    }

    /// Looks at every device for a moment: what each takes on.
    pub(crate) async fn measure(&mut self) -> Result<()> {
        let mut devices = Vec::new();
        for found in &self.found {
            devices.push(measure(&self.workshop, found, &self.proving).await?);
        }
        self.devices = devices;
        self.tell_shares();
        Ok(())
    }

    /// Says how much of what is claimed a proof shows.
    fn tell_shares(&self) {
        for (found, device) in self.found.iter().zip(&self.devices) {
            let Some(claimed_mib) = self.claimed_mib.get(usize::from(device.number)).copied() else { continue };
            let share = Share {
                device: device.number,
                filled_mib: device.filled_mib(),
                filled_s: device.seconds(),
                claimed_mib,
                is_own: found.has_own_memory,
                whole_s: device.seconds_for(claimed_mib, found, &self.proving),
            };
            if let Some(sentence) = share.sentence() {
                tracing::info!("{sentence}");
            }
        }
    }

    /// Proves for a height, and publishes.
    pub(crate) async fn prove(&mut self, height: u64) -> Result<()> {
        let start = Instant::now();
        if self.dealt_with < Some(height) && epoch_height(height) == Some(height) {
            self.dealt_with = Some(height);
        }
        if self.devices.is_empty() {
            self.measure().await?;
        }
        // A due height is given; another one should be as new as possible.
        let newest = self.chain.newest_random().await?;
        let height = if epoch_height(height) == Some(height) { height } else { newest };
        for device in &self.devices {
            let Device { number, name, mop_per_s, .. } = device;
            let (filled_mib, seconds) = (device.filled_mib(), device.seconds());
            tracing::info!(
                device = number,
                name,
                height,
                "proving hardware: fills {filled_mib} MiB in about {seconds} s at {}",
                words::speed(*mop_per_s)
            );
        }
        let finished = round::prove(&self.chain, &self.workshop, &self.devices, height).await?;
        let checkers = self.chain.checkers(self.chain.account.address(), finished.vectors_block).await?;
        let drawn = checkers.len();
        self.shelf.publish(&self.chain, finished.published, self.devices.clone(), checkers).await?;
        let seconds = start.elapsed().as_secs();
        tracing::info!(height, seconds, checkers = drawn, "proof of hardware published");
        Ok(())
    }

    /// The proof before the first order: tried a few times, since a machine that is busy now may be late.
    pub(crate) async fn first(&mut self) -> Result<()> {
        self.until_random().await?;
        for _ in 0..FIRST_TRIES {
            let Some(height) = self.needed().await? else { return Ok(()) };
            match self.prove(height).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!("no proof of hardware: {error:#}"),
            }
        }
        Ok(())
    }

    /// A chain that has just begun has no randomness to prove by: its first value stands in one of the next blocks.
    async fn until_random(&mut self) -> Result<()> {
        self.has_touchstone = self.has_touchstone || self.chain.has_touchstone().await?;
        let wanted = match self.when {
            ProveWhen::Always => self.has_touchstone,
            ProveWhen::Auto => self.has_touchstone && self.has_checkers(false).await?,
            ProveWhen::Never => false,
        };
        let begun = Instant::now();
        while wanted && begun.elapsed() < YOUNG_MAX {
            if self.chain.newest_random().await? > 0 {
                break;
            }
            sleep(YOUNG_POLL).await;
        }
        Ok(())
    }

    /// Waits a moment before the next look; after so many failures in a row longer and longer, since each costs fees.
    pub(crate) async fn rest(failures: u32) {
        sleep(pause(failures)).await;
    }
}

/// Whether nobody could check because nobody could a while ago. A height that is due does not wait.
fn is_believed(nobody: Option<Instant>, is_due: bool) -> bool {
    !is_due && nobody.is_some_and(|at| at.elapsed() < NOBODY_MAX)
}

/// Whether no more statements are waited for: an epoch after its height a round has those of so many checkers alone, of so many that were drawn, which are
/// too few. What the record shows is older, and lapses. Where nobody was drawn nobody is waited for.
const fn is_given_up(newest: u64, height: u64, (stated, drawn): (usize, usize)) -> bool {
    drawn > 0 && stated < quorum(drawn) && newest.saturating_sub(height) > EPOCH_BLOCKS
}

/// How many checkers these statements are of.
fn stated_by(statements: &[Attested]) -> usize {
    let mut checkers: Vec<_> = statements.iter().map(|entry| entry.statement.checker).collect();
    checkers.sort_unstable();
    checkers.dedup();
    checkers.len()
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => POLL,
        Some(more) => AGAIN.saturating_mul(2_u32.saturating_pow(more)).min(AGAIN_MAX),
    }
}

/// Waits until enough drawn checkers have stated the last round; gives all statements. Never ends if they do not.
pub(crate) async fn stated(shelf: &Shelf) -> Result<Vec<Attested>> {
    let mut news = shelf.news();
    loop {
        let (statements, needed) = (shelf.statements(), quorum(shelf.checkers().len()));
        if stated_by(&statements) >= needed {
            return Ok(statements);
        }
        news.changed().await.wrap_err("the shelf is gone")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAND: Stand = Stand {
        when: ProveWhen::Auto,
        checkers: true,
        same_devices: true,
        proved: Some(100),
        newest: 9_000,
        due: None,
        dealt_with: Some(4_096),
        lapsed: false,
    };

    #[test]
    fn a_provider_proves_before_it_earns_when_it_changes_and_when_it_is_due() {
        assert_eq!(need(&STAND), None, "proved, unchanged, not due");
        assert_eq!(need(&Stand { proved: None, ..STAND }), Some(9_000));
        assert_eq!(need(&Stand { same_devices: false, ..STAND }), Some(9_000));
        let due = Stand { due: Some(8_192), ..STAND };
        assert_eq!(need(&due), Some(8_192));
        assert_eq!(need(&Stand { proved: None, ..due }), Some(8_192), "one round for both");
        assert_eq!(need(&Stand { dealt_with: Some(8_192), ..due }), None, "tried once");
        assert_eq!(need(&Stand { proved: Some(8_192), ..due }), None, "done");
        assert_eq!(need(&Stand { proved: Some(8_200), ..due }), None, "done later in the epoch");
    }

    #[test]
    fn a_due_round_that_was_missed_is_made_up_for_at_a_newer_height_and_the_due_one_comes_first() {
        let lapsed = Stand { lapsed: true, ..STAND };
        assert_eq!(need(&lapsed), Some(9_000));
        assert_eq!(need(&Stand { due: Some(8_192), ..lapsed }), Some(8_192), "there is time for it yet");
        assert_eq!(need(&Stand { due: Some(8_192), dealt_with: Some(8_192), ..lapsed }), Some(9_000), "it failed");
        assert_eq!(need(&Stand { checkers: false, ..lapsed }), None, "nobody could state it");
    }

    #[test]
    fn a_round_that_too_few_of_its_checkers_stated_is_given_up_an_epoch_later() {
        let (in_time, late) = (EPOCH_BLOCKS.saturating_add(100), EPOCH_BLOCKS.saturating_add(101));
        assert!(!is_given_up(in_time, 100, (0, 3)), "they may be slow");
        assert!(is_given_up(late, 100, (0, 3)) && is_given_up(late, 100, (1, 3)) && is_given_up(late, 100, (0, 1)));
        assert!(!is_given_up(late, 100, (2, 3)) && !is_given_up(late, 100, (1, 1)), "stated");
        assert!(!is_given_up(late, 100, (0, 0)), "nobody was drawn");
    }

    #[test]
    fn who_fails_again_and_again_tries_ever_more_seldom() {
        let seconds = [0, 1, 2, 3, 6, 7, 8, u32::MAX].map(|failures| pause(failures).as_secs());
        assert_eq!(seconds, [2, 60, 120, 240, 1_920, 3_600, 3_600, 3_600]);
    }

    #[test]
    fn that_nobody_could_check_is_believed_for_a_while_and_not_when_a_proof_is_due() {
        let (now, old) = (Some(Instant::now()), Instant::now().checked_sub(NOBODY_MAX));
        assert!(is_believed(now, false) && !is_believed(now, true));
        assert!(!is_believed(old, false) && !is_believed(None, false));
    }

    #[test]
    fn where_nobody_could_check_nobody_proves_unless_told_to() {
        let nobody = Stand { checkers: false, proved: None, ..STAND };
        assert_eq!(need(&nobody), None);
        assert_eq!(need(&Stand { when: ProveWhen::Always, ..nobody }), Some(9_000));
        assert_eq!(need(&Stand { when: ProveWhen::Never, checkers: true, ..nobody }), None);
        assert_eq!(need(&Stand { newest: 0, when: ProveWhen::Always, ..nobody }), None, "no randomness yet");
    }
}
