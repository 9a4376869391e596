//! What a program is told of a map, in the log of `--events`.
//!
//! # Design
//! What the journal holds is told where it is written, once ([`of_journal`]). A process that goes on has the end of the journal in hand, and tells of it what
//! the one before could not: the log lets nothing pass twice. What only a conversation shows is told where it is heard.
//!
//! Spec: specs/0011-stream.md §10.

use super::{
    closing::Closed,
    conduct::{Ending, Interrupted},
    journal::{Entry, Settled},
    state::{State, words},
    window::{Verdict, WindowEnd},
};
use crate::compute::{
    amount::counted,
    customer::plan::Prepared,
    event_log::{Happened, PLANNED, RESUMED},
    money::Money,
    provider_log,
};
use alloy_primitives::{Address, B256};
use eyre::Report;
use keystead_blobs::Note;
use keystead_lease::{End as LeaseEnd, Lease, Out, Provider};
use serde_json::{Value, json};
use std::path::Path;

/// So many of the journal's last lines are told by a process that goes on, if the log lacks them: more than one round writes, and so few that the log's end,
/// which is read again, holds what was told of them.
pub(super) const RETOLD_MAX: usize = 1_024;
/// Every unit is done, and the result is written.
const EXIT_DONE: u8 = 0;
/// The job cannot be done, or was not begun. 2 is a wrong command line.
const EXIT_FAILED: u8 = 1;
/// Stopped in its middle: the same command goes on.
const EXIT_UNDECIDED: u8 = 3;

/// How the command ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    event: &'static str,
    /// Its exit code.
    pub(super) code: u8,
    /// What went wrong, or is left; empty if nothing did, or is.
    why: String,
}

impl Ended {
    /// Of a map that came to an end of its own.
    pub(super) fn of(ending: &Ending, closed: &Closed) -> Self {
        let stopped = |why: String| Self { event: "stopped", code: EXIT_UNDECIDED, why };
        match ending {
            Ending::Stopped => stopped("you stopped it".to_owned()),
            Ending::Whole | Ending::Failed(_) if closed.is_stopped => {
                let left = u64::try_from(closed.left.len()).unwrap_or(u64::MAX);
                stopped(format!("you stopped it before its end; open: {}", counted(left, "channel")))
            }
            Ending::Whole => Self { event: "done", code: EXIT_DONE, why: String::new() },
            Ending::Failed(why) => Self { event: "failed", code: EXIT_FAILED, why: why.clone() },
        }
    }

    /// Something kept this process from its end, or the person left at once; the same command goes on.
    pub(super) fn undecided(error: &Report) -> Self {
        let event = if error.is::<Interrupted>() { "stopped" } else { "undecided" };
        Self { event, code: EXIT_UNDECIDED, why: format!("{error:#}") }
    }

    /// Nothing was begun.
    pub(super) const fn refused(why: String) -> Self {
        Self { event: "failed", code: EXIT_FAILED, why }
    }

    /// The last line.
    pub(super) fn happened(&self) -> Happened<'_> {
        Happened { event: self.event, provider: None, detail: &self.why, facts: json!({"exitCode": self.code}) }
    }
}

/// What begins a map's part of the log.
pub(super) fn planned<'a>(prepared: &'a Prepared, money: &Money, is_audited: bool) -> Happened<'a> {
    let mut facts = prepared.facts(money);
    facts["audited"] = json!(is_audited);
    Happened { event: PLANNED, provider: None, detail: &prepared.recipe.title, facts }
}

/// A process goes on with the map of another one.
pub(super) fn resumed(job: B256, (done, of): (u64, u64)) -> Happened<'static> {
    Happened { event: RESUMED, provider: None, detail: "", facts: json!({"job": job, "done": done, "of": of}) }
}

/// So many units are done.
pub(super) fn progress(done: u64, of: u64) -> Happened<'static> {
    Happened { event: "progress", provider: None, detail: "units", facts: json!({"done": done, "of": of}) }
}

/// What the steps that nobody does yet would cost, and what the map never exceeds.
pub(super) fn priced(step_wei: u128, steps: u64, providers: usize, most_wei: Option<u128>) -> Happened<'static> {
    let facts = json!({
        "priceWeiPerStep": step_wei.to_string(),
        "steps": steps,
        "providers": providers,
        "wei": step_wei.saturating_mul(steps.into()).to_string(),
        "mostWei": most_wei.map(|most| most.to_string()),
    });
    Happened { event: "priced", provider: None, detail: "", facts }
}

/// A provider is not taken on: what was said does not pay for it.
pub(super) fn too_dear(account: Address, step_wei: u128) -> Happened<'static> {
    let facts = json!({"priceWeiPerStep": step_wei.to_string()});
    Happened { event: "too-dear", provider: Some(account), detail: "", facts }
}

/// A provider takes part.
pub(super) fn joined(account: Address, step_wei: u128) -> Happened<'static> {
    let facts = json!({"priceWeiPerStep": step_wei.to_string()});
    Happened { event: "joined", provider: Some(account), detail: "", facts }
}

/// Its channel is open.
pub(super) fn opened(account: Address, channel: B256) -> Happened<'static> {
    Happened { event: "channel", provider: Some(account), detail: "", facts: json!({"channel": channel}) }
}

/// Its channel is final.
pub(super) fn closed(account: Address, channel: Option<B256>, claimed_wei: u128) -> Happened<'static> {
    let facts = json!({"channel": channel, "claimedWei": claimed_wei.to_string()});
    Happened { event: "closed", provider: Some(account), detail: "", facts }
}

/// It may do these steps.
pub(super) fn leased(account: Address, lease: &Lease) -> Happened<'static> {
    let facts = json!({
        "lease": lease.number,
        "units": lease.items.len(),
        "steps": lease.steps(),
        "limitMs": u64::try_from(lease.limit.as_millis()).unwrap_or(u64::MAX),
    });
    Happened { event: "leased", provider: Some(account), detail: "", facts }
}

/// A lease ended without pay.
pub(super) fn lease_ended(account: Address, lease: &Lease, why: LeaseEnd) -> Happened<'static> {
    let facts = json!({"lease": lease.number, "steps": lease.steps(), "why": why});
    Happened { event: "lease-ended", provider: Some(account), detail: "", facts }
}

/// A window was found right, and a voucher promises its price; before its settlement happens to the state.
pub(super) fn paid(settled: &Settled, state: &State) -> Option<Happened<'static>> {
    let Settled { lease, provider, steps, checked, window, .. } = settled;
    let partner = state.partner(*provider)?;
    let facts = json!({
        "lease": lease,
        "channel": partner.channel,
        "window": window.as_ref().map(|window| window.number),
        "steps": steps,
        "checked": checked,
        "wei": partner.price_wei.saturating_mul(u128::from(*steps)).to_string(),
    });
    Some(Happened { event: "paid", provider: Some(partner.account), detail: "", facts })
}

/// A unit failed at a provider.
pub(super) fn unit_failed(account: Address, unit: u32, detail: &str) -> Happened<'_> {
    Happened { event: "unit-failed", provider: Some(account), detail, facts: json!({"unit": unit}) }
}

/// A provider gets nothing any more: from this process of the map, or from none if what it delivered counts for nothing.
pub(super) fn left_out(account: Address, why: Out, process: u64) -> Happened<'static> {
    let facts = json!({"why": why, "process": (!why.discards()).then_some(process)});
    Happened { event: "left-out", provider: Some(account), detail: words(why), facts }
}

/// A provider says something of its side.
pub(super) fn note(account: Address, note: &Note) -> Happened<'_> {
    let facts = provider_log::facts(note, ("lease", note.lease.into()));
    Happened { event: provider_log::EVENT, provider: Some(account), detail: note.words(), facts }
}

/// Which lease, if there is one.
pub(super) fn of_lease(number: Option<u64>) -> Value {
    json!({"lease": number})
}

/// Which window of a channel.
pub(super) fn of_window((channel, number): (B256, u64)) -> Value {
    json!({"channel": channel, "window": number})
}

/// The audit of a window is over.
pub(super) fn window_over(account: Address, (channel, number): (B256, u64), verdict: &Verdict) -> Happened<'static> {
    let facts = json!({
        "channel": channel,
        "window": number,
        "verdict": verdict.end,
        "drawn": verdict.drawn,
        "verified": verdict.verified,
        "unpaid": verdict.unpaid,
        "costWei": verdict.cost_wei.to_string(),
    });
    Happened { event: "window-over", provider: Some(account), detail: "", facts }
}

/// The result's files are written.
pub(super) fn reduced(files: &[String]) -> Happened<'static> {
    Happened { event: "reduced", provider: None, detail: "", facts: json!({"files": files}) }
}

/// The proof is written.
pub(super) fn certificate(path: &Path) -> Happened<'static> {
    let facts = json!({"path": path.display().to_string()});
    Happened { event: "certificate", provider: None, detail: "", facts }
}

/// There is no proof; the reason is what makes it the same.
pub(super) fn no_certificate(detail: &str) -> Happened<'_> {
    Happened { event: "no-certificate", provider: None, detail, facts: json!({"why": detail}) }
}

/// What a line of the journal is to a program, before it happens to the state; `None` of what says nothing more, or can only be told where it is heard.
pub(super) fn of_journal<'a>(entry: &'a Entry, state: &State) -> Option<Happened<'a>> {
    let account = |provider: &Provider| Some(state.partner(*provider)?.account);
    Some(match entry {
        Entry::Joined { account, price_wei, .. } => joined(*account, *price_wei),
        Entry::Opened { provider, channel } => opened(account(provider)?, *channel),
        Entry::Leased { lease } => leased(account(&lease.provider)?, lease),
        Entry::Settled(settled) => paid(settled, state)?,
        Entry::Ended { lease, why } => {
            let lease = state.table.live().find(|live| live.number == *lease)?;
            lease_ended(account(&lease.provider)?, lease, *why)
        }
        Entry::Failed { provider, unit, reason } => unit_failed(account(provider)?, *unit, reason),
        Entry::LeftOut { provider, why } | Entry::Convicted { provider, why, .. } => {
            left_out(account(provider)?, *why, state.process())
        }
        Entry::WindowOver { id, verdict } if verdict.end != WindowEnd::Unannounced => {
            let window = state.windows.get(id)?;
            window_over(account(&window.provider)?, (window.channel, window.number), verdict)
        }
        Entry::Closed { provider, claimed_wei } => {
            let partner = state.partner(*provider)?;
            closed(partner.account, partner.channel, *claimed_wei)
        }
        Entry::Began { .. }
        | Entry::Promised(_)
        | Entry::Opening { .. }
        | Entry::NotOpened { .. }
        | Entry::Drawn { .. }
        | Entry::WindowOver { .. }
        | Entry::Done => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::map::journal::{Audited, Place};
    use alloy_primitives::Bytes;
    use eyre::eyre;
    use keystead_lease::{Item, Rules};
    use std::time::Duration;

    const CHANNEL: B256 = B256::repeat_byte(7);
    const ACCOUNT: Address = Address::repeat_byte(1);

    fn lease(number: u64, unit: u32) -> Lease {
        let items = vec![Item { unit, first: 0, count: 2 }];
        Lease { number, provider: Provider(0), items, limit: Duration::from_millis(1_500) }
    }

    fn settled(lease: u64) -> Settled {
        let place = |done| Place { unit: 0, done, offset: 0, length: 1, name: B256::ZERO };
        let window = Audited {
            id: B256::repeat_byte(9),
            channel: CHANNEL,
            number: 1,
            since_block: 3,
            budget_wei: 10,
            inputs: vec![B256::ZERO; 2],
            secret: None,
        };
        Settled {
            lease,
            provider: Provider(0),
            steps: 2,
            checked: 1,
            unchecked: false,
            states: vec![place(1), place(2)],
            payer: Bytes::new(),
            window: Some(window),
        }
    }

    /// What a process tells that makes these lines, and what one tells that reads them.
    fn told(entries: &[Entry]) -> Vec<(String, Option<Address>, Value)> {
        let mut state = State::new(2, 2, Rules::new(Duration::from_secs(1)));
        let mut told = Vec::new();
        for entry in entries {
            let happened = of_journal(entry, &state);
            told.extend(happened.map(|happened| (happened.event.to_owned(), happened.provider, happened.facts)));
            state.apply(entry, Duration::ZERO);
        }
        told
    }

    #[test]
    fn a_line_of_the_journal_is_told_with_its_numbers_and_the_same_ones_each_time_it_is_read() {
        let verdict =
            Verdict { end: WindowEnd::Closed, drawn: 2, verified: 1, unpaid: 1, cost_wei: 8, ..Verdict::UNANNOUNCED };
        let provider = Provider(0);
        let entries = [
            Entry::Began { first_lease: 1 },
            Entry::Joined { account: ACCOUNT, node_id: B256::ZERO, price_wei: 5 },
            Entry::Opened { provider, channel: CHANNEL },
            Entry::Leased { lease: lease(1, 0) },
            Entry::Drawn { lease: 1, root: B256::ZERO, seed: B256::ZERO },
            Entry::Settled(settled(1)),
            Entry::Leased { lease: lease(2, 1) },
            Entry::Ended { lease: 2, why: LeaseEnd::Silent },
            Entry::Ended { lease: 2, why: LeaseEnd::Silent },
            Entry::Failed { provider, unit: 1, reason: "it trapped".to_owned() },
            Entry::WindowOver { id: B256::repeat_byte(9), verdict },
            Entry::LeftOut { provider, why: Out::Unwilling },
            Entry::Closed { provider, claimed_wei: 10 },
            Entry::Done,
        ];
        let expected = [
            ("joined", json!({"priceWeiPerStep": "5"})),
            ("channel", json!({"channel": CHANNEL})),
            ("leased", json!({"lease": 1, "units": 1, "steps": 2, "limitMs": 1_500})),
            ("paid", json!({"lease": 1, "channel": CHANNEL, "window": 1, "steps": 2, "checked": 1, "wei": "10"})),
            ("leased", json!({"lease": 2, "units": 1, "steps": 2, "limitMs": 1_500})),
            ("lease-ended", json!({"lease": 2, "steps": 2, "why": "silent"})),
            ("unit-failed", json!({"unit": 1})),
            (
                "window-over",
                json!({"channel": CHANNEL, "window": 1, "verdict": "closed", "drawn": 2, "verified": 1, "unpaid": 1, "costWei": "8"}),
            ),
            ("left-out", json!({"why": "unwilling", "process": 1})),
            ("closed", json!({"channel": CHANNEL, "claimedWei": "10"})),
        ];
        let expected = expected.map(|(event, facts)| (event.to_owned(), Some(ACCOUNT), facts));
        assert_eq!(told(&entries), expected);
        // As a process finds them that reads the journal.
        let read = |entry: &Entry| -> Entry {
            let line = serde_json::to_string(entry).unwrap();
            serde_json::from_str(&line).unwrap()
        };
        let entries: Vec<Entry> = entries.iter().map(read).collect();
        assert_eq!(told(&entries), expected);
    }

    #[test]
    fn who_was_caught_is_out_for_good_and_others_for_one_process() {
        let facts = |why| left_out(ACCOUNT, why, 3).facts;
        assert_eq!(facts(Out::Wrong), json!({"why": "wrong", "process": null}));
        assert_eq!(facts(Out::Unaudited), json!({"why": "unaudited", "process": null}));
        assert_eq!(facts(Out::Unreliable), json!({"why": "unreliable", "process": 3}));
        // Nobody announced it: what that means is told by who waited for it.
        let unannounced = Entry::WindowOver { id: B256::repeat_byte(9), verdict: Verdict::UNANNOUNCED };
        let entries = [
            Entry::Joined { account: ACCOUNT, node_id: B256::ZERO, price_wei: 5 },
            Entry::Leased { lease: lease(1, 0) },
            Entry::Settled(settled(1)),
            unannounced,
            Entry::Convicted { provider: Provider(0), payer: Bytes::new(), why: Out::Unaudited },
        ];
        let names: Vec<String> = told(&entries).into_iter().map(|(event, ..)| event).collect();
        assert_eq!(names, ["joined", "leased", "paid", "left-out"]);
    }

    #[test]
    fn the_last_line_says_how_it_ended_and_with_which_exit_code() {
        let last = |ending: Ending, is_stopped: bool| {
            let ended = Ended::of(&ending, &Closed { left: Vec::new(), is_stopped });
            let happened = ended.happened();
            (happened.event.to_owned(), happened.facts, happened.detail.to_owned())
        };
        let failed = || Ending::Failed("it trapped".to_owned());
        let code = |code: u8| json!({"exitCode": code});
        assert_eq!(last(Ending::Whole, false), ("done".to_owned(), code(0), String::new()));
        assert_eq!(last(failed(), false), ("failed".to_owned(), code(1), "it trapped".to_owned()));
        for (ending, is_stopped) in [(Ending::Stopped, false), (Ending::Whole, true), (failed(), true)] {
            let (event, facts, why) = last(ending, is_stopped);
            assert!(event == "stopped" && facts == code(3) && why.starts_with("you stopped it"), "{event} {why}");
        }
        for (error, event) in [(eyre!("no node"), "undecided"), (Interrupted.into(), "stopped")] {
            let ended = Ended::undecided(&error);
            let happened = ended.happened();
            assert_eq!((happened.event, &happened.facts), (event, &code(3)), "{error}");
        }
        assert_eq!(Ended::refused("no recipe".to_owned()).happened().event, "failed");
    }
}
