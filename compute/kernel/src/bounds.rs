//! What a kernel may ask of a driver's compiler: memory of one invocation, nesting, and size once every call is replaced by its function.
//!
//! # Design
//! Drivers keep private and local variables in registers or on a stack, write their zeros one by one, put every call's function in its place, and walk through blocks by
//! recursion. So kilobytes of source can take minutes, gigabytes, or the whole device. Where that begins differs between drivers; these bounds lie below, are the same everywhere, and are
//! counted on the checked module before a driver sees it. Spec: specs/0003-job.md §7.

use naga::{AddressSpace, Block, Expression, Function, Module, Statement, proc::Layouter};

/// Private and local variables of one invocation, bytes, all functions together; as much as a workgroup shares.
const PRIVATE_BYTES_MAX: u64 = 16_384;
/// Blocks within blocks; an `else if` nests too.
const DEPTH_MAX: u32 = 128;
/// Expressions and statements after every call is replaced by its function.
const EXPANDED_MAX: u64 = 100_000;

/// Why a kernel is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Private and local variables, all functions together.
    #[error("too much private memory: bytes={bytes} max={PRIVATE_BYTES_MAX}")]
    Private {
        /// How many.
        bytes: u64,
    },
    /// Blocks within blocks.
    #[error("blocks nest too deep: max={DEPTH_MAX}")]
    Depth,
    /// Size with every call replaced by its function.
    #[error(
        "the kernel expands to too much: more than {EXPANDED_MAX} expressions and statements with every call in its place"
    )]
    Expanded,
    /// A type without a size.
    #[error("types without a layout: {0}")]
    Layout(String),
}

/// Checks a valid module, before anything is added to it.
pub(crate) fn check(module: &Module) -> Result<(), Error> {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).map_err(|error| Error::Layout(error.to_string()))?;
    let bytes_of = |ty| u64::from(layouter[ty].size);
    let globals = module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::Private);
    let mut bytes = globals.map(|(_, variable)| bytes_of(variable.ty)).fold(0, u64::saturating_add);
    // Functions stand in the order of their definition: naga lets a function call earlier ones only.
    let mut expanded: Vec<u64> = Vec::with_capacity(module.functions.len());
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    for function in module.functions.iter().map(|(_, function)| function).chain(entries) {
        let locals = function.local_variables.iter().map(|(_, variable)| bytes_of(variable.ty));
        bytes = locals.fold(bytes, u64::saturating_add);
        if bytes > PRIVATE_BYTES_MAX {
            return Err(Error::Private { bytes });
        }
        let size = size(function, &expanded)?;
        if size > EXPANDED_MAX {
            return Err(Error::Expanded);
        }
        expanded.push(size);
    }
    Ok(())
}

fn size(function: &Function, expanded: &[u64]) -> Result<u64, Error> {
    let expressions = function.expressions.iter();
    // A constant that stands in many places is written once.
    let computed = expressions.filter(|(_, expression)| !matches!(expression, Expression::Literal(_))).count() as u64;
    block_size(&function.body, expanded, 0).map(|statements| statements.saturating_add(computed))
}

/// Statements of a block. The depth is looked at before the recursion that it bounds.
fn block_size(block: &Block, expanded: &[u64], depth: u32) -> Result<u64, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    let inside = |block: &Block| block_size(block, expanded, depth.saturating_add(1));
    let mut size = block.len() as u64;
    for statement in block.iter() {
        let more = match statement {
            Statement::Block(inner) => inside(inner)?,
            Statement::If { accept, reject, .. } => inside(accept)?.saturating_add(inside(reject)?),
            Statement::Switch { cases, .. } => {
                let mut sum = 0u64;
                for case in cases {
                    sum = sum.saturating_add(inside(&case.body)?);
                }
                sum
            }
            Statement::Loop { body, continuing, .. } => inside(body)?.saturating_add(inside(continuing)?),
            Statement::Call { function, .. } => expanded.get(function.index()).copied().unwrap_or(EXPANDED_MAX),
            _ => 0,
        };
        size = size.saturating_add(more);
    }
    Ok(size)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    fn checked(declarations: &str, body: &str) -> Result<(), Error> {
        let source = format!("{declarations} @compute @workgroup_size(1) fn main() {{ {body} }}");
        check(&naga::front::wgsl::parse_str(&source).unwrap())
    }

    #[test]
    fn private_memory_counts_globals_and_the_locals_of_every_function() {
        let with = |words: u32| {
            let declarations = "var<private> p: array<u32, 1000>; fn f() { var l: array<u32, 96>; l[0] = 1u; }";
            checked(declarations, &format!("var m: array<u32, {words}>; m[0] = 1u; f();"))
        };
        assert_eq!(with(3_000), Ok(()));
        assert_eq!(with(3_001), Err(Error::Private { bytes: 16_388 }));
        assert_eq!(checked("var<workgroup> w: array<u32, 9000>;", "w[0] = 1u;"), Ok(()), "not private");
    }

    #[test]
    fn an_else_if_nests_and_the_depth_has_two_sides() {
        // `main` is depth 0, the first `if` 1, each `else if` one more block inside the last.
        let with = |count: usize| {
            let chain = "else if (v == 2u) { v = 3u; } ".repeat(count);
            checked("", &format!("var v = 1u; if (v == 1u) {{ v = 2u; }} {chain}"))
        };
        assert_eq!(with(127), Ok(()));
        assert_eq!(with(128), Err(Error::Depth));
    }

    #[test]
    fn calls_count_as_often_as_they_are_made() {
        let doubling = |levels: usize| {
            let more: String =
                (1..levels).map(|n| format!("fn f{n}(x: u32) -> u32 {{ return f{0}(x) + f{0}(x); }}", n - 1)).collect();
            checked(
                &format!("fn f0(x: u32) -> u32 {{ return x + 1u; }} {more}"),
                &format!("let y = f{}(1u);", levels - 1),
            )
        };
        assert_eq!(doubling(10), Ok(()));
        assert_eq!(doubling(20), Err(Error::Expanded));
        assert_eq!(doubling(100), Err(Error::Expanded), "no overflow");
    }
}
