//! The closed lists of a capability record: numbers on the wire, names for people, sets of bits for matching.
//!
//! Spec: specs/0010-capability.md §3.

use alloy_rlp::{BufMut, Decodable, Encodable};
use core::{fmt, marker::PhantomData};
use keystead_job::Class;
use serde::{Deserialize, Serialize};

/// An enumeration that is one number on the wire and one name in JSON and words.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$item_doc])* #[serde(rename = $text)] $item = $number,)+
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$item,)+];

            /// The name in JSON, on screens and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$item => $text,)+
                }
            }

            /// The one with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$item),)+
                    _ => None,
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Encodable for $name {
            fn encode(&self, out: &mut dyn BufMut) {
                (*self as u8).encode(out);
            }

            fn length(&self) -> usize {
                (*self as u8).length()
            }
        }

        impl Decodable for $name {
            fn decode(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
                Self::from_number(u8::decode(bytes)?).ok_or(alloy_rlp::Error::Custom(stringify!($name)))
            }
        }
    };
}

numbered! {
    /// What kind of work a unit is: speeds and prices are stated per kind, in millions of operations (Mop).
    Kernel {
        /// Fuel of `wasm/1`; one operation is one unit of fuel.
        Wasm = 1 "wasm",
        /// Integer multiplications with addition in `wgsl/1`.
        Integer = 2 "integer",
        /// Floating-point multiplications with addition in `wgsl/1`.
        Float = 3 "float",
        /// Bytes moved between memory and a `wgsl/1` kernel that hardly computes.
        Memory = 4 "memory",
    }
}

numbered! {
    /// What a unit runs on. The last two are programs on a processor: never sold as a GPU.
    Kind {
        /// The processor itself: `wasm/1`.
        Processor = 1 "processor",
        /// A GPU with memory of its own.
        Discrete = 2 "discrete",
        /// A GPU that shares the processor's memory.
        Integrated = 3 "integrated",
        /// A share of a GPU, given by a hypervisor.
        Virtual = 4 "virtual",
        /// A driver that runs kernels on the processor (lavapipe and its like).
        Cpu = 5 "cpu",
        /// An interpreter of kernels: the slow reference.
        Interpreter = 6 "interpreter",
    }
}

numbered! {
    /// Instruction set of the processor.
    Isa {
        /// x86-64, baseline.
        X86V1 = 1 "x86-64-v1",
        /// x86-64 with SSE4.2 and POPCNT.
        X86V2 = 2 "x86-64-v2",
        /// x86-64 with AVX2.
        X86V3 = 3 "x86-64-v3",
        /// x86-64 with AVX-512.
        X86V4 = 4 "x86-64-v4",
        /// 64-bit Arm, baseline.
        Arm64 = 5 "aarch64",
        /// 64-bit Arm with scalable vectors.
        Arm64Sve = 6 "aarch64-sve",
        /// 64-bit RISC-V.
        Riscv64 = 7 "riscv64",
    }
}

numbered! {
    /// One layer between a job and the machine, as the worker obtained it when it was started.
    Layer {
        /// A process of its own that can be killed.
        Process = 1 "process",
        /// A user namespace.
        UserNamespace = 2 "user-namespace",
        /// A filter of system calls.
        Seccomp = 3 "seccomp",
        /// Rules on files.
        Landlock = 4 "landlock",
        /// Limits of the process: memory, processes, files.
        Rlimits = 5 "rlimits",
        /// A control group with limits.
        Cgroup = 6 "cgroup",
        /// No network at all.
        NoNetwork = 7 "no-network",
        /// A virtual machine.
        Machine = 8 "virtual-machine",
    }
}

numbered! {
    /// How joules are known.
    EnergyMethod {
        /// Not known; power is zero.
        Unknown = 1 "unknown",
        /// A model of the machine's class.
        Model = 2 "model",
        /// Counters of the processor.
        Rapl = 3 "rapl",
        /// Counters of the GPU.
        Gpu = 4 "gpu",
        /// A meter in the supply.
        Meter = 5 "meter",
    }
}

numbered! {
    /// Under which rules a price holds. Later versions add spot (may be interrupted) and reserved.
    Tier {
        /// The listed price, not interrupted for a better one.
        Standard = 1 "standard",
    }
}

/// What a [`Set`] can hold: numbers from 1 to 15.
pub trait Member: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The number of this value, 1 to 15.
    fn number(self) -> u8;
}

macro_rules! members {
    ($($item:ident)+) => {
        $(impl Member for $item {
            const ALL: &'static [Self] = Self::ALL;

            fn number(self) -> u8 {
                self as u8
            }
        })+
    };
}

members! { Kernel Kind Isa Layer }

impl Member for Class {
    const ALL: &'static [Self] = &[Self::Exact, Self::SelfChecking, Self::Tolerance, Self::Statistical, Self::Opaque];

    fn number(self) -> u8 {
        self as u8
    }
}

/// A set of values; bit `number` stands for a value, on the wire it is one integer. Bits without a value are refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set<T> {
    bits: u16,
    of: PhantomData<T>,
}

impl<T: Member> Set<T> {
    /// The empty set.
    pub const EMPTY: Self = Self { bits: 0, of: PhantomData };

    /// The set of these values.
    #[must_use]
    pub fn of(items: &[T]) -> Self {
        items.iter().fold(Self::EMPTY, |set, item| set.with(*item))
    }

    /// The set of every value.
    #[must_use]
    pub fn all() -> Self {
        Self::of(T::ALL)
    }

    /// This set and one value more.
    #[must_use]
    pub fn with(self, item: T) -> Self {
        Self { bits: self.bits | bit(item), of: PhantomData }
    }

    /// Whether the value is in the set.
    #[must_use]
    pub fn has(self, item: T) -> bool {
        self.bits & bit(item) != 0
    }

    /// The bits, as on the wire.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.bits
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The set with these bits; none if a bit stands for no value.
    #[must_use]
    pub fn from_bits(bits: u16) -> Option<Self> {
        (bits & !Self::all().bits == 0).then_some(Self { bits, of: PhantomData })
    }

    /// The values, by number.
    pub fn iter(self) -> impl Iterator<Item = T> {
        T::ALL.iter().copied().filter(move |item| self.has(*item))
    }
}

fn bit<T: Member>(item: T) -> u16 {
    1u16.checked_shl(u32::from(item.number())).unwrap_or(0)
}

impl<T: Member> Default for Set<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T: Member + fmt::Debug> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<T: Member> Encodable for Set<T> {
    fn encode(&self, out: &mut dyn BufMut) {
        self.bits.encode(out);
    }

    fn length(&self) -> usize {
        self.bits.length()
    }
}

impl<T: Member> Decodable for Set<T> {
    fn decode(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Self::from_bits(u16::decode(bytes)?).ok_or(alloy_rlp::Error::Custom("set with unknown bits"))
    }
}

impl<T: Member + Serialize> Serialize for Set<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Member + Deserialize<'de>> Deserialize<'de> for Set<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Vec::<T>::deserialize(deserializer)?))
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_set_refuses_bits_that_stand_for_nothing() {
        let all = Set::<Kind>::all();
        assert_eq!(Set::from_bits(all.bits()), Some(all));
        assert_eq!(Set::<Kind>::from_bits(1), None, "there is no number 0");
        assert_eq!(Set::<Kind>::from_bits(1 << 7), None);
        assert_eq!(all.iter().count(), 6);
        assert!(!Set::of(&[Kind::Cpu]).has(Kind::Discrete));
    }

    #[test]
    fn names_and_numbers_come_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(*kind as u8), Some(*kind));
            let mut bytes = Vec::new();
            kind.encode(&mut bytes);
            assert_eq!(Kind::decode(&mut &bytes[..]), Ok(*kind));
        }
        assert!(Kind::decode(&mut &[0x80u8][..]).is_err() && Kind::decode(&mut &[7u8][..]).is_err());
        assert_eq!(
            serde_json::to_string(&Set::of(&[Layer::Seccomp, Layer::Process])).unwrap(),
            r#"["process","seccomp"]"#
        );
    }
}
