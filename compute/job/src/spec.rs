//! The job spec: what is to be computed, under which limits, and the hash that names it on chain.
//!
//! # Invariants
//! A [`JobSpec`] passed every check of specs/0003-job.md §2. `decode(encode(x)) == x`, and no other bytes decode to `x`.

use crate::{
    check::{self, Bound, Checker, Element, Tolerance},
    limits::{self, Limits, SEGMENT_COUNT_MAX, SEGMENTS_OF_JOB_MAX, UNIT_COUNT_MAX},
};
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};
use core::{fmt, ops::Deref, str::FromStr};
use serde::{Deserialize, Serialize};

/// The only version of the format.
pub const VERSION: u16 = 2;
/// Longest encoding accepted, bytes. The longest valid one has 320.
pub const ENCODED_BYTES_MAX: usize = 512;
/// Longest recipe name, characters.
pub const RECIPE_NAME_CHARS_MAX: usize = 64;
const HASH_DOMAIN: &[u8] = b"keystead/job/v2";

/// Why a job spec is not one. The sender was wrong; nothing to retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The encoding is longer than any valid one.
    #[error("job spec too long: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLong {
        /// Bytes received.
        got_bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },
    /// The bytes are not the RLP list of the format.
    #[error("job spec is not the expected RLP list: {0}")]
    Rlp(alloy_rlp::Error),
    /// Bytes follow the list.
    #[error("job spec has trailing bytes: count={0}")]
    TrailingBytes(usize),
    /// The value was readable, but its one canonical encoding is another.
    #[error("job spec is not in its canonical encoding")]
    NotCanonical,
    /// A version that this program does not know.
    #[error("unknown job spec version: got={got} expected={VERSION}")]
    Version {
        /// The version received.
        got: u16,
    },
    /// The recipe's name has a wrong character or length.
    #[error("recipe name must match [a-z0-9-]{{1,64}}: {0:?}")]
    RecipeName(String),
    /// Neither `wasm/1` nor `wgsl/1`.
    #[error("unknown runtime: {0:?}")]
    Runtime(String),
    /// A class number or name outside the table.
    #[error("unknown job class: {0}")]
    Class(String),
    /// A limit, the unit count or the segment count lies outside its range.
    #[error(transparent)]
    Limit(#[from] limits::Error),
    /// The checker or the tolerance is not acceptable.
    #[error(transparent)]
    Check(#[from] check::Error),
    /// The class and what the job brings along for its check do not belong together.
    #[error("a job of class {class} {rule}")]
    ClassCheck {
        /// The job's class.
        class: Class,
        /// What must hold.
        rule: &'static str,
    },
}

/// The interface between program and machine (not the engine's version, which is the provider's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Runtime {
    /// A WebAssembly core module, specs/0003-job.md §6.
    #[serde(rename = "wasm/1")]
    Wasm1,
    /// A WGSL compute kernel, specs/0003-job.md §7.
    #[serde(rename = "wgsl/1")]
    Wgsl1,
}

impl Runtime {
    /// The name in job specs and recipes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wasm1 => "wasm/1",
            Self::Wgsl1 => "wgsl/1",
        }
    }

    /// The largest program, bytes, inclusive.
    #[must_use]
    pub const fn program_bytes_max(self) -> u64 {
        match self {
            Self::Wasm1 => limits::PROGRAM_BYTES_MAX_WASM,
            Self::Wgsl1 => limits::PROGRAM_BYTES_MAX_WGSL,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Runtime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "wasm/1" => Ok(Self::Wasm1),
            "wgsl/1" => Ok(Self::Wgsl1),
            other => Err(Error::Runtime(other.to_owned())),
        }
    }
}

/// How a result can be checked; named in every result certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Class {
    /// Equal hashes on every machine.
    Exact = 1,
    /// The output itself can be checked, cheaper than it was made.
    SelfChecking = 2,
    /// Elements agree within a declared bound.
    Tolerance = 3,
    /// A statistical test over the output.
    Statistical = 4,
    /// No check is claimed.
    Opaque = 5,
}

impl Class {
    /// The name in recipes, certificates and the user interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::SelfChecking => "self-checking",
            Self::Tolerance => "tolerance",
            Self::Statistical => "statistical",
            Self::Opaque => "opaque",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<u8> for Class {
    type Error = Error;

    fn try_from(number: u8) -> Result<Self, Error> {
        match number {
            1 => Ok(Self::Exact),
            2 => Ok(Self::SelfChecking),
            3 => Ok(Self::Tolerance),
            4 => Ok(Self::Statistical),
            5 => Ok(Self::Opaque),
            other => Err(Error::Class(other.to_string())),
        }
    }
}

/// A recipe's name: `[a-z0-9-]{1,64}`, so it is safe as a folder name and in a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecipeName(String);

impl RecipeName {
    /// Checks the characters and the length; the text is hostile until then.
    pub fn new(text: &str) -> Result<Self, Error> {
        let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.is_empty() || text.len() > RECIPE_NAME_CHARS_MAX || !text.bytes().all(valid) {
            // An overlong name is cut in the message: it comes from a stranger.
            return Err(Error::RecipeName(text.chars().take(RECIPE_NAME_CHARS_MAX).collect()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RecipeName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(&text)
    }
}

impl From<RecipeName> for String {
    fn from(name: RecipeName) -> Self {
        name.0
    }
}

impl fmt::Display for RecipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields of a job spec before they are checked together. Read them through [`JobSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// The recipe whose plan, assembly and reference belong to this job.
    pub recipe: RecipeName,
    /// The program's interface.
    pub runtime: Runtime,
    /// How the result can be checked.
    pub class: Class,
    /// Blob name of the program.
    pub program_hash: B256,
    /// Blob name of the input that all units share.
    pub common_hash: B256,
    /// [`crate::hash_list`] of the unit inputs' blob names, in unit order.
    pub units_hash: B256,
    /// Units, 1 to [`UNIT_COUNT_MAX`].
    pub unit_count: u32,
    /// How often the program is applied to a unit: the output of a segment is the unit input of the next. 1 to [`SEGMENT_COUNT_MAX`], and
    /// at most [`SEGMENTS_OF_JOB_MAX`] in all units together.
    pub segment_count: u32,
    /// What one segment of one unit may use.
    pub limits: Limits,
    /// For class *self-checking*, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checker: Option<Checker>,
    /// For class *tolerance*, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
}

impl Draft {
    fn check(&self) -> Result<(), Error> {
        limits::range("unit_count", u64::from(self.unit_count), 1, u64::from(UNIT_COUNT_MAX))?;
        limits::range("segment_count", u64::from(self.segment_count), 1, u64::from(SEGMENT_COUNT_MAX))?;
        let segments = u64::from(self.unit_count).saturating_mul(u64::from(self.segment_count));
        limits::range("unit_count * segment_count", segments, 1, SEGMENTS_OF_JOB_MAX)?;
        self.limits.check(self.runtime)?;
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(Error::ClassCheck { class: self.class, rule }) };
        let (checks, tolerates) = (self.class == Class::SelfChecking, self.class == Class::Tolerance);
        rule(checks || self.checker.is_none(), "has no checker program")?;
        rule(!checks || self.checker.is_some(), "needs a checker program")?;
        rule(tolerates || self.tolerance.is_none(), "has no tolerance")?;
        rule(!tolerates || self.tolerance.is_some(), "needs a tolerance")?;
        if let Some(checker) = self.checker {
            checker.check()?;
        }
        if let Some(tolerance) = self.tolerance {
            tolerance.check(self.limits.output_bytes_max)?;
        }
        Ok(())
    }
}

/// A checked job spec. Its fields are read through `Deref` to [`Draft`]; they cannot be changed.
///
/// # Example
/// ```
/// use keystead_job::{Class, JobSpec, Limits, Runtime, blob_hash, hash_list, spec::{Draft, RecipeName}};
/// let spec = JobSpec::new(Draft {
///     recipe: RecipeName::new("align")?,
///     runtime: Runtime::Wasm1,
///     class: Class::Exact,
///     program_hash: blob_hash(b"the module"),
///     common_hash: blob_hash(b""),
///     units_hash: hash_list(&[blob_hash(b"unit 0"), blob_hash(b"unit 1")]),
///     unit_count: 2,
///     segment_count: 1,
///     limits: Limits {
///         wall_ms_max: 10_000, fuel_max: 1_000_000, memory_bytes_max: 1 << 20, output_bytes_max: 4096,
///         loop_iterations_max: 0, workgroups: [0; 3],
///     },
///     checker: None,
///     tolerance: None,
/// })?;
/// assert_eq!(JobSpec::decode(&spec.encode())?.hash(), spec.hash());
/// # Ok::<(), keystead_job::spec::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Draft", into = "Draft")]
pub struct JobSpec(Draft);

impl JobSpec {
    /// Checks counts, limits, and what belongs to the class, against specs/0003-job.md §2.
    pub fn new(draft: Draft) -> Result<Self, Error> {
        draft.check()?;
        Ok(Self(draft))
    }

    /// The canonical encoding: an RLP list, at most [`ENCODED_BYTES_MAX`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENCODED_BYTES_MAX);
        Wire::from(&self.0).encode(&mut out);
        out
    }

    /// Decodes hostile bytes: length, structure, canonical form, then ranges.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > ENCODED_BYTES_MAX {
            return Err(Error::TooLong { got_bytes: bytes.len(), max_bytes: ENCODED_BYTES_MAX });
        }
        let mut rest = bytes;
        let wire = <Wire as alloy_rlp::Decodable>::decode(&mut rest).map_err(Error::Rlp)?;
        if !rest.is_empty() {
            return Err(Error::TrailingBytes(rest.len()));
        }
        let spec = Self::new(Draft::try_from(wire)?)?;
        // The RLP reader already refuses long forms; this makes the property independent of the library's care.
        if spec.encode() == bytes { Ok(spec) } else { Err(Error::NotCanonical) }
    }

    /// The job that runs this job's checker program; `None` for other classes. Only its limits, program and common input mean
    /// something: it is never ordered.
    #[must_use]
    pub fn checker_job(&self) -> Option<Self> {
        let checker = self.checker?;
        let limits = Limits {
            fuel_max: checker.fuel_max,
            output_bytes_max: 1,
            loop_iterations_max: 0,
            workgroups: [0; 3],
            ..self.limits
        };
        Some(Self(Draft {
            runtime: Runtime::Wasm1,
            class: Class::Exact,
            program_hash: checker.program_hash,
            unit_count: 1,
            segment_count: 1,
            limits,
            checker: None,
            ..self.0.clone()
        }))
    }

    /// The job hash: `keccak256("keystead/job/v2" || encoding)`.
    #[must_use]
    pub fn hash(&self) -> B256 {
        keccak256([HASH_DOMAIN, &self.encode()].concat())
    }
}

impl Deref for JobSpec {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.0
    }
}

impl TryFrom<Draft> for JobSpec {
    type Error = Error;

    fn try_from(draft: Draft) -> Result<Self, Error> {
        Self::new(draft)
    }
}

impl From<JobSpec> for Draft {
    fn from(spec: JobSpec) -> Self {
        spec.0
    }
}

/// The RLP list, item by item.
#[derive(RlpEncodable, RlpDecodable)]
struct Wire {
    version: u16,
    recipe: String,
    runtime: String,
    class: u8,
    program_hash: B256,
    common_hash: B256,
    units_hash: B256,
    unit_count: u32,
    wall_ms_max: u64,
    fuel_max: u64,
    memory_bytes_max: u64,
    output_bytes_max: u64,
    loop_iterations_max: u32,
    workgroups_x: u32,
    workgroups_y: u32,
    workgroups_z: u32,
    segment_count: u32,
    checker_hash: B256,
    checker_fuel_max: u64,
    tolerance_element: u8,
    tolerance_absolute: u32,
    tolerance_relative: u32,
    tolerance_outliers_ppm: u32,
    tolerance_sound_factor: u32,
}

impl From<&Draft> for Wire {
    fn from(draft: &Draft) -> Self {
        let Limits {
            wall_ms_max,
            fuel_max,
            memory_bytes_max,
            output_bytes_max,
            loop_iterations_max,
            workgroups: [x, y, z],
        } = draft.limits;
        Self {
            version: VERSION,
            recipe: draft.recipe.0.clone(),
            runtime: draft.runtime.as_str().to_owned(),
            class: draft.class as u8,
            program_hash: draft.program_hash,
            common_hash: draft.common_hash,
            units_hash: draft.units_hash,
            unit_count: draft.unit_count,
            wall_ms_max,
            fuel_max,
            memory_bytes_max,
            output_bytes_max,
            loop_iterations_max,
            workgroups_x: x,
            workgroups_y: y,
            workgroups_z: z,
            segment_count: draft.segment_count,
            checker_hash: draft.checker.map_or(B256::ZERO, |checker| checker.program_hash),
            checker_fuel_max: draft.checker.map_or(0, |checker| checker.fuel_max),
            tolerance_element: draft.tolerance.map_or(0, |tolerance| tolerance.element as u8),
            tolerance_absolute: draft.tolerance.map_or(0, |tolerance| tolerance.absolute.to_bits()),
            tolerance_relative: draft.tolerance.map_or(0, |tolerance| tolerance.relative.to_bits()),
            tolerance_outliers_ppm: draft.tolerance.map_or(0, |tolerance| tolerance.outliers_ppm),
            tolerance_sound_factor: draft.tolerance.map_or(0, |tolerance| tolerance.sound_factor),
        }
    }
}

impl Wire {
    /// All zero means none; anything else must be a whole checker. What neither yields does not encode to the same bytes again.
    fn checker(&self) -> Option<Checker> {
        let checker = Checker { program_hash: self.checker_hash, fuel_max: self.checker_fuel_max };
        (!checker.program_hash.is_zero() || checker.fuel_max != 0).then_some(checker)
    }

    fn tolerance(&self) -> Result<Option<Tolerance>, check::Error> {
        if self.tolerance_element == 0 {
            return Ok(None);
        }
        Ok(Some(Tolerance {
            element: Element::try_from(self.tolerance_element)?,
            absolute: Bound::from_bits(self.tolerance_absolute)?,
            relative: Bound::from_bits(self.tolerance_relative)?,
            outliers_ppm: self.tolerance_outliers_ppm,
            sound_factor: self.tolerance_sound_factor,
        }))
    }
}

impl TryFrom<Wire> for Draft {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self, Error> {
        if wire.version != VERSION {
            return Err(Error::Version { got: wire.version });
        }
        Ok(Self {
            checker: wire.checker(),
            tolerance: wire.tolerance()?,
            segment_count: wire.segment_count,
            recipe: RecipeName::new(&wire.recipe)?,
            runtime: wire.runtime.parse()?,
            class: Class::try_from(wire.class)?,
            program_hash: wire.program_hash,
            common_hash: wire.common_hash,
            units_hash: wire.units_hash,
            unit_count: wire.unit_count,
            limits: Limits {
                wall_ms_max: wire.wall_ms_max,
                fuel_max: wire.fuel_max,
                memory_bytes_max: wire.memory_bytes_max,
                output_bytes_max: wire.output_bytes_max,
                loop_iterations_max: wire.loop_iterations_max,
                workgroups: [wire.workgroups_x, wire.workgroups_y, wire.workgroups_z],
            },
        })
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crate::limits::{
        FUEL_MAX, LOOP_ITERATIONS_MAX, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, OUTPUT_BYTES_MAX, WALL_MS_MAX,
        WORKGROUPS_PER_DIMENSION_MAX,
    };
    use proptest::prelude::*;

    fn limits_for(runtime: Runtime) -> BoxedStrategy<Limits> {
        let shared = (1..=WALL_MS_MAX, 1..=OUTPUT_BYTES_MAX, any::<u64>());
        let memory = |output: u64, pick: u64| {
            let least = MEMORY_BYTES_MIN.max(output);
            least + pick % (MEMORY_BYTES_MAX - least + 1)
        };
        match runtime {
            Runtime::Wasm1 => (shared, 1..=FUEL_MAX)
                .prop_map(move |((wall_ms_max, output_bytes_max, pick), fuel_max)| Limits {
                    wall_ms_max,
                    fuel_max,
                    memory_bytes_max: memory(output_bytes_max, pick),
                    output_bytes_max,
                    loop_iterations_max: 0,
                    workgroups: [0; 3],
                })
                .boxed(),
            Runtime::Wgsl1 => {
                (shared, 1..=LOOP_ITERATIONS_MAX, prop::array::uniform3(1..=WORKGROUPS_PER_DIMENSION_MAX))
                    .prop_map(move |((wall_ms_max, output, pick), loop_iterations_max, workgroups)| {
                        let output_bytes_max = output.div_ceil(4) * 4;
                        Limits {
                            wall_ms_max,
                            fuel_max: 0,
                            memory_bytes_max: memory(output_bytes_max, pick),
                            output_bytes_max,
                            loop_iterations_max,
                            workgroups,
                        }
                    })
                    .boxed()
            }
        }
    }

    fn specs() -> impl Strategy<Value = JobSpec> {
        let fields = (
            "[a-z0-9-]{1,64}",
            1u8..=5,
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
            1..=UNIT_COUNT_MAX,
            any::<bool>(),
        );
        fields.prop_flat_map(|(recipe, class, program, common, units, unit_count, wasm)| {
            let runtime = if wasm { Runtime::Wasm1 } else { Runtime::Wgsl1 };
            limits_for(runtime).prop_map(move |limits| {
                let class = Class::try_from(class).unwrap();
                let checker = Checker { program_hash: B256::repeat_byte(1), fuel_max: 1 + u64::from(unit_count) };
                let tolerance = Tolerance {
                    element: Element::F32,
                    absolute: Bound::from_bits(unit_count).unwrap(),
                    relative: Bound::ZERO,
                    outliers_ppm: unit_count % 100,
                    sound_factor: 10,
                };
                // The output of a wasm job has any length; that of an array has whole elements.
                let output_bytes_max = limits.output_bytes_max.div_ceil(4) * 4;
                let memory_bytes_max = limits.memory_bytes_max.max(output_bytes_max);
                JobSpec::new(Draft {
                    recipe: RecipeName::new(&recipe).unwrap(),
                    runtime,
                    class,
                    program_hash: B256::new(program),
                    common_hash: B256::new(common),
                    units_hash: B256::new(units),
                    unit_count,
                    segment_count: u32::try_from(SEGMENTS_OF_JOB_MAX).unwrap() / unit_count.max(16),
                    limits: Limits { output_bytes_max, memory_bytes_max, ..limits },
                    checker: (class == Class::SelfChecking).then_some(checker),
                    tolerance: (class == Class::Tolerance).then_some(tolerance),
                })
                .unwrap()
            })
        })
    }

    fn sample() -> JobSpec {
        JobSpec::new(Draft {
            recipe: RecipeName::new("align").unwrap(),
            runtime: Runtime::Wasm1,
            class: Class::Exact,
            program_hash: B256::repeat_byte(1),
            common_hash: B256::repeat_byte(2),
            units_hash: B256::repeat_byte(3),
            unit_count: 64,
            segment_count: 1,
            limits: Limits {
                wall_ms_max: 1_000,
                fuel_max: 5,
                memory_bytes_max: 1 << 20,
                output_bytes_max: 100,
                loop_iterations_max: 0,
                workgroups: [0; 3],
            },
            checker: None,
            tolerance: None,
        })
        .unwrap()
    }

    fn decode_with(change: impl FnOnce(&mut Wire)) -> Result<JobSpec, Error> {
        let mut wire = Wire::from(&sample().0);
        change(&mut wire);
        let mut bytes = Vec::new();
        wire.encode(&mut bytes);
        JobSpec::decode(&bytes)
    }

    proptest! {
        #[test]
        fn every_valid_spec_round_trips_and_is_within_the_length_bound(spec in specs()) {
            let bytes = spec.encode();
            prop_assert!(bytes.len() <= ENCODED_BYTES_MAX);
            prop_assert_eq!(JobSpec::decode(&bytes), Ok(spec.clone()));
            let json = serde_json::to_string(&spec).unwrap();
            prop_assert_eq!(serde_json::from_str::<JobSpec>(&json).unwrap(), spec);
        }

        #[test]
        fn trailing_or_missing_bytes_are_refused(spec in specs(), extra in 1usize..16, cut in 1usize..64) {
            let mut longer = spec.encode();
            longer.resize(longer.len() + extra, 0);
            prop_assert_eq!(JobSpec::decode(&longer), Err(Error::TrailingBytes(extra)));
            let shorter = &spec.encode()[..spec.encode().len() - cut];
            prop_assert!(JobSpec::decode(shorter).is_err());
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(spec in specs(), at in any::<prop::sample::Index>(), xor in 1u8..) {
            let mut bytes = spec.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
            if let Ok(other) = JobSpec::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
                prop_assert_ne!(other.hash(), spec.hash());
            }
        }

        #[test]
        fn random_bytes_never_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = JobSpec::decode(&bytes);
        }
    }

    #[test]
    fn the_longest_spec_fits_the_documented_length() {
        let mut draft = sample().0;
        draft.recipe = RecipeName::new(&"z".repeat(64)).unwrap();
        draft.unit_count = UNIT_COUNT_MAX;
        draft.limits.wall_ms_max = WALL_MS_MAX;
        draft.limits.fuel_max = FUEL_MAX;
        draft.limits.memory_bytes_max = MEMORY_BYTES_MAX;
        draft.limits.output_bytes_max = OUTPUT_BYTES_MAX;
        assert!(JobSpec::new(draft).unwrap().encode().len() <= 320);
    }

    #[test]
    fn long_forms_and_extra_items_are_refused() {
        let bytes = sample().encode();
        assert_eq!(bytes[0], 0xf8, "the list has a one-byte length");
        // The same list with a two-byte length.
        let long = [&[0xf9, 0, bytes[1]], &bytes[2..]].concat();
        assert!(matches!(JobSpec::decode(&long), Err(Error::Rlp(_))));
        // The version as a one-byte string instead of the single byte.
        let wordy = [&[0xf8, bytes[1] + 1, 0x81], &bytes[2..]].concat();
        assert!(matches!(JobSpec::decode(&wordy), Err(Error::Rlp(_))));
        // One item more, inside the list.
        let more = [&[0xf8, bytes[1] + 1], &bytes[2..], &[0x80]].concat();
        assert!(matches!(JobSpec::decode(&more), Err(Error::Rlp(_))));
        assert!(matches!(JobSpec::decode(&[]), Err(Error::Rlp(_))));
        assert_eq!(
            JobSpec::decode(&[0; ENCODED_BYTES_MAX + 1]),
            Err(Error::TooLong { got_bytes: 513, max_bytes: 512 })
        );
    }

    #[test]
    fn values_outside_the_table_are_refused_by_name() {
        assert_eq!(decode_with(|_| ()), Ok(sample()));
        assert_eq!(decode_with(|w| w.version = 1), Err(Error::Version { got: 1 }));
        assert_eq!(decode_with(|w| w.version = 3), Err(Error::Version { got: 3 }));
        assert_eq!(decode_with(|w| w.version = 0), Err(Error::Version { got: 0 }));
        assert_eq!(decode_with(|w| w.class = 0), Err(Error::Class("0".into())));
        assert_eq!(decode_with(|w| w.class = 6), Err(Error::Class("6".into())));
        assert_eq!(decode_with(|w| w.runtime = "wasm/2".into()), Err(Error::Runtime("wasm/2".into())));
        for (name, count, max) in
            [("zero", 0, false), ("most", UNIT_COUNT_MAX, true), ("over", UNIT_COUNT_MAX + 1, false)]
        {
            assert_eq!(decode_with(|w| w.unit_count = count).is_ok(), max, "{name}");
        }
        assert!(matches!(decode_with(|w| w.workgroups_z = 1), Err(Error::Limit(_))));
        for (count, holds) in [(0, false), (1, true), (16_384, true), (16_385, false)] {
            assert_eq!(decode_with(|w| w.segment_count = count).is_ok(), holds, "64 units of {count} segments");
        }
        let alone = |segments: u32| decode_with(|w| (w.unit_count, w.segment_count) = (1, segments));
        assert!(alone(SEGMENT_COUNT_MAX).is_ok());
        assert!(alone(SEGMENT_COUNT_MAX + 1).is_err());
    }

    #[test]
    fn only_the_class_that_needs_it_brings_a_checker_or_a_tolerance() {
        let checker = |w: &mut Wire| (w.checker_hash, w.checker_fuel_max) = (B256::repeat_byte(9), 1);
        let tolerance = |w: &mut Wire| {
            (w.tolerance_element, w.tolerance_absolute, w.tolerance_relative) = (1, 0x3400_0000, 0);
            (w.tolerance_outliers_ppm, w.tolerance_sound_factor) = (0, 10);
        };
        for class in 1..=5u8 {
            let class = Class::try_from(class).unwrap();
            let with = |change: &dyn Fn(&mut Wire)| {
                decode_with(|w| {
                    w.class = class as u8;
                    change(w);
                })
            };
            let (checks, tolerates) = (class == Class::SelfChecking, class == Class::Tolerance);
            assert_eq!(with(&|_| ()).is_ok(), !checks && !tolerates, "{class} with nothing");
            assert_eq!(with(&checker).is_ok(), checks, "{class} with a checker");
            assert_eq!(with(&tolerance).is_ok(), tolerates, "{class} with a tolerance");
        }
        let tolerant = |change: fn(&mut Wire)| {
            decode_with(|w| {
                w.class = Class::Tolerance as u8;
                tolerance(w);
                change(w);
            })
        };
        assert!(tolerant(|w| w.tolerance_element = 3).is_err());
        assert!(tolerant(|w| w.tolerance_absolute = f32::NAN.to_bits()).is_err());
        assert!(tolerant(|w| w.tolerance_relative = (-0.0f32).to_bits()).is_err());
        assert!(tolerant(|w| w.tolerance_element = 2).is_err(), "100 bytes are no array of 8-byte elements");
        // Numbers of a tolerance that is not there have no second encoding.
        assert_eq!(decode_with(|w| w.tolerance_absolute = 1), Err(Error::NotCanonical));
        assert_eq!(decode_with(|w| w.tolerance_sound_factor = 1), Err(Error::NotCanonical));
        assert!(decode_with(|w| w.checker_fuel_max = 1).is_err());
    }

    #[test]
    fn the_checker_of_a_job_is_a_valid_job_with_its_own_fuel() {
        assert_eq!(sample().checker_job(), None);
        let checker = Checker { program_hash: B256::repeat_byte(9), fuel_max: 77 };
        let draft = Draft { class: Class::SelfChecking, checker: Some(checker), ..sample().0 };
        let job = JobSpec::new(draft).unwrap().checker_job().unwrap();
        assert_eq!((job.program_hash, job.limits.fuel_max, job.limits.output_bytes_max), (checker.program_hash, 77, 1));
        assert_eq!(JobSpec::new(job.0.clone()), Ok(job));
    }

    #[test]
    fn recipe_names_are_lowercase_digits_and_dashes_of_bounded_length() {
        for good in ["a", "value-at-risk", "0", &"x".repeat(64)] {
            assert_eq!(RecipeName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "A", "a_b", "a/b", "..", "é", "a\n", &"x".repeat(65)] {
            assert!(matches!(RecipeName::new(bad), Err(Error::RecipeName(_))), "{bad:?}");
        }
    }

    #[test]
    fn json_that_breaks_a_bound_is_refused() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert!(json.contains("\"unitCount\":64"), "{json}");
        assert!(serde_json::from_str::<JobSpec>(&json.replace("\"unitCount\":64", "\"unitCount\":0")).is_err());
        assert!(serde_json::from_str::<JobSpec>(&json.replace("\"recipe\":\"align\"", "\"recipe\":\"../x\"")).is_err());
    }
}
