//! A WGSL kernel as data: parsed, admitted by the rules of `wgsl/1`, instrumented for a driver, and interpreted as the reference.
//!
//! # Design
//! ```text
//! source ── Kernel::admit ──┬── Kernel::instrumented ── naga module with a loop counter, for a driver (keystead-runner)
//!                           └── Kernel::program ── register code ── Program::run, Program::run_workgroups
//! ```
//! A driver may round, fuse and reorder as WGSL permits. The interpreter may not: each operation rounds once, sums are taken in the order of
//! the source, and functions without a correctly rounded definition come from one pinned implementation. So a program gives equal bytes on
//! every host, and an integer kernel gives the bytes of every honest device. Spec: specs/0003-job.md §7.
//!
//! # The rules that WGSL leaves open, as they are here
//! - An index outside a variable is clamped to the last element (as unsigned, so a negative one too). Outside a storage buffer, reads give zero
//!   and writes do nothing.
//! - Integer division by zero gives the dividend, remainder zero; the most negative number divided by -1 is itself, remainder zero. Shifts count
//!   modulo 32. Float to integer saturates at the nearest float that the integer type holds; NaN becomes 0.
//! - `fma` rounds once. `%` of floats is `a - b * trunc(a / b)`. `min` and `max` give the first operand where the two do not compare as less.
//!
//! # Invariants
//! - Hostile source ends in a typed error within bounded time and memory ([`admit::SOURCE_BYTES_MAX`], [`compile::OPERATIONS_MAX`],
//!   [`compile::REGISTERS_MAX`], [`Dispatch::steps_max`]). The parser recurses over the source: call [`Kernel::admit`] on a large stack.
//! - No clock, no randomness, no I/O, no threads: a result is a function of kernel, inputs and limits.
//!
//! # Example
//! ```
//! use keystead_kernel::{Dispatch, Kernel, Profile};
//! let source = "@group(0) @binding(2) var<storage, read_write> output: array<u32>;
//!     @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3<u32>) { output[id.x] = id.x * id.x; }";
//! let program = Kernel::admit(source.as_bytes(), Profile::Exact)?.program()?;
//! let dispatch = Dispatch { output_words: 8, workgroups: [2, 1, 1], ..Dispatch::default() };
//! assert_eq!(program.run(&dispatch)?, [0, 1, 4, 9, 16, 25, 36, 49]);
//! let sample = program.run_workgroups(&dispatch, &[[1, 0, 0]])?;
//! assert_eq!(sample.comparable().collect::<Vec<_>>(), [(4, 16), (5, 25), (6, 36), (7, 49)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod admit;
mod bounds;
pub mod compile;
mod counter;
pub mod execute;
#[cfg(feature = "perturbed")]
pub mod perturbed;
mod profile;
mod program;

pub use admit::{Kernel, Profile};
pub use counter::{CUT_SHORT, OVER_LIMIT, STATUS_BINDING};
pub use execute::{Dispatch, Sample};
pub use program::Program;
