//! How much work a module may give to the compiler, decided in one pass over its bytes before the compiler sees it.
//!
//! # Design
//! Compilation is not metered, and some small modules take minutes or gigabytes: a million functions, deep nesting, a thousand values carried through
//! thousands of blocks, locals that live across many loops. Time and memory of the worker bound all of them, but differently on each machine; these
//! rules refuse them everywhere alike. Spec: specs/0003-job.md §6.
//!
//! The *weight* of a function estimates the values that its blocks pass on: each block, loop or `if` weighs the function's locals (parameters included) and the
//! values that it takes and gives; a call weighs the values that it takes and gives, a branch table its targets.
//!
//! # Not here
//! Whether the module is valid: bytes that this pass cannot read are left to the compiler, which says better what is wrong.

use wasmparser::{BlockType, FunctionBody, Operator, Parser, Payload, TypeRef};

/// Functions of a module. Ten thousand empty ones take about a second.
const FUNCTIONS_MAX: u32 = 30_000;
/// Data segments and element segments, each. The compiler's time grows with their square.
const SEGMENTS_MAX: u32 = 5_000;
/// Imports of a module: `keystead.log`.
const IMPORTS_MAX: u32 = 1;
/// Blocks within blocks. Compilers of large `switch` statements reach thousands.
const DEPTH_MAX: u32 = 10_000;
/// Results of a function or block; compilers of today's languages give one.
const RESULTS_MAX: u32 = 16;
/// Weight of a whole module; in the worst case the compiler needs microseconds and some hundred bytes for each.
const WEIGHT_MAX: u64 = 4_000_000;

/// Why a module is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("too many {what}: got={got} max={max}")]
    Count { what: &'static str, got: u32, max: u32 },
    #[error("blocks nest too deep: max={DEPTH_MAX}")]
    Depth,
    #[error("too much for the compiler: blocks, locals and values weigh more than {WEIGHT_MAX}")]
    Weight,
}

/// Checks a module's bounds.
pub(crate) fn check(module: &[u8]) -> Result<(), Error> {
    let mut types = Types::default();
    let mut weight = 0;
    for payload in Parser::new(0).parse_all(module) {
        let Ok(payload) = payload else { return Ok(()) };
        let counted = match &payload {
            Payload::ImportSection(section) => Some(("imports", section.count(), IMPORTS_MAX)),
            Payload::FunctionSection(section) => Some(("functions", section.count(), FUNCTIONS_MAX)),
            Payload::DataSection(section) => Some(("data segments", section.count(), SEGMENTS_MAX)),
            Payload::ElementSection(section) => Some(("element segments", section.count(), SEGMENTS_MAX)),
            _ => None,
        };
        if let Some((what, got, max)) = counted
            && got > max
        {
            return Err(Error::Count { what, got, max });
        }
        match payload {
            Payload::TypeSection(section) => {
                for kind in section.into_iter_err_on_gc_types() {
                    let Ok(kind) = kind else { return Ok(()) };
                    let results = u32::try_from(kind.results().len()).unwrap_or(u32::MAX);
                    if results > RESULTS_MAX {
                        return Err(Error::Count { what: "results", got: results, max: RESULTS_MAX });
                    }
                    types.values.push(kind.params().len().saturating_add(kind.results().len()) as u64);
                    types.parameters.push(kind.params().len() as u64);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let Ok(import) = import else { return Ok(()) };
                    if let TypeRef::Func(kind) = import.ty {
                        types.functions.push(kind);
                        types.bodies = types.bodies.saturating_add(1);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for kind in section {
                    let Ok(kind) = kind else { return Ok(()) };
                    types.functions.push(kind);
                }
            }
            Payload::CodeSectionEntry(body) if !weigh(&body, &mut types, &mut weight)? => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// What the code section refers to. An imported function comes before all others; one that is not `keystead.log` is refused later.
#[derive(Default)]
struct Types {
    /// Parameters and results of each type.
    values: Vec<u64>,
    /// Parameters of each type.
    parameters: Vec<u64>,
    /// Type of each function.
    functions: Vec<u32>,
    /// Functions seen so far that are imported or whose body was.
    bodies: usize,
}

impl Types {
    fn values(&self, kind: u32) -> u64 {
        usize::try_from(kind).ok().and_then(|kind| self.values.get(kind)).copied().unwrap_or(0)
    }

    fn values_of_function(&self, function: u32) -> u64 {
        let kind = usize::try_from(function).ok().and_then(|function| self.functions.get(function));
        kind.map_or(0, |&kind| self.values(kind))
    }
}

/// Adds a function's weight. `Ok(false)`: it cannot be read.
fn weigh(body: &FunctionBody<'_>, types: &mut Types, weight: &mut u64) -> Result<bool, Error> {
    let own = types.functions.get(types.bodies).and_then(|&kind| types.parameters.get(kind as usize)).copied();
    types.bodies = types.bodies.saturating_add(1);
    let (Ok(locals), Ok(operators)) = (body.get_locals_reader(), body.get_operators_reader()) else {
        return Ok(false);
    };
    let mut count = own.unwrap_or(0);
    for local in locals {
        let Ok((more, _)) = local else { return Ok(false) };
        count = count.saturating_add(u64::from(more));
    }
    let mut depth = 0u32;
    for operator in operators {
        let Ok(operator) = operator else { return Ok(false) };
        let heavy = match operator {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                depth = depth.saturating_add(1);
                let values = if let BlockType::FuncType(kind) = blockty { types.values(kind) } else { 1 };
                count.saturating_add(values)
            }
            Operator::End => {
                depth = depth.saturating_sub(1);
                0
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                types.values_of_function(function_index)
            }
            Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                types.values(type_index)
            }
            Operator::BrTable { targets } => u64::from(targets.len()),
            _ => 0,
        };
        *weight = weight.saturating_add(heavy);
        if depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
        if *weight > WEIGHT_MAX {
            return Err(Error::Weight);
        }
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        wat::parse_str(format!("(module (func {} {}))", "block ".repeat(depth), "end ".repeat(depth))).unwrap()
    }

    #[test]
    fn nesting_and_segments_are_allowed_up_to_their_bounds_and_not_beyond() {
        assert_eq!(check(&nested(10_000)), Ok(()));
        assert_eq!(check(&nested(10_001)), Err(Error::Depth));
        let segments = |count| wat::parse_str(format!("(module (memory 1) {})", "(data \"x\")".repeat(count))).unwrap();
        assert_eq!(check(&segments(5_000)), Ok(()));
        let error = Error::Count { what: "data segments", got: 5_001, max: 5_000 };
        assert_eq!(check(&segments(5_001)), Err(error));
        let functions = |count| wat::parse_str(format!("(module {})", "(func)".repeat(count))).unwrap();
        assert_eq!(check(&functions(30_000)), Ok(()));
        let results =
            |count| wat::parse_str(format!("(module (type (func (result {}))))", "i32 ".repeat(count))).unwrap();
        assert_eq!(check(&results(16)), Ok(()));
        assert_eq!(check(&results(17)), Err(Error::Count { what: "results", got: 17, max: 16 }));
        assert!(check(&functions(30_001)).unwrap_err().to_string().contains("too many functions: got=30001"));
    }

    #[test]
    fn the_weight_is_the_product_of_blocks_and_what_they_carry() {
        // Each block weighs 5,000 locals and its one value or none.
        let blocks = |count: usize| {
            let text = format!("(module (func (local {}) {}))", "i32 ".repeat(5_000), "block end ".repeat(count));
            wat::parse_str(text).unwrap()
        };
        let each = 5_001;
        let fits = usize::try_from(WEIGHT_MAX / each).unwrap();
        assert_eq!(check(&blocks(fits)), Ok(()));
        assert_eq!(check(&blocks(fits + 1)), Err(Error::Weight));
    }

    /// The first function behind the import is number 1: each weighs what is its own, and a call what the function that it names takes.
    #[test]
    fn an_import_is_counted_before_the_functions_and_only_one_is_taken() {
        let import = "(import \"keystead\" \"log\" (func (param i32 i32)))";
        let calls = |import: &str, called: u32, count: usize| {
            let many = "i32 ".repeat(500);
            let calls = format!("call {called} ").repeat(count);
            let text = format!("(module {import} (func (param {many})) (func unreachable {calls}))");
            wat::parse_str(text).unwrap()
        };
        let fits = usize::try_from(WEIGHT_MAX / 500).unwrap();
        for (import, called) in [("", 0), (import, 1)] {
            assert_eq!(check(&calls(import, called, fits)), Ok(()));
            assert_eq!(check(&calls(import, called, fits + 1)), Err(Error::Weight));
        }
        // Calls of the import weigh its two values.
        assert_eq!(check(&calls(import, 0, fits + 1)), Ok(()));
        let two = wat::parse_str(format!("(module {import} {import})")).unwrap();
        assert_eq!(check(&two), Err(Error::Count { what: "imports", got: 2, max: 1 }));
    }

    #[test]
    fn the_recipes_program_is_far_below_the_bounds() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/align/kernel/align.wasm");
        assert_eq!(check(&std::fs::read(path).unwrap()), Ok(()));
    }

    #[test]
    fn what_cannot_be_read_is_left_to_the_compiler() {
        let whole = nested(3);
        for cut in 0..whole.len() {
            assert_eq!(check(&whole[..cut]), Ok(()), "cut at {cut}");
        }
        assert_eq!(check(b"(module)"), Ok(()));
    }
}
