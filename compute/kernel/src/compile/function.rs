//! Statements of one function: control flow, stores, atomics, calls.

use super::{
    Error, Frame, Writer, literal_word, unknown,
    usage::Usage,
    value::{Place, SCATTERED_WORDS_MAX, Space, Value},
};
use crate::program::{Atomic, Builtin, Memory, Op, Register, Table};
use naga::{
    AtomicFunction, Barrier, Binding, Block, BuiltIn, Expression, Function, Handle, Scalar, ScalarKind, Statement,
    SwitchCase, SwitchValue, TypeInner, valid::FunctionInfo,
};

/// A function while its code is written.
pub(super) struct Body<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) function: &'a Function,
    pub(super) info: &'a FunctionInfo,
    pub(super) values: Vec<Option<Value>>,
    pub(super) usage: Usage,
    /// First register of each local variable, in the order of the arena, and their end.
    locals: Vec<Register>,
    locals_end: Register,
    frame: Frame,
    is_main: bool,
    /// Jumps to the end of the loops and switches around, innermost last.
    breaks: Vec<Vec<u32>>,
    /// Jumps to the `continuing` blocks of the loops around.
    continues: Vec<Vec<u32>>,
}

/// Writes a function's code and gives what its callers need.
pub(super) fn write<'a>(
    writer: &mut Writer<'a>,
    function: &'a Function,
    info: &'a FunctionInfo,
    is_main: bool,
) -> Result<Frame, Error> {
    writer.sums.clear();
    let mut frame = Frame { entry: writer.here(), ..Frame::default() };
    for argument in &function.arguments {
        let words = writer.words(argument.ty)?;
        frame.parameters.push((writer.registers(words)?, words));
    }
    if let Some(result) = &function.result {
        frame.result_words = writer.words(result.ty)?;
        frame.result = writer.registers(frame.result_words)?;
    }
    let mut locals = Vec::new();
    for (_, variable) in function.local_variables.iter() {
        let words = writer.words(variable.ty)?;
        locals.push(writer.registers(words)?);
    }
    let locals_end = writer.registers(0)?;
    let mut body = Body {
        writer,
        function,
        info,
        values: vec![None; function.expressions.len()],
        usage: Usage::of(function),
        locals,
        locals_end,
        frame,
        is_main,
        breaks: Vec::new(),
        continues: Vec::new(),
    };
    body.prelude()?;
    body.block(&function.body)?;
    body.leave(None)?;
    Ok(body.frame)
}

impl<'a> Body<'_, 'a> {
    /// What is there before the first statement: arguments, built-in values, variables, and the expressions that naga does not emit.
    fn prelude(&mut self) -> Result<(), Error> {
        if self.is_main {
            self.builtins()?;
        }
        for (handle, expression) in self.function.expressions.iter() {
            if let Some(value) = self.unemitted(expression)? {
                self.values[handle.index()] = Some(value);
            }
        }
        let locals: Vec<_> = self.function.local_variables.iter().map(|(_, variable)| variable).collect();
        for (at, variable) in locals.into_iter().enumerate() {
            let (to, words) = (self.locals[at], self.writer.words(variable.ty)?);
            match variable.init {
                None => self.writer.push(Op::ZeroMany { to, words })?,
                Some(init) => {
                    // An initial value is a constant expression, which naga may have emitted or not.
                    let value = self.evaluated(init)?;
                    self.writer.copy(to, &value)?;
                }
            }
        }
        Ok(())
    }

    /// The value of a constant expression that may come before its emission.
    fn evaluated(&mut self, handle: Handle<Expression>) -> Result<Value, Error> {
        if let Some(value) = &self.values[handle.index()] {
            return Ok(value.clone());
        }
        let function = self.function;
        if let Expression::Compose { components, .. } = &function.expressions[handle] {
            components.iter().try_for_each(|component| self.evaluated(*component).map(drop))?;
        }
        if let Expression::Splat { value, .. } = &function.expressions[handle] {
            self.evaluated(*value)?;
        }
        let value = self.expression(handle)?;
        self.values[handle.index()] = Some(value.clone());
        Ok(value)
    }

    fn unemitted(&mut self, expression: &Expression) -> Result<Option<Value>, Error> {
        Ok(Some(match *expression {
            Expression::Literal(literal) => Value::word(self.writer.literal(literal_word(literal)?)?),
            Expression::Constant(handle) => self.writer.constant(handle)?,
            Expression::ZeroValue(ty) => self.writer.zero(ty)?,
            Expression::FunctionArgument(index) => {
                let argument = self.function.arguments.get(index as usize).ok_or_else(|| unknown("an argument"))?;
                let (base, words) = self.frame.parameters[index as usize];
                match self.writer.module.types[argument.ty].inner {
                    TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. } => {
                        Value::Place(Place { space: Space::Registers, base: 0, offset: base })
                    }
                    _ => Value::Span { base, words },
                }
            }
            Expression::GlobalVariable(handle) => {
                let place = self.writer.globals.get(&handle).ok_or_else(|| unknown("a module variable"))?;
                Value::Place(*place)
            }
            Expression::LocalVariable(handle) => {
                let offset = self.writer.literal(0)?;
                Value::Place(Place { space: Space::Registers, base: self.locals[handle.index()], offset })
            }
            _ => return Ok(None),
        }))
    }

    /// Registers for the built-in values of `main`, also inside of structures.
    fn builtins(&mut self) -> Result<(), Error> {
        let module = self.writer.module;
        for (argument, &(base, _)) in self.function.arguments.iter().zip(&self.frame.parameters) {
            if let Some(binding) = &argument.binding {
                self.writer.builtins.push((builtin(binding)?, base));
                continue;
            }
            let TypeInner::Struct { members, .. } = &module.types[argument.ty].inner else {
                return Err(unknown("an argument of `main` without a binding"));
            };
            let mut at = base;
            for member in members {
                let binding = member.binding.as_ref().ok_or_else(|| unknown("a member without a binding"))?;
                self.writer.builtins.push((builtin(binding)?, at));
                at += self.writer.words(member.ty)?;
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &'a Block) -> Result<(), Error> {
        for statement in block {
            self.statement(statement)?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &'a Statement) -> Result<(), Error> {
        match statement {
            Statement::Emit(range) => range.clone().try_for_each(|handle| {
                let value = self.expression(handle)?;
                self.values[handle.index()] = Some(value);
                Ok(())
            }),
            Statement::Block(block) => self.block(block),
            Statement::If { condition, accept, reject } => self.branch(*condition, accept, reject),
            Statement::Switch { selector, cases } => self.switch(*selector, cases),
            Statement::Loop { body, continuing, break_if } => self.repeat(body, continuing, *break_if),
            Statement::Break => {
                let jump = self.jump()?;
                self.breaks.last_mut().ok_or_else(|| unknown("a break outside"))?.push(jump);
                Ok(())
            }
            Statement::Continue => {
                let jump = self.jump()?;
                self.continues.last_mut().ok_or_else(|| unknown("a continue outside"))?.push(jump);
                Ok(())
            }
            Statement::Return { value } => self.leave(*value),
            Statement::ControlBarrier(barrier) if !barrier.contains(Barrier::SUB_GROUP) => {
                self.writer.push(Op::Barrier)
            }
            // One invocation runs at a time, so memory is always in order.
            Statement::MemoryBarrier(_) => Ok(()),
            Statement::Store { pointer, value } => self.store(*pointer, *value),
            Statement::Atomic { pointer, fun, value, result } => self.atomic(*pointer, *fun, *value, *result),
            Statement::WorkGroupUniformLoad { pointer, result } => {
                self.writer.push(Op::Barrier)?;
                let words = self.words_of(*result)?;
                let place = self.place(*pointer)?;
                let value = self.load(place, words)?;
                self.values[result.index()] = Some(value);
                self.writer.push(Op::Barrier)
            }
            Statement::Call { function, arguments, result } => self.call(*function, arguments, *result),
            other => Err(unknown(format!("the statement {other:?}").chars().take(80).collect::<String>())),
        }
    }

    fn jump(&mut self) -> Result<u32, Error> {
        let at = self.writer.here();
        self.writer.push(Op::Jump { to: u32::MAX })?;
        Ok(at)
    }

    /// Sets the target of a jump to the next operation.
    fn land(&mut self, jump: u32) {
        let here = self.writer.here();
        if let Some(Op::Jump { to } | Op::Unless { to, .. }) = self.writer.ops.get_mut(jump as usize) {
            *to = here;
        }
    }

    fn branch(&mut self, condition: Handle<Expression>, accept: &'a Block, reject: &'a Block) -> Result<(), Error> {
        let condition = self.value(condition)?.part(0);
        let unless = self.writer.here();
        self.writer.push(Op::Unless { condition, to: u32::MAX })?;
        self.block(accept)?;
        if reject.is_empty() {
            self.land(unless);
            return Ok(());
        }
        let over = self.jump()?;
        self.land(unless);
        self.block(reject)?;
        self.land(over);
        Ok(())
    }

    fn switch(&mut self, selector: Handle<Expression>, cases: &'a [SwitchCase]) -> Result<(), Error> {
        let selector = self.value(selector)?.part(0);
        let index = self.writer.tables.len();
        // LOSSY: fewer switches than operations.
        #[allow(clippy::cast_possible_truncation)]
        let table = index as u32;
        self.writer.tables.push(Table::default());
        self.writer.push(Op::Switch { selector, table })?;
        self.breaks.push(Vec::new());
        let mut targets = Table::default();
        for case in cases {
            let here = self.writer.here();
            match case.value {
                SwitchValue::I32(value) => targets.cases.push((value.cast_unsigned(), here)),
                SwitchValue::U32(value) => targets.cases.push((value, here)),
                SwitchValue::Default => targets.default = here,
            }
            self.block(&case.body)?;
            if !case.fall_through {
                let jump = self.jump()?;
                if let Some(breaks) = self.breaks.last_mut() {
                    breaks.push(jump);
                }
            }
        }
        targets.cases.sort_unstable();
        self.writer.tables[index] = targets;
        self.land_breaks();
        Ok(())
    }

    fn land_breaks(&mut self) {
        for jump in self.breaks.pop().unwrap_or_default() {
            self.land(jump);
        }
    }

    fn repeat(
        &mut self,
        body: &'a Block,
        continuing: &'a Block,
        break_if: Option<Handle<Expression>>,
    ) -> Result<(), Error> {
        let top = self.writer.here();
        self.writer.push(Op::Loop)?;
        self.breaks.push(Vec::new());
        self.continues.push(Vec::new());
        self.block(body)?;
        for jump in self.continues.pop().unwrap_or_default() {
            self.land(jump);
        }
        self.block(continuing)?;
        match break_if {
            None => self.writer.push(Op::Jump { to: top })?,
            Some(condition) => {
                let condition = self.value(condition)?.part(0);
                self.writer.push(Op::Unless { condition, to: top })?;
            }
        }
        self.land_breaks();
        Ok(())
    }

    fn leave(&mut self, value: Option<Handle<Expression>>) -> Result<(), Error> {
        if let Some(value) = value {
            let value = self.value(value)?;
            self.writer.copy(self.frame.result, &value)?;
        }
        self.writer.push(if self.is_main { Op::End } else { Op::Return })
    }

    fn call(
        &mut self,
        function: Handle<Function>,
        arguments: &[Handle<Expression>],
        result: Option<Handle<Expression>>,
    ) -> Result<(), Error> {
        let frame =
            self.writer.frames.get(function.index()).cloned().ok_or_else(|| unknown("a call to a later function"))?;
        for (argument, &(to, _)) in arguments.iter().zip(&frame.parameters) {
            let value = self.value(*argument)?;
            if let Value::Place(place) = value {
                let base = self.writer.literal(place.base)?;
                self.writer.push(Op::Add { to, a: base, b: place.offset })?;
            } else {
                self.writer.copy(to, &value)?;
            }
        }
        self.writer.push(Op::Call { to: frame.entry })?;
        if let Some(result) = result {
            // The next call of the function overwrites its result.
            let words = frame.result_words;
            let base = self.writer.registers(words)?;
            self.writer.copy(base, &Value::Span { base: frame.result, words })?;
            self.values[result.index()] = Some(Value::Span { base, words });
        }
        Ok(())
    }

    fn atomic(
        &mut self,
        pointer: Handle<Expression>,
        fun: AtomicFunction,
        value: Handle<Expression>,
        result: Option<Handle<Expression>>,
    ) -> Result<(), Error> {
        let place = self.place(pointer)?;
        let Space::Outside(memory) = place.space else {
            return Err(unknown("an atomic variable of one invocation"));
        };
        let signed = matches!(self.scalar(value), Some(Scalar { kind: ScalarKind::Sint, .. }));
        let value = self.value(value)?.part(0);
        let mut compare = value;
        let fun = match fun {
            AtomicFunction::Add => Atomic::Add,
            AtomicFunction::Subtract => Atomic::Subtract,
            AtomicFunction::And => Atomic::And,
            AtomicFunction::InclusiveOr => Atomic::Or,
            AtomicFunction::ExclusiveOr => Atomic::Xor,
            AtomicFunction::Min if signed => Atomic::MinI,
            AtomicFunction::Min => Atomic::MinU,
            AtomicFunction::Max if signed => Atomic::MaxI,
            AtomicFunction::Max => Atomic::MaxU,
            AtomicFunction::Exchange { compare: None } => Atomic::Exchange,
            AtomicFunction::Exchange { compare: Some(expected) } => {
                compare = self.value(expected)?.part(0);
                Atomic::CompareExchange
            }
        };
        let words = if fun == Atomic::CompareExchange { 2 } else { 1 };
        let to = self.writer.registers(words)?;
        self.writer.push(Op::Atomic { fun, memory, to, at: place.address(), value, compare })?;
        if let Some(result) = result {
            self.values[result.index()] = Some(Value::Span { base: to, words });
        }
        Ok(())
    }

    fn store(&mut self, pointer: Handle<Expression>, value: Handle<Expression>) -> Result<(), Error> {
        let used_once = self.info[value].ref_count == 1 && self.computes(value);
        let place = self.place(pointer)?;
        let mut value = self.value(value)?;
        let words = value.words();
        let zero = self.writer.literal(0)?;
        if place.space == Space::Registers && place.offset == zero {
            if words == 1 && used_once && self.retarget(value.part(0), place.base) {
                return Ok(());
            }
            if words > 1 && self.is_variable(&value) {
                value = self.moved(&value)?;
            }
            return self.writer.copy(place.base, &value);
        }
        let (from, words) = if words == 1 { (value.part(0), 1) } else { self.writer.contiguous(&value)? };
        let to = place.address();
        self.writer.push(match place.space {
            Space::Registers => Op::Put { to, from, words },
            Space::Outside(memory) => Op::Write { memory, to, from, words },
        })
    }

    /// The expression's register was written by an operation of its own, and has no second name.
    fn computes(&self, handle: Handle<Expression>) -> bool {
        match self.function.expressions[handle] {
            Expression::Binary { .. } | Expression::Unary { .. } | Expression::Select { .. } => true,
            Expression::Math { fun, .. } => fun != naga::MathFunction::Abs,
            Expression::Load { pointer } => self.place(pointer).is_ok_and(|place| place.space != Space::Registers),
            _ => false,
        }
    }

    /// Makes the last operation write straight into a variable, if it computed this value.
    fn retarget(&mut self, from: Register, variable: Register) -> bool {
        match self.writer.ops.last_mut() {
            Some(
                Op::One { to, .. }
                | Op::Two { to, .. }
                | Op::Three { to, .. }
                | Op::Add { to, .. }
                | Op::Subtract { to, .. }
                | Op::Multiply { to, .. }
                | Op::And { to, .. }
                | Op::Or { to, .. }
                | Op::Xor { to, .. }
                | Op::ShiftLeft { to, .. }
                | Op::ShiftRightU { to, .. }
                | Op::Read { to, words: 1, .. }
                | Op::Get { to, words: 1, .. },
            ) if *to == from => {
                *to = variable;
                true
            }
            _ => false,
        }
    }

    /// Some part is a variable itself and not a copy of it.
    fn is_variable(&self, value: &Value) -> bool {
        let first = self.locals.first().copied().unwrap_or(self.locals_end);
        let variable =
            |register: Register| register < self.writer.private_words || (first..self.locals_end).contains(&register);
        match value {
            // Moving a whole range at once keeps what overlaps.
            Value::Span { .. } | Value::Place(_) => false,
            Value::Parts(parts) => parts.iter().any(|&part| variable(part)),
        }
    }

    /// A copy of scattered parts, so that none is overwritten before it is read.
    fn moved(&mut self, value: &Value) -> Result<Value, Error> {
        let words = value.words();
        debug_assert!(words <= SCATTERED_WORDS_MAX);
        let base = self.writer.registers(words)?;
        self.writer.copy(base, value)?;
        Ok(Value::Span { base, words })
    }

    pub(super) fn value(&self, handle: Handle<Expression>) -> Result<Value, Error> {
        let value = self.values.get(handle.index()).cloned().flatten();
        value.ok_or_else(|| unknown("a value that is used before it is computed"))
    }

    pub(super) fn place(&self, handle: Handle<Expression>) -> Result<Place, Error> {
        match self.value(handle)? {
            Value::Place(place) => Ok(place),
            _ => Err(unknown("a pointer that is a value")),
        }
    }

    /// Reads `words` words into new registers.
    pub(super) fn load(&mut self, place: Place, words: u32) -> Result<Value, Error> {
        let base = self.writer.registers(words)?;
        let zero = self.writer.literal(0)?;
        match place.space {
            Space::Registers if place.offset == zero => {
                self.writer.copy(base, &Value::Span { base: place.base, words })?;
            }
            Space::Registers => self.writer.push(Op::Get { to: base, from: place.address(), words })?,
            Space::Outside(memory) => {
                self.writer.push(Op::Read { memory, to: base, from: place.address(), words })?;
            }
        }
        Ok(Value::Span { base, words })
    }

    pub(super) fn inner(&self, handle: Handle<Expression>) -> &'a TypeInner {
        self.info[handle].ty.inner_with(&self.writer.module.types)
    }

    pub(super) fn scalar(&self, handle: Handle<Expression>) -> Option<Scalar> {
        self.inner(handle).scalar()
    }

    pub(super) fn words_of(&mut self, handle: Handle<Expression>) -> Result<u32, Error> {
        let inner = self.inner(handle);
        self.writer.words_of(inner)
    }

    /// The memory of a storage buffer's binding.
    pub(super) fn buffer(place: Place) -> Result<u8, Error> {
        match place.space {
            Space::Outside(Memory::Buffer(buffer)) => Ok(buffer),
            _ => Err(unknown("an array of unknown length outside of a buffer")),
        }
    }
}

fn builtin(binding: &Binding) -> Result<Builtin, Error> {
    match binding {
        Binding::BuiltIn(BuiltIn::GlobalInvocationId) => Ok(Builtin::GlobalId),
        Binding::BuiltIn(BuiltIn::LocalInvocationId) => Ok(Builtin::LocalId),
        Binding::BuiltIn(BuiltIn::LocalInvocationIndex) => Ok(Builtin::LocalIndex),
        Binding::BuiltIn(BuiltIn::WorkGroupId) => Ok(Builtin::WorkgroupId),
        Binding::BuiltIn(BuiltIn::NumWorkGroups) => Ok(Builtin::WorkgroupCount),
        other => Err(unknown(format!("the input {other:?}"))),
    }
}
