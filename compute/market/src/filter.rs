//! The hard filters, in their fixed order: an offer that fails one is not considered, whatever it costs.

use core::fmt;
use serde::Serialize;

macro_rules! filters {
    ($($(#[$doc:meta])* $item:ident $code:literal $words:literal,)+) => {
        /// A hard filter; the order of the variants is the order in which they are applied and counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum Filter {
            $($(#[$doc])* $item,)+
        }

        impl Filter {
            /// All filters, in order.
            pub const ALL: &'static [Self] = &[$(Self::$item,)+];

            /// The code for machines; never changes its meaning.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$item => $code,)+
                }
            }

            /// What an offer that falls here is, for a person: "the provider ..".
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$item => $words,)+
                }
            }
        }
    };
}

filters! {
    /// The provider takes orders.
    Offering "offering" "takes no orders at the moment",
    /// The job's runtime, in an accepted engine.
    Runtime "runtime" "does not have the runtime, or not in an accepted engine version",
    /// The job's class is taken.
    Class "class" "does not take jobs of this class",
    /// A price and a speed for this kind of work.
    Kernel "kernel" "has no price or no speed for this kind of work",
    /// The sort of hardware.
    Hardware "hardware" "is hardware of another sort",
    /// Memory of one unit.
    Memory "memory" "has too little free memory",
    /// Storage binding and buffer of one unit.
    Binding "binding" "takes no buffers of this size",
    /// Loop iterations.
    Loops "loops" "counts fewer loop iterations than the job declares",
    /// Instruction set.
    Isa "isa" "has another instruction set",
    /// Isolation layers.
    Isolation "isolation" "does not isolate jobs in all the ways asked for",
    /// Country of the machine, as claimed.
    Region "region" "stands in another country, or does not say where",
    /// Operators and providers that must not be chosen.
    Operator "operator" "belongs to an excluded operator or is itself excluded",
    /// Currency of the price.
    Currency "currency" "takes another currency",
    /// Price cap.
    Price "price" "costs more than the cap",
    /// Deadline.
    Deadline "deadline" "would finish too late",
    /// Where data may go.
    Residency "residency" "does not show that the data stays where it must",
    /// Least proved bands.
    Proof "proof" "has not proved as much hardware as asked for",
    /// Stake, or a lane of probation.
    Stake "stake" "has too little stake, and probation is not possible or not wanted",
    /// Age of the probe.
    Probe "probe" "did not answer a probe recently enough",
    /// Reputation floor.
    Reputation "reputation" "completed too small a share of its orders",
    /// Blobs that must be there.
    Blob "blob" "does not hold the data that must be there already",
}

/// How many filters there are.
pub const FILTER_COUNT: usize = Filter::ALL.len();

impl Filter {
    /// The filter's bit in a mask of failures.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1u32.wrapping_shl(self as u32)
    }

    /// The filters of a mask, in order.
    pub fn of_mask(mask: u32) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |filter| mask & filter.bit() != 0)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
