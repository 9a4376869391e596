//! The link from delivered files to what a proved order, or a proved map, says of its outputs.
//!
//! # Design
//! [`Results`] is what a *proved* [`crate::Report`] binds, and [`Results::compare`] holds the names of outputs against it. Files are made from outputs by
//! a recipe: no certificate names them, and nothing here does.
//!
//! Spec: specs/0002-proof-bundle.md §7 and §13, specs/0003-job.md.

use crate::market::Order;
use alloy_primitives::B256;
use std::fmt;

/// Names an output that comes in pieces, as [`output_hash`] names a whole one.
#[derive(Clone, Debug, Default)]
pub struct OutputHasher(blake3::Hasher);

impl OutputHasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Name of all pieces so far.
    #[must_use]
    pub fn name(&self) -> B256 {
        B256::from(*self.0.finalize().as_bytes())
    }
}

/// Name of one unit output: BLAKE3 of its bytes.
#[must_use]
pub fn output_hash(output: &[u8]) -> B256 {
    B256::from(*blake3::hash(output).as_bytes())
}

/// Result root of a job: BLAKE3 of the unit output names, concatenated in unit order. Of a job of several segments the names of the lists of its units' states
/// follow them, in the same order (specs/0003-job.md §5).
///
/// Compare it with `result_root` of the [`crate::Order`] in a *proved* report, and the count with its `units`.
#[must_use]
pub fn result_root(outputs: impl IntoIterator<Item = B256>) -> B256 {
    let mut hasher = blake3::Hasher::new();
    for output in outputs {
        hasher.update(output.as_slice());
    }
    B256::from(*hasher.finalize().as_bytes())
}

/// What a proved file says that the outputs of a job are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Results {
    /// Of an order: one hash over the names of all outputs, and of a job of several segments of the lists of their states, which does not tell one from
    /// another.
    Root {
        /// The result root.
        root: B256,
        /// Outputs that it is made of: those of the units that the provider committed to.
        units: u32,
    },
    /// Of a map: each output, in unit order.
    Names(Vec<NamedOutput>),
}

/// An output of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedOutput {
    /// Its name.
    pub name: B256,
    /// Whether all steps that lead to it stand in windows that count. Else nothing but the customer's signature says that it is the result.
    pub is_covered: bool,
}

/// One way in which outputs are not those that are proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is not there, or not whole.
    Missing {
        /// Of which unit, from 0.
        unit: u32,
    },
    /// Other bytes.
    Output {
        /// Of which unit, from 0.
        unit: u32,
        /// Their name.
        got: B256,
        /// The name that is proved.
        expected: B256,
    },
    /// At least one output has other bytes; which one an order's certificate does not tell.
    Root {
        /// Over the outputs that are there.
        got: B256,
        /// That is proved.
        expected: B256,
    },
    /// More outputs than there are.
    Additional {
        /// Outputs that were given.
        got: usize,
        /// Outputs that are proved.
        expected: u32,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { unit } => write!(f, "the output of unit {unit} is missing, or not whole"),
            Self::Output { unit, got, expected } => {
                write!(f, "the output of unit {unit} is another: got={got} expected={expected}")
            }
            Self::Root { got, expected } => write!(
                f,
                "at least one output is another, and an order's certificate does not tell which: got={got} expected={expected}"
            ),
            Self::Additional { got, expected } => {
                write!(f, "there are more outputs than units: got={got} expected={expected}")
            }
        }
    }
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Outputs that are proved.
    pub units: u32,
    /// Outputs that are known to be equal: of an order all of them or none.
    pub equal: u32,
    /// Of the equal ones, those that are not covered ([`NamedOutput::is_covered`]).
    pub uncovered: u32,
    /// All differences, those of one unit in unit order; empty: every output is the proved one.
    pub differences: Vec<Difference>,
}

impl Results {
    /// What a proved order binds; `None` if nothing was delivered.
    pub(crate) fn of_order(order: &Order) -> Option<Self> {
        let units = order.committed_units();
        (!order.result_root.is_zero()).then_some(Self::Root { root: order.result_root, units })
    }

    /// How many outputs there are.
    #[must_use]
    pub fn units(&self) -> u32 {
        match self {
            Self::Root { units, .. } => *units,
            Self::Names(names) => u32::try_from(names.len()).unwrap_or(u32::MAX),
        }
    }

    /// Holds the names of outputs, in unit order, against what is proved; `None` stands for an output that is not there. Outputs behind the end of the
    /// slice are not there either. Of an order whose job has several segments the names of the lists of states follow, one a unit: without them its outputs
    /// are never found equal.
    ///
    /// Trust: the names are whatever was found. Cost: linear in the units and in the names.
    #[must_use]
    pub fn compare(&self, found: &[Option<B256>]) -> Comparison {
        let units = self.units();
        let mut comparison = Comparison { units, equal: 0, uncovered: 0, differences: Vec::new() };
        let there = |unit: u32| usize::try_from(unit).ok().and_then(|unit| found.get(unit).copied().flatten());
        let mut parts = usize::try_from(units).unwrap_or(usize::MAX);
        match self {
            Self::Root { root, .. } => {
                let names: Vec<B256> = (0..units).filter_map(there).collect();
                let missing = (0..units).filter(|unit| there(*unit).is_none());
                comparison.differences.extend(missing.map(|unit| Difference::Missing { unit }));
                let got = result_root(names);
                if got != *root && is_root_with_lists(*root, parts, found) {
                    (comparison.equal, parts) = (units, found.len());
                } else if comparison.differences.is_empty() && got == *root {
                    comparison.equal = units;
                } else if comparison.differences.is_empty() {
                    comparison.differences.push(Difference::Root { got, expected: *root });
                }
            }
            Self::Names(names) => {
                for (unit, NamedOutput { name, is_covered }) in (0..units).zip(names) {
                    match there(unit) {
                        Some(got) if got == *name => {
                            comparison.equal = comparison.equal.saturating_add(1);
                            comparison.uncovered = comparison.uncovered.saturating_add(u32::from(!is_covered));
                        }
                        Some(got) => {
                            comparison.differences.push(Difference::Output { unit, got, expected: *name });
                        }
                        None => comparison.differences.push(Difference::Missing { unit }),
                    }
                }
            }
        }
        let got = found.len();
        if got > parts {
            comparison.differences.push(Difference::Additional { got, expected: units });
        }
        comparison
    }
}

/// Whether a root is that of so many outputs and as many lists of states: no root is that of outputs alone, too.
fn is_root_with_lists(root: B256, outputs: usize, found: &[Option<B256>]) -> bool {
    let names: Option<Vec<B256>> = found.iter().copied().collect();
    found.len() == outputs.saturating_mul(2) && names.is_some_and(|names| result_root(names) == root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_root_changes_with_every_output_and_their_order() {
        let names: Vec<B256> = [b"a".as_slice(), b"b", b""].map(output_hash).to_vec();
        let root = result_root(names.clone());
        assert_ne!(root, result_root(names.iter().rev().copied()));
        assert_ne!(root, result_root(names.iter().take(2).copied()));
        assert_eq!(root, output_hash(&names.concat()));
    }

    #[test]
    fn an_output_in_pieces_has_the_name_of_the_whole() {
        let mut hasher = OutputHasher::default();
        assert_eq!(hasher.name(), output_hash(b""));
        [b"out".as_slice(), b"", b"put"].iter().for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.name(), output_hash(b"output"));
    }

    /// Names of three outputs.
    fn three() -> [B256; 3] {
        [b"a".as_slice(), b"b", b"c"].map(output_hash)
    }

    fn given(names: &[B256]) -> Vec<Option<B256>> {
        names.iter().copied().map(Some).collect()
    }

    #[test]
    fn the_outputs_of_an_order_are_equal_together_or_nothing_is_said_of_any() {
        let [a, b, c] = three();
        let results = Results::Root { root: result_root(three()), units: 3 };
        let equal = Comparison { units: 3, equal: 3, uncovered: 0, differences: Vec::new() };
        assert_eq!(results.compare(&given(&[a, b, c])), equal);
        let (got, expected) = (result_root([a, a, c]), result_root(three()));
        let differing = |differences| Comparison { equal: 0, differences, ..equal.clone() };
        assert_eq!(results.compare(&given(&[a, a, c])), differing(vec![Difference::Root { got, expected }]));
        // The order counts.
        assert_eq!(results.compare(&given(&[b, a, c])).equal, 0);
        assert_eq!(
            results.compare(&[Some(a), None]),
            differing(vec![Difference::Missing { unit: 1 }, Difference::Missing { unit: 2 }])
        );
        // One more than there are: the first ones are still the proved ones.
        let more = results.compare(&given(&[a, b, c, c]));
        assert_eq!((more.equal, more.differences), (3, vec![Difference::Additional { got: 4, expected: 3 }]));
    }

    /// Outputs and lists of states are bound together: neither alone has the root.
    #[test]
    fn the_outputs_of_an_order_of_several_segments_are_equal_with_the_lists_of_their_states() {
        let [a, b, c] = three();
        let [list_a, list_b, list_c] = [b"list of a".as_slice(), b"list of b", b"list of c"].map(output_hash);
        let all = [a, b, c, list_a, list_b, list_c];
        let results = Results::Root { root: result_root(all), units: 3 };
        let equal = Comparison { units: 3, equal: 3, uncovered: 0, differences: Vec::new() };
        assert_eq!(results.compare(&given(&all)), equal);
        for other in [&all[..3], &all[..5], &[a, b, b, list_a, list_b, list_c], &[a, b, c, list_a, list_c, list_b]] {
            let compared = results.compare(&given(other));
            assert!(compared.equal == 0 && !compared.differences.is_empty(), "{compared:?}");
        }
        let mut found = given(&all);
        found[4] = None;
        assert_eq!(results.compare(&found).equal, 0);
        found[4] = Some(list_b);
        found.push(Some(a));
        assert_eq!(results.compare(&found).equal, 0, "one part more is another root");
    }

    #[test]
    fn the_outputs_of_a_map_are_told_one_by_one_with_what_only_its_customer_says() {
        let [a, b, c] = three();
        let named = |(name, is_covered)| NamedOutput { name, is_covered };
        let results = Results::Names([(a, true), (b, false), (c, true)].map(named).to_vec());
        let equal = Comparison { units: 3, equal: 3, uncovered: 1, differences: Vec::new() };
        assert_eq!(results.compare(&given(&[a, b, c])), equal);
        let found = results.compare(&[Some(a), Some(c), None, None]);
        let differences = vec![
            Difference::Output { unit: 1, got: c, expected: b },
            Difference::Missing { unit: 2 },
            Difference::Additional { got: 4, expected: 3 },
        ];
        assert_eq!(found, Comparison { units: 3, equal: 1, uncovered: 0, differences });
        assert_eq!(results.compare(&[]).differences.len(), 3);
        let words = [Difference::Missing { unit: 2 }, Difference::Additional { got: 4, expected: 3 }];
        assert_eq!(
            words.map(|difference| difference.to_string()),
            ["the output of unit 2 is missing, or not whole", "there are more outputs than units: got=4 expected=3"]
        );
    }
}
