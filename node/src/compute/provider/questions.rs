//! What is asked of a provider in public searches, in which order it is answered.
//!
//! # Design
//! Everybody may accuse many units at once, and ask about each of them again as soon as it is answered. So only some questions are answered in each look, those
//! that wait longest first: none keeps another from its answer, and all together keep no unit from being opened.
//!
//! Spec: specs/0008-audit.md §9.2.

use std::collections::{BTreeMap, VecDeque};

/// A unit, and the segment that the state is after.
pub(super) type Question = (u32, u32);

/// Questions that were read from the chain and are not answered yet; there is one at a time about a unit.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<u32, u32>,
    /// Units in the order in which they were asked about; of some the question is not open any more.
    turns: VecDeque<u32>,
}

impl Questions {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn asked(&mut self, (unit, segment): Question) {
        if self.open.insert(unit, segment).is_none() {
            self.turns.push_back(unit);
        }
    }

    pub(super) fn answered(&mut self, unit: u32) {
        self.open.remove(&unit);
    }

    /// Takes those that wait longest, so many at most.
    pub(super) fn take(&mut self, most: usize) -> Vec<Question> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(unit) = self.turns.pop_front() else { break };
            taken.extend(self.open.remove(&unit).map(|segment| (unit, segment)));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn who_asks_about_many_units_again_and_again_keeps_no_other_question_from_its_answer() {
        let mut questions = Questions::default();
        (0..40).for_each(|unit| questions.asked((unit, 1)));
        // Whoever asks about low numbers asks anew at once, sixteen at a time; an honest question stands among them.
        questions.asked((1_000, 7));
        let mut looks = 0;
        while !questions.is_empty() {
            let taken = questions.take(16);
            looks += 1;
            assert!(taken.len() <= 16);
            if taken.contains(&(1_000, 7)) {
                break;
            }
            taken.into_iter().for_each(|(unit, segment)| questions.asked((unit, segment + 1)));
        }
        assert_eq!(looks, 3);
    }

    #[test]
    fn a_question_is_taken_once_and_one_that_came_to_nothing_waits_behind_the_others() {
        let mut questions = Questions::default();
        questions.asked((1, 5));
        questions.asked((2, 6));
        questions.answered(1);
        // Read again after a start, and asked anew.
        questions.asked((1, 9));
        assert_eq!(questions.take(1), [(1, 9)]);
        questions.asked((1, 9));
        assert_eq!(questions.take(9), [(2, 6), (1, 9)]);
        assert!(questions.is_empty() && questions.take(9).is_empty());
    }
}
