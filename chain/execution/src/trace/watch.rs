//! Stands between the machine and an inspector, and ends the run before the inspector records more than it may.
//!
//! # Design
//! Costs are counted before the inspector sees the event, from what it is known to copy. A run that must end is given
//! an error in revm's context and a fatal halt: revm unwinds, and the transaction gives no result at all.

use super::budget::Budget;
use alloy_primitives::{
    Address, Log, U256,
    map::{AddressMap, HashSet},
};
use revm::{
    Inspector,
    bytecode::opcode,
    context::{ContextError, ContextTr},
    handler::FrameResult,
    inspector::JournalExt,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, FrameInput, Interpreter,
        interpreter_types::{InputsTr as _, Jumps as _, LoopControl as _},
    },
};

/// Bytes that a recorded step takes in the recording and in the finished trace, without stack, memory and storage.
const STEP_BYTES: u64 = 600;
/// Bytes per word of the stack: once in the recording, once in the trace.
const STACK_WORD_BYTES: u64 = 64;
/// Bytes per byte of memory: the copy, and its hex words.
const MEMORY_FACTOR: u64 = 4;
/// Bytes per slot of a storage snapshot: two words and a share of the tree's nodes.
const SLOT_BYTES: u64 = 100;
/// Bytes of a call or log in a call tree and in its trace, without data.
const TREE_ENTRY_BYTES: u64 = 1_000;
/// Bytes of an entry in a flat list or map of few fields.
const LIST_ENTRY_BYTES: u64 = 150;

/// What an inspector copies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detail {
    /// Every instruction.
    pub(crate) steps: Option<StepDetail>,
    /// Bytes for each call, creation and log, without data.
    pub(crate) entry_bytes: u64,
    /// The data of calls, creations and logs.
    pub(crate) data: bool,
}

impl Detail {
    /// A tree of calls with their data.
    pub(crate) const TREE: Self = Self { steps: None, entry_bytes: TREE_ENTRY_BYTES, data: true };
    /// A tree of calls without data.
    pub(crate) const BARE_TREE: Self = Self { steps: None, entry_bytes: TREE_ENTRY_BYTES, data: false };
    /// A list or map with an entry of few fields per call.
    pub(crate) const LIST: Self = Self { steps: None, entry_bytes: LIST_ENTRY_BYTES, data: false };
    /// Nothing that grows with what is executed.
    pub(crate) const NOTHING: Self = Self { steps: None, entry_bytes: 0, data: false };

    /// The same, and every instruction.
    pub(crate) const fn with_steps(self, steps: StepDetail) -> Self {
        Self { steps: Some(steps), ..self }
    }
}

/// What an inspector copies with every instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepDetail {
    pub(crate) stack: bool,
    pub(crate) memory: bool,
    /// With each storage instruction, all slots of the contract seen so far.
    pub(crate) storage: bool,
    /// Instructions after which no more are recorded.
    pub(crate) steps_max: u64,
}

/// An inspector under a budget.
pub(crate) struct Watch<'b, 'l, I> {
    inner: I,
    detail: Detail,
    budget: &'b mut Budget<'l>,
    recorded: u64,
    slots: AddressMap<HashSet<U256>>,
}

impl<'b, 'l, I> Watch<'b, 'l, I> {
    pub(crate) fn new(inner: I, detail: Detail, budget: &'b mut Budget<'l>) -> Self {
        Self { inner, detail, budget, recorded: 0, slots: AddressMap::default() }
    }

    pub(crate) fn into_inner(self) -> I {
        self.inner
    }

    /// Counts a call, creation or log with data of this length, and fails the run if that is too much.
    fn hold<C: ContextTr>(&mut self, context: &mut C, bytes: usize) {
        let data = if self.detail.data { bytes as u64 } else { 0 };
        if !self.budget.hold(self.detail.entry_bytes.saturating_add(data)) {
            fail(context);
        }
    }

    /// What the inspector would copy of this instruction.
    fn step_bytes(&mut self, interp: &Interpreter) -> u64 {
        let Some(detail) = self.detail.steps else { return 0 };
        if self.recorded >= detail.steps_max {
            return 0;
        }
        self.recorded = self.recorded.saturating_add(1);
        let mut bytes = STEP_BYTES;
        if detail.stack {
            bytes = bytes.saturating_add((interp.stack.len() as u64).saturating_mul(STACK_WORD_BYTES));
        }
        if detail.memory {
            bytes = bytes.saturating_add((interp.memory.len() as u64).saturating_mul(MEMORY_FACTOR));
        }
        if detail.storage && matches!(interp.bytecode.opcode(), opcode::SLOAD | opcode::SSTORE) {
            let slots = self.slots.entry(interp.input.target_address()).or_default();
            if let Ok(key) = interp.stack.peek(0) {
                slots.insert(key);
            }
            bytes = bytes.saturating_add((slots.len() as u64).saturating_mul(SLOT_BYTES));
        }
        bytes
    }
}

/// The text in revm's error; the reason itself is in the budget.
fn fail<C: ContextTr>(context: &mut C) {
    if context.error().is_ok() {
        *context.error() = Err(ContextError::Custom("the trace's budget is spent".to_owned()));
    }
}

impl<C, I> Inspector<C> for Watch<'_, '_, I>
where
    C: ContextTr<Journal: JournalExt>,
    I: Inspector<C>,
{
    fn initialize_interp(&mut self, interp: &mut Interpreter, context: &mut C) {
        self.inner.initialize_interp(interp, context);
    }

    fn step(&mut self, interp: &mut Interpreter, context: &mut C) {
        let bytes = self.step_bytes(interp);
        if self.budget.step() && self.budget.hold(bytes) {
            self.inner.step(interp, context);
        } else {
            fail(context);
            interp.bytecode.reset_action();
            interp.halt_fatal();
        }
    }

    fn step_end(&mut self, interp: &mut Interpreter, context: &mut C) {
        self.inner.step_end(interp, context);
    }

    fn log(&mut self, context: &mut C, log: Log) {
        self.hold(context, log.data.data.len());
        self.inner.log(context, log);
    }

    fn log_full(&mut self, interp: &mut Interpreter, context: &mut C, log: Log) {
        self.hold(context, log.data.data.len());
        self.inner.log_full(interp, context, log);
    }

    fn frame_start(&mut self, context: &mut C, input: &mut FrameInput) -> Option<FrameResult> {
        self.inner.frame_start(context, input)
    }

    fn frame_end(&mut self, context: &mut C, input: &FrameInput, result: &mut FrameResult) {
        self.inner.frame_end(context, input, result);
    }

    fn call(&mut self, context: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.hold(context, inputs.input.len());
        self.inner.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut C, inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.hold(context, outcome.result.output.len());
        self.inner.call_end(context, inputs, outcome);
    }

    fn create(&mut self, context: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.hold(context, inputs.init_code().len());
        self.inner.create(context, inputs)
    }

    fn create_end(&mut self, context: &mut C, inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        self.hold(context, outcome.result.output.len());
        self.inner.create_end(context, inputs, outcome);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.inner.selfdestruct(contract, target, value);
    }
}
