//! A statement as a table, or as JSON.

use super::{
    Account,
    lines::{Kind, Line},
    token::TokenAccount,
};
use crate::compute::money::Money;
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
    let mut page = Page { money: &Money::kst(), out: Vec::new() };
    page.say(format!("Account {}, blocks {} to {}", statement.account, statement.from_block, statement.to_block));
    page.lines(&statement.lines);
    page.row("", wei(&statement.opening_wei), "balance before");
    page.sums(&statement.lines);
    page.unexplained(&statement.unexplained_in_wei, &statement.unexplained_out_wei);
    page.row("", wei(&statement.closing_wei), "balance after");
    let held = &statement.held;
    page.held(&[
        (&held.market_credit_wei, "more waits in the market (it is taken with the next order that ends)"),
        (&held.audit_credit_wei, "more waits in the audit"),
        (&held.channel_credit_wei, "more waits in payment channels"),
        (&held.bond_free_wei, "of bond, free"),
        (&held.bond_locked_wei, "of bond, behind open orders"),
        (&held.bond_seated_wei, "of bond, behind seats of a checker"),
        (&held.bond_leaving_wei, "of bond, on its way out"),
    ]);
    if statement.as_customer.is_known() {
        page.say(format!("As a customer: {}", statement.as_customer));
    }
    let mut out = page.out;
    for token in &statement.tokens {
        out.extend(in_token(token));
    }
    out.push(String::new());
    out.join("\n")
}

/// What there is in a token, apart: nothing of it is in the sums of another currency.
fn in_token(account: &TokenAccount) -> Vec<String> {
    let money = &account.money;
    let mut page = Page { money, out: Vec::new() };
    page.say(String::new());
    page.say(format!("In the token {}", money.currency().address()));
    page.lines(&account.lines);
    let unknown = "                                  the token does not say what the account has";
    match &account.opening_wei {
        Some(opening) => page.row("", wei(opening), "balance before"),
        None => page.say(unknown.to_owned()),
    }
    page.sums(&account.lines);
    if let (Some(came), Some(went)) = (&account.unexplained_in_wei, &account.unexplained_out_wei) {
        page.unexplained(came, went);
    }
    match &account.closing_wei {
        Some(closing) => page.row("", wei(closing), "balance after"),
        None => page.say(unknown.to_owned()),
    }
    page.held(&[
        (&account.held.market_credit_wei, "more waits in the market (it is taken with the next order in this token)"),
        (&account.held.channel_credit_wei, "more waits in payment channels"),
    ]);
    page.out
}

/// Lines of text about one currency.
#[derive(Debug)]
struct Page<'a> {
    money: &'a Money,
    out: Vec<String>,
}

impl Page<'_> {
    fn say(&mut self, line: String) {
        self.out.push(line);
    }

    fn row(&mut self, sign: &str, amount: U256, words: &str) {
        self.out.push(format!("{:>32}  {words}", format!("{sign}{}", self.money.show(amount))));
    }

    /// The newest lines, and a free one.
    fn lines(&mut self, lines: &[Line]) {
        let hidden = lines.len().saturating_sub(LINES_SHOWN);
        if hidden > 0 {
            self.say(format!("  {hidden} older lines are not shown: --json has all"));
        }
        for line in lines.iter().skip(hidden) {
            let show = |amount| self.money.show(amount);
            let amount = if line.in_wei.is_zero() {
                format!("-{}", show(line.out_wei))
            } else {
                format!("+{}", show(line.in_wei))
            };
            let about = line.about.as_deref().unwrap_or_default();
            let text = format!("  block {:>8}  {amount:>30}  {} {about}", line.block, line.kind.words());
            self.say(text.trim_end().to_owned());
        }
        self.say(String::new());
    }

    /// What came and went, by its reason.
    fn sums(&mut self, lines: &[Line]) {
        for kind in Kind::ALL {
            let of_kind = || lines.iter().filter(|line| line.kind == kind);
            let came = of_kind().map(|line| line.in_wei).fold(U256::ZERO, U256::saturating_add);
            let went = of_kind().map(|line| line.out_wei).fold(U256::ZERO, U256::saturating_add);
            if !came.is_zero() {
                self.row("+", came, kind.words());
            }
            if !went.is_zero() {
                self.row("-", went, kind.words());
            }
        }
    }

    fn unexplained(&mut self, came: &str, went: &str) {
        for (sign, amount) in [("+", wei(came)), ("-", wei(went))] {
            if !amount.is_zero() {
                self.row(sign, amount, "not explained: another contract sent or took it");
            }
        }
    }

    fn held(&mut self, rest: &[(&String, &str)]) {
        for (amount, words) in rest {
            let amount = wei(amount);
            if !amount.is_zero() {
                self.row("", amount, words);
            }
        }
    }
}

/// What was made of a number a moment ago.
fn wei(text: &str) -> U256 {
    text.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Held, token::TokenHeld},
        *,
    };
    use crate::compute::past::AsCustomer;
    use alloy_primitives::{Address, B256};
    use keystead_market::Currency;

    fn line(kind: Kind, in_wei: u64, out_wei: u64) -> Line {
        let (in_wei, out_wei) = (U256::from(in_wei), U256::from(out_wei));
        Line { block: 9, time: 100, transaction: B256::ZERO, kind, about: None, in_wei, out_wei }
    }

    fn amount(number: u64) -> Option<String> {
        Some(number.to_string())
    }

    #[test]
    fn what_others_read_about_a_customer_is_one_line_and_none_of_who_never_was_one() {
        let none = || "0".to_owned();
        let mut statement = Account {
            account: Address::ZERO,
            from_block: 0,
            to_block: 9,
            opening_wei: none(),
            closing_wei: none(),
            lines: Vec::new(),
            held: Held {
                market_credit_wei: none(),
                audit_credit_wei: none(),
                channel_credit_wei: none(),
                bond_free_wei: none(),
                bond_locked_wei: none(),
                bond_seated_wei: none(),
                bond_leaving_wei: none(),
            },
            as_customer: AsCustomer::default(),
            unexplained_in_wei: none(),
            unexplained_out_wei: none(),
            tokens: Vec::new(),
        };
        assert!(!text(&statement).contains("customer"));
        statement.as_customer = AsCustomer { orders: 3, rejected: 1, withheld_inputs: 2 };
        let said = text(&statement);
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("customer")).collect();
        assert_eq!(lines, ["As a customer: 3 orders over, 1 rejected, 2 inputs withheld from checkers"]);
        assert!(serde_json::to_string(&statement).is_ok_and(|json| json.contains(r#""withheldInputs":2"#)));
    }

    #[test]
    fn a_token_has_sums_of_its_own_and_says_what_it_does_not_say() {
        let token = Address::repeat_byte(7);
        let money = Money::unnamed(Currency::token(token));
        let account = TokenAccount {
            token,
            unit: money.unit().symbol.clone(),
            decimals: 0,
            opening_wei: amount(100),
            closing_wei: amount(73),
            lines: vec![line(Kind::ChannelDeposit, 0, 40), line(Kind::ChannelWithdrawal, 12, 0)],
            held: TokenHeld { market_credit_wei: "0".to_owned(), channel_credit_wei: "3".to_owned() },
            unexplained_in_wei: amount(1),
            unexplained_out_wei: amount(0),
            money,
        };
        let said = in_token(&account).join("\n");
        let units = format!("smallest units of {token}");
        for words in [
            format!("In the token {token}"),
            format!("100 {units}  balance before"),
            format!("-40 {units}  put into payment channels"),
            format!("+12 {units}  taken from payment channels"),
            format!("+1 {units}  not explained"),
            format!("73 {units}  balance after"),
            format!("3 {units}  more waits in payment channels"),
        ] {
            assert!(said.contains(&words), "no {words:?} in: {said}");
        }
        assert!(!said.contains("KST") && !said.contains("in the market"), "{said}");
        let silent = TokenAccount { opening_wei: None, unexplained_in_wei: None, unexplained_out_wei: None, ..account };
        let said = in_token(&silent).join("\n");
        assert!(said.contains("the token does not say what the account has") && !said.contains("not explained"));
    }
}
