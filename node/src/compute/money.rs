//! Money of any currency: what an amount is of, and how a person reads it.
//!
//! # Invariants
//! What a token says of itself is hostile. A name that is not short and plain, or that could be taken for KST, is not shown, nor are decimals that no
//! sensible token has: then amounts are written in the token's smallest units, with its contract.

use super::{
    account::Account,
    amount::kst,
    token::{self, Names},
};
use alloy_primitives::{Address, U256};
use eyre::{Result, ensure};
use keystead_market::{Currency, Unit, amount::DECIMALS_MAX};

/// Longest name of a token that is shown.
const SYMBOL_BYTES_MAX: usize = 16;

/// A currency, and how its amounts are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    currency: Currency,
    unit: Unit,
}

/// What somebody pays in, in words.
pub(crate) fn paid_in(token: Option<Address>) -> String {
    token.map_or_else(|| "KST".to_owned(), |token| format!("the token {token}"))
}

impl Money {
    /// The native currency.
    pub(crate) fn kst() -> Self {
        Self::unnamed(Currency::KST)
    }

    /// A currency of which nothing but its contract is known.
    pub(crate) fn unnamed(currency: Currency) -> Self {
        Self { currency, unit: unit_of(currency) }
    }

    /// KST, or the token of this contract as it names itself.
    ///
    /// # Errors
    /// There is no contract, or the node does not answer. A token that does not name itself is none.
    pub(crate) async fn read(account: &Account, token: Option<Address>) -> Result<Self> {
        let Some(contract) = token else { return Ok(Self::kst()) };
        ensure!(
            account.has_code(contract).await?,
            "there is no contract at {contract} on chain {}: a token is named by the address of its ERC-20 contract",
            account.chain_id()
        );
        let names = token::names(account, contract).await?;
        let currency = Currency::token(contract);
        let unit = named(&names).unwrap_or_else(|| unit_of(currency));
        Ok(Self { currency, unit })
    }

    pub(crate) const fn currency(&self) -> Currency {
        self.currency
    }

    pub(crate) const fn unit(&self) -> &Unit {
        &self.unit
    }

    /// The amount with its unit, exact.
    pub(crate) fn show(&self, amount: U256) -> String {
        self.unit.show(amount)
    }

    /// An amount, and so much KST besides: one sum if it is in KST.
    pub(crate) fn show_with(&self, amount: U256, besides_wei: U256) -> String {
        if self.currency == Currency::KST {
            return kst(amount.saturating_add(besides_wei));
        }
        if besides_wei.is_zero() {
            self.show(amount)
        } else {
            format!("{} and {}", self.show(amount), kst(besides_wei))
        }
    }

    /// What a price in a token is really of, for who is about to pay it: a token can name itself like another. Nothing for KST.
    pub(crate) fn fine_print(&self, amount: U256) -> Option<String> {
        let contract = self.currency.contract()?;
        Some(format!("  in the token {contract}: exactly {amount} of its smallest units"))
    }
}

/// How amounts of a currency are written by who knows nothing of it: a token's decimals are its business, its smallest units are not.
pub(crate) fn unit_of(currency: Currency) -> Unit {
    currency
        .contract()
        .map_or_else(Unit::kst, |contract| Unit { symbol: format!("smallest units of {contract}"), decimals: 0 })
}

/// The unit that a token names, if it can be shown to a person.
fn named(names: &Names) -> Option<Unit> {
    let Names { symbol: Some(symbol), decimals: Some(decimals) } = names else { return None };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$.+-_".contains(&byte);
    let is_short = (1..=SYMBOL_BYTES_MAX).contains(&symbol.len());
    // A digit at its begin would be read as one of the amount.
    let begins = symbol.starts_with(|first: char| first.is_ascii_alphabetic() || first == '$');
    let is_native = reads_as_native(symbol);
    let shown = is_short && begins && !is_native && symbol.bytes().all(plain) && *decimals <= DECIMALS_MAX;
    shown.then(|| Unit { symbol: symbol.clone(), decimals: *decimals })
}

/// Whether a person could take a name for the native currency's, with signs around or between, or as a part.
fn reads_as_native(symbol: &str) -> bool {
    let letters: String = symbol.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    letters.contains("kst") || letters.ends_with("wei")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(symbol: &str, decimals: u8) -> Option<Unit> {
        named(&Names { symbol: Some(symbol.to_owned()), decimals: Some(decimals) })
    }

    #[test]
    fn a_plain_name_is_shown_and_what_could_deceive_is_not() {
        for name in ["USDC", "a", "$FOO", "aUSD.e", "W-1+2_3", "ABCDEFGHIJKLMNOP"] {
            assert_eq!(unit(name, 6), Some(Unit { symbol: name.to_owned(), decimals: 6 }), "{name}");
        }
        let deceiving = [
            "",
            "KST",
            "kst",
            "Wei",
            "0KST",
            "1",
            ".5",
            "KST ",
            " KST",
            "КST",
            "USD\u{202e}C",
            "US\nDC",
            "U\u{0}",
            "\u{1b}[2J",
            "ABCDEFGHIJKLMNOPQ",
            "two words",
            "$KST",
            "KST.",
            "K-S_T",
            "gwei",
            "w.ei",
            "xKST",
            "KST2",
        ];
        for name in deceiving {
            assert_eq!(unit(name, 18), None, "{name:?}");
        }
        assert!(unit("X", DECIMALS_MAX).is_some() && unit("X", DECIMALS_MAX.saturating_add(1)).is_none());
        assert_eq!(named(&Names { symbol: Some("X".to_owned()), decimals: None }), None);
        assert_eq!(named(&Names { symbol: None, decimals: Some(6) }), None);
    }

    #[test]
    fn amounts_say_what_they_are_of() {
        let contract = Address::repeat_byte(7);
        let unnamed = Money::unnamed(Currency::token(contract));
        assert_eq!(unnamed.show(U256::from(12)), format!("12 smallest units of {contract}"));
        let coin = Money { currency: Currency::token(contract), unit: Unit { symbol: "COIN".to_owned(), decimals: 2 } };
        assert_eq!(coin.show(U256::from(150)), "1.5 COIN");
        assert_eq!(coin.show_with(U256::from(150), U256::ZERO), "1.5 COIN");
        assert_eq!(coin.show_with(U256::from(150), U256::from(10).pow(U256::from(18))), "1.5 COIN and 1 KST");
        assert!(
            coin.fine_print(U256::from(150))
                .is_some_and(|line| line.contains("150") && line.contains(&contract.to_string()))
        );
        let native = Money::kst();
        let one = U256::from(10).pow(U256::from(18));
        assert_eq!((native.show(one), native.show_with(one, one)), ("1 KST".to_owned(), "2 KST".to_owned()));
        assert_eq!((native.fine_print(one), native.currency()), (None, Currency::KST));
    }
}
