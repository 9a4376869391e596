//! Words of a command line that stand for amounts, accounts, times and places, with a refusal that shows how to write them.

use keystead_market::record::claimed::NAME_BYTES_MAX;
use keystead_types::Address;
use std::str::FromStr;

/// Parts per million in one.
const PPM: u32 = 1_000_000;
/// Digits behind the point of a percentage: with them it is whole parts per million.
const PERCENT_DIGITS: usize = 4;
/// The longest pause with an end, minutes: a year.
const PAUSE_MINUTES_MAX: u32 = 525_600;

/// An amount in wei.
pub(crate) fn wei<N: FromStr>(text: &str) -> Result<N, String> {
    whole(text).ok_or_else(|| "write a whole number of wei, such as 1000000000000000 (0.001 KST)".to_owned())
}

/// An amount in wei, or in the smallest units of the token that is paid in.
pub(crate) fn amount<N: FromStr>(text: &str) -> Result<N, String> {
    whole(text).ok_or_else(|| {
        "write a whole number of wei, such as 1000000000000000 (0.001 KST); with --token of the token's smallest units"
            .to_owned()
    })
}

/// Nothing is no number, also where the type takes it for zero.
fn whole<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok().filter(|_| !text.is_empty())
}

/// A price of a million operations.
pub(super) fn per_mop(text: &str) -> Result<u64, String> {
    let max = super::market::MOP_MAX;
    text.parse().ok().filter(|price| *price <= max).ok_or_else(|| format!("write a whole number of wei, at most {max}"))
}

/// A share in percent, with up to four digits behind the point, as parts per million.
pub(super) fn percent_ppm(text: &str) -> Result<u32, String> {
    let wrong = || "write percent, 0.0001 to 100, such as 0.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > PERCENT_DIGITS {
        return Err(wrong());
    }
    let ppm: Option<u32> = format!("{whole}{part:0<PERCENT_DIGITS$}").parse().ok();
    ppm.filter(|ppm| (1..=PPM).contains(ppm)).ok_or_else(wrong)
}

/// An account or a contract.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|_| "write an address: 0x and 40 hex digits".to_owned())
}

/// How long a pause lasts; 0 has no end.
pub(super) fn pause_minutes(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|minutes| *minutes <= PAUSE_MINUTES_MAX).ok_or_else(|| {
        format!("write whole minutes, 1 to {PAUSE_MINUTES_MAX}; without a number the pause lasts until --resume")
    })
}

/// A country.
pub(super) fn country(text: &str) -> Result<[u8; 2], String> {
    let code: Option<[u8; 2]> = text.as_bytes().try_into().ok();
    let code = code.filter(|code| code.iter().all(u8::is_ascii_uppercase));
    code.ok_or_else(|| "write two capital letters, such as DE".to_owned())
}

/// The country of a machine; empty if it is not said.
pub(super) fn own_country(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { country(text).map(|_| text.to_owned()) }
}

/// The name of a place or of an operator; empty if it is not said.
pub(super) fn tag(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
    if plain && text.len() <= NAME_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(format!("write up to {NAME_BYTES_MAX} small letters, digits, points or dashes, such as rack-7.example"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_types::U256;

    #[test]
    fn a_wrong_amount_address_or_pause_is_refused_with_the_right_form() {
        assert_eq!(wei::<u128>("7").unwrap(), 7);
        assert_eq!(amount::<U256>("7").unwrap(), U256::from(7));
        for wrong in ["", "-1", "1.5", "1 KST", "x"] {
            assert!(wei::<u128>(wrong).unwrap_err().contains("0.001 KST"), "{wrong:?}");
            assert!(amount::<U256>(wrong).unwrap_err().contains("smallest units"), "{wrong:?}");
            assert!(per_mop(wrong).is_err() && pause_minutes(wrong).is_err(), "{wrong:?}");
            assert!(address(wrong).unwrap_err().contains("40 hex digits"), "{wrong:?}");
        }
        assert_eq!([pause_minutes("0").unwrap(), pause_minutes("525600").unwrap()], [0, 525_600]);
        assert!(pause_minutes("525601").is_err());
        assert!(address(&Address::repeat_byte(7).to_string()).is_ok());
    }

    #[test]
    fn a_share_in_percent_is_whole_parts_per_million() {
        for (text, ppm) in [("1", 10_000), ("0.5", 5_000), ("0.0001", 1), ("100", 1_000_000), ("99.9999", 999_999)] {
            assert_eq!(percent_ppm(text).unwrap(), ppm, "{text}");
        }
        for wrong in
            ["", ".", "1.", ".5", "0", "0.0000", "0.00001", "100.0001", "101", "-1", "+1", "1e1", "1 %", "99999999999"]
        {
            assert!(percent_ppm(wrong).unwrap_err().contains("0.0001 to 100"), "{wrong:?}");
        }
    }

    #[test]
    fn a_place_is_said_as_a_capability_record_has_it() {
        assert_eq!(country("DE").unwrap(), *b"DE");
        assert_eq!([own_country("").unwrap(), own_country("DE").unwrap()], ["", "DE"]);
        for wrong in ["de", "DEU", "D", "D1"] {
            assert!(own_country(wrong).unwrap_err().contains("such as DE"), "{wrong:?}");
        }
        let longest = "a".repeat(NAME_BYTES_MAX);
        for right in ["", "rack-7.example", &longest] {
            assert_eq!(tag(right).unwrap(), right);
        }
        for wrong in ["Rack", "a b", "a_b", &format!("{longest}a")] {
            assert!(tag(wrong).is_err(), "{wrong:?}");
        }
    }
}
