//! The history from the head down: each block's old values by key, and the root of each old state.

use super::Check;
use crate::{
    error::{Corruption, Error},
    history::{Undo, Unindexed, View, Window},
    keccak::Hashing,
    record::{self, AccountRecord, history_key, slot_key},
    tables::{Base, TIP, Tables, malformed, meta, missing, name},
    trie::{Change, Range, Trie, Values},
};
use alloy_primitives::B256;
use fjall::{Keyspace, Readable as _};

pub(super) fn check(check: &mut Check<'_>) -> Result<(), Error> {
    let tables = check.tables;
    let window = Window::load(tables)?;
    let bytes = tables.meta(meta::INDEXED)?.ok_or_else(|| missing(&tables.meta, meta::INDEXED.as_bytes()))?;
    let indexed = record::decode_height(&bytes).ok_or_else(|| malformed(&tables.meta, meta::INDEXED.as_bytes()))?;
    // Old states are known by their headers only if this one is.
    let unindexed = Unindexed::load(tables, window.oldest, check.head)?.view();
    let mut trie = newest(check)?;
    let (mut accounts, mut slots) = (0_u64, 0_u64);
    let mut number = check.head;
    while number > window.oldest {
        let key = number.to_be_bytes();
        let bytes = check.base.bytes(&tables.undo, &key)?.ok_or_else(|| missing(&tables.undo, &key))?;
        let undo = Undo::read(tables, number, &bytes)?;
        if number <= indexed {
            let compared = by_key(check, number, &undo);
            check.note("history", compared)?;
            accounts = accounts.saturating_add(undo.accounts.len() as u64);
            slots = slots.saturating_add(undo.len().saturating_sub(undo.accounts.len()) as u64);
        }
        trie = undone(check, &trie, number, &undo, &unindexed)?;
        number = number.saturating_sub(1);
        check.out.states = check.out.states.saturating_add(1);
        let total = Some(check.head.saturating_sub(window.oldest));
        check.tell("history", check.out.states, total);
    }
    for (table, want) in [(&tables.account_history, accounts), (&tables.slot_history, slots)] {
        let found = entries(check, table, window.oldest)?;
        if found != want {
            let reason = format!("values by key are not those by block: by_key={found} by_block={want}");
            check.found(Corruption::Record { table: name(table), key: "all".to_owned(), reason });
        }
    }
    Ok(())
}

/// Entries of blocks inside the window.
fn entries(check: &Check<'_>, table: &Keyspace, oldest: u64) -> Result<u64, Error> {
    let mut count = 0_u64;
    for entry in check.tables.database.snapshot().iter(table) {
        let key = entry.key()?;
        if key.as_ref() == TIP {
            continue;
        }
        let height = key.split_last_chunk::<8>().map(|(_, height)| u64::from_be_bytes(*height));
        let height = height.ok_or_else(|| malformed(table, &key))?;
        count = count.saturating_add(u64::from(height > oldest));
    }
    Ok(count)
}

/// Each value is there by key.
fn by_key(check: &Check<'_>, number: u64, undo: &Undo) -> Result<(), Error> {
    let compare = |table: &Keyspace, key: Vec<u8>, want: Vec<u8>| match check.base.bytes(table, &key)? {
        Some(found) if *found == want => Ok(()),
        Some(_) => Err(malformed(table, &key)),
        None => Err(missing(table, &key)),
    };
    for (address, old) in &undo.accounts {
        let want = old.as_ref().map(AccountRecord::encode).unwrap_or_default();
        compare(&check.tables.account_history, history_key(address.as_slice(), number), want)?;
    }
    for (address, slots) in &undo.storage {
        for (slot, old) in slots {
            let key = history_key(&slot_key(address, slot), number);
            compare(&check.tables.slot_history, key, record::encode_slot(old))?;
        }
    }
    Ok(())
}

/// The account trie of the head.
fn newest(check: &Check<'_>) -> Result<Trie, Error> {
    let leaf = |record: AccountRecord| move |out: &mut Vec<u8>| record.put_leaf(out);
    let leaves = check.base.accounts(check.tables, &Range::ALL);
    let leaves = leaves.map(|account| account.map(|(key, record)| (key, leaf(record))));
    Trie::build(leaves, u64::MAX, Hashing::Widest)
}

/// The trie before a block; its root must be that of the header below.
fn undone(check: &Check<'_>, trie: &Trie, number: u64, undo: &Undo, unindexed: &View) -> Result<Trie, Error> {
    let mut base = check.tables.base(number, B256::ZERO, unindexed.clone());
    if number < check.head {
        base = base.past(number, B256::ZERO);
    }
    let leaf = |old: &Option<AccountRecord>| old.as_ref().map(AccountRecord::leaf);
    let leaves: Vec<Change> = undo.accounts.iter().map(|(key, old)| Change { key: *key, value: leaf(old) }).collect();
    let trie = trie.update(&Accounts { tables: check.tables, base }, &leaves, Hashing::Widest)?;
    let below = number.saturating_sub(1);
    let key = below.to_be_bytes();
    let header = check.base.read(&check.tables.headers, &key, record::decode_header)?;
    let header = header.ok_or_else(|| missing(&check.tables.headers, &key))?.state_root;
    if trie.root() == header {
        return Ok(trie);
    }
    Err(Corruption::PastRoot { number: below, header, computed: trie.root() }.into())
}

/// Leaves of the accounts at one height.
struct Accounts<'c> {
    tables: &'c Tables,
    base: Base,
}

impl Values for Accounts<'_> {
    fn value(&self, key: &B256) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.base.account(self.tables, key)?.as_ref().map(AccountRecord::leaf))
    }

    /// Not called, as all branches stay in memory. Were it, a state below the head would give another hash: an error.
    fn below(&self, range: &Range) -> Result<Vec<(B256, Vec<u8>)>, Error> {
        let accounts = self.base.accounts(self.tables, range);
        accounts.map(|account| account.map(|(key, record)| (key, record.leaf()))).collect()
    }

    fn table(&self) -> &'static str {
        "accounts"
    }
}
