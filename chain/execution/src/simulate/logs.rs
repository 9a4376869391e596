//! Collects the logs of a simulated call, and, if asked, a log for every transfer of value.
//!
//! # Design
//! Transfers are not logs of the machine: they stand only in the answer, never in receipts and blooms. So logs are
//! collected here, frame by frame, and those of a frame that fails are dropped with it. The emitter and the event are
//! those that EIP-7528 and ERC-20 gave meaning to, as geth has them.

use crate::trace::{Detail, Recorder, Subject, TraceError};
use alloy_primitives::{Address, B256, Log, LogData, U256, address, b256};
use revm::{
    Inspector,
    context::{
        ContextTr, JournalTr as _,
        result::{ExecutionResult, HaltReason},
    },
    inspector::JournalExt,
    interpreter::{CallInputs, CallOutcome, CallScheme, CreateInputs, CreateOutcome},
};

/// Stands for the native currency (EIP-7528).
const EMITTER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `Transfer(address,address,uint256)`.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Collects logs; the first one gets the index `next`.
pub(super) struct Logs {
    pub(super) transfers: bool,
    pub(super) next: u64,
}

/// What a call gave, with its logs, and the index for the next one.
pub(super) struct Logged {
    pub(super) result: ExecutionResult<HaltReason>,
    pub(super) logs: Vec<(u64, Log)>,
    pub(super) next: u64,
}

impl Recorder for Logs {
    type Output = Logged;
    type Inspector = LogInspector;

    fn detail(&self) -> Detail {
        Detail::TREE
    }

    fn begin(&self, _: u64) -> Result<LogInspector, TraceError> {
        Ok(LogInspector { transfers: self.transfers, next: self.next, frames: Vec::new(), kept: Vec::new() })
    }

    fn end(&self, inspector: LogInspector, subject: Subject<'_, '_, '_>) -> Result<Logged, TraceError> {
        Ok(Logged { result: subject.ran.result.clone(), logs: inspector.kept, next: inspector.next })
    }
}

pub(super) struct LogInspector {
    transfers: bool,
    next: u64,
    /// Logs of the open frames, outermost first.
    frames: Vec<Vec<(u64, Log)>>,
    /// Logs of the outermost frame once it succeeded.
    kept: Vec<(u64, Log)>,
}

impl LogInspector {
    fn add(&mut self, log: Log) {
        let index = self.next;
        self.next = self.next.saturating_add(1);
        if let Some(frame) = self.frames.last_mut() {
            frame.push((index, log));
        }
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if self.transfers && !value.is_zero() {
            let topics = vec![TRANSFER, from.into_word(), to.into_word()];
            let data = value.to_be_bytes::<32>().into();
            self.add(Log { address: EMITTER, data: LogData::new_unchecked(topics, data) });
        }
    }

    fn close(&mut self, succeeded: bool) {
        let logs = self.frames.pop().unwrap_or_default();
        if succeeded {
            self.frames.last_mut().unwrap_or(&mut self.kept).extend(logs);
        }
    }
}

impl<C: ContextTr<Journal: JournalExt>> Inspector<C> for LogInspector {
    fn log(&mut self, _: &mut C, log: Log) {
        self.add(log);
    }

    fn call(&mut self, _: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.frames.push(Vec::new());
        match inputs.scheme {
            CallScheme::Call => self.transfer(inputs.caller, inputs.target_address, inputs.call_value()),
            CallScheme::CallCode => self.transfer(inputs.caller, inputs.bytecode_address, inputs.call_value()),
            CallScheme::DelegateCall | CallScheme::StaticCall => (),
        }
        None
    }

    fn call_end(&mut self, _: &mut C, _: &CallInputs, outcome: &mut CallOutcome) {
        self.close(outcome.result.result.is_ok());
    }

    fn create(&mut self, context: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.frames.push(Vec::new());
        if self.transfers && !inputs.value().is_zero() {
            // An account that cannot be read stops the run by itself.
            let nonce = context.journal_mut().load_account(inputs.caller()).map(|account| account.info.nonce);
            self.transfer(inputs.caller(), inputs.created_address(nonce.unwrap_or_default()), inputs.value());
        }
        None
    }

    fn create_end(&mut self, _: &mut C, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.close(outcome.result.result.is_ok());
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.transfer(contract, target, value);
    }
}
