//! A statement as a table, or as JSON.

use super::{Account, lines::Kind};
use crate::compute::amount::kst;
use alloy_primitives::U256;
use eyre::{Context as _, Result};
use std::io::{self, Write as _};

/// The newest lines that a person is shown; JSON has all.
const LINES_SHOWN: usize = 40;

pub(super) fn json(statement: &Account) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, statement).wrap_err("cannot print the statement")?;
    writeln!(out).wrap_err("cannot print the statement")
}

pub(super) fn table(statement: &Account) -> Result<()> {
    io::stdout().lock().write_all(text(statement).as_bytes()).wrap_err("cannot print the statement")
}

fn text(statement: &Account) -> String {
    let mut out =
        vec![format!("Account {}, blocks {} to {}", statement.account, statement.from_block, statement.to_block)];
    let hidden = statement.lines.len().saturating_sub(LINES_SHOWN);
    if hidden > 0 {
        out.push(format!("  {hidden} older lines are not shown: --json has all"));
    }
    for line in statement.lines.iter().skip(hidden) {
        let amount =
            if line.in_wei.is_zero() { format!("-{}", kst(line.out_wei)) } else { format!("+{}", kst(line.in_wei)) };
        let about = line.about.as_deref().unwrap_or_default();
        out.push(
            format!("  block {:>8}  {amount:>30}  {} {about}", line.block, line.kind.words()).trim_end().to_owned(),
        );
    }
    let row = |sign: &str, amount: U256, words: &str| format!("{:>32}  {words}", format!("{sign}{}", kst(amount)));
    out.push(String::new());
    out.push(row("", wei(&statement.opening_wei), "balance before"));
    for kind in Kind::ALL {
        let lines = || statement.lines.iter().filter(|line| line.kind == kind);
        let came = lines().map(|line| line.in_wei).fold(U256::ZERO, U256::saturating_add);
        let went = lines().map(|line| line.out_wei).fold(U256::ZERO, U256::saturating_add);
        if !came.is_zero() {
            out.push(row("+", came, kind.words()));
        }
        if !went.is_zero() {
            out.push(row("-", went, kind.words()));
        }
    }
    let unexplained = [("+", &statement.unexplained_in_wei), ("-", &statement.unexplained_out_wei)];
    for (sign, amount) in unexplained.map(|(sign, text)| (sign, wei(text))) {
        if !amount.is_zero() {
            out.push(row(sign, amount, "not explained: another contract sent or took it"));
        }
    }
    out.push(row("", wei(&statement.closing_wei), "balance after"));
    let held = &statement.held;
    let rest = [
        (&held.market_credit_wei, "more waits in the market (it is taken with the next order that ends)"),
        (&held.audit_credit_wei, "more waits in the audit"),
        (&held.channel_credit_wei, "more waits in payment channels"),
        (&held.bond_free_wei, "of bond, free"),
        (&held.bond_locked_wei, "of bond, behind open orders"),
        (&held.bond_seated_wei, "of bond, behind seats of a checker"),
        (&held.bond_leaving_wei, "of bond, on its way out"),
    ];
    for (amount, words) in rest.map(|(text, words)| (wei(text), words)) {
        if !amount.is_zero() {
            out.push(row("", amount, words));
        }
    }
    out.push(String::new());
    out.join("\n")
}

/// What was made of a number a moment ago.
fn wei(text: &str) -> U256 {
    text.parse().unwrap_or_default()
}
