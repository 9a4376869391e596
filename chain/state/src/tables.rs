//! The tables of the store in fjall, and reads of them as they were after one committed block.
//!
//! # Design
//! One keyspace per table, one journal for all: a batch over several tables is atomic, also across a crash. A
//! [`Base`] holds an MVCC view of the tables, so readers of a committed state are never torn by a later commit.

use crate::{
    error::{Corruption, Error},
    history::{Undo, View},
    record::{self, AccountRecord},
    trie::Range,
};
use alloy_primitives::{B256, Bytes, U256, hex, keccak256};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable as _};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{ErrorKind, Read as _},
    ops::{Bound, RangeBounds},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};
use twox_hash::XxHash3_128;

/// Memtable of one table. Fifteen tables at fjall's 64 MiB would exceed the memory of a small validator.
const MEMTABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Unflushed journal on disk; bounds what a start has to replay.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest list of a table's files that is read: it has some 30 bytes per file of 64 MiB.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Length of the height at the end of a key of the history.
const HEIGHT_BYTES: usize = 8;
/// Threads that flush and compact: one beside the committing thread.
const WORKERS: usize = 2;

/// All tables.
pub(crate) struct Tables {
    pub(crate) database: Database,
    /// keccak256(address) -> [`AccountRecord`].
    pub(crate) accounts: Keyspace,
    /// keccak256(address) || keccak256(slot) -> value.
    pub(crate) storage: Keyspace,
    /// keccak256(code) -> code.
    pub(crate) code: Keyspace,
    /// height -> RLP header.
    pub(crate) headers: Keyspace,
    /// height -> encoded block.
    pub(crate) blocks: Keyspace,
    /// height -> [`crate::receipts`].
    pub(crate) receipts: Keyspace,
    /// height -> addresses.
    pub(crate) senders: Keyspace,
    /// block hash -> height.
    pub(crate) numbers: Keyspace,
    /// transaction hash -> height || index.
    pub(crate) transactions: Keyspace,
    /// height -> certificate.
    pub(crate) certificates: Keyspace,
    /// height -> what the block replaced: [`Undo`].
    pub(crate) undo: Keyspace,
    /// keccak256(address) || height -> the account before that block; empty if there was none.
    pub(crate) account_history: Keyspace,
    /// keccak256(address) || keccak256(slot) || height -> the value before that block; empty if it was zero.
    pub(crate) slot_history: Keyspace,
    /// First height -> the sealed file that holds the blocks from there on.
    pub(crate) segments: Keyspace,
    /// Format and identity of the chain.
    pub(crate) meta: Keyspace,
}

/// Names of the tables.
const NAMES: [&str; 15] = [
    "accounts",
    "storage",
    "code",
    "headers",
    "blocks",
    "receipts",
    "senders",
    "numbers",
    "transactions",
    "certificates",
    "undo",
    "account_history",
    "slot_history",
    "segments",
    "meta",
];

/// Tables that format 1 does not have.
pub(crate) const NAMES_SINCE_2: [&str; 4] = ["undo", "account_history", "slot_history", "segments"];

/// Key that every table has: the height of the last committed block. Its length is that of no other key.
///
/// It is written with every block, so a table that came up as it was some blocks ago gives itself away.
pub(crate) const TIP: &[u8] = b"tip";

/// Names in `meta`.
pub(crate) mod meta {
    /// The format, four bytes.
    pub(crate) const FORMAT: &str = "format";
    /// Which chain it is: [`crate::genesis`].
    pub(crate) const GENESIS: &str = "genesis";
    /// The oldest state that can be read, eight bytes.
    pub(crate) const HISTORY: &str = "history";
    /// The last block whose old values are there by key, eight bytes.
    pub(crate) const INDEXED: &str = "indexed";
    /// The last block that is in a sealed file, eight bytes.
    pub(crate) const SEALED: &str = "sealed";
    /// The lowest height from which on all headers are there, eight bytes; absent if that is 0.
    pub(crate) const BASE: &str = "base";
    /// A snapshot that is half loaded: what it is, and the number of its next chunk. Absent in a store.
    pub(crate) const LOADING: &str = "loading";

    /// The key of the root of the state after a block that was amended, 32 bytes; there is none if its header has it.
    pub(crate) fn amended(number: u64) -> Vec<u8> {
        [b"amended".as_slice(), &number.to_be_bytes()].concat()
    }
}

/// Removes what a process left that was killed while fjall made its first files: the version file comes last, and without it fjall makes
/// all of them again and stumbles over the journal. A folder with any table in it is left alone.
fn clear_unborn(dir: &Path) -> Result<(), Error> {
    let has_tables = match std::fs::read_dir(dir.join("keyspaces")) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    if has_tables || dir.join("version").try_exists()? {
        return Ok(());
    }
    match std::fs::remove_file(dir.join("0.jnl")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// What a folder of tables should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// A first start: whatever an interrupted one left.
    Anything,
    /// All tables: they were there once.
    All,
}

impl Tables {
    /// Opens or creates the tables in a folder.
    ///
    /// # Errors
    /// [`Corruption::Files`] if fjall cannot read them: it asserts some properties of its files, so its panics are
    /// caught here and reported with the others. The same if a table is expected that is not there: fjall would take a
    /// table without its main file for one that was never finished, delete it, and create it again. A panic of fjall
    /// inside a lock of its own would end the process; so the one file that can cause it is checked first.
    pub(crate) fn open(dir: &Path, cache_bytes: u64, expect: Expect) -> Result<Self, Error> {
        match expect {
            Expect::All => check_files(dir)?,
            Expect::Anything => clear_unborn(dir)?,
        }
        let open = || -> Result<Self, Error> {
            let database = Database::builder(dir)
                .cache_size(cache_bytes)
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .worker_threads(WORKERS)
                .open()?;
            let absent: Vec<_> = NAMES.into_iter().filter(|name| !database.keyspace_exists(name)).collect();
            if let Some(name) = absent.iter().find(|name| !NAMES_SINCE_2.contains(name))
                && expect == Expect::All
            {
                return Err(Corruption::Files(format!("table {name} is gone")).into());
            }
            let table = |name| {
                let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX);
                database.keyspace(name, options)
            };
            Ok(Self {
                accounts: table("accounts")?,
                storage: table("storage")?,
                code: table("code")?,
                headers: table("headers")?,
                blocks: table("blocks")?,
                receipts: table("receipts")?,
                senders: table("senders")?,
                numbers: table("numbers")?,
                transactions: table("transactions")?,
                certificates: table("certificates")?,
                undo: table("undo")?,
                account_history: table("account_history")?,
                slot_history: table("slot_history")?,
                segments: table("segments")?,
                meta: table("meta")?,
                database,
            })
        };
        guarded(open)?.map_err(|error| match error {
            Error::Store(fjall::Error::Io(error)) if error.kind() != ErrorKind::UnexpectedEof => Error::Io(error),
            Error::Store(error) => Corruption::Files(error.to_string()).into(),
            other => other,
        })
    }

    /// All tables.
    pub(crate) const fn all(&self) -> [&Keyspace; NAMES.len()] {
        [
            &self.accounts,
            &self.storage,
            &self.code,
            &self.headers,
            &self.blocks,
            &self.receipts,
            &self.senders,
            &self.numbers,
            &self.transactions,
            &self.certificates,
            &self.undo,
            &self.account_history,
            &self.slot_history,
            &self.segments,
            &self.meta,
        ]
    }

    /// The tables that format 1 does not have.
    pub(crate) const fn since_2(&self) -> [&Keyspace; NAMES_SINCE_2.len()] {
        [&self.undo, &self.account_history, &self.slot_history, &self.segments]
    }

    /// The newest value of a name in `meta`.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.meta.get(name)?.map(|bytes| bytes.to_vec()))
    }

    /// The height of the last committed block, which every table must agree on.
    ///
    /// # Errors
    /// [`Corruption::Missing`] or [`Corruption::OldTable`].
    pub(crate) fn tip(&self) -> Result<u64, Error> {
        let tip = |table: &Keyspace| -> Result<u64, Error> {
            let bytes = table.get(TIP)?.ok_or_else(|| missing(table, TIP))?;
            record::decode_height(&bytes).ok_or_else(|| malformed(table, TIP))
        };
        let head = tip(&self.meta)?;
        for table in self.all() {
            let found = tip(table)?;
            if found != head {
                return Err(Corruption::OldTable { table: name(table), found, head }.into());
            }
        }
        Ok(head)
    }

    /// A view of the tables as they are now, which is after block `number` with this hash. `unindexed` is older.
    pub(crate) fn base(&self, number: u64, hash: B256, unindexed: View) -> Base {
        Base { number, hash, version: number, view: Some(self.database.snapshot()), unindexed, past: false }
    }
}

/// All keys behind a key.
fn behind(after: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (Bound::Excluded(after.to_vec()), Bound::Unbounded)
}

/// Looks at the files that fjall trusts: those that it would replace by empty ones if they were gone, and the list of a
/// table's files, on whose contents it asserts.
fn check_files(dir: &Path) -> Result<(), Error> {
    let version = dir.join("version");
    if !version.try_exists()? {
        return Err(Corruption::Files(format!("{} is gone", version.display())).into());
    }
    for entry in std::fs::read_dir(dir.join("keyspaces"))? {
        let table = entry?.path();
        let pointer = read_small(&table.join("current"))?;
        let Some((number, checksum)) = decode_pointer(&pointer) else {
            return Err(Corruption::Files(format!("{} is malformed", table.join("current").display())).into());
        };
        let list = table.join(format!("v{number}"));
        if XxHash3_128::oneshot(&read_small(&list)?) != checksum {
            return Err(Corruption::Files(format!("{} has another checksum", list.display())).into());
        }
    }
    Ok(())
}

/// A file that must be there, and is too small to be anything but a list of files.
fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LIST_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Corruption::Files(format!("{} is gone", path.display())).into());
        }
        Err(error) => return Err(error.into()),
    };
    Ok(bytes)
}

/// The number of a table's newest list of files, and its XXH3 checksum, as lsm-tree 3 writes them: little-endian, then
/// a zero for the kind of checksum.
fn decode_pointer(bytes: &[u8]) -> Option<(u64, u128)> {
    let (number, rest) = bytes.split_at_checked(8)?;
    let (checksum, kind) = rest.split_at_checked(16)?;
    let pointer = (u64::from_le_bytes(number.try_into().ok()?), u128::from_le_bytes(checksum.try_into().ok()?));
    (kind == [0]).then_some(pointer)
}

/// Runs something that reads the files of the store, and turns a panic into [`Corruption::Files`].
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Corruption::Files(text.unwrap_or_else(|| "unknown panic".to_owned())).into()
    })
}

/// The error for a record that is not in its format.
pub(crate) fn malformed(table: &Keyspace, key: &[u8]) -> Error {
    let reason = "not the encoding of this table".to_owned();
    Corruption::Record { table: name(table), key: key_text(key), reason }.into()
}

/// The error for a record that must be there.
pub(crate) fn missing(table: &Keyspace, key: &[u8]) -> Error {
    Corruption::Missing { table: name(table), key: key_text(key) }.into()
}

fn key_text(key: &[u8]) -> String {
    record::decode_height(key).map_or_else(|| hex::encode_prefixed(key), |number| number.to_string())
}

/// Name of a table.
pub(crate) fn name(table: &Keyspace) -> &'static str {
    NAMES.into_iter().find(|name| *name == &**table.name()).unwrap_or("unknown")
}

/// The tables as they were after one committed block: in their own view, or in a later one through the history.
pub(crate) struct Base {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    /// For the caches, to tell which of two states of the tables is the later one. It is the height as long as blocks
    /// are all that changes them; in development an amendment counts too, and so does going back.
    pub(crate) version: u64,
    /// `None` before the genesis block: then everything is absent.
    view: Option<fjall::Snapshot>,
    /// Old values that are not in the view by key.
    unindexed: View,
    /// The view is later than the block.
    past: bool,
}

impl Base {
    /// The tables before the genesis block.
    pub(crate) fn of_nothing() -> Self {
        Self { number: 0, hash: B256::ZERO, version: 0, view: None, unindexed: View::default(), past: false }
    }

    /// The tables as they were after an earlier block, which the history in this view must reach.
    pub(crate) fn past(&self, number: u64, hash: B256) -> Self {
        // A version is never below its height, so what has not changed since is what this block left.
        Self { number, hash, version: number, view: self.view.clone(), unindexed: self.unindexed.clone(), past: true }
    }

    /// The same as a later version of the tables than its height says.
    pub(crate) fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// The bytes of a table at a key.
    pub(crate) fn bytes(&self, table: &Keyspace, key: &[u8]) -> Result<Option<fjall::UserValue>, Error> {
        Ok(self.view.as_ref().map(|view| view.get(table, key)).transpose()?.flatten())
    }

    /// The length of the bytes of a table at a key.
    pub(crate) fn size(&self, table: &Keyspace, key: &[u8]) -> Result<Option<u32>, Error> {
        Ok(self.view.as_ref().map(|view| view.size_of(table, key)).transpose()?.flatten())
    }

    /// The record of a table at a key.
    pub(crate) fn read<T>(
        &self,
        table: &Keyspace,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.bytes(table, key)?.map(|bytes| decode(&bytes).ok_or_else(|| malformed(table, key))).transpose()
    }

    /// What the first block above this one that changed a key has replaced, if that is in the view by key.
    fn replaced<T>(
        &self,
        table: &Keyspace,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(view) = self.view.as_ref().filter(|_| self.past) else { return Ok(None) };
        let from = record::history_key(key, self.number.saturating_add(1));
        let Some(entry) = view.range(table, from..=record::history_key(key, u64::MAX)).next() else { return Ok(None) };
        let (key, bytes) = entry.into_inner()?;
        decode(&bytes).map(Some).ok_or_else(|| malformed(table, &key))
    }

    /// The account at a hashed address.
    pub(crate) fn account(&self, tables: &Tables, address: &B256) -> Result<Option<AccountRecord>, Error> {
        let decode = |bytes: &[u8]| match bytes {
            [] => Some(None),
            bytes => AccountRecord::decode(bytes).map(Some),
        };
        if let Some(replaced) = self.replaced(&tables.account_history, address.as_slice(), decode)? {
            return Ok(replaced);
        }
        if let Some(replaced) = self.unindexed.account(self.number, address).filter(|_| self.past) {
            return Ok(replaced);
        }
        self.read(&tables.accounts, address.as_slice(), AccountRecord::decode)
    }

    /// The value at a hashed address and slot; zero if absent.
    pub(crate) fn slot(&self, tables: &Tables, address: &B256, slot: &B256) -> Result<U256, Error> {
        let key = record::slot_key(address, slot);
        let decode = |bytes: &[u8]| match bytes {
            [] => Some(U256::ZERO),
            bytes => record::decode_slot(bytes),
        };
        if let Some(replaced) = self.replaced(&tables.slot_history, &key, decode)? {
            return Ok(replaced);
        }
        if let Some(replaced) = self.unindexed.slot(self.number, address, slot).filter(|_| self.past) {
            return Ok(replaced);
        }
        let value = self.read(&tables.storage, &key, record::decode_slot)?;
        Ok(value.unwrap_or_default())
    }

    /// The code with a hash.
    pub(crate) fn code(&self, tables: &Tables, hash: &B256) -> Result<Option<Bytes>, Error> {
        Ok(self.bytes(&tables.code, hash.as_slice())?.map(|bytes| Bytes::copy_from_slice(&bytes)))
    }

    /// The hash of the committed block at a height, from its header.
    pub(crate) fn block_hash(&self, tables: &Tables, number: u64) -> Result<Option<B256>, Error> {
        Ok(self.bytes(&tables.headers, &number.to_be_bytes())?.map(|bytes| keccak256(&bytes)))
    }

    /// What the blocks from `from` to `to` have replaced, the last block first.
    pub(crate) fn undo_records(
        &self,
        tables: &Tables,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = Result<(u64, Undo), Error>> + use<> {
        let table = tables.undo.clone();
        let entries = self.view.as_ref().map(|view| view.range(&table, from.to_be_bytes()..=to.to_be_bytes()).rev());
        entries.into_iter().flatten().map(move |entry| {
            let (key, bytes) = entry.into_inner()?;
            let found = record::decode_height(&key).and_then(|number| Some((number, Undo::decode(&bytes)?)));
            found.ok_or_else(|| malformed(&table, &key))
        })
    }

    /// The accounts in a range, in order of their hashed addresses. Only for a base in its own view.
    pub(crate) fn accounts(
        &self,
        tables: &Tables,
        range: &Range,
    ) -> impl Iterator<Item = Result<(B256, AccountRecord), Error>> + use<> {
        self.accounts_in(tables, range.first.0.to_vec()..=range.last.0.to_vec())
    }

    /// All accounts behind a key, as [`Self::accounts`].
    pub(crate) fn accounts_after(
        &self,
        tables: &Tables,
        after: &[u8],
    ) -> impl Iterator<Item = Result<(B256, AccountRecord), Error>> + use<> {
        self.accounts_in(tables, behind(after))
    }

    fn accounts_in<R: RangeBounds<Vec<u8>>>(
        &self,
        tables: &Tables,
        keys: R,
    ) -> impl Iterator<Item = Result<(B256, AccountRecord), Error>> + use<R> {
        let table = tables.accounts.clone();
        let entries = self.view.as_ref().map(|view| view.range(&table, keys));
        let entries = entries.into_iter().flatten().map(fjall::Guard::into_inner);
        let entries = entries.filter(|entry| entry.as_ref().map_or(true, |(key, _)| key.as_ref() != TIP));
        entries.map(move |entry| {
            let (key, bytes) = entry?;
            let address: &[u8; 32] = key.as_ref().try_into().map_err(|_| malformed(&table, &key))?;
            let record = AccountRecord::decode(&bytes).ok_or_else(|| malformed(&table, &key))?;
            Ok((B256::new(*address), record))
        })
    }

    /// All slots behind a key, in order of hashed addresses, then of hashed slots. Only for a base in its own view.
    pub(crate) fn slots_after(
        &self,
        tables: &Tables,
        after: &[u8],
    ) -> impl Iterator<Item = Result<([u8; 64], U256), Error>> + use<> {
        let table = tables.storage.clone();
        let entries = self.view.as_ref().map(|view| view.range(&table, behind(after)));
        let entries = entries.into_iter().flatten().map(fjall::Guard::into_inner);
        let entries = entries.filter(|entry| entry.as_ref().map_or(true, |(key, _)| key.as_ref() != TIP));
        entries.map(move |entry| {
            let (key, bytes) = entry?;
            let slot: &[u8; 64] = key.as_ref().try_into().map_err(|_| malformed(&table, &key))?;
            let value = record::decode_slot(&bytes).ok_or_else(|| malformed(&table, &key))?;
            Ok((*slot, value))
        })
    }

    /// True if the view is later than the block, so that values have to be sought through the history.
    pub(crate) const fn is_past(&self) -> bool {
        self.past
    }

    /// The keys behind a key of a flat table, those that its history has, and more that are sorted: ascending, each once.
    /// Some of them may have no value at this block.
    pub(crate) fn keys_then_and_now(
        &self,
        (flat, history): (&Keyspace, &Keyspace),
        more: BTreeSet<Vec<u8>>,
        after: &[u8],
    ) -> impl Iterator<Item = Result<Vec<u8>, Error>> + use<> {
        let keys = |table: &Keyspace, suffix: usize| {
            let entries = self.view.as_ref().map(|view| view.range(table, behind(after)));
            let keys = entries.into_iter().flatten().map(|entry| entry.key().map_err(Error::from));
            let keys = keys.filter(|key| key.as_ref().map_or(true, |key| key.as_ref() != TIP));
            let cut =
                move |key: fjall::UserKey| key.get(..key.len().saturating_sub(suffix)).unwrap_or_default().to_vec();
            keys.map(move |key| key.map(cut))
        };
        let mut sorted = [
            (Box::new(keys(flat, 0)) as Box<dyn Iterator<Item = Result<Vec<u8>, Error>> + Send>).peekable(),
            (Box::new(keys(history, HEIGHT_BYTES)) as Box<dyn Iterator<Item = _> + Send>).peekable(),
            (Box::new(more.into_iter().map(Ok)) as Box<dyn Iterator<Item = _> + Send>).peekable(),
        ];
        let after = after.to_vec();
        let keys = std::iter::from_fn(move || {
            for keys in &mut sorted {
                if let Some(Err(error)) = keys.next_if(Result::is_err) {
                    return Some(Err(error));
                }
            }
            let least = sorted.iter_mut().filter_map(|keys| keys.peek()?.as_ref().ok()).min()?.clone();
            for keys in &mut sorted {
                while keys.next_if(|key| key.as_ref().is_ok_and(|key| *key == least)).is_some() {}
            }
            Some(Ok(least))
        });
        // The history of the key itself lies behind it.
        keys.filter(move |key| key.as_ref().map_or(true, |key| *key > after))
    }

    /// The hashes of code behind a hash, whether an account names it or not.
    pub(crate) fn code_hashes_after(
        &self,
        tables: &Tables,
        after: &[u8],
    ) -> impl Iterator<Item = Result<B256, Error>> + use<> {
        let table = tables.code.clone();
        let entries = self.view.as_ref().map(|view| view.range(&table, behind(after)));
        let keys = entries.into_iter().flatten().map(|entry| entry.key().map_err(Error::from));
        let keys = keys.filter(|key| key.as_ref().map_or(true, |key| key.as_ref() != TIP));
        keys.map(move |key| {
            let key = key?;
            let hash: &[u8; 32] = key.as_ref().try_into().map_err(|_| malformed(&table, &key))?;
            Ok(B256::new(*hash))
        })
    }

    /// Hashed addresses of accounts whose old values are not there by key yet.
    pub(crate) fn unindexed_accounts(&self) -> BTreeSet<Vec<u8>> {
        self.unindexed.accounts().map(|address| address.to_vec()).collect()
    }

    /// Keys of slots whose old values are not there by key yet.
    pub(crate) fn unindexed_slots(&self) -> BTreeSet<Vec<u8>> {
        self.unindexed.slots().map(|(address, slot)| record::slot_key(address, slot).to_vec()).collect()
    }

    /// The slots of a hashed address in a range, in order of their hashes. Only for a base in its own view.
    pub(crate) fn slots(
        &self,
        tables: &Tables,
        address: &B256,
        range: &Range,
    ) -> impl Iterator<Item = Result<(B256, U256), Error>> + use<> {
        let table = tables.storage.clone();
        let (first, last) = (record::slot_key(address, &range.first), record::slot_key(address, &range.last));
        let entries = self.view.as_ref().map(|view| view.range(&table, first..=last));
        entries.into_iter().flatten().map(move |entry| {
            let (key, bytes) = entry.into_inner()?;
            let slot = key.get(32..).filter(|slot| slot.len() == 32).ok_or_else(|| malformed(&table, &key))?;
            let value = record::decode_slot(&bytes).ok_or_else(|| malformed(&table, &key))?;
            Ok((B256::from_slice(slot), value))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_killed_while_the_first_files_are_made_leaves_nothing_that_stops_the_next() {
        // In the order in which fjall makes them; each prefix is what a kill can leave.
        let makings: [fn(&Path); 4] = [
            |dir| std::fs::create_dir_all(dir).unwrap(),
            |dir| drop(std::fs::File::create(dir.join("lock")).unwrap()),
            |dir| std::fs::create_dir(dir.join("keyspaces")).unwrap(),
            |dir| std::fs::write(dir.join("0.jnl"), [0; 64]).unwrap(),
        ];
        for count in 0..=makings.len() {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("tables");
            makings.iter().take(count).for_each(|make| make(&dir));
            let tables = Tables::open(&dir, 0, Expect::Anything).unwrap();
            tables.meta.insert("key", "value").unwrap();
            drop(tables);
            let again = Tables::open(&dir, 0, Expect::All).unwrap();
            assert_eq!(again.meta("key").unwrap().unwrap(), b"value", "after {count} steps");
        }
    }

    #[test]
    fn a_journal_without_its_version_file_beside_tables_is_not_removed() {
        let parent = tempfile::tempdir().unwrap();
        drop(Tables::open(parent.path(), 0, Expect::Anything).unwrap());
        std::fs::remove_file(parent.path().join("version")).unwrap();
        assert!(Tables::open(parent.path(), 0, Expect::Anything).is_err());
        assert!(parent.path().join("0.jnl").exists());
    }
}
