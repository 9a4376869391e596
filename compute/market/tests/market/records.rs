//! Capability records: one encoding, bounds from both sides, software never a GPU, claims never proofs; and their way into the table.

use crate::{
    machines::{CHAIN_ID, PROVIDER, checker, device, gpu, least, price, signed, software, statement, workstation},
    sample::NOW_MS,
};
use alloy_primitives::{Address, B256, U256};
use keystead_contracts::bindings::providers::IProviders;
use keystead_job::{Class, Runtime};
use keystead_market::{
    Currency, Filter, Key, Listed, Need, Offer, Record, Table,
    band::Bands,
    offer::History,
    plan,
    plan::refusals,
    record::{
        Adapter, Attested, Draft, Error, NotProved, Trust,
        claimed::{GpuKind, LANES_MAX, PRICE_PER_MOP_MAX, SPEED_MOP_MAX},
        sets::{Isa, Kernel, Kind, Layer, Set},
    },
    table,
};
use proptest::prelude::*;

fn with(change: impl FnOnce(&mut Draft)) -> Result<Record, Error> {
    let mut draft = workstation();
    change(&mut draft);
    Record::new(draft)
}

fn record() -> Record {
    with(|_| ()).unwrap()
}

fn attested(device: u8) -> Attested {
    let statement = statement(device);
    Attested { statement, signature: signed(statement.signing_hash(CHAIN_ID)).1 }
}

const TRUSTED: Trust<'static> = Trust { chain_id: CHAIN_ID, checkers: &|account| account == checker(), oldest_s: 0 };

#[test]
fn records_round_trip_and_hash_to_what_is_listed() {
    let proved = with(|draft| draft.attested = vec![attested(0), attested(1)]).unwrap();
    for record in [record(), Record::new(least()).unwrap(), proved] {
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record));
        assert_eq!(Record::listed(&bytes, PROVIDER, record.hash()).as_ref(), Ok(&record));
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
        let listed = B256::repeat_byte(1);
        assert_eq!(Record::listed(&bytes, PROVIDER, listed), Err(Error::OtherHash { got: record.hash(), listed }));
        let stranger = Address::repeat_byte(2);
        let other = Error::OtherAccount { got: PROVIDER, expected: stranger };
        assert_eq!(Record::listed(&bytes, stranger, record.hash()), Err(other));
    }
}

proptest! {
    #[test]
    fn bytes_that_decode_are_the_encoding_of_what_they_decode_to(at in any::<prop::sample::Index>(), xor in 1u8.., cut in 0usize..40) {
        let good = record().encode();
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= xor;
        if let Ok(other) = Record::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
            prop_assert_ne!(other.hash(), record().hash());
        }
        if cut > 0 {
            prop_assert!(Record::decode(&good[..good.len() - cut]).is_err());
        }
    }

    #[test]
    fn random_bytes_never_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Record::decode(&bytes);
    }
}

#[test]
fn a_program_on_the_processor_cannot_carry_the_claim_of_a_gpu() {
    assert_eq!(software().kind(), Kind::Cpu);
    assert_ne!(software().hardware_class(), gpu().hardware_class());
    for name in ["llvmpipe (LLVM 15.0.6, 256 bits)", "SwiftShader Device", "Microsoft Basic Render Driver", "LAVAPIPE"]
    {
        let lie = Adapter::Gpu {
            kind: GpuKind::Discrete,
            vendor: 0x10de,
            architecture: "ada".into(),
            device: device(name, "nvidia-550", 24_576),
        };
        assert_eq!(with(|draft| draft.claimed.adapters[0] = lie), Err(Error::SoftwareAsGpu { name: name.into() }));
    }
    // On the wire: the software adapter given the kind of a GPU, or a vendor.
    let alone = with(|draft| draft.claimed.adapters = vec![software()]).unwrap().encode();
    let at = alone.windows(4).position(|bytes| bytes == [5, 0x80, 0x80, 0xf8]).unwrap();
    for (offset, byte) in [(0, 2), (1, 0x10), (2, b'a')] {
        let mut bytes = alone.clone();
        bytes[at + offset] = byte;
        assert!(Record::decode(&bytes).is_err(), "{offset}");
    }
}

#[test]
fn every_bound_is_tested_at_both_sides() {
    type Set = fn(&mut Draft, u64);
    let cases: &[(&str, Set, u64, u64)] = &[
        ("lanes", |d, v| d.claimed.processor.lanes = v as u16, 1, LANES_MAX.into()),
        ("cores", |d, v| d.claimed.processor.cores = v as u16, 1, 65_535),
        ("mop_per_s", |d, v| d.claimed.processor.speeds[0].mop_per_s = v, 1, SPEED_MOP_MAX),
        ("memory_mib", |d, v| d.claimed.processor.memory_mib = v, 1, 1 << 30),
        ("disk_mib", |d, v| d.claimed.disk_mib = v, 0, 1 << 30),
        ("per_mop", |d, v| d.claimed.prices[0].per_mop = v, 0, PRICE_PER_MOP_MAX),
        ("power_mw", |d, v| d.claimed.processor.power_mw = v as u32, 0, 100_000_000),
        ("carbon_g_per_kwh", |d, v| d.claimed.energy.carbon_g_per_kwh = v as u32, 0, 5_000),
    ];
    for &(name, set, min, max) in cases {
        assert!(with(|d| set(d, min)).is_ok() && with(|d| set(d, max)).is_ok(), "{name}");
        if name != "cores" {
            let got = max + 1;
            assert_eq!(with(|d| set(d, got)), Err(Error::OutOfRange { name, got, min, max }));
        }
        if min > 0 {
            assert_eq!(with(|d| set(d, 0)), Err(Error::OutOfRange { name, got: 0, min, max }));
        }
    }
    let highest = U256::from(10u64).pow(U256::from(24u64));
    assert!(with(|d| d.claimed.prices[0].per_unit_min = highest).is_ok());
    let got = highest + U256::from(1u64);
    assert_eq!(with(|d| d.claimed.prices[0].per_unit_min = got), Err(Error::PriceTooHigh { got }));
}

#[test]
fn hostile_records_are_refused_by_name() {
    type Bad = (fn(&mut Draft), fn(&Error) -> bool);
    let cases: &[Bad] = &[
        (|d| d.claimed.adapters = vec![gpu(); 33], |e| matches!(e, Error::Count { name: "adapters", got: 33, .. })),
        (|d| d.claimed.prices.clear(), |e| matches!(e, Error::Count { name: "prices", .. })),
        (|d| d.claimed.prices.swap(0, 1), |e| matches!(e, Error::NotAscending { name: "prices" })),
        (|d| d.claimed.prices[1] = d.claimed.prices[0], |e| matches!(e, Error::NotAscending { name: "prices" })),
        (|d| d.claimed.runtimes.swap(0, 1), |e| matches!(e, Error::NotAscending { name: "runtimes" })),
        (|d| d.claimed.classes = Set::EMPTY, |e| matches!(e, Error::Count { name: "classes", .. })),
        (|d| d.claimed.place.country = "de".into(), |e| matches!(e, Error::Characters { name: "country" })),
        (|d| d.claimed.place.operator = "a b".into(), |e| matches!(e, Error::Characters { name: "operator" })),
        (|d| d.claimed.place.zone = "z".repeat(65), |e| matches!(e, Error::Count { name: "zone", got: 65, .. })),
        (|d| d.claimed.energy.source = "a\u{202e}b".into(), |e| matches!(e, Error::Characters { .. })),
        (|d| d.claimed.runtimes[0].engine = "x\n".into(), |e| matches!(e, Error::Characters { name: "engine" })),
        (|d| d.claimed.processor.speeds[0].kernel = Kernel::Float, |e| matches!(e, Error::WrongKernel { .. })),
        (|d| d.attested = vec![attested(3)], |e| matches!(e, Error::NoSuchDevice { device: 3, devices: 3 })),
        (|d| d.attested = vec![attested(1), attested(1)], |e| matches!(e, Error::NotAscending { .. })),
        (|d| d.provider = Address::ZERO, |_| false),
    ];
    for (index, (change, expected)) in cases.iter().enumerate() {
        match with(change) {
            Err(error) => assert!(expected(&error), "{index}: {error}"),
            Ok(_) => assert_eq!(index, cases.len() - 1, "only the last one is fine"),
        }
    }
    let mut moved = workstation();
    moved.attested = vec![attested(1)];
    moved.provider = Address::repeat_byte(3);
    assert!(matches!(Record::new(moved), Err(Error::OtherAccount { .. })));
    assert_eq!(Record::decode(&[0; 32_769]), Err(Error::TooLong { got_bytes: 32_769 }));
    let trailing = [record().encode(), vec![0]].concat();
    assert_eq!(Record::decode(&trailing), Err(Error::TrailingBytes(1)));
}

#[test]
fn a_statement_proves_something_only_to_a_reader_who_trusts_its_true_signer() {
    let entry = attested(1);
    assert_eq!(entry.prove(PROVIDER, TRUSTED).unwrap().statement(), &entry.statement);
    let stranger = Address::repeat_byte(2);
    let other = NotProved::OtherProvider { got: PROVIDER, expected: stranger };
    assert_eq!(entry.prove(stranger, TRUSTED), Err(other));
    let nobody = Trust { checkers: &|_| false, ..TRUSTED };
    assert_eq!(entry.prove(PROVIDER, nobody), Err(NotProved::NotTrusted { checker: checker() }));
    let time_s = entry.statement.time_s;
    assert!(entry.prove(PROVIDER, Trust { oldest_s: time_s, ..TRUSTED }).is_ok());
    let oldest_s = time_s + 1;
    let old = Err(NotProved::TooOld { time_s, oldest_s });
    assert_eq!(entry.prove(PROVIDER, Trust { oldest_s, ..TRUSTED }), old);
    let wrong = Err(NotProved::Signature { checker: checker() });
    assert_eq!(entry.prove(PROVIDER, Trust { chain_id: 1, ..TRUSTED }), wrong);
    // Better bands than signed, another device, a flipped bit, the other s, another v.
    let mut better = entry;
    better.statement.bands.throughput = keystead_market::band::Band::of(u64::MAX);
    let mut moved = entry;
    moved.statement.device = 2;
    let mut flipped = entry;
    flipped.signature[10] ^= 1;
    let mut version = entry;
    version.signature[64] -= 27;
    let mut high = entry;
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let s = order - U256::from_be_slice(&entry.signature[32..64]);
    high.signature[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    high.signature[64] = 27 + (28 - entry.signature[64]);
    for bad in [better, moved, flipped, version, high] {
        assert_eq!(bad.prove(PROVIDER, TRUSTED), wrong);
    }
    let record = with(|draft| draft.attested = vec![attested(0), better]).unwrap();
    assert_eq!(record.proved(TRUSTED).len(), 1, "what is not proved is left out");
}

fn listed(record: &Record) -> Listed {
    let provider = IProviders::Provider {
        nodeId: B256::repeat_byte(0xaa),
        capabilityHash: record.hash(),
        priceWeiPerUnit: 9_000,
        registeredAt: alloy_primitives::aliases::U40::from(1),
        updatedAt: alloy_primitives::aliases::U40::from(1),
        offering: true,
        endpoint: String::new(),
    };
    Listed::from(&IProviders::Listing { account: PROVIDER, provider, bondWei: 77 })
}

#[test]
fn a_record_becomes_one_offer_for_each_device_and_currency_with_a_price() {
    let record = with(|draft| draft.attested = vec![attested(1)]).unwrap();
    let offers = Offer::all(&listed(&record), &record, &record.proved(TRUSTED), History::default());
    let token = Currency::token(Address::repeat_byte(0x70));
    let names: Vec<(u8, Currency, Kind)> =
        offers.iter().map(|offer| (offer.key.device, offer.key.currency, offer.kind)).collect();
    let expected = [
        (0, Currency::KST, Kind::Processor),
        (1, Currency::KST, Kind::Discrete),
        (2, Currency::KST, Kind::Cpu),
        (1, token, Kind::Discrete),
        (2, token, Kind::Cpu),
    ];
    assert_eq!(names, expected);
    let card = &offers[1];
    assert_eq!(
        (card.runtime, card.per_unit_min, card.stake_wei, card.loop_iterations),
        (Runtime::Wgsl1, 9_000, 77, 32_768)
    );
    assert_eq!(offers[3].per_unit_min, 5_000, "the register's price is one of KST");
    assert_eq!(offers[0].engine, "wasmtime 48.0.8");
    // What is claimed (a million) counts up to the end of the proved band; what is not proved stays a claim of its own.
    assert_eq!(card.proved, statement(1).bands);
    assert!(card.speed_mop_per_s[1].unwrap() <= 1_000_000 && card.speed_mop_per_s[2] == Some(2_000_000));
    assert_eq!(offers[0].proved, Bands::default());
    let mut need = Need {
        kinds: Set::of(&[Kind::Discrete, Kind::Integrated, Kind::Virtual]),
        ..need_of(Runtime::Wgsl1, Kernel::Integer)
    };
    let mut table = Table::new(&[token]);
    offers.iter().for_each(|offer| table.join(offer).unwrap());
    let found = plan(&table, &need, NOW_MS, 32).unwrap();
    assert_eq!(found.best.len(), 1);
    assert_eq!((found.best[0].key.device, found.best[0].node_id), (1, B256::repeat_byte(0xaa)));
    // The software adapter never passes for a GPU.
    let software = Key { provider: PROVIDER, device: 2, currency: Currency::KST };
    assert_eq!(refusals(&table, &need, NOW_MS, software).unwrap().unwrap(), [Filter::Hardware]);
    need.class = Class::Opaque;
    assert_eq!(plan(&table, &need, NOW_MS, 32).unwrap().matched, 0);
}

fn need_of(runtime: Runtime, kernel: Kernel) -> Need {
    let seed = (0..).find(|seed| crate::sample::need(*seed, 0).runtime == runtime).unwrap();
    Need {
        kernel,
        class: Class::Exact,
        units: 10,
        memory_bytes: 1 << 20,
        binding_bytes: 1 << 20,
        loop_iterations: 0,
        kinds: Set::all(),
        isas: Set::of(&[Isa::X86V3]),
        isolation: Set::of(&[Layer::Process]),
        currency: Currency::KST,
        blobs: Vec::new(),
        ..crate::sample::need(seed, 0)
    }
}

#[test]
fn the_table_refuses_what_no_record_can_hold_and_stays_as_it_was() {
    let record = record();
    let offer = Offer::all(&listed(&record), &record, &[], History::default()).remove(1);
    let mut table = Table::new(&[]);
    table.join(&offer).unwrap();
    let before = plan(&table, &need_of(Runtime::Wgsl1, Kernel::Integer), NOW_MS, 9).unwrap();
    assert_eq!(before.matched, 1);
    let bad: [fn(&mut Offer); 7] = [
        |offer| offer.per_unit_min = u128::MAX,
        |offer| offer.per_mop[1] = Some(u64::MAX),
        |offer| offer.speed_mop_per_s[1] = Some(0),
        |offer| offer.lanes = 0,
        |offer| offer.lanes = u16::MAX,
        |offer| offer.power_mw = u32::MAX,
        |offer| offer.key.currency = Currency::token(Address::repeat_byte(9)),
    ];
    for change in bad {
        let mut bad = offer.clone();
        change(&mut bad);
        assert!(table.join(&bad).is_err());
    }
    let dear = Offer { per_unit_min: u128::MAX, ..offer.clone() };
    assert_eq!(table.join(&dear), Err(table::Error::PriceOutOfRange { got: u128::MAX }));
    assert_eq!(plan(&table, &need_of(Runtime::Wgsl1, Kernel::Integer), NOW_MS, 9).unwrap(), before);
    assert_eq!(price(Currency::KST, Kernel::Integer, 3).per_mop, 3);
}

/// Three machines that differ in price, power and supply alone; the cheapest says nothing of power and supply.
#[test]
fn the_cleaner_offer_wins_where_carbon_is_worth_something_and_who_says_nothing_never_does() {
    let record = record();
    let base = Offer::all(&listed(&record), &record, &[], History::default()).remove(1);
    let offer = |number: u8, per_unit_min: u128, power_mw: u32, carbon_g_per_kwh: u32| Offer {
        key: Key { provider: Address::repeat_byte(number), ..base.key },
        per_unit_min,
        per_mop: base.per_mop.map(|price| price.map(|_| 0)),
        power_mw,
        carbon_g_per_kwh,
        ..base.clone()
    };
    let mut table = Table::new(&[]);
    for offer in [offer(1, 1_000_000, 300_000, 900), offer(2, 1_000_001, 300_000, 50), offer(3, 999_999, 0, 0)] {
        table.join(&offer).unwrap();
    }
    let planned = |carbon_per_g: u128| {
        let weights = keystead_market::need::Weights { time_per_s: 0, carbon_per_g };
        let need = Need { weights, work_mop: 10_000, ..need_of(Runtime::Wgsl1, Kernel::Integer) };
        plan(&table, &need, NOW_MS, 9).unwrap().best
    };
    let order = |carbon_per_g| planned(carbon_per_g).iter().map(|fit| fit.key.provider.0[0]).collect::<Vec<_>>();
    assert_eq!(order(0), [3, 1, 2], "the cheapest first");
    assert_eq!(order(1_000_000_000_000_000), [2, 1, 3], "the cleanest first");
    let fits = planned(1_000_000_000_000_000);
    let counted = |power_mw: u64, carbon: u64, run_us: u64| power_mw * carbon / 3_600 * run_us / 1_000_000;
    assert_eq!((fits[0].carbon_ug, fits[0].carbon_claimed), (counted(300_000, 50, fits[0].run_us), true));
    assert_eq!((fits[2].carbon_ug, fits[2].carbon_claimed), (counted(2_000_000, 1_200, fits[2].run_us), false));
}
