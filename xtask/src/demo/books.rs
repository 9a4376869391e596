//! The books: what each party should have earned and paid by the orders, held against what the chain says, to the wei; and every wei of the genesis.
//!
//! # Design
//! What should be comes from the customers' folders (orders, maps) and from the audit's own list of checks; what is comes from `keystead statement` of each
//! account, which reads the chain's balances. At the end all blocks are read once more, apart from that: every account that any of them names, what is
//! burnt and what validators earned must add up to the genesis.

use super::{
    cast::{ACCOUNTS, CAREFUL, CHEAT, CHEAT_PRICE_WEI, CUSTOMER, PRICE_WEI, account, number, role},
    chain::{Node, add, quantity},
    jobs::{Mapped, Order, json, wei},
};
use crate::{
    parties::wait_for,
    process::{ensure_uninterrupted, show},
};
use eyre::{Context as _, Result, bail, ensure, eyre};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const MARKET: &str = "0x4b53540000000000000000000000000000000002";
const BOND: &str = "0x4b53540000000000000000000000000000000004";
const AUDIT: &str = "0x4b53540000000000000000000000000000000005";
const CHANNEL: &str = "0x4b53540000000000000000000000000000000006";
/// `CheckRevealed(bytes32,uint32,uint8,uint8,address,uint8,bytes32)` of the audit.
const CHECK_REVEALED: &str = "0x874a11d2c530421019050b2c1078dfd4169d780c3dbdff49eb9bdc6d8d326b62";
/// `WindowConvicted(bytes32,uint32,address)` of the audit.
const WINDOW_CONVICTED: &str = "0x8b34a79ee4ca92992447cca2f45a2880bba82415cc9a8ea1d1a1c860bb6d657c";
/// `WindowAnnounced(bytes32,uint64,bytes32,uint256)` of the channels.
const WINDOW_ANNOUNCED: &str = "0xc3ee6db06767bda16a9f33270c39313e589e7789f5003fa44da957a7aa50a3f2";
/// `Slashed(address,uint256,uint256)` of the bond.
const SLASHED: &str = "0x45a371af55b0726877a30f464edc14db5879ab096590bacce682cf6c18223596";
/// `burntWei()` of the bond.
const BURNT_WEI: &str = "0xb9546318";
/// How long providers and customers may take to take their money home.
const HOME_MAX: Duration = Duration::from_secs(90);

/// What is to be judged.
pub(super) struct Books<'a> {
    pub(super) keystead: &'a Path,
    pub(super) url: &'a str,
    pub(super) node: Node,
    pub(super) genesis: PathBuf,
    pub(super) orders: &'a [Order],
    pub(super) audited: &'a Order,
    pub(super) maps: &'a [Mapped],
}

/// What was slashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slash {
    pub(super) taken_wei: u128,
    pub(super) bounty_wei: u128,
}

/// What an account should have moved by its work and its orders; its bond and its fees apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Due {
    orders_wei: u128,
    maps_wei: u128,
    checks_wei: u128,
    checks: u64,
    /// For others' work.
    spent_wei: u128,
}

/// What an account did move, by its statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    market_in_wei: u128,
    channel_in_wei: u128,
    audit_in_wei: u128,
    /// Orders, channels, accusations.
    out_wei: u128,
    bond_in_wei: u128,
    bond_out_wei: u128,
    fees_wei: u128,
    /// What contracts hold of its bond.
    bond_wei: u128,
    balance_wei: u128,
}

impl Books<'_> {
    /// Waits until all money that is owed is home, then judges. Prints the tables.
    ///
    /// # Errors
    /// A wei is not where it should be; the message says whose.
    pub(super) fn judge(&self) -> Result<Slash> {
        for (contract, name) in [(MARKET, "market"), (CHANNEL, "channels"), (AUDIT, "audit")] {
            let mut left_wei = 0;
            let emptied = wait_for("everybody takes home what is owed", HOME_MAX, || {
                left_wei = self.node.balance(contract, self.node.head()?)?;
                Ok((left_wei == 0).then_some(()))
            });
            emptied.wrap_err_with(|| format!("{} are still in the {name} contract", kst(left_wei)))?;
        }
        let block = self.node.head()?;
        let slash = self.slash(block)?;
        let dues = self.dues(block)?;
        println!(
            "At block {block} everybody has taken home what was owed. All amounts in KST; whatever differs by a wei is an error."
        );
        println!(
            "  {:<2} {:<18} {:>12} {:>12} {:>12} {:>12}  {:>24} {:>24}  gas",
            "", "", "orders", "maps", "checks", "spent", "bond", "balance"
        );
        let (mut moves, mut problems) = (Vec::new(), Vec::new());
        for (index, due) in dues.iter().enumerate() {
            ensure_uninterrupted()?;
            let moved = self.moved(index, block)?;
            println!(
                "  {index:<2} {:<18} {:>12} {:>12} {:>12} {:>12}  {:>24} {:>24}  {}",
                role(index),
                digits(due.orders_wei),
                digits(due.maps_wei),
                digits(due.checks_wei),
                digits(due.spent_wei),
                digits(moved.bond_wei),
                digits(moved.balance_wei),
                digits(moved.fees_wei),
            );
            problems.extend(differences(index, *due, moved));
            moves.push(moved);
        }
        problems.extend(self.bonds(block, slash, &moves)?);
        ensure!(problems.is_empty(), "the books do not close:\n  {}", problems.join("\n  "));
        self.whole(block, &moves)?;
        Ok(slash)
    }

    /// The one conviction there is.
    fn slash(&self, block: u64) -> Result<Slash> {
        let logs = self.node.logs(BOND, SLASHED, block)?;
        let [log] = logs.as_slice() else { bail!("one bond was to be slashed, the chain tells of {}", logs.len()) };
        ensure!(number(&log.account(1)?) == Some(CHEAT), "the wrong bond is slashed: that of {}", log.account(1)?);
        let slash = Slash { taken_wei: log.number(0)?, bounty_wei: log.number(1)? };
        ensure!(slash.taken_wei > 0 && slash.bounty_wei <= slash.taken_wei / 2, "an odd slash: {slash:?}");
        Ok(slash)
    }

    /// What each account should have moved.
    fn dues(&self, block: u64) -> Result<Vec<Due>> {
        let mut dues = vec![Due::default(); ACCOUNTS.len()];
        let mut with = |account: &str, change: &mut dyn FnMut(&mut Due) -> Result<()>| match number(account) {
            Some(index) => dues.get_mut(index).map_or(Ok(()), change),
            None => Err(eyre!("{account} has no part in this")),
        };
        for (order, customer) in self.orders.iter().map(|order| (order, CUSTOMER)).chain([(self.audited, CAREFUL)]) {
            with(&order.provider, &mut |due| add(&mut due.orders_wei, order.paid_wei))?;
            with(account(customer)?, &mut |due| add(&mut due.spent_wei, order.paid_wei))?;
        }
        for part in self.maps.iter().flat_map(|map| &map.parts) {
            with(&part.account, &mut |due| add(&mut due.maps_wei, part.claimed_wei))?;
            with(account(CUSTOMER)?, &mut |due| add(&mut due.spent_wei, part.claimed_wei))?;
        }
        // A check costs as much as the unit that it runs again: the cheat's were cheaper.
        let convicted = self.node.logs(AUDIT, WINDOW_CONVICTED, block)?;
        let [convicted] = convicted.as_slice() else { bail!("{} windows are convicted, not one", convicted.len()) };
        ensure!(number(&convicted.account(2)?) == Some(CHEAT), "somebody else than the cheat is convicted");
        // Who announces a window of a channel has its customer pay its checks: that of the maps.
        let announced = self.node.logs(CHANNEL, WINDOW_ANNOUNCED, block)?;
        ensure!(!announced.is_empty(), "no window of a channel was announced");
        for check in self.node.logs(AUDIT, CHECK_REVEALED, block)? {
            let window = check.topics.get(1);
            let fee_wei = if window == convicted.topics.get(1) { CHEAT_PRICE_WEI } else { PRICE_WEI };
            let is_map = announced.iter().any(|log| log.topics.get(2) == window);
            let payer = if is_map { CUSTOMER } else { CAREFUL };
            with(&check.account(2)?, &mut |due| {
                due.checks = due.checks.saturating_add(1);
                add(&mut due.checks_wei, fee_wei)
            })?;
            with(account(payer)?, &mut |due| add(&mut due.spent_wei, fee_wei))?;
        }
        Ok(dues)
    }

    /// `keystead statement` of an account, which itself must explain every wei.
    fn moved(&self, index: usize, block: u64) -> Result<Moved> {
        let account = account(index)?;
        let mut command = Command::new(self.keystead);
        command.args(["statement", account, "--json", "--rpc", self.url, "--to-block", &block.to_string()]);
        let output = command.stdin(Stdio::null()).output().wrap_err("cannot start `keystead statement`")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{}` failed: {said}", show(&command));
        let statement: Value = serde_json::from_slice(&output.stdout).wrap_err("odd statement")?;
        let unexplained = [wei(&statement, "/unexplainedInWei")?, wei(&statement, "/unexplainedOutWei")?];
        ensure!(unexplained == [0, 0], "the statement of account {index} leaves {unexplained:?} wei unexplained");
        Moved::read(&statement).wrap_err_with(|| format!("the statement of account {index}"))
    }

    /// What was put into bonds is there, but for what was slashed; who found it has its share.
    fn bonds(&self, block: u64, slash: Slash, moves: &[Moved]) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut gained_wei = 0;
        for (index, moved) in moves.iter().enumerate() {
            let put_wei = moved.bond_out_wei.checked_sub(moved.bond_in_wei).ok_or_else(|| eyre!("odd bond"))?;
            let should_wei = if index == CHEAT { put_wei.saturating_sub(slash.taken_wei) } else { put_wei };
            match moved.bond_wei.checked_sub(should_wei) {
                Some(more_wei) => add(&mut gained_wei, more_wei)?,
                None => problems.push(format!(
                    "account {index} has a bond of {}, not {}",
                    kst(moved.bond_wei),
                    kst(should_wei)
                )),
            }
        }
        let burnt_wei = self.node.number(BOND, BURNT_WEI, block)?;
        if gained_wei != slash.bounty_wei {
            problems.push(format!("finders got {}, not {}", kst(gained_wei), kst(slash.bounty_wei)));
        }
        if burnt_wei != slash.taken_wei.saturating_sub(slash.bounty_wei) {
            problems.push(format!("{} of bonds are burnt, not the rest of the slash", kst(burnt_wei)));
        }
        Ok(problems)
    }

    /// Every wei of the genesis is somewhere.
    fn whole(&self, block: u64, moves: &[Moved]) -> Result<()> {
        let scan = self.node.scan(block)?;
        for (index, moved) in moves.iter().enumerate() {
            let fees_wei = scan.paid_wei.get(&account(index)?.to_lowercase()).copied().unwrap_or_default();
            let stated_wei = moved.fees_wei;
            ensure!(
                fees_wei == stated_wei,
                "account {index} paid {} for gas, its statement says {}",
                kst(fees_wei),
                kst(stated_wei)
            );
        }
        let genesis = json(&self.genesis)?;
        let alloc = genesis.get("alloc").and_then(Value::as_object).ok_or_else(|| eyre!("a genesis without alloc"))?;
        let mut accounts = scan.accounts.clone();
        let mut given_wei = 0;
        for (name, entry) in alloc {
            accounts.insert(format!("0x{}", name.trim_start_matches("0x").to_lowercase()));
            add(&mut given_wei, entry.get("balance").map_or(Ok(0), quantity)?)?;
        }
        let (mut people_wei, mut bonds_wei, mut validators_wei, mut others_wei) = (0, 0, 0, 0);
        for name in &accounts {
            let held_wei = self.node.balance(name, block)?;
            let kind = match name.as_str() {
                name if number(name).is_some() => &mut people_wei,
                BOND => &mut bonds_wei,
                name if scan.earned_wei.contains_key(name) => &mut validators_wei,
                _ => &mut others_wei,
            };
            add(kind, held_wei)?;
        }
        let mut found_wei = scan.burnt_wei;
        println!(
            "Every wei of the genesis ({} accounts, {} transactions in {block} blocks):",
            accounts.len(),
            scan.transactions
        );
        for (amount_wei, words) in [
            (people_wei, "the ten accounts"),
            (bonds_wei, "the contract of bonds, what is burnt there included"),
            (validators_wei, "the validators, who earned it as priority fees"),
            (others_wei, "the payers and payees that made the network busy"),
        ] {
            println!("  {:>30}  {words}", digits(amount_wei));
            add(&mut found_wei, amount_wei)?;
        }
        println!("  {:>30}  burnt as base fees", digits(scan.burnt_wei));
        println!("  {:>30}  together; the genesis gave {}", digits(found_wei), digits(given_wei));
        ensure!(found_wei == given_wei, "{} are not where they should be", kst(found_wei.abs_diff(given_wei)));
        let mut earned_wei = 0;
        scan.earned_wei.values().try_for_each(|wei| add(&mut earned_wei, *wei))?;
        ensure!(
            earned_wei == validators_wei,
            "validators earned {}, they have {}",
            kst(earned_wei),
            kst(validators_wei)
        );
        Ok(())
    }
}

impl Moved {
    fn read(statement: &Value) -> Result<Self> {
        let mut moved = Self { balance_wei: wei(statement, "/closingWei")?, ..Self::default() };
        for part in ["Free", "Locked", "Seated", "Leaving"] {
            add(&mut moved.bond_wei, wei(statement, &format!("/held/bond{part}Wei"))?)?;
        }
        let credits = ["market", "audit", "channel"].map(|part| wei(statement, &format!("/held/{part}CreditWei")));
        for credit in credits {
            ensure!(credit? == 0, "money still waits in a contract");
        }
        let lines = statement.get("lines").and_then(Value::as_array).ok_or_else(|| eyre!("no lines"))?;
        for line in lines {
            let (in_wei, out_wei) = (wei(line, "/inWei")?, wei(line, "/outWei")?);
            let kind = line.get("kind").and_then(Value::as_str).unwrap_or_default();
            let (side, amount_wei) = match kind {
                "market-withdrawal" => (&mut moved.market_in_wei, in_wei),
                "channel-withdrawal" => (&mut moved.channel_in_wei, in_wei),
                "audit-withdrawal" => (&mut moved.audit_in_wei, in_wei),
                "bond-withdrawal" => (&mut moved.bond_in_wei, in_wei),
                "escrow" | "channel-deposit" | "dispute" => (&mut moved.out_wei, out_wei),
                "bond" => (&mut moved.bond_out_wei, out_wei),
                "fee" => (&mut moved.fees_wei, out_wei),
                // What made the network busy: in the sum of all accounts.
                "transfer" => continue,
                other => bail!("a line of an unknown kind: {other}"),
            };
            add(side, amount_wei)?;
        }
        Ok(moved)
    }

    /// All that came back or was earned.
    fn in_wei(self) -> Result<u128> {
        let mut sum = self.market_in_wei;
        add(&mut sum, self.channel_in_wei)?;
        add(&mut sum, self.audit_in_wei)?;
        Ok(sum)
    }
}

/// Where an account's money is not what it should be.
fn differences(index: usize, due: Due, moved: Moved) -> Vec<String> {
    let mut problems = Vec::new();
    let mut compare = |what: &str, is: u128, should: u128| {
        if is != should {
            problems.push(format!("account {index}, {what}: {} on the chain, {} by its orders", kst(is), kst(should)));
        }
    };
    if index == CAREFUL || index == CUSTOMER {
        // What came back is not told apart from what was earned, so a customer earns nothing here.
        let spent = moved.in_wei().ok().and_then(|came| moved.out_wei.checked_sub(came));
        compare("spent", spent.unwrap_or(u128::MAX), due.spent_wei);
        compare("earned", 0, due.orders_wei.saturating_add(due.maps_wei).saturating_add(due.checks_wei));
    } else {
        compare("orders", moved.market_in_wei, due.orders_wei);
        compare("maps", moved.channel_in_wei, due.maps_wei);
        compare("checks", moved.audit_in_wei, due.checks_wei);
        compare("spent", moved.out_wei, due.spent_wei);
    }
    problems
}

/// `1.5 KST`, exact.
pub(super) fn kst(wei: u128) -> String {
    format!("{} KST", digits(wei))
}

/// `1.5`, exact.
fn digits(wei: u128) -> String {
    const KST_WEI: u128 = 1_000_000_000_000_000_000;
    let (whole, rest) = (wei / KST_WEI, wei % KST_WEI);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:018}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn statement(lines: &Value, credit: &str) -> Value {
        json!({"closingWei": "7", "lines": lines, "held": {
            "marketCreditWei": credit, "auditCreditWei": "0", "channelCreditWei": "0",
            "bondFreeWei": "1", "bondLockedWei": "0", "bondSeatedWei": "100", "bondLeavingWei": "0",
        }})
    }

    fn line(kind: &str, in_wei: &str, out_wei: &str) -> Value {
        json!({"kind": kind, "inWei": in_wei, "outWei": out_wei})
    }

    #[test]
    fn a_statement_is_sorted_by_kind_and_what_is_unknown_or_still_owed_is_an_error() {
        let lines = json!([
            line("market-withdrawal", "5", "0"),
            line("market-withdrawal", "2", "0"),
            line("audit-withdrawal", "3", "0"),
            line("fee", "0", "1"),
            line("bond", "0", "110"),
            line("transfer", "9", "0"),
        ]);
        let moved = Moved::read(&statement(&lines, "0")).unwrap();
        assert_eq!((moved.market_in_wei, moved.audit_in_wei, moved.fees_wei, moved.bond_wei), (7, 3, 1, 101));
        assert_eq!((moved.in_wei().unwrap(), moved.bond_out_wei, moved.balance_wei), (10, 110, 7));
        assert!(Moved::read(&statement(&lines, "1")).is_err());
        assert!(Moved::read(&statement(&json!([line("gift", "1", "0")]), "0")).is_err());
    }

    #[test]
    fn a_difference_of_a_wei_is_told_with_whose_it_is() {
        let due = Due { orders_wei: 7, checks_wei: 3, ..Due::default() };
        let moved = Moved { market_in_wei: 7, audit_in_wei: 3, ..Moved::default() };
        assert_eq!(differences(1, due, moved), [""; 0]);
        let [problem] = &differences(1, due, Moved { market_in_wei: 8, ..moved })[..] else { panic!("one problem") };
        assert!(problem.contains("account 1, orders: 0.000000000000000008 KST on the chain"), "{problem}");
        // A customer put down 20, of which 9 came back.
        let due = Due { spent_wei: 11, ..Due::default() };
        let moved = Moved { out_wei: 20, market_in_wei: 4, channel_in_wei: 5, ..Moved::default() };
        assert_eq!(differences(CUSTOMER, due, moved), [""; 0]);
        assert_eq!(differences(CUSTOMER, due, Moved { out_wei: 19, ..moved }).len(), 1);
    }

    #[test]
    fn amounts_are_exact_and_short_where_they_can_be() {
        let table =
            [(0, "0"), (1, "0.000000000000000001"), (1_500_000_000_000_000_000, "1.5"), (40 * 10_u128.pow(18), "40")];
        table.into_iter().for_each(|(wei, text)| assert_eq!(digits(wei), text));
    }
}
