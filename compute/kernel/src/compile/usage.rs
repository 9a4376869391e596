//! Which loads may be left out: those whose variable cannot change before the last use of the value.
//!
//! # Design
//! Most loads of a variable are used at once: by an expression of the same emission, or by the statement right after it. Such a value needs no
//! copy, it is the variable. A value that only gets another name (a component, a swizzle, a composition) hands the question to its users.

use naga::{Block, Expression, Function, Handle, Range, Statement};

/// For each expression: it may still be read after the variables have changed.
pub(super) struct Usage {
    escapes: Vec<bool>,
}

/// No emission: literals, arguments, results of statements. They have registers of their own.
const NEVER: u32 = u32::MAX;

impl Usage {
    pub(super) fn of(function: &Function) -> Self {
        let count = function.expressions.len();
        let mut walk =
            Walk { function, emission: vec![NEVER; count], escapes: vec![false; count], emissions: Vec::new() };
        walk.number(&function.body);
        walk.statements(&function.body);
        // Users come after what they use, so backwards each user is decided before its operands.
        for range in core::mem::take(&mut walk.emissions).into_iter().rev() {
            let handles: Vec<Handle<Expression>> = range.collect();
            for handle in handles.into_iter().rev() {
                walk.operands_of(handle);
            }
        }
        Self { escapes: walk.escapes }
    }

    pub(super) fn escapes(&self, handle: Handle<Expression>) -> bool {
        self.escapes.get(handle.index()).copied().unwrap_or(true)
    }
}

struct Walk<'a> {
    function: &'a Function,
    /// Number of the emission of each expression.
    emission: Vec<u32>,
    escapes: Vec<bool>,
    /// All emissions, in the order of the program.
    emissions: Vec<Range<Expression>>,
}

impl Walk<'_> {
    fn number(&mut self, block: &Block) {
        for statement in block {
            if let Statement::Emit(range) = statement {
                // LOSSY: fewer emissions than bytes of source.
                #[allow(clippy::cast_possible_truncation)]
                let number = self.emissions.len() as u32;
                self.emissions.push(range.clone());
                for handle in range.clone() {
                    self.emission[handle.index()] = number;
                }
            }
            inner_blocks(statement, &mut |block| self.number(block));
        }
    }

    /// Marks what statements use later than right after the emission.
    fn statements(&mut self, block: &Block) {
        let mut last = NEVER;
        for statement in block {
            if let Statement::Emit(range) = statement {
                last = range.first_and_last().map_or(NEVER, |(first, _)| self.emission[first.index()]);
                continue;
            }
            uses(statement, &mut |handle| {
                if self.emission[handle.index()] != last {
                    self.escapes[handle.index()] = true;
                }
            });
            last = NEVER;
            if let Statement::Loop { break_if: Some(condition), .. } = statement {
                self.escapes[condition.index()] = true;
            }
            inner_blocks(statement, &mut |block| self.statements(block));
        }
    }

    fn operands_of(&mut self, handle: Handle<Expression>) {
        let user = self.emission[handle.index()];
        let inherits = renames(&self.function.expressions[handle]) && self.escapes[handle.index()];
        operands(&self.function.expressions[handle], &mut |operand| {
            if inherits || self.emission[operand.index()] != user {
                self.escapes[operand.index()] = true;
            }
        });
    }
}

/// The expression's registers are those of its operands.
const fn renames(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::AccessIndex { .. }
            | Expression::Swizzle { .. }
            | Expression::Splat { .. }
            | Expression::Compose { .. }
            | Expression::As { .. }
            | Expression::Math { .. }
            | Expression::Relational { .. }
    )
}

fn inner_blocks(statement: &Statement, see: &mut dyn FnMut(&Block)) {
    match statement {
        Statement::Block(block) => see(block),
        Statement::If { accept, reject, .. } => {
            see(accept);
            see(reject);
        }
        Statement::Switch { cases, .. } => cases.iter().for_each(|case| see(&case.body)),
        Statement::Loop { body, continuing, .. } => {
            see(body);
            see(continuing);
        }
        _ => {}
    }
}

/// The expressions that a statement itself reads before anything that it contains or calls can run.
fn uses(statement: &Statement, see: &mut dyn FnMut(Handle<Expression>)) {
    match statement {
        Statement::If { condition, .. } => see(*condition),
        Statement::Switch { selector, .. } => see(*selector),
        Statement::Return { value } => value.iter().for_each(|value| see(*value)),
        Statement::Store { pointer, value } => {
            see(*pointer);
            see(*value);
        }
        Statement::Atomic { pointer, fun, value, .. } => {
            see(*pointer);
            see(*value);
            if let naga::AtomicFunction::Exchange { compare: Some(compare) } = fun {
                see(*compare);
            }
        }
        Statement::WorkGroupUniformLoad { pointer, .. } => see(*pointer),
        Statement::Call { arguments, .. } => arguments.iter().for_each(|argument| see(*argument)),
        _ => {}
    }
}

fn operands(expression: &Expression, see: &mut dyn FnMut(Handle<Expression>)) {
    match expression {
        Expression::Compose { components, .. } => components.iter().for_each(|component| see(*component)),
        Expression::Access { base, index } => {
            see(*base);
            see(*index);
        }
        Expression::AccessIndex { base, .. } => see(*base),
        Expression::Splat { value, .. } => see(*value),
        Expression::Swizzle { vector, .. } => see(*vector),
        Expression::Load { pointer } => see(*pointer),
        Expression::Unary { expr, .. } | Expression::As { expr, .. } => see(*expr),
        Expression::Binary { left, right, .. } => {
            see(*left);
            see(*right);
        }
        Expression::Select { condition, accept, reject } => {
            see(*condition);
            see(*accept);
            see(*reject);
        }
        Expression::Relational { argument, .. } => see(*argument),
        Expression::Math { arg, arg1, arg2, arg3, .. } => {
            see(*arg);
            [arg1, arg2, arg3].into_iter().flatten().for_each(|argument| see(*argument));
        }
        Expression::ArrayLength(array) => see(*array),
        _ => {}
    }
}
