//! Built-in functions, reduced to functions of single words.

use super::{Error, Writer, expression::Kind, function::Body, unknown, value::Value};
use crate::program::{One, Op, Pack, Register, Three, Two};
use naga::{Expression, Handle, MathFunction as Mf, TypeInner};

/// Operands of a built-in function.
struct Operands {
    kind: Kind,
    values: Vec<Value>,
}

impl Operands {
    fn get(&self, index: usize) -> Result<&Value, Error> {
        self.values.get(index).ok_or_else(|| unknown("a built-in function with too few operands"))
    }
}

impl<'a> Body<'_, 'a> {
    pub(super) fn math(&mut self, fun: Mf, handles: [Option<Handle<Expression>>; 4]) -> Result<Value, Error> {
        let first = handles[0].ok_or_else(|| unknown("a built-in function without operands"))?;
        let kind = self.kind(first)?;
        let values: Result<Vec<Value>, Error> =
            handles.into_iter().flatten().map(|handle| self.value(handle)).collect();
        let operands = Operands { kind, values: values? };
        let a = operands.get(0)?.clone();
        if let Some(one) = of_one(fun, kind) {
            return self.each(a.words(), |writer, at| writer.one(one, a.part(at)));
        }
        if let Some(two) = of_two(fun, kind) {
            let b = operands.get(1)?.clone();
            return self.each(a.words(), |writer, at| writer.two(two, a.part(at), b.part(at)));
        }
        if let Some((two, words)) = unpacking(fun) {
            return self.each(words, |writer, at| {
                let index = writer.literal(at)?;
                writer.two(two, a.part(0), index)
            });
        }
        if let Some(pack) = packing(fun) {
            let (from, _) = self.writer.contiguous(&a)?;
            let to = self.writer.registers(1)?;
            self.writer.push(Op::Pack { fun: pack, to, from })?;
            return Ok(Value::word(to));
        }
        match fun {
            // Of an unsigned integer.
            Mf::Abs => Ok(a),
            Mf::Transpose | Mf::Determinant => self.matrix_function(fun, first, &a),
            Mf::Fma
            | Mf::Clamp
            | Mf::Saturate
            | Mf::Mix
            | Mf::SmoothStep
            | Mf::Step
            | Mf::ExtractBits
            | Mf::InsertBits => self.by_component(fun, &operands),
            Mf::Modf => {
                let fraction = self.each(a.words(), |writer, at| writer.one(One::FractTowardZero, a.part(at)))?;
                let whole = self.each(a.words(), |writer, at| writer.one(One::Trunc, a.part(at)))?;
                Ok(pair(&fraction, &whole))
            }
            Mf::Frexp => {
                let fraction = self.each(a.words(), |writer, at| writer.one(One::FractionPart, a.part(at)))?;
                let exponent = self.each(a.words(), |writer, at| writer.one(One::ExponentPart, a.part(at)))?;
                Ok(pair(&fraction, &exponent))
            }
            _ => self.geometry(fun, &operands),
        }
    }

    fn by_component(&mut self, fun: Mf, operands: &Operands) -> Result<Value, Error> {
        let kind = operands.kind;
        let a = operands.get(0)?.clone();
        if fun == Mf::Saturate {
            let (low, high) = (self.writer.literal(0)?, self.writer.literal(1f32.to_bits())?);
            return self.each(a.words(), |writer, at| clamp(writer, kind, [a.part(at), low, high]));
        }
        let b = operands.get(1)?.clone();
        if fun == Mf::Step {
            let (zero, one) = (self.writer.literal(0)?, self.writer.literal(1f32.to_bits())?);
            return self.each(a.words(), |writer, at| {
                let reached = writer.two(Two::LessEqualF, a.part(at), b.part(at))?;
                writer.three(Three::Select, reached, one, zero)
            });
        }
        let c = operands.get(2)?.clone();
        let words = a.words();
        match fun {
            Mf::Fma => self.each(words, |writer, at| writer.three(Three::Fma, a.part(at), b.part(at), c.part(at))),
            Mf::Clamp => self.each(words, |writer, at| clamp(writer, kind, [a.part(at), b.part(at), c.part(at)])),
            Mf::Mix => self.each(words, |writer, at| mix(writer, a.part(at), b.part(at), c.part(at))),
            Mf::SmoothStep => self.each(words, |writer, at| smooth(writer, a.part(at), b.part(at), c.part(at))),
            Mf::ExtractBits => {
                let fun = if kind == Kind::Signed { Three::ExtractI } else { Three::ExtractU };
                // Offset and count are numbers beside a vector.
                self.each(words, |writer, at| writer.three(fun, a.part(at), b.part(0), c.part(0)))
            }
            _ => {
                let d = operands.get(3)?.clone();
                self.each(words, |writer, at| {
                    let to = writer.registers(1)?;
                    let (offset, count) = (c.part(0), d.part(0));
                    writer.push(Op::Insert { to, a: a.part(at), b: b.part(at), offset, count })?;
                    Ok(to)
                })
            }
        }
    }

    fn matrix_function(&mut self, fun: Mf, argument: Handle<Expression>, a: &Value) -> Result<Value, Error> {
        let &TypeInner::Matrix { columns, rows, .. } = self.inner(argument) else {
            return Err(unknown("a matrix function of what is no matrix"));
        };
        let (columns, rows) = (u32::from(columns), u32::from(rows));
        if fun == Mf::Transpose {
            let parts = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            return Ok(Value::Parts(parts.map(|(row, column)| a.part(column * rows + row)).collect()));
        }
        let all: Vec<Vec<Register>> =
            (0..columns).map(|column| (0..rows).map(|row| a.part(column * rows + row)).collect()).collect();
        Ok(Value::word(determinant(self.writer, &all)?))
    }

    fn geometry(&mut self, fun: Mf, operands: &Operands) -> Result<Value, Error> {
        let a = operands.get(0)?.clone();
        let words = a.words();
        let b = operands.get(1).cloned();
        match fun {
            Mf::Dot if operands.kind == Kind::Float => Ok(Value::word(dot(self.writer, &a, &b?)?)),
            Mf::Dot => {
                let b = b?;
                let mut sum = self.writer.two(Two::Multiply, a.part(0), b.part(0))?;
                for at in 1..words {
                    let product = self.writer.two(Two::Multiply, a.part(at), b.part(at))?;
                    sum = self.writer.two(Two::Add, sum, product)?;
                }
                Ok(Value::word(sum))
            }
            Mf::Cross => {
                let b = b?;
                self.each(3, |writer, at| {
                    let (next, last) = ((at + 1) % 3, (at + 2) % 3);
                    let left = writer.multiply_f(a.part(next), b.part(last))?;
                    let right = writer.multiply_f(a.part(last), b.part(next))?;
                    writer.subtract_f(left, right)
                })
            }
            Mf::Length => Ok(Value::word(length(self.writer, &a)?)),
            Mf::Distance => {
                let b = b?;
                let difference = self.each(words, |writer, at| writer.subtract_f(a.part(at), b.part(at)))?;
                Ok(Value::word(length(self.writer, &difference)?))
            }
            Mf::Normalize => {
                let length = length(self.writer, &a)?;
                self.each(words, |writer, at| writer.two(Two::DivideF, a.part(at), length))
            }
            Mf::FaceForward => {
                let (b, c) = (b?, operands.get(2)?);
                let dot = dot(self.writer, &b, c)?;
                let zero = self.writer.literal(0)?;
                let away = self.writer.two(Two::LessF, dot, zero)?;
                self.each(words, |writer, at| {
                    let minus = writer.one(One::NegateF, a.part(at))?;
                    writer.three(Three::Select, away, a.part(at), minus)
                })
            }
            Mf::Reflect => {
                let b = b?;
                let dot = dot(self.writer, &b, &a)?;
                let two = self.writer.literal(2f32.to_bits())?;
                let twice = self.writer.multiply_f(two, dot)?;
                self.each(words, |writer, at| {
                    let along = writer.multiply_f(twice, b.part(at))?;
                    writer.subtract_f(a.part(at), along)
                })
            }
            Mf::Refract => self.refract(&a, &b?, operands.get(2)?.part(0)),
            other => Err(unknown(format!("the function {other:?}"))),
        }
    }

    /// `k = 1 - r r (1 - (n.i)(n.i))`; zero if `k < 0`, else `r i - (r (n.i) + sqrt(k)) n`.
    fn refract(&mut self, i: &Value, n: &Value, ratio: Register) -> Result<Value, Error> {
        let (zero, one) = (self.writer.literal(0)?, self.writer.literal(1f32.to_bits())?);
        let w = &mut *self.writer;
        let cosine = dot(w, n, i)?;
        let square = w.multiply_f(cosine, cosine)?;
        let sine = w.subtract_f(one, square)?;
        let ratio_square = w.multiply_f(ratio, ratio)?;
        let bent = w.multiply_f(ratio_square, sine)?;
        let k = w.subtract_f(one, bent)?;
        let total = w.two(Two::LessF, k, zero)?;
        let along = w.multiply_f(ratio, cosine)?;
        let root = w.one(One::Sqrt, k)?;
        let factor = w.add_f(along, root)?;
        self.each(i.words(), |writer, at| {
            let straight = writer.multiply_f(ratio, i.part(at))?;
            let turned = writer.multiply_f(factor, n.part(at))?;
            let through = writer.subtract_f(straight, turned)?;
            writer.three(Three::Select, total, zero, through)
        })
    }
}

fn pair(first: &Value, second: &Value) -> Value {
    let parts = [first, second].into_iter().flat_map(|value| (0..value.words()).map(|at| value.part(at)));
    Value::Parts(parts.collect())
}

fn clamp(writer: &mut Writer<'_>, kind: Kind, [value, low, high]: [Register; 3]) -> Result<Register, Error> {
    let (max, min) = match kind {
        Kind::Float => (Two::MaxF, Two::MinF),
        Kind::Signed => (Two::MaxI, Two::MinI),
        Kind::Unsigned | Kind::Bool => (Two::MaxU, Two::MinU),
    };
    let raised = writer.two(max, value, low)?;
    writer.two(min, raised, high)
}

/// `x (1 - t) + y t`.
fn mix(writer: &mut Writer<'_>, x: Register, y: Register, t: Register) -> Result<Register, Error> {
    let one = writer.literal(1f32.to_bits())?;
    let rest = writer.subtract_f(one, t)?;
    let left = writer.multiply_f(x, rest)?;
    let right = writer.multiply_f(y, t)?;
    writer.add_f(left, right)
}

/// `t t (3 - 2 t)` with `t = clamp((x - low) / (high - low), 0, 1)`.
fn smooth(writer: &mut Writer<'_>, low: Register, high: Register, x: Register) -> Result<Register, Error> {
    let (zero, one) = (writer.literal(0)?, writer.literal(1f32.to_bits())?);
    let (two, three) = (writer.literal(2f32.to_bits())?, writer.literal(3f32.to_bits())?);
    let above = writer.subtract_f(x, low)?;
    let range = writer.subtract_f(high, low)?;
    let t = writer.two(Two::DivideF, above, range)?;
    let t = clamp(writer, Kind::Float, [t, zero, one])?;
    let twice = writer.multiply_f(two, t)?;
    let rest = writer.subtract_f(three, twice)?;
    let square = writer.multiply_f(t, t)?;
    writer.multiply_f(square, rest)
}

fn dot(writer: &mut Writer<'_>, a: &Value, b: &Value) -> Result<Register, Error> {
    let pairs: Vec<_> = (0..a.words()).map(|at| (a.part(at), b.part(at))).collect();
    writer.dot_f(&pairs)
}

fn length(writer: &mut Writer<'_>, a: &Value) -> Result<Register, Error> {
    if a.words() == 1 {
        return writer.one(One::AbsF, a.part(0));
    }
    let square = dot(writer, a, a)?;
    writer.one(One::Sqrt, square)
}

/// By the first column: for 2, 3 or 4 columns.
fn determinant(writer: &mut Writer<'_>, columns: &[Vec<Register>]) -> Result<Register, Error> {
    let (Some(first), rest) = (columns.first(), columns.get(1..).unwrap_or_default()) else {
        return Err(unknown("the determinant of nothing"));
    };
    if rest.is_empty() {
        return first.first().copied().ok_or_else(|| unknown("the determinant of nothing"));
    }
    let mut sum = None;
    for (row, &factor) in first.iter().enumerate() {
        let minor: Vec<Vec<Register>> = rest
            .iter()
            .map(|column| column.iter().enumerate().filter(|(at, _)| *at != row).map(|(_, &part)| part).collect())
            .collect();
        let minor = determinant(writer, &minor)?;
        let term = writer.multiply_f(factor, minor)?;
        sum = Some(match sum {
            None => term,
            Some(sum) if row % 2 == 1 => writer.subtract_f(sum, term)?,
            Some(sum) => writer.add_f(sum, term)?,
        });
    }
    sum.ok_or_else(|| unknown("the determinant of nothing"))
}

const fn of_one(fun: Mf, kind: Kind) -> Option<One> {
    Some(match (fun, kind) {
        (Mf::Abs, Kind::Float) => One::AbsF,
        (Mf::Abs, Kind::Signed) => One::AbsI,
        (Mf::Sign, Kind::Float) => One::SignF,
        (Mf::Sign, _) => One::SignI,
        (Mf::CountLeadingZeros, _) => One::LeadingZeros,
        (Mf::CountTrailingZeros, _) => One::TrailingZeros,
        (Mf::CountOneBits, _) => One::Ones,
        (Mf::ReverseBits, _) => One::Reverse,
        (Mf::FirstTrailingBit, _) => One::FirstTrailing,
        (Mf::FirstLeadingBit, Kind::Signed) => One::FirstLeadingI,
        (Mf::FirstLeadingBit, _) => One::FirstLeadingU,
        (Mf::Ceil, _) => One::Ceil,
        (Mf::Floor, _) => One::Floor,
        (Mf::Round, _) => One::Round,
        (Mf::Trunc, _) => One::Trunc,
        (Mf::Fract, _) => One::Fract,
        (Mf::Sqrt, _) => One::Sqrt,
        (Mf::InverseSqrt, _) => One::InverseSqrt,
        (Mf::Exp, _) => One::Exp,
        (Mf::Exp2, _) => One::Exp2,
        (Mf::Log, _) => One::Log,
        (Mf::Log2, _) => One::Log2,
        (Mf::Sin, _) => One::Sin,
        (Mf::Cos, _) => One::Cos,
        (Mf::Tan, _) => One::Tan,
        (Mf::Asin, _) => One::Asin,
        (Mf::Acos, _) => One::Acos,
        (Mf::Atan, _) => One::Atan,
        (Mf::Sinh, _) => One::Sinh,
        (Mf::Cosh, _) => One::Cosh,
        (Mf::Tanh, _) => One::Tanh,
        (Mf::Asinh, _) => One::Asinh,
        (Mf::Acosh, _) => One::Acosh,
        (Mf::Atanh, _) => One::Atanh,
        (Mf::Radians, _) => One::Radians,
        (Mf::Degrees, _) => One::Degrees,
        (Mf::QuantizeToF16, _) => One::QuantizeToF16,
        _ => return None,
    })
}

const fn of_two(fun: Mf, kind: Kind) -> Option<Two> {
    Some(match (fun, kind) {
        (Mf::Min, Kind::Float) => Two::MinF,
        (Mf::Min, Kind::Signed) => Two::MinI,
        (Mf::Min, _) => Two::MinU,
        (Mf::Max, Kind::Float) => Two::MaxF,
        (Mf::Max, Kind::Signed) => Two::MaxI,
        (Mf::Max, _) => Two::MaxU,
        (Mf::Atan2, _) => Two::Atan2,
        (Mf::Pow, _) => Two::Pow,
        (Mf::Ldexp, _) => Two::Ldexp,
        (Mf::Dot4I8Packed, _) => Two::Dot4I,
        (Mf::Dot4U8Packed, _) => Two::Dot4U,
        _ => return None,
    })
}

const fn unpacking(fun: Mf) -> Option<(Two, u32)> {
    Some(match fun {
        Mf::Unpack4x8snorm => (Two::UnpackSnorm8, 4),
        Mf::Unpack4x8unorm => (Two::UnpackUnorm8, 4),
        Mf::Unpack2x16snorm => (Two::UnpackSnorm16, 2),
        Mf::Unpack2x16unorm => (Two::UnpackUnorm16, 2),
        Mf::Unpack2x16float => (Two::UnpackF16, 2),
        Mf::Unpack4xI8 => (Two::UnpackI8, 4),
        Mf::Unpack4xU8 => (Two::UnpackU8, 4),
        _ => return None,
    })
}

const fn packing(fun: Mf) -> Option<Pack> {
    Some(match fun {
        Mf::Pack4x8snorm => Pack::Snorm8,
        Mf::Pack4x8unorm => Pack::Unorm8,
        Mf::Pack2x16snorm => Pack::Snorm16,
        Mf::Pack2x16unorm => Pack::Unorm16,
        Mf::Pack2x16float => Pack::F16,
        Mf::Pack4xI8 => Pack::I8,
        Mf::Pack4xU8 => Pack::U8,
        Mf::Pack4xI8Clamp => Pack::I8Clamp,
        Mf::Pack4xU8Clamp => Pack::U8Clamp,
        _ => return None,
    })
}
