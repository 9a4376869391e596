//! The table: which steps wait, which are leased to whom, which are settled.

use crate::{
    lease::{End, Item, Lease, Refused},
    party::{Out, Party, Provider, Readiness},
    rules::{RETURNS_MAX, Rules},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Steps of a unit that one provider made and was paid for.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    provider: Provider,
}

/// One unit.
#[derive(Clone, Debug, Default)]
struct Unit {
    /// Settled steps.
    done: u32,
    lease: Option<u64>,
    /// Who made the settled steps, in order.
    runs: Vec<Run>,
    failed_at: BTreeSet<Provider>,
}

impl Unit {
    fn newest_by(&self) -> Option<Provider> {
        self.runs.last().map(|run| run.provider)
    }
}

/// A lease that has not ended.
#[derive(Clone, Debug)]
struct Live {
    lease: Lease,
    granted: Duration,
    /// When its report came in: it is in time from then on.
    arrived: Option<Duration>,
    /// How often a report of it was lost with its connection, and until when the last of these may come again.
    returns: u32,
    return_by: Option<Duration>,
    /// How long the caller saw nothing of it before its report came in. What the provider did in that time nobody knows.
    unseen: Duration,
}

/// What a conviction takes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Convicted {
    /// Units that begin again, with the number of steps that stay settled.
    pub units: Vec<(u32, u32)>,
    /// Leases that ended, since they went on from a state that is not believed any more.
    pub ended: Vec<Lease>,
}

/// Whether a unit that failed can still succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Another provider gets it.
    Again,
    /// It failed at so many that it is the job's own fault.
    ForGood {
        /// Providers at which it failed.
        providers: u32,
    },
}

/// Who does what. Times are durations since any fixed moment.
#[derive(Clone, Debug)]
pub struct Table {
    rules: Rules,
    segment_count: u32,
    units: Vec<Unit>,
    /// Units that are neither leased nor finished.
    waiting: BTreeSet<u32>,
    /// Of these, the ones whose newest state a provider made: it goes on without fetching.
    own: BTreeMap<Provider, BTreeSet<u32>>,
    leases: BTreeMap<u64, Live>,
    parties: BTreeMap<Provider, Party>,
    next: u64,
    steps_waiting: u64,
    units_left: u32,
}

impl Table {
    /// A job of so many units and segments, of which nothing is done. Numbers of leases begin at `first_number`.
    #[must_use]
    pub fn new(unit_count: u32, segment_count: u32, rules: Rules, first_number: u64) -> Self {
        Self {
            rules,
            segment_count,
            units: (0..unit_count).map(|_| Unit::default()).collect(),
            waiting: (0..unit_count).collect(),
            own: BTreeMap::new(),
            leases: BTreeMap::new(),
            parties: BTreeMap::new(),
            next: first_number,
            steps_waiting: u64::from(unit_count).saturating_mul(u64::from(segment_count)),
            units_left: unit_count,
        }
    }

    /// Numbers of leases go on from here, if that is higher than where they are.
    pub fn number_from(&mut self, first: u64) {
        self.next = self.next.max(first);
    }

    /// Another process begins: who was left out for anything but a wrong result gets a new chance, and so does a unit that failed.
    pub fn forgive(&mut self) {
        self.parties.values_mut().for_each(Party::begin_again);
        self.units.iter_mut().for_each(|unit| unit.failed_at.clear());
    }

    /// The caller looked at nothing for so long: that counts against nobody. To be called before anything that came meanwhile.
    pub fn stood_still(&mut self, gap: Duration) {
        self.postpone(gap);
        self.see_nothing(gap);
    }

    /// The caller's machine slept for so long, and the clock with which it counts did not go on meanwhile. Whoever gave the connection up has the time to come
    /// back that a provider may be silent, and no more than the sleep took.
    pub fn slept(&mut self, slept: Duration) {
        self.postpone(slept.min(self.rules.silence));
        self.see_nothing(slept);
    }

    fn postpone(&mut self, by: Duration) {
        for party in self.parties.values_mut() {
            party.heard = party.heard.saturating_add(by);
        }
        for live in self.leases.values_mut() {
            live.granted = live.granted.saturating_add(by);
            live.arrived = live.arrived.map(|at| at.saturating_add(by));
            live.return_by = live.return_by.map(|until| until.saturating_add(by));
        }
    }

    fn see_nothing(&mut self, time: Duration) {
        for live in self.leases.values_mut().filter(|live| live.arrived.is_none()) {
            live.unseen = live.unseen.saturating_add(time);
        }
    }

    /// A provider that may get work once it is ready. Doing it again changes nothing.
    pub fn join(&mut self, provider: Provider) {
        self.parties.entry(provider).or_insert_with(Party::new);
    }

    /// The provider is connected and takes leases.
    pub fn ready(&mut self, provider: Provider, now: Duration) {
        self.with(provider, |party| {
            party.heard = now;
            party.is(Readiness::Ready);
        });
    }

    /// The provider takes no leases for now; the one it has goes on.
    pub fn draining(&mut self, provider: Provider) {
        self.with(provider, |party| party.is(Readiness::Draining));
    }

    /// The connection is lost; a lease goes on until it is silent for too long.
    pub fn away(&mut self, provider: Provider) {
        self.with(provider, |party| party.is(Readiness::Away));
    }

    /// A sign of life.
    pub fn heard(&mut self, provider: Provider, now: Duration) {
        self.with(provider, |party| party.heard = party.heard.max(now));
    }

    /// The provider gets nothing any more; its live lease, if any, is not touched.
    pub fn leave_out(&mut self, provider: Provider, why: Out) {
        self.with(provider, |party| party.leave_out(why));
    }

    /// Why a provider gets nothing any more, if so.
    #[must_use]
    pub fn out(&self, provider: Provider) -> Option<Out> {
        self.parties.get(&provider).and_then(Party::out)
    }

    /// The live lease of a provider.
    #[must_use]
    pub fn lease_of(&self, provider: Provider) -> Option<&Lease> {
        let number = self.parties.get(&provider)?.lease?;
        self.leases.get(&number).map(|live| &live.lease)
    }

    /// Every live lease, by number.
    pub fn live(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().map(|live| &live.lease)
    }

    /// Units that are not finished.
    #[must_use]
    pub const fn units_left(&self) -> u32 {
        self.units_left
    }

    /// Steps that are neither leased nor settled.
    #[must_use]
    pub const fn steps_waiting(&self) -> u64 {
        self.steps_waiting
    }

    /// Settled steps of a unit.
    #[must_use]
    pub fn done(&self, unit: u32) -> u32 {
        self.units.get(unit as usize).map_or(0, |unit| unit.done)
    }

    /// Who made the newest settled state of a unit.
    #[must_use]
    pub fn newest_by(&self, unit: u32) -> Option<Provider> {
        self.units.get(unit as usize)?.newest_by()
    }

    /// Whether any provider is not left out.
    #[must_use]
    pub fn has_providers(&self) -> bool {
        self.parties.values().any(|party| party.out().is_none())
    }

    /// Gives a provider its next lease: `None` if it cannot take one now or nothing that it could do waits.
    pub fn grant(&mut self, provider: Provider, now: Duration) -> Option<Lease> {
        let party = self.parties.get(&provider).filter(|party| party.may_work(now))?;
        let pace = party.pace.p95();
        let items = self.pick(provider, self.share(self.rules.quota(pace, party.last_steps)));
        if items.is_empty() {
            return None;
        }
        let mut lease = Lease { number: self.next, provider, items, limit: Duration::ZERO };
        lease.limit = self.rules.limit(lease.steps(), pace);
        self.adopt(lease.clone(), now);
        Some(lease)
    }

    /// Takes up a lease that is known from elsewhere: the journal. It counts from `now`. Ignored if one of its units is leased, or is
    /// not where the lease begins.
    pub fn adopt(&mut self, lease: Lease, now: Duration) {
        let fits = |item: &Item| {
            let unit = self.units.get(item.unit as usize);
            let end = item.first.checked_add(item.count);
            item.count > 0
                && unit.is_some_and(|unit| unit.lease.is_none() && unit.done == item.first)
                && end.is_some_and(|end| end <= self.segment_count)
        };
        let once: BTreeSet<u32> = lease.items.iter().map(|item| item.unit).collect();
        let free = self.parties.get(&lease.provider).is_none_or(|party| party.lease.is_none());
        if !free || lease.items.is_empty() || once.len() != lease.items.len() || !lease.items.iter().all(fits) {
            return;
        }
        self.join(lease.provider);
        self.next = self.next.max(lease.number.saturating_add(1));
        for item in &lease.items {
            self.stop_waiting(item.unit);
            if let Some(unit) = self.units.get_mut(item.unit as usize) {
                unit.lease = Some(lease.number);
            }
        }
        self.with(lease.provider, |party| {
            party.lease = Some(lease.number);
            party.heard = party.heard.max(now);
        });
        let (arrived, returns, return_by, unseen) = (None, 0, None, Duration::ZERO);
        self.leases.insert(lease.number, Live { lease, granted: now, arrived, returns, return_by, unseen });
    }

    /// A report of a lease came in; from now on it is in time.
    ///
    /// # Errors
    /// [`Refused`]: it is not taken, and not paid.
    pub fn arrived(&mut self, number: u64, provider: Provider, now: Duration) -> Result<&Lease, Refused> {
        let live = self.leases.get_mut(&number).ok_or(Refused::Ended { number })?;
        if live.lease.provider != provider {
            return Err(Refused::Another { number });
        }
        live.arrived.get_or_insert(now);
        Ok(&live.lease)
    }

    /// A report that came in was lost with its connection before it could be looked at. It may come again until the deadline, and as long as a
    /// provider may be silent in any case. False if that happened too often: the caller ends the lease.
    #[must_use]
    pub fn departed(&mut self, number: u64, now: Duration) -> bool {
        let silence = self.rules.silence;
        let Some(live) = self.leases.get_mut(&number) else { return true };
        if live.arrived.take().is_some() {
            live.returns = live.returns.saturating_add(1);
            live.return_by = Some(now.saturating_add(silence));
        }
        let (provider, may_return) = (live.lease.provider, live.returns <= RETURNS_MAX);
        self.heard(provider, now);
        may_return
    }

    /// The same where the caller itself gave the connection up, which counts against nobody, however often.
    pub fn recalled(&mut self, number: u64, now: Duration) {
        let silence = self.rules.silence;
        let Some(live) = self.leases.get_mut(&number) else { return };
        if live.arrived.take().is_some() {
            live.return_by = Some(now.saturating_add(silence));
        }
        let provider = live.lease.provider;
        self.heard(provider, now);
    }

    /// The first `done` steps of a lease are right and will be paid: the lease has ended, the rest of it waits again.
    ///
    /// # Errors
    /// [`Refused`]: nothing changes.
    pub fn settle(&mut self, number: u64, provider: Provider, done: u32, now: Duration) -> Result<Lease, Refused> {
        let live = self.leases.get(&number).ok_or(Refused::Ended { number })?;
        if live.lease.provider != provider {
            return Err(Refused::Another { number });
        }
        let max = live.lease.steps();
        if done == 0 || done > max {
            return Err(Refused::Steps { number, got: done, max });
        }
        let took = live.arrived.unwrap_or(now).saturating_sub(live.granted);
        // Of a window that the caller mostly did not see nobody knows how long it took.
        let is_measured = took >= live.unseen;
        let lease = self.remove(number).ok_or(Refused::Ended { number })?;
        for item in lease.part(done) {
            if let Some(unit) = self.units.get_mut(item.unit as usize) {
                unit.done = unit.done.saturating_add(item.count);
                unit.runs.push(Run { first: item.first, provider });
            }
        }
        self.wait_again(&lease);
        self.with(provider, |party| {
            if is_measured {
                party.pace.record(took, done);
            }
            // One that was cut says how much the provider did, not how much it could.
            party.last_steps = Some(party.last_steps.unwrap_or_default().max(done));
            party.forgive();
        });
        Ok(lease)
    }

    /// A lease ends unpaid; all its steps wait again. `None` if it had ended.
    pub fn end(&mut self, number: u64, why: End, now: Duration) -> Option<Lease> {
        let lease = self.remove(number)?;
        self.wait_again(&lease);
        let rules = self.rules;
        if why.is_strike() {
            self.with(lease.provider, |party| party.strike(&rules, now));
        }
        Some(lease)
    }

    /// A provider gave a lease back of which nothing was done, by no fault of its own: it is asked again a little later each time.
    pub fn rest(&mut self, provider: Provider, now: Duration) {
        let rules = self.rules;
        self.with(provider, |party| party.rest(&rules, now));
    }

    /// A unit that waits and that nobody who is left may have, and at how many it failed.
    #[must_use]
    pub fn hopeless(&self) -> Option<(u32, u32)> {
        let hopeless = |unit: &&u32| {
            self.units.get(**unit as usize).is_some_and(|entry| {
                let anybody =
                    |(other, party): (&Provider, &Party)| party.out().is_none() && !entry.failed_at.contains(other);
                !entry.failed_at.is_empty() && !self.parties.iter().any(anybody)
            })
        };
        let unit = *self.waiting.iter().find(hopeless)?;
        let count = self.units.get(unit as usize)?.failed_at.len();
        Some((unit, u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// Leases that are over by the clock; the caller ends them.
    #[must_use]
    pub fn overdue(&self, now: Duration) -> Vec<(u64, End)> {
        let over = |(number, live): (&u64, &Live)| {
            if live.arrived.is_some() {
                return None;
            }
            let party = self.parties.get(&live.lease.provider);
            let heard = party.map_or(live.granted, |party| party.heard.max(live.granted));
            let last = live.granted.saturating_add(live.lease.limit).saturating_add(self.rules.grace);
            let last = live.return_by.map_or(last, |by| last.max(by));
            if now > last {
                Some((*number, End::Late))
            } else if now > heard.saturating_add(self.rules.silence) {
                Some((*number, End::Silent))
            } else {
                None
            }
        };
        self.leases.iter().filter_map(over).collect()
    }

    /// A unit failed at a provider by what looks like the job's own fault.
    pub fn failed(&mut self, unit: u32, provider: Provider) -> Failing {
        let Some(entry) = self.units.get_mut(unit as usize) else { return Failing::Again };
        entry.failed_at.insert(provider);
        let failed_at = &entry.failed_at;
        let count = u32::try_from(failed_at.len()).unwrap_or(u32::MAX);
        let elsewhere = self.parties.iter().any(|(other, party)| party.out().is_none() && !failed_at.contains(other));
        if count >= self.rules.failures_max || !elsewhere {
            return Failing::ForGood { providers: count };
        }
        Failing::Again
    }

    /// A provider was caught: it is left out, and everything that it made waits again, with all that others made of it.
    pub fn convict(&mut self, provider: Provider) -> Convicted {
        self.take_back(provider, Out::Wrong)
    }

    /// The same for a reason for which what it made counts for nothing.
    pub fn take_back(&mut self, provider: Provider, why: Out) -> Convicted {
        self.leave_out(provider, why);
        let mut convicted = Convicted::default();
        if let Some(lease) = self.parties.get(&provider).and_then(|party| party.lease) {
            convicted.ended.extend(self.remove(lease).inspect(|lease| self.wait_again(lease)));
        }
        for unit in 0..u32::try_from(self.units.len()).unwrap_or(u32::MAX) {
            let Some(entry) = self.units.get(unit as usize) else { break };
            let Some(bad) = entry.runs.iter().position(|run| run.provider == provider) else { continue };
            if let Some(lease) = entry.lease {
                convicted.ended.extend(self.remove(lease).inspect(|lease| self.wait_again(lease)));
            }
            self.stop_waiting(unit);
            let Some(entry) = self.units.get_mut(unit as usize) else { break };
            let first = entry.runs.get(bad).map_or(0, |run| run.first);
            let was_whole = entry.done >= self.segment_count;
            entry.runs.truncate(bad);
            entry.done = first;
            if was_whole {
                self.units_left = self.units_left.saturating_add(1);
            }
            self.start_waiting(unit);
            convicted.units.push((unit, first));
        }
        convicted
    }

    /// No more than an even share of what is left, so that the last steps do not pile up at one provider.
    fn share(&self, quota: u32) -> u32 {
        let ready = self.parties.values().filter(|party| party.is_ready()).count().max(1);
        let parts = u64::try_from(ready).unwrap_or(u64::MAX).saturating_mul(2);
        let share = self.steps_waiting.div_ceil(parts.max(1)).max(1);
        quota.min(u32::try_from(share).unwrap_or(u32::MAX))
    }

    fn pick(&self, provider: Provider, steps: u32) -> Vec<Item> {
        let own = self.own.get(&provider);
        let others = self.waiting.iter().filter(|unit| own.is_none_or(|own| !own.contains(unit)));
        let mut left = steps;
        let mut items = Vec::new();
        for &unit in own.into_iter().flatten().chain(others) {
            if left == 0 {
                break;
            }
            let Some(entry) = self.units.get(unit as usize) else { continue };
            let count = self.segment_count.saturating_sub(entry.done).min(left);
            if count == 0 || entry.failed_at.contains(&provider) {
                continue;
            }
            left = left.saturating_sub(count);
            items.push(Item { unit, first: entry.done, count });
        }
        items
    }

    /// Takes a lease out of the table; its units neither wait nor are leased then.
    fn remove(&mut self, number: u64) -> Option<Lease> {
        let live = self.leases.remove(&number)?;
        self.with(live.lease.provider, |party| party.lease = None);
        for item in &live.lease.items {
            if let Some(unit) = self.units.get_mut(item.unit as usize) {
                unit.lease = None;
            }
        }
        Some(live.lease)
    }

    fn wait_again(&mut self, lease: &Lease) {
        for item in &lease.items {
            if self.done(item.unit) < self.segment_count {
                self.start_waiting(item.unit);
            } else {
                self.units_left = self.units_left.saturating_sub(1);
            }
        }
    }

    fn start_waiting(&mut self, unit: u32) {
        let Some(entry) = self.units.get(unit as usize) else { return };
        let steps = self.segment_count.saturating_sub(entry.done);
        if self.waiting.insert(unit) {
            self.steps_waiting = self.steps_waiting.saturating_add(u64::from(steps));
            if let Some(by) = entry.newest_by() {
                self.own.entry(by).or_default().insert(unit);
            }
        }
    }

    fn stop_waiting(&mut self, unit: u32) {
        let Some(entry) = self.units.get(unit as usize) else { return };
        let steps = self.segment_count.saturating_sub(entry.done);
        if self.waiting.remove(&unit) {
            self.steps_waiting = self.steps_waiting.saturating_sub(u64::from(steps));
            if let Some(by) = entry.newest_by()
                && let Some(own) = self.own.get_mut(&by)
            {
                own.remove(&unit);
            }
        }
    }

    fn with(&mut self, provider: Provider, change: impl FnOnce(&mut Party)) {
        if let Some(party) = self.parties.get_mut(&provider) {
            change(party);
        }
    }
}

#[cfg(test)]
mod tests;
