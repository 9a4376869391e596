//! What `keystead provide --status` says of each device: what the record claims of it, and apart from that what checkers stated.

use crate::compute::touchstone::words;
use keystead_market::{
    band::{Band, Bands},
    record::{Attested, Record, Statement},
};
use serde_json::{Value, json};

/// The devices of a record by number: `claimed` as in the record; `proved` is null where nothing is. The statements of a record are those that its provider took
/// from enough drawn checkers.
pub(super) fn shown(record: &Record) -> Value {
    let adapters = record.claimed.adapters.iter().map(|adapter| json!(adapter));
    let claimed = std::iter::once(json!(record.claimed.processor)).chain(adapters);
    let devices = (0_u8..).zip(claimed).map(|(device, claimed)| {
        let proved = proved(&record.attested, device);
        json!({"device": device, "claimed": claimed, "proved": proved})
    });
    devices.collect()
}

/// The lowest bands that were stated of a device.
fn proved(attested: &[Attested], device: u8) -> Value {
    let statements: Vec<&Statement> =
        attested.iter().map(|entry| &entry.statement).filter(|statement| statement.device == device).collect();
    let Some(first) = statements.first() else { return Value::Null };
    let least =
        |of: fn(&Bands) -> Option<Band>| statements.iter().map(|statement| of(&statement.bands)).min().flatten();
    let bands = Bands {
        throughput: least(|bands| bands.throughput),
        memory: least(|bands| bands.memory),
        bandwidth: least(|bands| bands.bandwidth),
    };
    json!({"words": words::bands(bands), "height": first.height, "checkers": statements.len()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::matching::known::tests::record;
    use alloy_primitives::{Address, B256, FixedBytes};

    #[test]
    fn each_device_stands_with_what_is_claimed_and_what_all_who_looked_at_it_agree_on() {
        let record = record(1, |draft| {
            let one = draft.claimed.adapters[0].clone();
            draft.claimed.adapters = vec![one.clone(), one];
            let provider = draft.provider;
            let stated = |device, checker, mop_per_s, memory| Attested {
                statement: Statement {
                    provider,
                    device,
                    challenge: B256::repeat_byte(device),
                    height: 7,
                    time_s: 1_000,
                    bands: Bands { throughput: Band::of(mop_per_s), memory, bandwidth: None },
                    checker: Address::repeat_byte(checker),
                },
                signature: FixedBytes::ZERO,
            };
            draft.attested = vec![stated(2, 1, 40_000, Band::of(256)), stated(2, 9, 1_000, None)];
        });
        let devices = shown(&record);
        assert_eq!(devices.as_array().map(Vec::len), Some(3));
        assert_eq!((&devices[0]["claimed"]["cores"], &devices[0]["proved"]), (&json!(2), &Value::Null));
        assert_eq!((&devices[1]["claimed"]["is"], &devices[1]["proved"]), (&json!("software"), &Value::Null));
        let proved = &devices[2]["proved"];
        assert_eq!((&proved["height"], &proved["checkers"]), (&json!(7), &json!(2)));
        let words = proved["words"].as_str().unwrap_or_default();
        assert!(words.starts_with("at least ") && !words.contains("filled"), "one checker saw no memory: {words}");
    }
}
