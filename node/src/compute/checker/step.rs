//! What to do next about one check, or one ballot on a panel: a pure rule, asked again after every step, every restart and every surprise.
//!
//! # Design
//! As in [`crate::compute::lifecycle`]: the chain says where the check stands, this side adds what only it has. The rule never looks at what
//! was done before, so a step that was lost is simply due again.
//!
//! # Invariants
//! - Nothing is committed that is not on disk, and nothing revealed that was not committed.
//! - Who has not committed may leave at any time and loses nothing; who has committed reveals in time whatever it knows.
//! - *Wrong* is never revealed for want of an answer: what is missing when the time ends is *inconclusive*.
//!
//! Spec: specs/0008-audit.md §7 to §10.

use crate::compute::windows::{CHECK_ROUNDS, Stage, Times};

/// A transaction that must be in a block by a time is sent so many seconds before it at the latest.
pub(super) const MARGIN_SECONDS: u64 = 3;
/// The provider concludes and closes its own windows; a checker does it this much later, so that they do not pay for the same call.
const CONCLUDE_GRACE_SECONDS: u64 = 6;
const CLOSE_GRACE_SECONDS: u64 = 30;

/// Whose turn a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    OnDuty,
    Reserve,
    /// Not this account's, or not eligible.
    None,
}

/// Whether somebody asked for the input in public (round 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    /// Nobody can: of a private job the provider alone gives the input.
    Never,
    /// Another checker did; the customer must answer by then.
    Until(u64),
    /// This one did, by the same time. It goes on looking: what it commits to takes the question back.
    Own(u64),
    Handed,
}

/// What the chain holds about one check. Times are Unix seconds, inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// The node follows the chain still and has not come to what the check's file is about: nothing else here says anything.
    pub(super) behind: bool,
    /// The window is closed.
    pub(super) over: bool,
    pub(super) convicted: bool,
    /// Units of the window that are not concluded.
    pub(super) pending: u32,
    /// After this second the window can be closed.
    pub(super) close_after: u64,
    pub(super) stage: Stage,
    /// The unit's present round.
    pub(super) round: u8,
    pub(super) opened: bool,
    /// In this check's slot, by this account; on a panel with one slot at least.
    pub(super) committed: bool,
    /// Slots of a panel that this account holds and did not commit yet.
    pub(super) more: bool,
    /// This account's ballot on a panel that ended waits to be paid.
    pub(super) owed: bool,
    /// This account's check says that the unit is wrong.
    pub(super) accused: bool,
    pub(super) revealed: bool,
    /// As many checkers as are wanted have committed in this check's round.
    pub(super) full: bool,
    pub(super) rank: Rank,
    /// When round 0 was drawn.
    pub(super) drawn_at: u64,
    /// Of this check's round.
    pub(super) times: Times,
    /// Of the unit's present round.
    pub(super) now_times: Times,
    pub(super) check_seconds: u64,
    pub(super) appeal_by: u64,
    pub(super) asked: Asked,
}

/// What this side has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// What is to be committed is on disk.
    pub(super) prepared: bool,
    /// Nobody served the input when it was tried last.
    pub(super) unserved: bool,
    /// What the comparison with the opened value said, for classes that are judged after the opening.
    pub(super) judged: bool,
    /// This machine cannot run the job.
    pub(super) unfit: bool,
    /// It was run once more, and does not come out wrong any more.
    pub(super) yields: bool,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Call `touch` for the unit's present round.
    Touch,
    /// Fetch the input and run what was drawn.
    Prepare,
    /// Call `askInput`.
    AskInput,
    /// Call `withhold`.
    Withhold,
    /// Write down that nothing could be found out, since even the customer served nothing.
    PrepareNothing,
    /// Call `commitCheck`, or `commitBallot` with the next slots.
    Commit,
    /// Fetch what was opened and compare.
    Judge,
    /// Call `reveal` with what was found, *inconclusive* if nothing was.
    Reveal,
    /// Call `settleBallot`.
    Settle,
    /// Run it once more, and call `challenge` if it is still wrong.
    Appeal,
    /// Call `conclude`.
    Conclude,
    /// Call `close`.
    Close,
    /// Nothing to do until this second.
    Wait(u64),
    /// The check is over.
    Done(End),
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Committed, and everything that follows is said.
    Served,
    /// Others were enough, or the slot is not this account's.
    NotNeeded,
    /// The time to commit passed.
    Late,
    /// This machine cannot run it.
    Unfit,
}

impl End {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Served => "done",
            Self::NotNeeded => "not needed: others were first, or the slot is not this account's",
            Self::Late => "the time to check passed before there was a result; nothing is lost",
            Self::Unfit => "this machine cannot run it; a reserve steps in, nothing is lost",
        }
    }
}

/// What is fixed about a check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) round: u8,
    /// Class exact: the contract compares, so there is nothing to judge after the opening.
    pub(super) exact: bool,
    /// So many seconds later than others this checker concludes.
    pub(super) stagger_seconds: u64,
}

/// The rule. `now` is the time of the newest block.
pub(super) fn check_step(kind: Kind, sight: &Sight, held: Held, now: u64) -> Step {
    // A window or a round that is not there yet is not over: who forgot it could not reveal what it committed.
    if sight.behind {
        return Step::Wait(now.saturating_add(CONCLUDE_GRACE_SECONDS));
    }
    // What a panel owes it owes for ever, but nobody would look again.
    if sight.owed {
        return Step::Settle;
    }
    if sight.over {
        return Step::Done(if sight.committed { End::Served } else { End::NotNeeded });
    }
    let here = sight.round == kind.round && matches!(sight.stage, Stage::None | Stage::Checking);
    if !sight.committed {
        return before_commit(kind, sight, held, here, now);
    }
    if here && !sight.revealed && now <= sight.times.reveal_by {
        return before_reveal(kind, sight, held, now);
    }
    afterwards(kind, sight, held, now)
}

fn before_commit(kind: Kind, sight: &Sight, held: Held, here: bool, now: u64) -> Step {
    // A convicted window takes no new checks of round 0, and its later rounds change nothing for anybody.
    if !here || sight.convicted || sight.full {
        return Step::Done(End::NotNeeded);
    }
    if !sight.times.is_drawn() {
        return Step::Touch;
    }
    let check_by = sight.times.check_by;
    let turn = match sight.rank {
        Rank::OnDuty => 0,
        // The contract lets reserves in when less than half of the time is left.
        Rank::Reserve => check_by.saturating_sub(sight.check_seconds / 2).saturating_add(1),
        Rank::None => return Step::Done(End::NotNeeded),
    };
    if held.unfit {
        return Step::Done(End::Unfit);
    }
    let late = now.saturating_add(MARGIN_SECONDS) > check_by;
    match sight.asked {
        // What came after all is worth more than a fee for nothing.
        Asked::Own(_) if held.prepared && !late => return Step::Commit,
        Asked::Until(hand_by) | Asked::Own(hand_by) if now > hand_by => return Step::Withhold,
        _ => {}
    }
    if late {
        return Step::Done(End::Late);
    }
    if now < turn {
        return Step::Wait(turn);
    }
    if held.prepared {
        return Step::Commit;
    }
    if !held.unserved || kind.round != 0 || sight.rank != Rank::OnDuty {
        return Step::Prepare;
    }
    // Not from `checkBy`, which moves when somebody asks, also if that was taken back.
    let ask_from = sight.drawn_at.saturating_add(sight.check_seconds / 4);
    let ask_by = sight.drawn_at.saturating_add(sight.check_seconds / 2);
    match sight.asked {
        Asked::No if now >= ask_from && now <= ask_by => Step::AskInput,
        // One more try before the time ends, then it is said that nothing was found.
        Asked::Handed if now.saturating_add(MARGIN_SECONDS.saturating_mul(2)) > check_by => Step::PrepareNothing,
        _ => Step::Prepare,
    }
}

const fn before_reveal(kind: Kind, sight: &Sight, held: Held, now: u64) -> Step {
    let Times { check_by, open_by, reveal_by } = sight.times;
    if sight.more && held.prepared && now.saturating_add(MARGIN_SECONDS) <= check_by {
        return Step::Commit;
    }
    if now <= check_by {
        return Step::Wait(check_by.saturating_add(1));
    }
    if kind.exact {
        return Step::Reveal;
    }
    match (sight.opened, held.judged) {
        (true, true) => Step::Reveal,
        (true, false) if now.saturating_add(MARGIN_SECONDS) > reveal_by => Step::Reveal,
        (true, false) => Step::Judge,
        // What was not opened in time can not be judged, and convicts by itself.
        (false, _) if now <= open_by => Step::Wait(now.saturating_add(1)),
        (false, _) => Step::Wait(reveal_by.saturating_add(1)),
    }
}

/// Committed, and revealed or too late for it: what is left is to see that the unit is concluded.
fn afterwards(kind: Kind, sight: &Sight, held: Held, now: u64) -> Step {
    let grace = CONCLUDE_GRACE_SECONDS.saturating_add(kind.stagger_seconds);
    let after = |time: u64, grace: u64, step| {
        let due = time.saturating_add(grace);
        if now > due { step } else { Step::Wait(due.saturating_add(1)) }
    };
    match sight.stage {
        // Referees end their own rounds.
        Stage::Checking if sight.round >= CHECK_ROUNDS && kind.round < CHECK_ROUNDS => {
            Step::Wait(now.saturating_add(CONCLUDE_GRACE_SECONDS))
        }
        Stage::Checking if !sight.now_times.is_drawn() => Step::Touch,
        Stage::Checking => after(sight.now_times.reveal_by, grace, Step::Conclude),
        // Who accused loses a seat, unless referees say otherwise; in a convicted window nobody does.
        Stage::Cleared
            if sight.accused
                && !held.yields
                && !sight.convicted
                && kind.round < CHECK_ROUNDS
                && now.saturating_add(MARGIN_SECONDS) <= sight.appeal_by =>
        {
            Step::Appeal
        }
        Stage::Condemned | Stage::Cleared => after(sight.appeal_by, grace, Step::Conclude),
        _ if sight.pending > 0 => Step::Wait(now.saturating_add(CONCLUDE_GRACE_SECONDS)),
        _ => after(sight.close_after, CLOSE_GRACE_SECONDS.saturating_add(kind.stagger_seconds), Step::Close),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const NOW: u64 = 10_000;
    const EXACT: Kind = Kind { round: 0, exact: true, stagger_seconds: 0 };
    const JUDGED: Kind = Kind { round: 0, exact: false, stagger_seconds: 0 };
    const NOTHING: Held = Held { prepared: false, unserved: false, judged: false, unfit: false, yields: false };
    const PREPARED: Held = Held { prepared: true, ..NOTHING };
    const UNSERVED: Held = Held { unserved: true, ..NOTHING };

    /// Drawn at `NOW`, 100 s to check and 60 s to reveal.
    fn sight() -> Sight {
        let times = Times { check_by: NOW + 100, open_by: NOW + 130, reveal_by: NOW + 160 };
        Sight {
            behind: false,
            over: false,
            convicted: false,
            pending: 1,
            close_after: NOW + 190,
            stage: Stage::Checking,
            round: 0,
            opened: false,
            committed: false,
            more: false,
            owed: false,
            accused: false,
            revealed: false,
            full: false,
            rank: Rank::OnDuty,
            drawn_at: NOW,
            times,
            now_times: times,
            check_seconds: 100,
            appeal_by: 0,
            asked: Asked::No,
        }
    }

    #[test]
    fn a_checker_on_duty_prepares_commits_waits_and_reveals() {
        let sight = sight();
        assert_eq!(check_step(EXACT, &Sight { stage: Stage::None, ..sight }, NOTHING, NOW), Step::Prepare);
        assert_eq!(check_step(EXACT, &sight, PREPARED, NOW), Step::Commit);
        let committed = Sight { committed: true, ..sight };
        assert_eq!(check_step(EXACT, &committed, PREPARED, NOW + 100), Step::Wait(NOW + 101));
        assert_eq!(check_step(EXACT, &committed, PREPARED, NOW + 101), Step::Reveal);
        assert_eq!(check_step(EXACT, &committed, PREPARED, NOW + 160), Step::Reveal);
        let revealed = Sight { revealed: true, ..committed };
        assert_eq!(check_step(EXACT, &revealed, PREPARED, NOW + 101), Step::Wait(NOW + 167));
        assert_eq!(check_step(EXACT, &revealed, PREPARED, NOW + 167), Step::Conclude);
    }

    #[test]
    fn nothing_is_committed_shortly_before_the_end_or_for_somebody_else() {
        let sight = sight();
        assert_eq!(check_step(EXACT, &sight, PREPARED, NOW + 97), Step::Commit);
        assert_eq!(check_step(EXACT, &sight, PREPARED, NOW + 98), Step::Done(End::Late));
        for other in [
            Sight { full: true, ..sight },
            Sight { rank: Rank::None, ..sight },
            Sight { round: 1, ..sight },
            Sight { convicted: true, ..sight },
            Sight { stage: Stage::Unchecked, ..sight },
            Sight { over: true, ..sight },
        ] {
            assert_eq!(check_step(EXACT, &other, PREPARED, NOW), Step::Done(End::NotNeeded), "{other:?}");
        }
        let unfit = Held { unfit: true, ..NOTHING };
        assert_eq!(check_step(EXACT, &sight, unfit, NOW), Step::Done(End::Unfit));
        let undrawn = Sight { times: Times::default(), rank: Rank::None, ..sight };
        assert_eq!(check_step(EXACT, &undrawn, NOTHING, NOW), Step::Touch);
    }

    #[test]
    fn a_node_that_has_not_come_to_a_window_or_a_round_ends_no_check() {
        let later = Kind { round: 1, ..EXACT };
        let (before_window, before_round) = (Sight { over: true, stage: Stage::None, ..sight() }, sight());
        for (kind, sight) in [(EXACT, before_window), (later, before_round)] {
            assert_eq!(check_step(kind, &sight, PREPARED, NOW), Step::Done(End::NotNeeded));
            let behind = Sight { behind: true, ..sight };
            assert!(matches!(check_step(kind, &behind, PREPARED, NOW), Step::Wait(until) if until > NOW));
        }
    }

    #[test]
    fn a_reserve_comes_in_the_second_half_unless_enough_have_committed() {
        let reserve = Sight { rank: Rank::Reserve, ..sight() };
        assert_eq!(check_step(EXACT, &reserve, NOTHING, NOW), Step::Wait(NOW + 51));
        assert_eq!(check_step(EXACT, &reserve, NOTHING, NOW + 51), Step::Prepare);
        assert_eq!(check_step(EXACT, &reserve, PREPARED, NOW + 51), Step::Commit);
        let full = Sight { full: true, ..reserve };
        assert_eq!(check_step(EXACT, &full, PREPARED, NOW + 60), Step::Done(End::NotNeeded));
    }

    #[test]
    fn an_input_that_nobody_serves_is_asked_for_in_public_and_its_lack_is_the_customers() {
        let sight = sight();
        assert_eq!(check_step(EXACT, &sight, UNSERVED, NOW + 24), Step::Prepare);
        assert_eq!(check_step(EXACT, &sight, UNSERVED, NOW + 25), Step::AskInput);
        assert_eq!(check_step(EXACT, &sight, UNSERVED, NOW + 50), Step::AskInput);
        assert_eq!(check_step(EXACT, &sight, UNSERVED, NOW + 51), Step::Prepare);
        let reserve = Sight { rank: Rank::Reserve, ..sight };
        assert_eq!(check_step(EXACT, &reserve, UNSERVED, NOW + 51), Step::Prepare);
        let private = Sight { asked: Asked::Never, ..sight };
        assert_eq!(check_step(EXACT, &private, UNSERVED, NOW + 25), Step::Prepare, "the contract takes no question");
        // Asked at NOW + 30, so it must be handed by NOW + 80, and the time to check ends at NOW + 150.
        let times = Times { check_by: NOW + 150, open_by: NOW + 180, reveal_by: NOW + 210 };
        let asked = Sight { times, asked: Asked::Until(NOW + 80), ..sight };
        for asked in [asked, Sight { asked: Asked::Own(NOW + 80), ..asked }] {
            assert_eq!(check_step(EXACT, &asked, UNSERVED, NOW + 80), Step::Prepare);
            assert_eq!(check_step(EXACT, &asked, UNSERVED, NOW + 81), Step::Withhold);
        }
        let handed = Sight { asked: Asked::Handed, ..asked };
        assert_eq!(check_step(EXACT, &handed, UNSERVED, NOW + 144), Step::Prepare);
        assert_eq!(check_step(EXACT, &handed, UNSERVED, NOW + 145), Step::PrepareNothing);
        assert_eq!(check_step(EXACT, &handed, PREPARED, NOW + 145), Step::Commit);
    }

    #[test]
    fn who_asked_and_has_the_input_after_all_commits_instead_of_blaming_the_customer() {
        let times = Times { check_by: NOW + 150, open_by: NOW + 180, reveal_by: NOW + 210 };
        let own = Sight { times, asked: Asked::Own(NOW + 75), ..sight() };
        assert_eq!(check_step(EXACT, &own, PREPARED, NOW + 60), Step::Commit);
        assert_eq!(check_step(EXACT, &own, PREPARED, NOW + 76), Step::Commit, "nobody has withheld it yet");
        assert_eq!(check_step(EXACT, &own, PREPARED, NOW + 147), Step::Commit);
        assert_eq!(check_step(EXACT, &own, PREPARED, NOW + 148), Step::Withhold, "too late to be in a block");
        // Another's question is not taken back by this one's commitment.
        let taken_back = Sight { asked: Asked::No, ..own };
        assert_eq!(
            check_step(EXACT, &taken_back, UNSERVED, NOW + 50),
            Step::AskInput,
            "another may ask, by the same time"
        );
        assert_eq!(check_step(EXACT, &taken_back, UNSERVED, NOW + 51), Step::Prepare);
        let other = Sight { asked: Asked::Until(NOW + 75), ..own };
        assert_eq!(check_step(EXACT, &other, PREPARED, NOW + 60), Step::Commit);
        assert_eq!(check_step(EXACT, &other, PREPARED, NOW + 76), Step::Withhold);
    }

    #[test]
    fn what_is_judged_waits_for_the_opening_and_says_inconclusive_rather_than_nothing() {
        let committed = Sight { committed: true, ..sight() };
        assert_eq!(check_step(JUDGED, &committed, PREPARED, NOW + 101), Step::Wait(NOW + 102));
        // Never opened: nothing can be revealed, and the unit is concluded without it.
        assert_eq!(check_step(JUDGED, &committed, PREPARED, NOW + 131), Step::Wait(NOW + 161));
        assert_eq!(check_step(JUDGED, &committed, PREPARED, NOW + 161), Step::Wait(NOW + 167));
        assert_eq!(check_step(JUDGED, &committed, PREPARED, NOW + 167), Step::Conclude);
        let opened = Sight { opened: true, ..committed };
        assert_eq!(check_step(JUDGED, &opened, PREPARED, NOW + 101), Step::Judge);
        assert_eq!(check_step(JUDGED, &opened, Held { judged: true, ..PREPARED }, NOW + 101), Step::Reveal);
        assert_eq!(check_step(JUDGED, &opened, PREPARED, NOW + 157), Step::Judge);
        assert_eq!(check_step(JUDGED, &opened, PREPARED, NOW + 158), Step::Reveal);
    }

    #[test]
    fn who_committed_stays_until_the_window_is_closed() {
        let served = Sight { committed: true, revealed: true, ..sight() };
        let second = Times { check_by: NOW + 300, open_by: NOW + 330, reveal_by: NOW + 360 };
        let later = Sight { round: 1, now_times: second, ..served };
        assert_eq!(check_step(EXACT, &later, PREPARED, NOW + 200), Step::Wait(NOW + 367));
        assert_eq!(check_step(EXACT, &later, PREPARED, NOW + 367), Step::Conclude);
        let undrawn = Sight { now_times: Times::default(), ..later };
        assert_eq!(check_step(EXACT, &undrawn, PREPARED, NOW + 200), Step::Touch);
        let condemned = Sight { stage: Stage::Condemned, appeal_by: NOW + 500, ..later };
        assert_eq!(check_step(EXACT, &condemned, PREPARED, NOW + 506), Step::Wait(NOW + 507));
        assert_eq!(check_step(EXACT, &condemned, PREPARED, NOW + 507), Step::Conclude);
        let concluded = Sight { stage: Stage::Verified, ..served };
        assert_eq!(check_step(EXACT, &concluded, PREPARED, NOW + 300), Step::Wait(NOW + 306));
        let last = Sight { pending: 0, ..concluded };
        assert_eq!(check_step(EXACT, &last, PREPARED, NOW + 220), Step::Wait(NOW + 221));
        assert_eq!(check_step(EXACT, &last, PREPARED, NOW + 221), Step::Close);
        assert_eq!(check_step(EXACT, &Sight { over: true, ..last }, PREPARED, NOW), Step::Done(End::Served));
    }

    #[test]
    fn a_referee_commits_all_its_slots_reveals_once_and_is_paid_before_it_leaves() {
        let panel = Kind { round: 2, ..EXACT };
        let sight = Sight { round: 2, more: true, ..sight() };
        assert_eq!(check_step(panel, &sight, NOTHING, NOW), Step::Prepare);
        assert_eq!(check_step(panel, &sight, UNSERVED, NOW + 30), Step::Prepare, "nobody is asked in public");
        assert_eq!(check_step(panel, &sight, PREPARED, NOW), Step::Commit);
        let some = Sight { committed: true, ..sight };
        assert_eq!(check_step(panel, &some, PREPARED, NOW + 97), Step::Commit);
        // Too late for the rest: what is committed is revealed all the same.
        assert_eq!(check_step(panel, &some, PREPARED, NOW + 98), Step::Wait(NOW + 101));
        assert_eq!(check_step(panel, &some, PREPARED, NOW + 101), Step::Reveal);
        let all = Sight { more: false, ..some };
        assert_eq!(check_step(panel, &all, PREPARED, NOW), Step::Wait(NOW + 101));
        let revealed = Sight { revealed: true, ..all };
        assert_eq!(check_step(panel, &revealed, PREPARED, NOW + 167), Step::Conclude);
        let larger = Sight { round: 3, now_times: Times::default(), ..revealed };
        assert_eq!(check_step(panel, &larger, PREPARED, NOW + 170), Step::Touch);
        let owed = Sight { owed: true, over: true, ..revealed };
        assert_eq!(check_step(panel, &owed, PREPARED, NOW + 300), Step::Settle);
        assert_eq!(check_step(panel, &Sight { owed: false, ..owed }, PREPARED, NOW + 300), Step::Done(End::Served));
        assert_eq!(check_step(panel, &Sight { rank: Rank::None, ..sight }, PREPARED, NOW), Step::Done(End::NotNeeded));
    }

    #[test]
    fn an_accuser_that_others_contradict_appeals_while_there_is_time_and_it_is_sure() {
        let cleared = Sight {
            stage: Stage::Cleared,
            round: 1,
            committed: true,
            revealed: true,
            accused: true,
            appeal_by: NOW + 500,
            ..sight()
        };
        assert_eq!(check_step(EXACT, &cleared, PREPARED, NOW + 497), Step::Appeal);
        assert_eq!(check_step(EXACT, &cleared, PREPARED, NOW + 498), Step::Wait(NOW + 507));
        let unsure = Held { yields: true, ..PREPARED };
        assert_eq!(check_step(EXACT, &cleared, unsure, NOW + 400), Step::Wait(NOW + 507));
        for other in [
            Sight { accused: false, ..cleared },
            Sight { convicted: true, ..cleared },
            Sight { stage: Stage::Condemned, ..cleared },
        ] {
            assert_eq!(check_step(EXACT, &other, PREPARED, NOW + 400), Step::Wait(NOW + 507), "{other:?}");
        }
    }

    /// Every second of a check, in every state of what is held: what is committed is prepared, and nothing is revealed outside its time.
    #[test]
    fn no_state_leads_to_a_reveal_without_a_commitment_or_a_commitment_without_a_file() {
        for kind in [EXACT, JUDGED, Kind { round: 1, ..EXACT }, Kind { round: 2, ..EXACT }, Kind { round: 4, ..JUDGED }]
        {
            for second in 0..400 {
                for bits in 0..128_u32 {
                    let on = |bit: u32| bits & (1 << bit) != 0;
                    let held = Held { prepared: on(0), unserved: on(1), judged: on(2), unfit: false, yields: false };
                    let base = Sight { round: kind.round, ..sight() };
                    let sight = Sight { committed: on(3), revealed: on(4), opened: on(5), more: on(6), ..base };
                    let now = NOW + second;
                    match check_step(kind, &sight, held, now) {
                        Step::Commit => {
                            assert!(held.prepared && now <= sight.times.check_by);
                            assert!(!sight.committed || sight.more);
                        }
                        Step::Reveal => {
                            assert!(sight.committed && !sight.revealed);
                            assert!(now > sight.times.check_by && now <= sight.times.reveal_by);
                            assert!(kind.exact || sight.opened);
                        }
                        Step::Prepare => assert!(!held.prepared && !sight.committed),
                        Step::Wait(until) => assert!(until > now),
                        _ => {}
                    }
                }
            }
        }
    }
}
