//! Adds to every loop of a kernel a counter that fails loudly.
//!
//! # Design
//! One counter for all loops of an invocation, checked on every entry into a loop's body; above the declared bound the invocation sets bit
//! [`OVER_LIMIT`] of a hidden status word and leaves the loop. A loop that a *driver* ends early (lavapipe does, silently, after 65,535 rounds of a whole
//! shader) is noticed too: each execution of a loop gets a number, only the program's own exits write that number into the loop's exit
//! mark, and after the loop the mark must carry it; otherwise bit [`CUT_SHORT`] is set.
//!
//! # Invariants
//! A module that was valid stays valid; what a kernel computes within the bound does not change.

use naga::{
    AddressSpace, Arena, AtomicFunction, BinaryOperator, Block, Expression, Function, GlobalVariable, Handle, Literal,
    LocalVariable, MemoryDecorations, Module, ResourceBinding, Scalar, Span, Statement, StorageAccess, Type, TypeInner,
};

/// Status bit: an invocation passed the declared bound.
pub const OVER_LIMIT: u32 = 1;
/// Status bit: a loop ended otherwise than by the program.
pub const CUT_SHORT: u32 = 2;
/// The hidden status word's binding in group 0.
pub const STATUS_BINDING: u32 = 3;

/// Handles of what the whole module shares.
#[derive(Clone, Copy)]
struct Globals {
    /// Entries into loop bodies so far, of this invocation.
    count: Handle<GlobalVariable>,
    /// Loops begun so far, of this invocation.
    sequence: Handle<GlobalVariable>,
    status: Handle<GlobalVariable>,
    word: Handle<Type>,
    limit: u32,
}

/// Adds the counter to every function. `limit` is the largest number of entries into loop bodies that stays silent.
pub(crate) fn add(module: &mut Module, limit: u32) {
    let mut ty = |inner| module.types.insert(Type { name: None, inner }, Span::UNDEFINED);
    let word = ty(TypeInner::Scalar(Scalar::U32));
    let atomic = ty(TypeInner::Atomic(Scalar::U32));
    let mut global = |space, binding, ty| {
        let variable = GlobalVariable {
            name: None,
            space,
            binding,
            ty,
            init: None,
            memory_decorations: MemoryDecorations::empty(),
        };
        module.global_variables.append(variable, Span::UNDEFINED)
    };
    let storage = AddressSpace::Storage { access: StorageAccess::LOAD | StorageAccess::STORE };
    let globals = Globals {
        count: global(AddressSpace::Private, None, word),
        sequence: global(AddressSpace::Private, None, word),
        status: global(storage, Some(ResourceBinding { group: 0, binding: STATUS_BINDING }), atomic),
        word,
        limit,
    };
    for (_, function) in module.functions.iter_mut() {
        add_to(function, globals);
    }
    for entry in &mut module.entry_points {
        add_to(&mut entry.function, globals);
    }
}

fn add_to(function: &mut Function, globals: Globals) {
    let body = core::mem::take(&mut function.body);
    let mut writer = Writer { expressions: &mut function.expressions, locals: &mut function.local_variables, globals };
    function.body = writer.block(body, None);
}

/// The two marks of one loop.
#[derive(Clone, Copy)]
struct Marks {
    /// The number of the loop's present execution.
    number: Handle<LocalVariable>,
    /// That number, once the program itself has left the loop.
    exited: Handle<LocalVariable>,
}

struct Writer<'a> {
    expressions: &'a mut Arena<Expression>,
    locals: &'a mut Arena<LocalVariable>,
    globals: Globals,
}

impl Writer<'_> {
    /// Rewrites a block. `marks` belong to the loop that a `break` standing directly here would leave.
    fn block(&mut self, block: Block, marks: Option<Marks>) -> Block {
        let mut out = Block::with_capacity(block.len());
        for (statement, span) in block.span_into_iter() {
            match statement {
                Statement::Loop { body, continuing, break_if } => {
                    self.counted_loop(&mut out, body, continuing, break_if)
                }
                Statement::Break => {
                    if let Some(marks) = marks {
                        let number = self.local(marks.number);
                        let number = self.emit(&mut out, Expression::Load { pointer: number });
                        let exited = self.local(marks.exited);
                        push(&mut out, Statement::Store { pointer: exited, value: number });
                    }
                    out.push(Statement::Break, span);
                }
                Statement::If { condition, accept, reject } => {
                    let (accept, reject) = (self.block(accept, marks), self.block(reject, marks));
                    out.push(Statement::If { condition, accept, reject }, span);
                }
                Statement::Block(inner) => out.push(Statement::Block(self.block(inner, marks)), span),
                Statement::Switch { selector, mut cases } => {
                    for case in &mut cases {
                        // A `break` in here leaves the switch, not the loop.
                        case.body = self.block(core::mem::take(&mut case.body), None);
                    }
                    out.push(Statement::Switch { selector, cases }, span);
                }
                other => out.push(other, span),
            }
        }
        out
    }

    fn counted_loop(&mut self, out: &mut Block, body: Block, continuing: Block, break_if: Option<Handle<Expression>>) {
        let marks = Marks { number: self.new_local(), exited: self.new_local() };
        let sequence = self.global(self.globals.sequence);
        let number = self.increased(out, sequence);
        let (number_mark, exited_mark) = (self.local(marks.number), self.local(marks.exited));
        let zero = self.literal(0);
        push(out, Statement::Store { pointer: number_mark, value: number });
        push(out, Statement::Store { pointer: exited_mark, value: zero });

        let mut counted = self.counter();
        counted.extend_block(self.block(body, Some(marks)));
        let mut continuing = self.block(continuing, None);
        if let Some(condition) = break_if {
            self.mark_if(&mut continuing, condition, marks);
        }
        push(out, Statement::Loop { body: counted, continuing, break_if });
        self.check_exit(out, marks);
    }

    /// The first statements of a loop's body: count, and leave above the bound.
    fn counter(&mut self) -> Block {
        let mut out = Block::new();
        let count = self.global(self.globals.count);
        let now = self.increased(&mut out, count);
        let limit = self.literal(self.globals.limit);
        let over = Expression::Binary { op: BinaryOperator::Greater, left: now, right: limit };
        let over = self.emit(&mut out, over);
        let mut leave = self.raise(OVER_LIMIT);
        // Not marked as an exit of the program: the compiler cannot conclude that every exit is.
        push(&mut leave, Statement::Break);
        push(&mut out, Statement::If { condition: over, accept: leave, reject: Block::new() });
        out
    }

    /// At the end of a `continuing` block with `break if`: marks the exit where it will happen.
    fn mark_if(&mut self, out: &mut Block, condition: Handle<Expression>, marks: Marks) {
        let (number, exited) = (self.local(marks.number), self.local(marks.exited));
        let first = self.expressions.len();
        let accept = self.append(Expression::Load { pointer: number });
        let reject = self.append(Expression::Load { pointer: exited });
        let value = self.append(Expression::Select { condition, accept, reject });
        push(out, Statement::Emit(self.expressions.range_from(first)));
        push(out, Statement::Store { pointer: exited, value });
    }

    /// After a loop: raises [`CUT_SHORT`] unless the program itself left it.
    fn check_exit(&mut self, out: &mut Block, marks: Marks) {
        let (number, exited) = (self.local(marks.number), self.local(marks.exited));
        let first = self.expressions.len();
        let left = self.append(Expression::Load { pointer: exited });
        let right = self.append(Expression::Load { pointer: number });
        let condition = self.append(Expression::Binary { op: BinaryOperator::NotEqual, left, right });
        push(out, Statement::Emit(self.expressions.range_from(first)));
        let accept = self.raise(CUT_SHORT);
        push(out, Statement::If { condition, accept, reject: Block::new() });
    }

    /// Sets a bit of the status word.
    fn raise(&mut self, bit: u32) -> Block {
        let mut out = Block::new();
        let (pointer, value) = (self.global(self.globals.status), self.literal(bit));
        let result = self.append(Expression::AtomicResult { ty: self.globals.word, comparison: false });
        let fun = AtomicFunction::InclusiveOr;
        push(&mut out, Statement::Atomic { pointer, fun, value, result: Some(result) });
        out
    }

    /// Adds one to a variable and gives the new value.
    fn increased(&mut self, out: &mut Block, pointer: Handle<Expression>) -> Handle<Expression> {
        let right = self.literal(1);
        let first = self.expressions.len();
        let left = self.append(Expression::Load { pointer });
        let value = self.append(Expression::Binary { op: BinaryOperator::Add, left, right });
        push(out, Statement::Emit(self.expressions.range_from(first)));
        push(out, Statement::Store { pointer, value });
        value
    }

    fn emit(&mut self, out: &mut Block, expression: Expression) -> Handle<Expression> {
        let first = self.expressions.len();
        let handle = self.append(expression);
        push(out, Statement::Emit(self.expressions.range_from(first)));
        handle
    }

    fn append(&mut self, expression: Expression) -> Handle<Expression> {
        self.expressions.append(expression, Span::UNDEFINED)
    }

    fn literal(&mut self, value: u32) -> Handle<Expression> {
        self.append(Expression::Literal(Literal::U32(value)))
    }

    fn global(&mut self, variable: Handle<GlobalVariable>) -> Handle<Expression> {
        self.append(Expression::GlobalVariable(variable))
    }

    fn local(&mut self, variable: Handle<LocalVariable>) -> Handle<Expression> {
        self.append(Expression::LocalVariable(variable))
    }

    fn new_local(&mut self) -> Handle<LocalVariable> {
        self.locals.append(LocalVariable { name: None, ty: self.globals.word, init: None }, Span::UNDEFINED)
    }
}

fn push(out: &mut Block, statement: Statement) {
    out.push(statement, Span::UNDEFINED);
}
