//! Which precompiled contract answers at which address: the fork's own map, and what a simulation moved elsewhere.
//!
//! # Design
//! A block never moves anything, so the moves are behind one pointer that is empty then.

use alloy_primitives::{
    Address,
    map::{AddressMap, AddressSet},
};
use revm::{
    context::{Cfg, ContextTr},
    handler::{EthPrecompiles, PrecompileProvider},
    interpreter::{CallInputs, InterpreterResult},
    primitives::hardfork::SpecId,
};

/// The precompiled contracts of a fork, some of them possibly moved.
#[derive(Clone, Debug)]
pub(crate) struct Precompiles {
    standard: EthPrecompiles,
    moved: Option<Box<Moved>>,
}

#[derive(Clone, Debug)]
struct Moved {
    /// Where to find the contract that answers at an address.
    origins: AddressMap<Address>,
}

impl Precompiles {
    pub(crate) fn new(fork: SpecId) -> Self {
        Self { standard: EthPrecompiles::new(fork), moved: None }
    }

    /// True if a precompiled contract answers there.
    pub(crate) fn answers_at(&self, address: &Address) -> bool {
        match &self.moved {
            Some(moved) => moved.origins.contains_key(address),
            None => self.standard.contains(address),
        }
    }

    /// Takes the contract at `address` away and gives it, so that it can be put elsewhere; `None` if there is none.
    pub(crate) fn take(&mut self, address: &Address) -> Option<Taken> {
        self.moved().origins.remove(address).map(Taken)
    }

    /// Lets a contract answer at `address`.
    pub(crate) fn put(&mut self, address: Address, Taken(origin): Taken) {
        self.moved().origins.insert(address, origin);
    }

    fn moved(&mut self) -> &mut Moved {
        let standard = &self.standard;
        self.moved.get_or_insert_with(|| {
            let addresses = standard.warm_addresses().iter();
            Box::new(Moved { origins: addresses.map(|address| (*address, *address)).collect() })
        })
    }
}

/// A precompiled contract between two addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken(Address);

impl<C: ContextTr> PrecompileProvider<C> for Precompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: <C::Cfg as Cfg>::Spec) -> bool {
        PrecompileProvider::<C>::set_spec(&mut self.standard, spec)
    }

    fn run(&mut self, context: &mut C, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        let Some(moved) = &self.moved else { return self.standard.run(context, inputs) };
        match moved.origins.get(&inputs.bytecode_address) {
            Some(origin) if *origin == inputs.bytecode_address => self.standard.run(context, inputs),
            Some(origin) => {
                let inputs = CallInputs { bytecode_address: *origin, ..inputs.clone() };
                self.standard.run(context, &inputs)
            }
            None => Ok(None),
        }
    }

    /// As in geth: what is warm (EIP-2929) follows from the fork, not from where a simulation moved things.
    fn warm_addresses(&self) -> &AddressSet {
        self.standard.warm_addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.answers_at(address)
    }
}
