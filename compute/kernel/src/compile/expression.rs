//! Expressions that naga emits: indexing, arithmetic, conversions.

use super::{
    Error, Freedom, Writer,
    function::Body,
    unknown,
    value::{Place, SCATTERED_WORDS_MAX, Space, Value},
};
use crate::program::{Address, Memory, One, Op, Register, Three, Two};
use naga::{ArraySize, BinaryOperator, Expression, Handle, RelationalFunction, ScalarKind, TypeInner, UnaryOperator};

impl Writer<'_> {
    pub(super) fn one(&mut self, fun: One, a: Register) -> Result<Register, Error> {
        let to = self.registers(1)?;
        self.push(Op::One { fun, to, a })?;
        Ok(to)
    }

    pub(super) fn two(&mut self, fun: Two, a: Register, b: Register) -> Result<Register, Error> {
        let to = self.registers(1)?;
        self.push(match fun {
            Two::Add => Op::Add { to, a, b },
            Two::Subtract => Op::Subtract { to, a, b },
            Two::Multiply => Op::Multiply { to, a, b },
            Two::And => Op::And { to, a, b },
            Two::Or => Op::Or { to, a, b },
            Two::Xor => Op::Xor { to, a, b },
            Two::ShiftLeft => Op::ShiftLeft { to, a, b },
            Two::ShiftRightU => Op::ShiftRightU { to, a, b },
            fun => Op::Two { fun, to, a, b },
        })?;
        Ok(to)
    }

    pub(super) fn three(&mut self, fun: Three, a: Register, b: Register, c: Register) -> Result<Register, Error> {
        let to = self.registers(1)?;
        self.push(Op::Three { fun, to, a, b, c })?;
        Ok(to)
    }

    /// The sum of products `a_i * b_i`, from the left.
    pub(super) fn dot_f(&mut self, pairs: &[(Register, Register)]) -> Result<Register, Error> {
        let mut sum = None;
        for &(a, b) in pairs {
            let product = self.multiply_f(a, b)?;
            sum = Some(match sum {
                None => product,
                Some(sum) => self.add_f(sum, product)?,
            });
        }
        sum.ok_or_else(|| unknown("a sum without terms"))
    }
}

/// What kind of numbers an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    Float,
    Bool,
}

impl<'a> Body<'_, 'a> {
    pub(super) fn kind(&self, handle: Handle<Expression>) -> Result<Kind, Error> {
        match self.scalar(handle).map(|scalar| scalar.kind) {
            Some(ScalarKind::Uint) => Ok(Kind::Unsigned),
            Some(ScalarKind::Sint) => Ok(Kind::Signed),
            Some(ScalarKind::Float) => Ok(Kind::Float),
            Some(ScalarKind::Bool) => Ok(Kind::Bool),
            other => Err(unknown(format!("a number of the kind {other:?}"))),
        }
    }

    /// Writes the code of one expression.
    pub(super) fn expression(&mut self, handle: Handle<Expression>) -> Result<Value, Error> {
        let function = self.function;
        match function.expressions[handle] {
            Expression::Compose { ref components, .. } => self.compose(components),
            Expression::Access { base, index } => self.access(base, index),
            Expression::AccessIndex { base, index } => self.access_index(base, index),
            Expression::Splat { size, value } => {
                let part = self.value(value)?.part(0);
                Ok(Value::Parts((0..u32::from(size)).map(|_| part).collect()))
            }
            Expression::Swizzle { size, vector, pattern } => {
                let vector = self.value(vector)?;
                let parts = pattern.iter().take(u32::from(size) as usize);
                Ok(Value::Parts(parts.map(|&component| vector.part(component as u32)).collect()))
            }
            Expression::Load { pointer } => {
                let (place, words) = (self.place(pointer)?, self.words_of(handle)?);
                let zero = self.writer.literal(0)?;
                let is_variable = place.space == Space::Registers && place.offset == zero;
                if is_variable && !self.usage.escapes(handle) && self.writer.freedom == Freedom::None {
                    return Ok(Value::Span { base: place.base, words });
                }
                self.load(place, words)
            }
            Expression::Unary { op, expr } => self.unary(op, expr),
            Expression::Binary { op, left, right } => self.binary(op, left, right),
            Expression::Select { condition, accept, reject } => {
                let (condition, accept, reject) = (self.value(condition)?, self.value(accept)?, self.value(reject)?);
                self.each(accept.words(), |writer, at| {
                    writer.three(Three::Select, condition.part(at), accept.part(at), reject.part(at))
                })
            }
            Expression::Relational { fun, argument } => {
                let two = match fun {
                    RelationalFunction::All => Two::And,
                    RelationalFunction::Any => Two::Or,
                    other => return Err(unknown(format!("the function {other:?}"))),
                };
                let argument = self.value(argument)?;
                let mut all = argument.part(0);
                for at in 1..argument.words() {
                    all = self.writer.two(two, all, argument.part(at))?;
                }
                Ok(Value::word(all))
            }
            Expression::Math { fun, arg, arg1, arg2, arg3 } => self.math(fun, [Some(arg), arg1, arg2, arg3]),
            Expression::As { expr, kind, convert } => self.convert(expr, kind, convert.is_some()),
            Expression::ArrayLength(array) => {
                let place = self.place(array)?;
                let stride = match self.pointed(array)? {
                    TypeInner::Array { base, .. } => self.writer.words(*base)?,
                    _ => return Err(unknown("the length of what is no array")),
                };
                let to = self.writer.registers(1)?;
                self.writer.push(Op::Length { buffer: Self::buffer(place)?, to, stride })?;
                Ok(Value::word(to))
            }
            // These were given their registers before, or by the statement that computes them.
            ref other => match &self.values[handle.index()] {
                Some(value) => Ok(value.clone()),
                None => Err(unknown(format!("the expression {other:?}").chars().take(80).collect::<String>())),
            },
        }
    }

    /// Computes a value component by component.
    pub(super) fn each(
        &mut self,
        words: u32,
        mut component: impl FnMut(&mut Writer<'a>, u32) -> Result<Register, Error>,
    ) -> Result<Value, Error> {
        let parts: Result<Vec<Register>, Error> = (0..words).map(|at| component(self.writer, at)).collect();
        Ok(Value::Parts(parts?.into()))
    }

    fn compose(&mut self, components: &[Handle<Expression>]) -> Result<Value, Error> {
        let mut values = Vec::with_capacity(components.len());
        let mut words = 0u32;
        for component in components {
            let value = self.value(*component)?;
            words = words.saturating_add(value.words());
            values.push(value);
        }
        if words <= SCATTERED_WORDS_MAX {
            let parts = values.iter().flat_map(|value| (0..value.words()).map(|at| value.part(at)));
            return Ok(Value::Parts(parts.collect()));
        }
        let base = self.writer.registers(words)?;
        let mut to = base;
        for value in &values {
            self.writer.copy(to, value)?;
            to += value.words();
        }
        Ok(Value::Span { base, words })
    }

    /// What a pointer points to.
    fn pointed(&self, pointer: Handle<Expression>) -> Result<&'a TypeInner, Error> {
        match *self.inner(pointer) {
            TypeInner::Pointer { base, .. } => Ok(&self.writer.module.types[base].inner),
            ref other => Err(unknown(format!("a pointer of the type {other:?}"))),
        }
    }

    /// Elements and words of an element of what a value or pointer holds; no number of elements for a buffer.
    fn elements(&mut self, base: Handle<Expression>) -> Result<(Option<u32>, u32), Error> {
        let inner = match self.inner(base) {
            TypeInner::ValuePointer { size: Some(size), .. } => return Ok((Some(u32::from(*size)), 1)),
            TypeInner::Pointer { .. } => self.pointed(base)?,
            inner => inner,
        };
        match *inner {
            TypeInner::Vector { size, .. } => Ok((Some(u32::from(size)), 1)),
            TypeInner::Matrix { columns, rows, .. } => Ok((Some(u32::from(columns)), u32::from(rows))),
            TypeInner::Array { base, size: ArraySize::Constant(count), .. } => {
                Ok((Some(count.get()), self.writer.words(base)?))
            }
            TypeInner::Array { base, size: ArraySize::Dynamic, .. } => Ok((None, self.writer.words(base)?)),
            ref other => Err(unknown(format!("an index into {other:?}"))),
        }
    }

    fn access(&mut self, base: Handle<Expression>, index: Handle<Expression>) -> Result<Value, Error> {
        let index = self.value(index)?.part(0);
        let (count, stride) = self.elements(base)?;
        let value = self.value(base)?;
        let to = self.writer.registers(1)?;
        let Some(count) = count else {
            let Value::Place(place) = value else { return Err(unknown("a buffer as a value")) };
            self.writer.push(Op::IndexBuffer { buffer: Self::buffer(place)?, to, index, stride })?;
            return Ok(Value::Place(Place { offset: to, ..place }));
        };
        let last = count.saturating_sub(1);
        if let Value::Place(place) = value {
            self.writer.push(Op::Index { to, prior: place.offset, index, last, stride })?;
            return Ok(Value::Place(Place { offset: to, ..place }));
        }
        let prior = self.writer.literal(0)?;
        self.writer.push(Op::Index { to, prior, index, last, stride })?;
        let (from, _) = self.writer.contiguous(&value)?;
        let base = self.writer.registers(stride)?;
        self.writer.push(Op::Get { to: base, from: Address { base: from, offset: to }, words: stride })?;
        Ok(Value::Span { base, words: stride })
    }

    fn access_index(&mut self, base: Handle<Expression>, index: u32) -> Result<Value, Error> {
        let inner = match self.inner(base) {
            TypeInner::Pointer { .. } => self.pointed(base)?,
            inner => inner,
        };
        let (first, words) = if let TypeInner::Struct { members, .. } = inner {
            let mut first = 0u32;
            for member in members.iter().take(index as usize) {
                first = first.saturating_add(self.writer.words(member.ty)?);
            }
            let member = members.get(index as usize).ok_or_else(|| unknown("a member"))?;
            (first, self.writer.words(member.ty)?)
        } else {
            let (_, stride) = self.elements(base)?;
            (index.saturating_mul(stride), stride)
        };
        match self.value(base)? {
            Value::Place(place) => self.member(place, first),
            value => Ok(value.slice(first, words)),
        }
    }

    /// The place `first` words further on.
    const fn member(&mut self, place: Place, first: u32) -> Result<Value, Error> {
        if let Space::Outside(Memory::Buffer(_)) = place.space {
            // A buffer's length is not known here: an address beyond it is found when it is used.
            return Ok(Value::Place(Place { base: place.base.saturating_add(first), ..place }));
        }
        Ok(Value::Place(Place { base: place.base + first, ..place }))
    }

    fn unary(&mut self, op: UnaryOperator, argument: Handle<Expression>) -> Result<Value, Error> {
        let fun = match (op, self.kind(argument)?) {
            (UnaryOperator::Negate, Kind::Float) => One::NegateF,
            (UnaryOperator::Negate, _) => One::NegateI,
            (UnaryOperator::LogicalNot, _) => One::NotB,
            (UnaryOperator::BitwiseNot, _) => One::NotI,
        };
        let value = self.value(argument)?;
        self.each(value.words(), |writer, at| writer.one(fun, value.part(at)))
    }

    fn binary(
        &mut self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Result<Value, Error> {
        let kind = self.kind(left)?;
        if op == BinaryOperator::Multiply
            && let Some(product) = self.matrix_product(left, right)?
        {
            return Ok(product);
        }
        let (a, b) = (self.value(left)?, self.value(right)?);
        // A number beside a vector or matrix stands for each component: `part` repeats the last one.
        let words = a.words().max(b.words());
        if kind == Kind::Float {
            match op {
                BinaryOperator::Add => return self.each(words, |writer, at| writer.add_f(a.part(at), b.part(at))),
                BinaryOperator::Subtract => {
                    return self.each(words, |writer, at| writer.subtract_f(a.part(at), b.part(at)));
                }
                BinaryOperator::Multiply => {
                    return self.each(words, |writer, at| writer.multiply_f(a.part(at), b.part(at)));
                }
                _ => {}
            }
        }
        let (fun, swapped) = binary_function(op, kind);
        let (a, b) = if swapped { (b, a) } else { (a, b) };
        self.each(words, |writer, at| writer.two(fun, a.part(at), b.part(at)))
    }

    /// The product, if one of the factors is a matrix and none is a number.
    fn matrix_product(&mut self, left: Handle<Expression>, right: Handle<Expression>) -> Result<Option<Value>, Error> {
        let (a, b) = (self.value(left)?, self.value(right)?);
        // Rows of the result, terms of each sum, columns of the result.
        let (rows, terms, columns) = match (self.inner(left), self.inner(right)) {
            (&TypeInner::Matrix { columns: terms, rows, .. }, &TypeInner::Matrix { columns, .. }) => {
                (u32::from(rows), u32::from(terms), u32::from(columns))
            }
            (&TypeInner::Matrix { columns: terms, rows, .. }, TypeInner::Vector { .. }) => {
                (u32::from(rows), u32::from(terms), 1)
            }
            (TypeInner::Vector { .. }, &TypeInner::Matrix { columns, rows: terms, .. }) => {
                (1, u32::from(terms), u32::from(columns))
            }
            _ => return Ok(None),
        };
        let product = self.each(rows * columns, |writer, at| {
            let (column, row) = (at / rows, at % rows);
            let pairs: Vec<_> =
                (0..terms).map(|term| (a.part(term * rows + row), b.part(column * terms + term))).collect();
            writer.dot_f(&pairs)
        })?;
        Ok(Some(product))
    }

    fn convert(&mut self, argument: Handle<Expression>, to: ScalarKind, convert: bool) -> Result<Value, Error> {
        let value = self.value(argument)?;
        if !convert {
            return Ok(value);
        }
        let fun = match (self.kind(argument)?, to) {
            (Kind::Float, ScalarKind::Uint) => One::FToU,
            (Kind::Float, ScalarKind::Sint) => One::FToI,
            (Kind::Float, ScalarKind::Bool) => One::FToB,
            (Kind::Unsigned | Kind::Signed, ScalarKind::Bool) => One::UToB,
            (Kind::Unsigned, ScalarKind::Float) => One::UToF,
            (Kind::Signed, ScalarKind::Float) => One::IToF,
            (Kind::Bool, ScalarKind::Float) => One::BToF,
            // The same bits.
            (_, ScalarKind::Uint | ScalarKind::Sint | ScalarKind::Bool | ScalarKind::Float) => return Ok(value),
            (_, other) => return Err(unknown(format!("a conversion to {other:?}"))),
        };
        self.each(value.words(), |writer, at| writer.one(fun, value.part(at)))
    }
}

/// The function of an operator, and whether its operands change places.
fn binary_function(op: BinaryOperator, kind: Kind) -> (Two, bool) {
    use BinaryOperator as B;
    let float = matches!(kind, Kind::Float);
    let signed = matches!(kind, Kind::Signed);
    let pick = |for_float, for_signed, otherwise| {
        if float {
            for_float
        } else if signed {
            for_signed
        } else {
            otherwise
        }
    };
    match op {
        B::Add => (pick(Two::AddF, Two::Add, Two::Add), false),
        B::Subtract => (pick(Two::SubtractF, Two::Subtract, Two::Subtract), false),
        B::Multiply => (pick(Two::MultiplyF, Two::Multiply, Two::Multiply), false),
        B::Divide => (pick(Two::DivideF, Two::DivideI, Two::DivideU), false),
        B::Modulo => (pick(Two::ModuloF, Two::ModuloI, Two::ModuloU), false),
        B::Equal => (pick(Two::EqualF, Two::Equal, Two::Equal), false),
        B::NotEqual => (pick(Two::NotEqualF, Two::NotEqual, Two::NotEqual), false),
        B::Less => (pick(Two::LessF, Two::LessI, Two::LessU), false),
        B::LessEqual => (pick(Two::LessEqualF, Two::LessEqualI, Two::LessEqualU), false),
        B::Greater => (pick(Two::LessF, Two::LessI, Two::LessU), true),
        B::GreaterEqual => (pick(Two::LessEqualF, Two::LessEqualI, Two::LessEqualU), true),
        B::And | B::LogicalAnd => (Two::And, false),
        B::InclusiveOr | B::LogicalOr => (Two::Or, false),
        B::ExclusiveOr => (Two::Xor, false),
        B::ShiftLeft => (Two::ShiftLeft, false),
        B::ShiftRight => (pick(Two::ShiftRightU, Two::ShiftRightI, Two::ShiftRightU), false),
    }
}
