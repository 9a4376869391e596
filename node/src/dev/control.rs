//! [`Dev`] for [`Producer`]: what callers may ask of a development node.

use super::{
    clock::Clock,
    producer::{Producer, Saved, State, broken, now},
};
use alloy_consensus::SignableTransaction as _;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Signature, U256, keccak256};
use alloy_signer::SignerSync as _;
use keystead_execution::BlockEnv;
use keystead_rpc::{Amendment, Dev, DevError, MineOrder, Mining, Setting, Submit as _, Unsigned};
use keystead_state::Snapshot;
use keystead_types::{Account, AccountChange, ChangeSet, Recovered, StateView as _};
use std::sync::Arc;

/// Snapshots kept at most. Each keeps what was overwritten since; a suite that takes one for each of its tests goes back
/// to most of them.
const SNAPSHOTS_MAX: usize = 4_096;
/// Accounts impersonated at most.
const IMPERSONATED_MAX: usize = 4_096;
/// Longest code that can be set: more than forty times what a transaction can create.
const CODE_BYTES_MAX: usize = 1024 * 1024;
/// Largest gas limit of a block: a thousand times that of the largest chains.
const GAS_LIMIT_MAX: u64 = 1_000_000_000_000;
/// Smallest gas limit of a block, as Ethereum has it.
const GAS_LIMIT_MIN: u64 = 5_000;

impl Dev for Producer {
    fn accounts(&self) -> Vec<Address> {
        self.accounts.addresses().collect()
    }

    fn sends_for(&self, account: &Address) -> bool {
        let state = self.state();
        self.accounts.find(account).is_some() || state.impersonates_all || state.impersonated.contains(account)
    }

    fn sign(&self, from: Address, transaction: Unsigned) -> Result<Recovered, DevError> {
        let signature = match self.accounts.find(&from) {
            Some(signer) => signer.sign_hash_sync(&transaction.signature_hash()).map_err(|error| broken(&error))?,
            None if self.sends_for(&from) => stand_in(&from),
            None => return Err(DevError::NoKey(from)),
        };
        Ok(Recovered::new_unchecked(transaction.into_envelope(signature), from))
    }

    fn sign_hash(&self, from: Address, hash: B256) -> Result<Signature, DevError> {
        let signer = self.accounts.find(&from).ok_or(DevError::NoKey(from))?;
        signer.sign_hash_sync(&hash).map_err(|error| broken(&error))
    }

    fn next_block(&self) -> Result<BlockEnv, DevError> {
        let state = self.state();
        let head = self.head()?;
        self.plan(&state, &head)?.env(&head).map_err(|error| broken(&error))
    }

    fn mining(&self) -> Mining {
        self.state().mining
    }

    fn mine(&self, order: MineOrder) -> Result<(), DevError> {
        self.make_order(&mut self.state(), order)
    }

    fn set(&self, setting: Setting) -> Result<(), DevError> {
        let mut state = self.state();
        match setting {
            Setting::Automine(automine) => {
                // Blocks come either by themselves or for each transaction.
                let interval = state.mining.interval.filter(|_| !automine);
                let mining = Mining { automine, interval };
                self.pace(&mut state, mining);
                if automine {
                    self.make_ready(&mut state)?;
                }
            }
            Setting::Interval(interval) => {
                let automine = state.mining.automine && interval.is_none();
                self.pace(&mut state, Mining { automine, interval });
            }
            Setting::BlockGasLimit(gas_limit) => {
                if !(GAS_LIMIT_MIN..=GAS_LIMIT_MAX).contains(&gas_limit) {
                    return Err(DevError::OutOfRange { what: "gas limit", got: gas_limit, max: GAS_LIMIT_MAX });
                }
                state.lasting.gas_limit = gas_limit;
            }
            Setting::NextBaseFee(base_fee) => state.next.base_fee = Some(base_fee),
            Setting::Coinbase(coinbase) => state.lasting.coinbase = coinbase,
            Setting::PrevRandao(prev_randao) => state.next.prev_randao = Some(prev_randao),
            Setting::NextTimestamp(timestamp) => {
                let head = self.head()?.header().timestamp;
                state.clock.set_next(timestamp, head)?;
            }
            Setting::TimestampInterval(interval) => state.clock.set_interval(interval)?,
            Setting::Impersonate(account) => {
                if state.impersonated.len() >= IMPERSONATED_MAX && !state.impersonated.contains(&account) {
                    return Err(DevError::TooManyImpersonated { max: IMPERSONATED_MAX });
                }
                state.impersonated.insert(account);
            }
            Setting::StopImpersonating(account) => {
                state.impersonated.remove(&account);
            }
            Setting::ImpersonateAll(all) => state.impersonates_all = all,
        }
        Ok(())
    }

    fn increase_time(&self, seconds: u64) -> Result<i64, DevError> {
        let head = self.head()?;
        self.state().clock.add(seconds, now(), head.header().timestamp)
    }

    fn set_time(&self, timestamp: u64) -> Result<i64, DevError> {
        self.state().clock.set(timestamp, now())
    }

    fn amend(&self, address: Address, amendment: Amendment) -> Result<(), DevError> {
        let state = self.state();
        let latest = self.store.latest();
        let known = latest.account_with_storage(&address).map_err(|error| broken(&error))?;
        let (account, has_storage) = known.unwrap_or_default();
        let (changes, account) = amended(address, account, has_storage, amendment)?;
        self.store.amend(changes).map_err(|error| broken(&error))?;
        let head = self.head()?;
        let base_fee = self.next_base_fee(&state, &head);
        self.pool().on_block(base_fee, [(address, account)]);
        Ok(())
    }

    fn snapshot(&self) -> Result<u64, DevError> {
        let mut state = self.state();
        if state.snapshots.len() >= SNAPSHOTS_MAX {
            return Err(DevError::TooManySnapshots { max: SNAPSHOTS_MAX });
        }
        let waiting = {
            let pool = self.pool();
            [pool.pending(), pool.queued()].concat()
        };
        let saved = Saved {
            state: self.store.latest(),
            clock: state.clock,
            saved: now(),
            next: state.next,
            lasting: state.lasting,
            waiting,
        };
        let name = state.snapshot_next;
        state.snapshot_next = name.saturating_add(1);
        state.snapshots.insert(name, saved);
        Ok(name)
    }

    fn revert(&self, snapshot: u64) -> Result<bool, DevError> {
        let mut state = self.state();
        if !state.snapshots.contains_key(&snapshot) {
            return Ok(false);
        }
        let mut used = state.snapshots.split_off(&snapshot);
        let Some(saved) = used.remove(&snapshot) else { return Ok(false) };
        self.go_back(&mut state, saved)?;
        Ok(true)
    }

    fn reset(&self) -> Result<(), DevError> {
        let mut state = self.state();
        self.drop_all_transactions();
        self.restore(&self.beginning)?;
        let names = state.snapshot_next;
        *state = self.fresh();
        state.snapshot_next = names;
        let mining = state.mining;
        self.pace(&mut state, mining);
        Ok(())
    }

    fn drop_transaction(&self, hash: &B256) -> bool {
        self.pool().remove(hash).is_some()
    }

    fn drop_all_transactions(&self) {
        let mut pool = self.pool();
        for transaction in [pool.pending(), pool.queued()].concat() {
            pool.remove(transaction.tx_hash());
        }
    }
}

impl Producer {
    fn go_back(&self, state: &mut State, saved: Saved) -> Result<(), DevError> {
        let Saved { state: snapshot, clock, saved, next, lasting, waiting } = saved;
        self.drop_all_transactions();
        self.restore(&snapshot)?;
        state.clock = Clock::resumed(clock, saved, now());
        (state.next, state.lasting) = (next, lasting);
        for transaction in waiting {
            // It was in the pool in this very state; if it is refused now, it could not have been executed either.
            if let Err(error) = self.submissions.submit((*transaction).clone()) {
                tracing::debug!(hash = %transaction.tx_hash(), %error, "a transaction did not come back");
            }
        }
        Ok(())
    }

    fn restore(&self, snapshot: &Arc<Snapshot>) -> Result<(), DevError> {
        self.store.restore(snapshot).map_err(|error| broken(&error))
    }
}

/// Stands where an impersonated account's signature would: no valid one is known for it. Its `r` is the account, so that
/// equal transactions of different accounts have different hashes.
fn stand_in(account: &Address) -> Signature {
    Signature::new(U256::from_be_slice(account.as_slice()).max(U256::ONE), U256::ONE, false)
}

/// The change of one account, and the account after it.
fn amended(
    address: Address,
    mut account: Account,
    has_storage: bool,
    amendment: Amendment,
) -> Result<(ChangeSet, Account), DevError> {
    let (mut changes, mut change) = (ChangeSet::default(), AccountChange::default());
    match amendment {
        Amendment::Balance(wei) => account.balance = wei,
        Amendment::AddBalance(wei) => {
            account.balance = account.balance.checked_add(wei).ok_or(DevError::BalanceOverflow(address))?;
        }
        // The last nonce of all can never be used (EIP-2681).
        Amendment::Nonce(u64::MAX) => {
            return Err(DevError::OutOfRange { what: "nonce", got: u64::MAX, max: u64::MAX.saturating_sub(1) });
        }
        Amendment::Nonce(nonce) => account.nonce = nonce,
        Amendment::Code(code) => {
            check_code(&code)?;
            account.code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
            if !code.is_empty() {
                changes.code.insert(account.code_hash, code);
            }
        }
        Amendment::Slot { slot, value } => {
            change.storage.insert(slot, value);
        }
    }
    let bare = !has_storage && change.storage.values().all(U256::is_zero);
    change.account = (!account.is_empty() || !bare).then_some(account);
    changes.accounts.insert(address, change);
    Ok((changes, account))
}

/// Code that is too long, or that only looks like a delegation (EIP-7702), is none that any chain could have.
fn check_code(code: &Bytes) -> Result<(), DevError> {
    /// Bytes of a delegation: two of magic, the version, an address.
    const DELEGATION_BYTES: usize = 23;
    let out_of_range = |what, max: usize| {
        // LOSSY: none, a length fits into 64 bits.
        Err(DevError::OutOfRange { what, got: code.len() as u64, max: max as u64 })
    };
    if code.len() > CODE_BYTES_MAX {
        return out_of_range("bytes of code", CODE_BYTES_MAX);
    }
    if code.starts_with(&[0xef, 0x01]) && !(code.len() == DELEGATION_BYTES && code.get(2) == Some(&0)) {
        return out_of_range("bytes of a delegation", DELEGATION_BYTES);
    }
    Ok(())
}
