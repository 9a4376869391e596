//! Options about offers: what a provider claims, what a customer demands.

use super::{parse_pair, values};
use clap::Args;
use keystead_market::record::sets::{Kind, Layer};
use keystead_types::{Address, U256};
use std::path::PathBuf;

/// What the owner of a machine says of it, beside what is measured.
#[derive(Args, Debug)]
pub(crate) struct Claims {
    /// Price of a million operations that a job allows a unit, in wei. A unit costs the higher of this and --price (specs/0010).
    #[arg(long, value_name = "WEI", default_value_t = 0, allow_negative_numbers = true, value_parser = values::per_mop)]
    pub(crate) price_per_mop: u64,
    /// Be paid in this ERC-20, too: its contract, and what a unit costs in its smallest units. With a comma behind it the price of a million operations,
    /// as --price-per-mop in KST. May be given for three tokens; an order, or a channel, in any other is never taken.
    #[arg(long, value_name = "TOKEN=AMOUNT[,MOP]", value_parser = parse_token_price)]
    pub(crate) token_price: Vec<TokenPrice>,
    /// Country where this machine stands, two capital letters of ISO 3166-1; nobody checks it [default: not said].
    #[arg(long, value_name = "CODE", default_value = "", hide_default_value = true,
        value_parser = values::own_country)]
    pub(crate) country: String,
    /// What fails together with this machine: a house, a rack; small letters, digits, points, dashes [default: not said].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = values::tag)]
    pub(crate) zone: String,
    /// Who runs this machine, the same on all of them: customers spread work and checks over operators [default: not said].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = values::tag)]
    pub(crate) operator: String,
    /// What this machine draws while it works, in watts, 1 to 100000. It counts where no energy counter shows it, and nobody checks it [default: not said].
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) watts: Option<u32>,
    /// Carbon dioxide that a kilowatt-hour of this machine's supply makes, in grams, 1 to 5000; a supply that makes none says 1. Nobody checks it. Customers
    /// to whom carbon is worth something count 2,000 W and 1,200 g where nothing is said [default: energy.carbon of the owner's preferences].
    #[arg(long, value_name = "GRAMS", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) carbon: Option<u32>,
    /// What arrives here from the network, in KiB a second. Customers believe 1,221 (10 Mbit/s) at most until they have seen more. 0 to
    /// 4294967295.
    #[arg(long, value_name = "KIB", default_value_t = 1_221)]
    pub(crate) down_kib_per_s: u32,
    /// What leaves here to the network, in KiB a second, 0 to 4294967295.
    #[arg(long, value_name = "KIB", default_value_t = 1_221)]
    pub(crate) up_kib_per_s: u32,
}

/// Highest price of a million operations: that of a capability record.
pub(super) const MOP_MAX: u64 = keystead_market::record::claimed::PRICE_PER_MOP_MAX;

/// Tokens that one provider lists: with KST, and for every kind of work, their prices fill a capability record.
pub(crate) const TOKENS_MAX: usize = 3;
const _: () = assert!(
    (TOKENS_MAX + 1) * keystead_market::record::sets::Kernel::ALL.len() <= keystead_market::record::claimed::PRICES_MAX
);

/// A price in a token, in its smallest units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenPrice {
    /// The token's contract.
    pub(crate) token: Address,
    /// Of a unit.
    pub(crate) per_unit: U256,
    /// Of a million operations that a job allows a unit.
    pub(crate) per_mop: u64,
}

fn parse_token_price(text: &str) -> Result<TokenPrice, String> {
    let form = || "write TOKEN=AMOUNT, such as 0x5FbD...=1000, the amount in the token's smallest units".to_owned();
    let (token, prices) = text.split_once('=').ok_or_else(form)?;
    let (per_unit, per_mop) = prices.split_once(',').unwrap_or((prices, "0"));
    let token: Address = token.parse().map_err(|_| form())?;
    if token.is_zero() {
        return Err("the zero address stands for KST, whose price is --price".to_owned());
    }
    let (least, most) = (U256::from(1), keystead_contracts::limits::PRICE_WEI_PER_UNIT_MAX);
    let per_unit: U256 = per_unit.parse().map_err(|_| form())?;
    if per_unit < least || per_unit > most {
        return Err(format!("the price of a unit must lie between {least} and {most}"));
    }
    let per_mop = per_mop.parse().ok().filter(|price| *price <= MOP_MAX);
    let per_mop =
        per_mop.ok_or_else(|| format!("the price of a million operations is a whole number, at most {MOP_MAX}"))?;
    Ok(TokenPrice { token, per_unit, per_mop })
}

/// What a customer asks of a provider, and what waiting is worth.
#[derive(Args, Clone, Debug)]
pub(crate) struct Demands {
    /// Take only this sort of hardware: processor, discrete, integrated, virtual, cpu (a driver on the processor), interpreter (no driver at all, hundreds
    /// of times slower: in `run` and `why-not`, never unless it is named here); or gpu, for discrete, integrated and virtual. May be repeated
    /// [default: all but interpreter].
    #[arg(long, value_name = "SORT", value_parser = parse_hardware)]
    pub(crate) hardware: Vec<Hardware>,
    /// Take only providers whose workers have this layer: process, user-namespace, seccomp, landlock, rlimits, cgroup, no-network,
    /// virtual-machine. May be repeated [default: process].
    #[arg(long, value_name = "LAYER", value_parser = parse_layer)]
    pub(crate) isolation: Vec<Layer>,
    /// Take only providers that say that they stand in one of these countries, two capital letters each, such as DE,FR. It is their word, which nobody
    /// checks, and machines that --audit draws to check may stand anywhere. May be repeated [default: any, also unknown].
    #[arg(long, value_name = "CODE,..", value_delimiter = ',', value_parser = values::country)]
    pub(crate) country: Vec<[u8; 2]>,
    /// Leave out providers that completed a smaller share of the orders which they leased, in percent, 1 to 50; one completed and one failed order are
    /// counted beside them. 50 leaves out who failed more than it completed. More cannot be asked for: an owner can complete orders with itself, so who
    /// completed as many as it failed, or more, counts like a newcomer (specs/0010 section 9) [default: nobody is left out].
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, value_parser = parse_completed)]
    pub(crate) min_completed: Option<u8>,
    /// Do not take machines of this operator. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) not_operator: Vec<String>,
    /// Do not take this provider. May be repeated.
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) not_provider: Vec<Address>,
    /// Take only who would be done within so many seconds, at its claimed speed, even if the job needs all that its limits allow;
    /// 1 to 1000000.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) deadline: Option<u64>,
    /// What a second of waiting is worth to you, in wei, or in the smallest units of --token: a faster provider may cost more by that. 0: only the price
    /// counts [default: 100000000000000 in KST, 0 in a token].
    #[arg(long, value_name = "WEI", allow_negative_numbers = true, value_parser = parse_value)]
    pub(crate) value_of_time: Option<u128>,
    /// What a gram of carbon dioxide is worth to you, in wei, or in the smallest units of --token: a cleaner provider may cost more by that. It goes by what
    /// providers claim of their power and supply; who says nothing counts as 2,000 W and 1,200 g a kilowatt-hour.
    #[arg(long, value_name = "WEI", default_value_t = keystead_market::need::Weights::START.carbon_per_g,
        allow_negative_numbers = true, value_parser = parse_value)]
    pub(crate) value_of_carbon: u128,
    /// Take only devices that proved so many million operations a second (specs/0010 §6).
    #[arg(long, value_name = "MOP", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) proved_speed: Option<u64>,
    /// Take only devices that proved so much memory, in MiB; and all that a unit of the job may take, if that is more.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) proved_memory: Option<u64>,
    /// Also take graphics cards that have proved nothing. Without it a job that asks for graphics cards alone (--hardware gpu) takes proved ones, where
    /// anybody holds a seat who could check.
    #[arg(long, conflicts_with_all = ["proved_speed", "proved_memory"])]
    pub(crate) unproved: bool,
    /// Also take providers that do not answer now; the order is cancelled if they stay silent.
    #[arg(long)]
    pub(crate) unanswered: bool,
    /// How long to wait for providers that have not answered when others have, in milliseconds [default: 1500 before an order, 900 for a question].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) patience_ms: Option<u64>,
    /// Folder where capability records of providers are kept, and how fast bytes went to them and came [default: keystead/records in your cache folder].
    #[arg(long, value_name = "DIR", env = "KEYSTEAD_RECORDS")]
    pub(crate) records: Option<PathBuf>,
}

impl Demands {
    /// Whether a provider may interpret a kernel instead of running it.
    pub(crate) fn take_interpreters(&self) -> bool {
        self.hardware.contains(&Hardware::Of(Kind::Interpreter))
    }

    /// Whether something is asked for that a provider must meet even if it was named, and even if nothing is known of it: where data goes, and how orders
    /// ended.
    pub(crate) const fn bind_whoever_is_named(&self) -> bool {
        !self.country.is_empty() || self.min_completed.is_some()
    }
}

/// Highest share of completed orders that can be asked for, percent: what a newcomer counts as. Spec: specs/0010-capability.md §9.
const COMPLETED_PERCENT_MAX: u8 = 50;

/// Hardware as a person names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hardware {
    /// One sort.
    Of(Kind),
    /// Discrete, integrated or virtual.
    Gpu,
}

fn parse_hardware(text: &str) -> Result<Hardware, String> {
    if text == "gpu" {
        return Ok(Hardware::Gpu);
    }
    let found = Kind::ALL.iter().find(|kind| kind.as_str() == text);
    found
        .map(|kind| Hardware::Of(*kind))
        .ok_or_else(|| format!("write gpu, {}", names(Kind::ALL, |kind| kind.as_str())))
}

fn parse_completed(text: &str) -> Result<u8, String> {
    let percent: Option<u8> = text.parse().ok();
    percent.filter(|percent| (1..=COMPLETED_PERCENT_MAX).contains(percent)).ok_or_else(|| {
        format!(
            "write whole percent, 1 to {COMPLETED_PERCENT_MAX}: public counts show no more, since an owner can complete orders with itself"
        )
    })
}

fn parse_layer(text: &str) -> Result<Layer, String> {
    let found = Layer::ALL.iter().find(|layer| layer.as_str() == text).copied();
    found.ok_or_else(|| format!("write {}", names(Layer::ALL, |layer| layer.as_str())))
}

fn names<T>(all: &[T], name: impl Fn(&T) -> &'static str) -> String {
    let names: Vec<&str> = all.iter().map(name).collect();
    names.join(", ")
}

fn parse_value(text: &str) -> Result<u128, String> {
    let max = keystead_market::need::VALUE_MAX;
    text.parse().ok().filter(|value| *value <= max).ok_or_else(|| format!("write a whole number of wei, at most {max}"))
}

/// The contract of a token to pay in.
pub(super) fn parse_token(text: &str) -> Result<Address, String> {
    let token: Address =
        text.parse().map_err(|_| "write the address of the token's contract: 0x and 40 hex digits".to_owned())?;
    if token.is_zero() { Err("the zero address stands for KST: leave --token out".to_owned()) } else { Ok(token) }
}

/// Options of `keystead why-not`.
#[derive(Args, Debug)]
pub(crate) struct WhyNot {
    /// The recipe; or the `job.json` of a result, for a job like that one.
    pub(crate) job: String,
    /// An input of the recipe, as NAME=FILE. Without any, the question is about one unit with all that the recipe's limits allow.
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_pair)]
    pub(crate) input: Vec<(String, String)>,
    /// A parameter of the recipe, as NAME=VALUE. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) set: Vec<(String, String)>,
    /// JSON-RPC address of a node.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    /// Ask about this provider only.
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    pub(crate) provider: Option<Address>,
    /// Pay in this ERC-20 instead of KST, named by its contract.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_token)]
    pub(crate) token: Option<Address>,
    /// Most to pay for the whole job, in wei, or in the smallest units of --token.
    #[arg(long, value_name = "WEI", allow_negative_numbers = true, value_parser = values::amount::<U256>)]
    pub(crate) max_price: Option<U256>,
    #[command(flatten)]
    pub(crate) demands: Demands,
    /// Print the answer as JSON, with a code for every reason.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keystead offers`.
#[derive(Args, Debug)]
pub(crate) struct Offers {
    /// JSON-RPC address of a node.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    /// Folder where capability records of providers are kept, and how fast bytes went to them and came [default: keystead/records in your cache folder].
    #[arg(long, value_name = "DIR", env = "KEYSTEAD_RECORDS")]
    pub(crate) records: Option<PathBuf>,
    /// Show only who takes this ERC-20, named by its contract.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_token)]
    pub(crate) token: Option<Address>,
    /// Show only who says that it stands in one of these countries, two capital letters each, such as DE,FR; nobody checks it. May be repeated.
    #[arg(long, value_name = "CODE,..", value_delimiter = ',', value_parser = values::country)]
    pub(crate) country: Vec<[u8; 2]>,
    /// Print the list as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_price_in_a_token_has_a_contract_an_amount_and_perhaps_a_price_of_operations() {
        let token = Address::repeat_byte(0x70);
        let price = |prices: &str| parse_token_price(&format!("{token}={prices}"));
        let most = keystead_contracts::limits::PRICE_WEI_PER_UNIT_MAX;
        assert_eq!(price("5").unwrap(), TokenPrice { token, per_unit: U256::from(5), per_mop: 0 });
        assert_eq!(
            price(&format!("{most},{MOP_MAX}")).unwrap(),
            TokenPrice { token, per_unit: most, per_mop: MOP_MAX }
        );
        let above = most.saturating_add(U256::from(1)).to_string();
        for wrong in ["", "0", "-1", "1.5", "x", &above, "5,", "5,-1", "5,x", "5,9223372036854775808", "5,1,1"] {
            assert!(price(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["5", "0x12=5", &format!("{}=5", Address::ZERO), &format!("{token}:5")] {
            assert!(parse_token_price(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse_token(&token.to_string()).unwrap(), token);
        assert!(parse_token(&Address::ZERO.to_string()).unwrap_err().contains("KST") && parse_token("BENCH").is_err());
    }

    #[test]
    fn every_sort_of_hardware_can_be_asked_for_and_the_refusal_of_others_names_them() {
        for kind in Kind::ALL {
            assert_eq!(parse_hardware(kind.as_str()).unwrap(), Hardware::Of(*kind));
        }
        assert_eq!(parse_hardware("gpu").unwrap(), Hardware::Gpu);
        let unknown = parse_hardware("fast").unwrap_err();
        assert!(unknown.contains("write gpu, processor") && unknown.ends_with("interpreter"), "{unknown}");
    }

    #[test]
    fn a_share_of_completed_orders_is_asked_for_up_to_what_a_newcomer_counts_as() {
        assert_eq!([parse_completed("1").unwrap(), parse_completed("50").unwrap()], [1, 50]);
        for wrong in ["", "0", "51", "100", "256", "-1", "2.5", "x"] {
            assert!(parse_completed(wrong).unwrap_err().contains("1 to 50"), "{wrong:?}");
        }
    }
}
