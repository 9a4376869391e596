//! From hostile source to a kernel that obeys every rule of its class.

use crate::{bounds, compile, counter, profile, program::Program};
use keystead_job::limits::PROGRAM_BYTES_MAX_WGSL;
use naga::{
    Module,
    front::wgsl,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

pub use crate::{
    bounds::Error as Bound,
    profile::{Error as Rule, Profile},
};

/// Largest source, bytes: that of a `wgsl/1` program.
pub const SOURCE_BYTES_MAX: u64 = PROGRAM_BYTES_MAX_WGSL;

/// Why a source is not a kernel. The same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`SOURCE_BYTES_MAX`].
    #[error("source too large: bytes={got} max={max}")]
    TooLarge {
        /// Its length, bytes.
        got: u64,
        /// The largest allowed.
        max: u64,
    },
    /// Not UTF-8.
    #[error("not UTF-8: {0}")]
    Encoding(core::str::Utf8Error),
    /// Not WGSL: the message with line and place. Contains text of the source.
    #[error("{0}")]
    Syntax(String),
    /// WGSL, but not valid: the message with line and place. Contains text of the source.
    #[error("{0}")]
    Invalid(String),
    /// Rules of the class are broken: each once, at most 16.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Rules(Vec<Rule>),
}

/// A kernel that naga has validated and that obeys the rules of its [`Profile`].
#[derive(Clone, Debug)]
pub struct Kernel {
    module: Module,
    info: ModuleInfo,
}

impl Kernel {
    /// Parses and checks `source`, which is hostile. Recurses over it: call this on a stack of 64 MiB.
    ///
    /// # Errors
    /// [`Error`], with the rule or the translator's message.
    pub fn admit(source: &[u8], profile: Profile) -> Result<Self, Error> {
        let (got, max) = (source.len() as u64, SOURCE_BYTES_MAX);
        if got > max {
            return Err(Error::TooLarge { got, max });
        }
        let source = core::str::from_utf8(source).map_err(Error::Encoding)?;
        let module = wgsl::parse_str(source).map_err(|error| Error::Syntax(error.emit_to_string(source)))?;
        let capabilities = match profile {
            Profile::Exact => Capabilities::empty(),
            // `pack2x16float` and its like.
            Profile::Float => Capabilities::SHADER_FLOAT16_IN_FLOAT32,
        };
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .map_err(|error| Error::Invalid(error.emit_to_string(source)))?;
        let broken = profile::check(&module, &info, profile, source);
        if broken.is_empty() { Ok(Self { module, info }) } else { Err(Error::Rules(broken)) }
    }

    /// Whether a driver's compiler may be asked for this kernel: memory of an invocation, nesting, size with every call in its place. A job
    /// that breaks a bound is refused on every machine, also where it would be interpreted.
    ///
    /// # Errors
    /// [`Bound`], the first that is broken.
    pub fn bounds(&self) -> Result<(), Bound> {
        bounds::check(&self.module)
    }

    /// The module for a driver, with the loop counter: above `loop_iterations_max` entries into loop bodies an invocation sets a bit of the
    /// status word at binding [`counter::STATUS_BINDING`] of group 0.
    #[must_use]
    pub fn instrumented(self, loop_iterations_max: u32) -> Module {
        let mut module = self.module;
        counter::add(&mut module, loop_iterations_max);
        module
    }

    /// The register code that is interpreted.
    ///
    /// # Errors
    /// [`compile::Error`] if the kernel is too large for the interpreter or holds what it does not know.
    pub fn program(&self) -> Result<Program, compile::Error> {
        compile::compile(&self.module, &self.info, compile::Freedom::None)
    }

    /// The register code of a translator that uses the freedom that WGSL gives it. Only for tests of tolerance.
    #[cfg(feature = "perturbed")]
    pub(crate) fn rearranged(&self, freedom: compile::Freedom) -> Result<Program, compile::Error> {
        compile::compile(&self.module, &self.info, freedom)
    }
}
