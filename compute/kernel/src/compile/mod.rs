//! From a validated naga module to register code.
//!
//! # Design
//! One pass over each function in the order of the arena (naga's functions call earlier ones only). An expression gets its registers when naga
//! emits it; literals lie in the image and cost nothing; a component of a vector, a swizzle or a splat is another name for registers that exist.
//!
//! # Invariants
//! No table grows beyond [`REGISTERS_MAX`] or [`OPERATIONS_MAX`]: each allocation and each operation is counted before it is made.

// Register and operation numbers stay below 2^25 (`Writer::registers`, `Writer::push`), and no product of two of them is formed that a check
// does not cover first (`Writer::words`).
#![allow(clippy::arithmetic_side_effects)]

mod expression;
mod function;
mod math;
mod sum;
mod usage;
mod value;

use crate::program::{Address, Memory, Op, Program, Register, Table};
use naga::{
    AddressSpace, ArraySize, Constant, Expression, GlobalVariable, Handle, Literal, Module, Type, TypeInner,
    valid::ModuleInfo,
};
use std::collections::HashMap;
use value::{Place, SCATTERED_WORDS_MAX, Space, Value};

/// Registers of an invocation, words: variables, values and constants of all functions together. Far above what a GPU gives to an invocation.
pub const REGISTERS_MAX: u32 = 1 << 22;
/// Operations of a program: about twenty for each byte that a source may have, of which an operation takes 24 in memory.
pub const OPERATIONS_MAX: u32 = 1 << 22;

/// Why a kernel cannot be interpreted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than the interpreter has room for.
    #[error("too large for the interpreter: {what} got={got} max={max}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much, at least.
        got: u64,
        /// How much there may be.
        max: u64,
    },
    /// A valid construct that no profile should have admitted.
    #[error("the interpreter does not know: {what}")]
    Unknown {
        /// The construct.
        what: String,
    },
}

/// Whether sums and products keep the order of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freedom {
    /// They do: the reference.
    None,
    /// They are fused and reordered as the seed says. Only for tests.
    #[cfg_attr(not(feature = "perturbed"), allow(dead_code))]
    Seeded { seed: u64, contract: bool, reassociate: bool },
}

/// Writes the register code of a whole module.
pub(crate) fn compile(module: &Module, info: &ModuleInfo, freedom: Freedom) -> Result<Program, Error> {
    let mut writer = Writer::new(module, freedom);
    writer.globals()?;
    for (handle, function) in module.functions.iter() {
        let frame = function::write(&mut writer, function, &info[handle], false)?;
        writer.frames.push(frame);
    }
    let [entry] = module.entry_points.as_slice() else {
        return Err(unknown("a module without its one entry point"));
    };
    let main = function::write(&mut writer, &entry.function, info.get_entry_point(0), true)?;
    let has_barriers = writer.ops.contains(&Op::Barrier);
    Ok(Program {
        ops: writer.ops,
        tables: writer.tables,
        entry: main.entry,
        image: writer.image,
        private_words: writer.private_words,
        shared_words: writer.shared_words,
        builtins: writer.builtins,
        workgroup_size: entry.workgroup_size,
        has_barriers,
    })
}

fn unknown(what: impl Into<String>) -> Error {
    Error::Unknown { what: what.into() }
}

/// What a caller needs of a function.
#[derive(Clone, Debug, Default)]
struct Frame {
    entry: u32,
    /// Base and words of each parameter.
    parameters: Vec<(Register, u32)>,
    result: Register,
    result_words: u32,
}

/// The module while its code is written.
struct Writer<'a> {
    module: &'a Module,
    freedom: Freedom,
    /// Words of a value of each type.
    sizes: HashMap<Handle<Type>, u32>,
    ops: Vec<Op>,
    tables: Vec<Table>,
    image: Vec<u32>,
    /// Registers that hold a literal.
    literals: HashMap<u32, Register>,
    constants: HashMap<Handle<Constant>, Value>,
    zeros: HashMap<Handle<Type>, Value>,
    globals: HashMap<Handle<GlobalVariable>, Place>,
    frames: Vec<Frame>,
    private_words: u32,
    shared_words: u32,
    builtins: Vec<(crate::program::Builtin, Register)>,
    sums: sum::Sums,
}

impl<'a> Writer<'a> {
    fn new(module: &'a Module, freedom: Freedom) -> Self {
        Self {
            module,
            freedom,
            sizes: HashMap::new(),
            ops: Vec::new(),
            tables: Vec::new(),
            image: Vec::new(),
            literals: HashMap::new(),
            constants: HashMap::new(),
            zeros: HashMap::new(),
            globals: HashMap::new(),
            frames: Vec::new(),
            private_words: 0,
            shared_words: 0,
            builtins: Vec::new(),
            sums: sum::Sums::default(),
        }
    }

    /// Gives every module variable its place. Private variables come first among the registers.
    fn globals(&mut self) -> Result<(), Error> {
        let module = self.module;
        for (handle, variable) in module.global_variables.iter() {
            if variable.space == AddressSpace::Private {
                let words = self.words(variable.ty)?;
                let base = self.registers(words)?;
                if let Some(init) = variable.init {
                    let values = self.constant_words(init)?;
                    self.set(base, &values);
                }
                self.globals.insert(handle, Place { space: Space::Registers, base, offset: 0 });
            }
        }
        self.private_words = self.registers(0)?;
        let zero = self.literal(0)?;
        for place in self.globals.values_mut() {
            place.offset = zero;
        }
        for (handle, variable) in module.global_variables.iter() {
            let place = match variable.space {
                AddressSpace::Private => continue,
                AddressSpace::WorkGroup => {
                    let base = self.shared_words;
                    self.shared_words = base.saturating_add(self.words(variable.ty)?);
                    Place { space: Space::Outside(Memory::Shared), base, offset: zero }
                }
                AddressSpace::Storage { .. } => {
                    let binding = variable.binding.map_or(u32::MAX, |binding| binding.binding);
                    let buffer = u8::try_from(binding).map_err(|_| unknown("a binding above 2"))?;
                    Place { space: Space::Outside(Memory::Buffer(buffer)), base: 0, offset: zero }
                }
                other => return Err(unknown(format!("a variable in the address space {other:?}"))),
            };
            self.globals.insert(handle, place);
        }
        Ok(())
    }

    /// Words of a value of this type. A buffer's array of unknown length has none.
    fn words(&mut self, ty: Handle<Type>) -> Result<u32, Error> {
        if let Some(&words) = self.sizes.get(&ty) {
            return Ok(words);
        }
        let module = self.module;
        let words = match &module.types[ty].inner {
            &TypeInner::Array { base, size, .. } => {
                let count = match size {
                    ArraySize::Constant(count) => count.get(),
                    ArraySize::Dynamic => 0,
                    ArraySize::Pending(_) => return Err(unknown("an array whose length is overridable")),
                };
                u64::from(self.words(base)?).saturating_mul(u64::from(count))
            }
            TypeInner::Struct { members, .. } => {
                let mut sum = 0u64;
                for member in members {
                    sum = sum.saturating_add(u64::from(self.words(member.ty)?));
                }
                sum
            }
            inner => u64::from(simple_words(inner)?),
        };
        let words = within("words of a type", words, REGISTERS_MAX)?;
        self.sizes.insert(ty, words);
        Ok(words)
    }

    fn words_of(&mut self, inner: &TypeInner) -> Result<u32, Error> {
        match *inner {
            TypeInner::Array { base, size: ArraySize::Constant(count), .. } => {
                let words = u64::from(self.words(base)?).saturating_mul(u64::from(count.get()));
                within("words of a type", words, REGISTERS_MAX)
            }
            TypeInner::Struct { ref members, .. } => {
                let mut sum = 0u64;
                for member in members {
                    sum = sum.saturating_add(u64::from(self.words(member.ty)?));
                }
                within("words of a type", sum, REGISTERS_MAX)
            }
            ref inner => simple_words(inner),
        }
    }

    /// New registers side by side, holding zeros at first.
    fn registers(&mut self, words: u32) -> Result<Register, Error> {
        let base = self.image.len() as u64;
        let end = within("registers", base.saturating_add(u64::from(words)), REGISTERS_MAX)?;
        self.image.resize(end as usize, 0);
        within("registers", base, REGISTERS_MAX)
    }

    fn set(&mut self, base: Register, values: &[u32]) {
        for (register, value) in self.image.iter_mut().skip(base as usize).zip(values) {
            *register = *value;
        }
    }

    fn push(&mut self, op: Op) -> Result<(), Error> {
        within("operations", self.ops.len() as u64 + 1, OPERATIONS_MAX)?;
        self.ops.push(op);
        Ok(())
    }

    /// The number of the next operation.
    const fn here(&self) -> u32 {
        // LOSSY: `push` keeps it below 2^22.
        #[allow(clippy::cast_possible_truncation)]
        let here = self.ops.len() as u32;
        here
    }

    /// The register that holds this word, the same for equal words.
    fn literal(&mut self, value: u32) -> Result<Register, Error> {
        if let Some(&register) = self.literals.get(&value) {
            return Ok(register);
        }
        let register = self.registers(1)?;
        self.set(register, &[value]);
        self.literals.insert(value, register);
        Ok(register)
    }

    fn constant(&mut self, handle: Handle<Constant>) -> Result<Value, Error> {
        if let Some(value) = self.constants.get(&handle) {
            return Ok(value.clone());
        }
        let words = self.constant_words(self.module.constants[handle].init)?;
        let value = self.in_image(&words)?;
        self.constants.insert(handle, value.clone());
        Ok(value)
    }

    fn zero(&mut self, ty: Handle<Type>) -> Result<Value, Error> {
        if let Some(value) = self.zeros.get(&ty) {
            return Ok(value.clone());
        }
        let words = self.words(ty)?;
        let value = if words <= SCATTERED_WORDS_MAX {
            let zero = self.literal(0)?;
            Value::Parts((0..words).map(|_| zero).collect())
        } else {
            Value::Span { base: self.registers(words)?, words }
        };
        self.zeros.insert(ty, value.clone());
        Ok(value)
    }

    fn in_image(&mut self, words: &[u32]) -> Result<Value, Error> {
        if words.len() <= SCATTERED_WORDS_MAX as usize {
            let parts: Result<Vec<Register>, Error> = words.iter().map(|&word| self.literal(word)).collect();
            return Ok(Value::Parts(parts?.into()));
        }
        let count = within("words of a constant", words.len() as u64, REGISTERS_MAX)?;
        let base = self.registers(count)?;
        self.set(base, words);
        Ok(Value::Span { base, words: count })
    }

    /// The words of a module-level constant expression. naga has reduced these to literals, zeros and compositions; the depth is that of the type.
    fn constant_words(&mut self, handle: Handle<Expression>) -> Result<Vec<u32>, Error> {
        let module = self.module;
        match &module.global_expressions[handle] {
            Expression::Literal(literal) => Ok(vec![literal_word(*literal)?]),
            Expression::Constant(constant) => self.constant_words(module.constants[*constant].init),
            Expression::ZeroValue(ty) => {
                let words = self.words(*ty)?;
                Ok(vec![0; words as usize])
            }
            Expression::Compose { components, .. } => {
                let mut all = Vec::new();
                for component in components {
                    all.extend(self.constant_words(*component)?);
                    within("words of a constant", all.len() as u64, REGISTERS_MAX)?;
                }
                Ok(all)
            }
            Expression::Splat { size, value } => {
                let word = self.constant_words(*value)?;
                Ok(word.repeat(u32::from(*size) as usize))
            }
            other => Err(unknown(format!("the constant expression {other:?}"))),
        }
    }

    /// One register range with the value.
    fn contiguous(&mut self, value: &Value) -> Result<(Register, u32), Error> {
        if let Value::Span { base, words } = *value {
            return Ok((base, words));
        }
        let words = value.words();
        let base = self.registers(words)?;
        self.copy(base, value)?;
        Ok((base, words))
    }

    /// Copies a value into registers that no part of it shares.
    fn copy(&mut self, to: Register, value: &Value) -> Result<(), Error> {
        match *value {
            Value::Span { base, words } if words > 1 => self.push(Op::CopyMany { to, from: base, words }),
            _ => {
                (0..value.words()).try_for_each(|index| self.push(Op::Copy { to: to + index, from: value.part(index) }))
            }
        }
    }
}

impl Place {
    const fn address(self) -> Address {
        Address { base: self.base, offset: self.offset }
    }
}

/// Words of a type that is neither array nor structure.
fn simple_words(inner: &TypeInner) -> Result<u32, Error> {
    match *inner {
        TypeInner::Scalar(_) | TypeInner::Atomic(_) => Ok(1),
        TypeInner::Vector { size, .. } => Ok(u32::from(size)),
        TypeInner::Matrix { columns, rows, .. } => Ok(u32::from(columns) * u32::from(rows)),
        TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. } => Ok(1),
        ref other => Err(unknown(format!("the type {other:?}"))),
    }
}

fn literal_word(literal: Literal) -> Result<u32, Error> {
    match literal {
        Literal::U32(value) => Ok(value),
        Literal::I32(value) => Ok(value.cast_unsigned()),
        Literal::F32(value) => Ok(value.to_bits()),
        Literal::Bool(value) => Ok(u32::from(value)),
        other => Err(unknown(format!("the literal {other:?}"))),
    }
}

fn within(what: &'static str, got: u64, max: u32) -> Result<u32, Error> {
    match u32::try_from(got) {
        Ok(small) if small <= max => Ok(small),
        _ => Err(Error::TooLarge { what, got, max: u64::from(max) }),
    }
}
