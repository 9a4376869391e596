//! The rules of a class: what a kernel may name, hold and do, so that its output is the same (exact) or nearly the same (float) everywhere.
//!
//! # Design
//! naga gives each expression its type, so one walk over all expressions finds every floating-point value that a device would compute, named or
//! not. What naga computes itself while it reads (constant expressions) leaves no trace in the module, and its sine is that of the machine's
//! libm: so floating-point literals and functions are looked for in the source's words too. Spec: specs/0003-job.md §7.

use naga::{
    AddressSpace, AtomicFunction, Block, Expression, Function, Handle, Module, Scalar, ScalarKind, ShaderStage,
    Statement, StorageAccess, TypeInner, VectorSize,
    proc::Layouter,
    valid::{FunctionInfo, ModuleInfo},
};

/// Invocations of a workgroup: WebGPU's default limit.
const WORKGROUP_INVOCATIONS_MAX: u32 = 256;

/// Memory of all workgroup variables of a module, bytes: WebGPU's default limit. Not every layer below checks it.
const WORKGROUP_BYTES_MAX: u64 = 16_384;

/// What kind of kernel is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The exact class: 32-bit integers and booleans, nothing that depends on the order of invocations.
    Exact,
    /// `f32` too, and storage buffers of `u32`, `i32`, `f32` or their vectors of two or four; otherwise the same rules. Results are comparable
    /// within a tolerance only.
    Float,
}

/// Why a kernel is not in its class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not exactly one entry point.
    #[error("need exactly one entry point, `@compute fn main`")]
    EntryPoint,
    /// A pipeline-overridable constant.
    #[error("override constants are not part of wgsl/1")]
    Override,
    /// Too many invocations in a workgroup.
    #[error("workgroup too large: invocations={got} max=256")]
    WorkgroupSize {
        /// How many.
        got: u64,
    },
    /// Too many bytes in workgroup variables.
    #[error("too much workgroup memory: bytes={got} max=16384")]
    WorkgroupMemory {
        /// How many.
        got: u64,
    },
    /// A float in an exact kernel.
    #[error("wgsl/1 exact kernels have no floating-point values: {place}")]
    Float {
        /// Where. Contains text of the source.
        place: String,
    },
    /// A number that is not of 32 bits.
    #[error("only 32-bit numbers and booleans: {place}")]
    Scalar {
        /// Where. Contains text of the source.
        place: String,
    },
    /// A resource that is not one of the three.
    #[error(
        "not a binding of wgsl/1: {name:?}; group 0 has 0 and 1 (storage, read, array<u32>) and 2 (storage, read_write, array<u32> or array<atomic<u32>>)"
    )]
    Binding {
        /// Its name in the source.
        name: String,
    },
    /// An atomic operation whose value is used.
    #[error("the value of an atomic operation depends on the order of invocations: {place}")]
    AtomicOrder {
        /// Where. Contains text of the source.
        place: String,
    },
    /// Something that `wgsl/1` does not have.
    #[error("{what} is not part of wgsl/1: {place}")]
    Feature {
        /// What it is.
        what: &'static str,
        /// Where. Contains text of the source.
        place: String,
    },
}

/// Most broken rules that are named at once: a person mends one after the other.
const NAMED_MAX: usize = 16;

/// Every rule that is broken, at most [`NAMED_MAX`]; the module must be valid and `info` its own. Empty: the kernel is in its class.
pub(crate) fn check(module: &Module, info: &ModuleInfo, profile: Profile, source: &str) -> Vec<Error> {
    let [entry] = module.entry_points.as_slice() else {
        return vec![Error::EntryPoint];
    };
    if entry.stage != ShaderStage::Compute || entry.name != "main" {
        return vec![Error::EntryPoint];
    }
    let mut found = Vec::new();
    let mut rule = |outcome: Result<(), Error>| {
        let broken = outcome.err().filter(|error| found.len() < NAMED_MAX && !found.contains(error));
        found.extend(broken);
    };
    if !module.overrides.is_empty() || entry.workgroup_size_overrides.is_some() {
        rule(Err(Error::Override));
    }
    let invocations =
        entry.workgroup_size.iter().fold(1, |product: u64, &size| product.saturating_mul(u64::from(size)));
    if invocations > u64::from(WORKGROUP_INVOCATIONS_MAX) {
        rule(Err(Error::WorkgroupSize { got: invocations }));
    }
    for (_, variable) in module.global_variables.iter() {
        rule(check_global(module, variable, profile));
    }
    rule(check_workgroup_memory(module));
    for (_, ty) in module.types.iter() {
        rule(check_type(&ty.inner, profile, || ty.name.clone().unwrap_or_else(|| "a type".to_owned())));
    }
    for (handle, _) in module.global_expressions.iter() {
        rule(check_type(info[handle].inner_with(&module.types), profile, || "a constant".to_owned()));
    }
    for (handle, function) in module.functions.iter() {
        rule(check_function(module, function, &info[handle], profile));
    }
    rule(check_function(module, &entry.function, info.get_entry_point(0), profile));
    if profile == Profile::Exact {
        rule(check_words(source, module));
    }
    found
}

/// Finds floating-point literals and calls of floating-point functions, also inside constant expressions. Comments do not count.
fn check_words(source: &str, module: &Module) -> Result<(), Error> {
    let declared = |word: &str| module.functions.iter().any(|(_, function)| function.name.as_deref() == Some(word));
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_length(rest)
        } else if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let length = number_length(rest);
            if is_float(&rest[..length]) {
                return Err(Error::Float { place: format!("the literal {}", &rest[..length.min(40)]) });
            }
            length
        } else if first == '_' || first.is_alphabetic() {
            let word = |c: char| c == '_' || c.is_alphanumeric();
            let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let called = rest[length..].trim_start().starts_with('(');
            if called && FLOAT_FUNCTIONS.contains(&&rest[..length]) && !declared(&rest[..length]) {
                return Err(Error::Float { place: format!("the function {}", &rest[..length]) });
            }
            length
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    Ok(())
}

/// Functions and types whose values are always floating-point.
const FLOAT_FUNCTIONS: &[&str] = &[
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "degrees",
    "distance",
    "exp",
    "exp2",
    "f16",
    "f32",
    "floor",
    "fma",
    "fract",
    "inverseSqrt",
    "ldexp",
    "length",
    "log",
    "log2",
    "mix",
    "normalize",
    "pow",
    "quantizeToF16",
    "radians",
    "round",
    "sin",
    "sinh",
    "smoothstep",
    "sqrt",
    "step",
    "tan",
    "tanh",
    "trunc",
];

/// Length of a block comment, which may hold others; to the end of the source if it is not closed.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0u32, 0usize);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let step = match rest {
            [b'/', b'*', ..] => {
                depth = depth.saturating_add(1);
                2
            }
            [b'*', b'/', ..] => {
                depth = depth.saturating_sub(1);
                2
            }
            _ => 1,
        };
        at = at.saturating_add(step);
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn number_length(text: &str) -> usize {
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let mut exponent = false;
    let part = |c: char| {
        let sign = exponent && (c == '+' || c == '-');
        exponent = matches!(c, 'p' | 'P') || (!hex && matches!(c, 'e' | 'E'));
        sign || c == '.' || c.is_ascii_alphanumeric()
    };
    let mut part = part;
    text.find(|c| !part(c)).unwrap_or(text.len())
}

fn is_float(number: &str) -> bool {
    match number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        Some(hex) => hex.contains(['.', 'p', 'P', 'h']),
        None => number.contains(['.', 'e', 'E', 'f', 'h']),
    }
}

fn check_global(module: &Module, variable: &naga::GlobalVariable, profile: Profile) -> Result<(), Error> {
    match variable.space {
        AddressSpace::Private | AddressSpace::WorkGroup => return Ok(()),
        AddressSpace::Storage { access } => {
            let Some(binding) = variable.binding.filter(|binding| binding.group == 0) else {
                return Err(binding_error(variable));
            };
            let TypeInner::Array { base, size: naga::ArraySize::Dynamic, .. } = module.types[variable.ty].inner else {
                return Err(binding_error(variable));
            };
            let words = match module.types[base].inner {
                TypeInner::Scalar(Scalar::U32) => true,
                // These lie in memory as they do in registers: without gaps.
                TypeInner::Scalar(_) | TypeInner::Vector { size: VectorSize::Bi | VectorSize::Quad, .. } => {
                    profile == Profile::Float
                }
                _ => false,
            };
            let atomics = module.types[base].inner == TypeInner::Atomic(Scalar::U32);
            let read = access == StorageAccess::LOAD;
            let write = access == StorageAccess::LOAD | StorageAccess::STORE;
            match binding.binding {
                0 | 1 if read && words => return Ok(()),
                2 if write && (words || atomics) => return Ok(()),
                _ => {}
            }
        }
        _ => {}
    }
    Err(binding_error(variable))
}

fn check_workgroup_memory(module: &Module) -> Result<(), Error> {
    let mut layouter = Layouter::default();
    // A module that was validated has layouts; if not, nothing about its size is known.
    if layouter.update(module.to_ctx()).is_err() {
        return Err(Error::WorkgroupMemory { got: u64::MAX });
    }
    let sizes = module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
    let got = sizes.map(|(_, variable)| u64::from(layouter[variable.ty].size)).fold(0, u64::saturating_add);
    if got <= WORKGROUP_BYTES_MAX { Ok(()) } else { Err(Error::WorkgroupMemory { got }) }
}

fn binding_error(variable: &naga::GlobalVariable) -> Error {
    Error::Binding { name: variable.name.clone().unwrap_or_default() }
}

fn check_type(inner: &TypeInner, profile: Profile, place: impl Fn() -> String) -> Result<(), Error> {
    let scalar = match *inner {
        TypeInner::Atomic(scalar) | TypeInner::ValuePointer { scalar, .. } => Some(scalar),
        TypeInner::Image { .. }
        | TypeInner::Sampler { .. }
        | TypeInner::AccelerationStructure { .. }
        | TypeInner::RayQuery { .. }
        | TypeInner::BindingArray { .. }
        | TypeInner::CooperativeMatrix { .. } => {
            return Err(Error::Feature {
                what: "a texture, sampler, ray query, binding array or cooperative matrix",
                place: place(),
            });
        }
        ref other => other.scalar(),
    };
    match scalar {
        Some(Scalar { kind: ScalarKind::Float, width: 4 }) if profile == Profile::Float => Ok(()),
        Some(Scalar { kind: ScalarKind::Float | ScalarKind::AbstractFloat, .. }) if profile == Profile::Exact => {
            Err(Error::Float { place: place() })
        }
        Some(Scalar { kind: ScalarKind::Float, .. }) => Err(Error::Scalar { place: place() }),
        Some(Scalar { kind: ScalarKind::Sint | ScalarKind::Uint, width }) if width != 4 => {
            Err(Error::Scalar { place: place() })
        }
        _ => Ok(()),
    }
}

fn check_function(module: &Module, function: &Function, info: &FunctionInfo, profile: Profile) -> Result<(), Error> {
    let name = function.name.as_deref().unwrap_or("main");
    for (handle, expression) in function.expressions.iter() {
        let place = || format!("in function {name}, {}", describe(function, handle));
        check_type(info[handle].ty.inner_with(&module.types), profile, place)?;
        match expression {
            // The result of the atomic statement is what its reference count counts: used means order-dependent.
            Expression::AtomicResult { .. } if info[handle].ref_count > 0 => {
                return Err(Error::AtomicOrder { place: place() });
            }
            Expression::Derivative { .. }
            | Expression::SubgroupBallotResult
            | Expression::SubgroupOperationResult { .. } => {
                return Err(Error::Feature { what: "a subgroup operation or derivative", place: place() });
            }
            _ => {}
        }
    }
    check_block(&function.body, &Scope { module, function, info, name })
}

fn describe(function: &Function, handle: Handle<Expression>) -> String {
    let named = function.named_expressions.get(&handle).map(|name| format!("value {name}"));
    named.unwrap_or_else(|| format!("{:?}", function.expressions[handle]).chars().take(80).collect())
}

/// A function whose statements are checked.
struct Scope<'a> {
    module: &'a Module,
    function: &'a Function,
    info: &'a FunctionInfo,
    name: &'a str,
}

impl Scope<'_> {
    /// A pointer to a part of a variable. The translator to SPIR-V panics when a call has such an argument, which would look like the provider's fault.
    fn is_pointer_into(&self, handle: Handle<Expression>) -> bool {
        let is_part =
            matches!(self.function.expressions[handle], Expression::Access { .. } | Expression::AccessIndex { .. });
        is_part && self.info[handle].ty.inner_with(&self.module.types).pointer_space().is_some()
    }
}

fn check_block(block: &Block, scope: &Scope<'_>) -> Result<(), Error> {
    let place = || format!("in function {}", scope.name);
    for statement in block.iter() {
        match statement {
            Statement::Block(inner) => check_block(inner, scope)?,
            Statement::If { accept, reject, .. } => {
                check_block(accept, scope)?;
                check_block(reject, scope)?;
            }
            Statement::Switch { cases, .. } => {
                for case in cases {
                    check_block(&case.body, scope)?;
                }
            }
            Statement::Loop { body, continuing, .. } => {
                check_block(body, scope)?;
                check_block(continuing, scope)?;
            }
            Statement::Call { arguments, .. } if arguments.iter().any(|&argument| scope.is_pointer_into(argument)) => {
                return Err(Error::Feature {
                    what: "a pointer to a part of a variable as an argument",
                    place: place(),
                });
            }
            Statement::Atomic { fun: AtomicFunction::Exchange { .. }, .. } => {
                return Err(Error::AtomicOrder { place: place() });
            }
            Statement::Emit(_)
            | Statement::Break
            | Statement::Continue
            | Statement::Return { .. }
            | Statement::ControlBarrier(_)
            | Statement::MemoryBarrier(_)
            | Statement::Store { .. }
            | Statement::Atomic { .. }
            | Statement::WorkGroupUniformLoad { .. }
            | Statement::Call { .. } => {}
            // Named above is what wgsl/1 has; whatever naga learns later is refused until someone decides.
            _ => return Err(Error::Feature { what: "this kind of statement", place: place() }),
        }
    }
    Ok(())
}
