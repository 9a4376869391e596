//! Offers and needs made from numbers: small enough ranges that filters pass and fail about equally often.

use alloy_primitives::{Address, B256, U256};
use keystead_job::{Class, Runtime};
use keystead_market::{
    amount::Currency,
    band::{Band, Bands},
    need::{Blob, BlobPlace, Checks, Evidence, Need, Probation, Residency, StakeRule, TIME_US_MAX, Weights},
    offer::{History, Key, Offer},
    record::sets::{Isa, Kernel, Kind, Layer, Set},
    table::{Probe, Table},
};
use std::collections::BTreeSet;

pub(crate) const NOW_MS: u64 = 1_000_000;
pub(crate) const TOKEN: Address = Address::repeat_byte(0x70);

/// Numbers from a seed (splitmix64): the same everywhere.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) const fn chance(&mut self, of_ten: u64) -> bool {
        self.below(10) < of_ten
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

pub(crate) fn blob(number: u64) -> B256 {
    B256::from(U256::from(number.wrapping_add(1)))
}

/// One offer and what its probe said, if it was probed.
pub(crate) fn offer(seed: u64) -> (Offer, Option<Probe>) {
    offer_of(seed, PROVIDERS)
}

/// Few providers, so that offers replace each other and one provider has several.
pub(crate) const PROVIDERS: u64 = 200;

pub(crate) fn provider(number: u64) -> Address {
    Address::from_word(B256::from(U256::from(number)))
}

pub(crate) fn offer_of(seed: u64, providers: u64) -> (Offer, Option<Probe>) {
    let mut n = Numbers(seed);
    let wasm = n.chance(4);
    let mut price = || Some(n.below(1_000) * 1_000_000_000);
    let per_mop = [price(), price(), price(), None];
    let mut speed = || Some(1 + n.below(1_000_000));
    let speed_mop_per_s = [speed(), speed(), None, speed()];
    let band = |n: &mut Numbers| Band::of(n.below(1_000));
    let (alone, country) = (n.chance(5), *b"DEFRNLUS".as_chunks::<2>().0.get(n.below(4) as usize).unwrap());
    let offer = Offer {
        key: Key {
            provider: provider(n.below(providers)),
            device: n.below(3) as u8,
            currency: if n.chance(8) { Currency::KST } else { Currency::token(TOKEN) },
        },
        node_id: blob(n.next()),
        offering: n.chance(9),
        stake_wei: u128::from(n.below(4)) * 1_000_000,
        per_unit_min: u128::from(n.below(1_000)) * 1_000_000_000,
        per_mop,
        speed_mop_per_s,
        runtime: if wasm { Runtime::Wasm1 } else { Runtime::Wgsl1 },
        engine: format!("engine {}", n.below(3)),
        classes: if n.chance(8) { Set::of(&[Class::Exact, Class::Tolerance]) } else { Set::of(&[Class::Opaque]) },
        kind: if wasm { Kind::Processor } else { n.pick(&Kind::ALL[1..]) },
        isa: n.pick(Isa::ALL),
        isolation: if n.chance(8) { Set::of(&[Layer::Process, Layer::Seccomp]) } else { Set::of(&[Layer::Process]) },
        memory_bytes: n.below(64) << 28,
        binding_bytes: n.below(16) << 26,
        loop_iterations: n.pick(&[20_000, 40_000, u32::MAX]),
        lanes: 1 + n.below(8) as u16,
        power_mw: n.below(400_000) as u32,
        carbon_g_per_kwh: n.below(800) as u32,
        down_bytes_per_s: n.below(10_000_000),
        up_bytes_per_s: n.below(10_000_000),
        country: n.chance(9).then_some(country),
        country_attested: n.chance(5),
        zone: if alone { String::new() } else { format!("zone-{}", n.below(5)) },
        operator: if alone { String::new() } else { format!("operator-{}", n.below(7)) },
        proved: Bands { throughput: band(&mut n), memory: band(&mut n), bandwidth: band(&mut n) },
        history: History { completed: n.below(100) as u32, failed: n.below(10) as u32 },
    };
    let probe = n.chance(8).then(|| Probe {
        at_ms: NOW_MS - n.below(60_000),
        rtt_us: n.below(300_000) as u32,
        queue_us: n.below(60_000_000),
        free_memory_bytes: n.below(64) << 28,
        blobs: (0..3).filter(|_| n.chance(5)).map(blob).collect(),
    });
    (offer, probe)
}

pub(crate) fn table(seeds: &[u64]) -> Table {
    table_of(seeds, PROVIDERS)
}

pub(crate) fn table_of(seeds: &[u64], providers: u64) -> Table {
    let mut table = Table::new(&[Currency::token(TOKEN)]);
    for number in 0..3 {
        table.watch(blob(number)).unwrap();
    }
    for seed in seeds {
        let (offer, probe) = offer_of(*seed, providers);
        table.join(&offer).unwrap();
        if let Some(probe) = probe {
            table.probed(offer.key.provider, offer.key.device, &probe);
        }
    }
    table
}

/// A need; `strict` of ten of its demands are in force.
pub(crate) fn need(seed: u64, strict: u64) -> Need {
    let mut n = Numbers(seed);
    let wasm = n.chance(4);
    let countries =
        |n: &mut Numbers| [*b"DE", *b"FR", *b"NL"].into_iter().filter(|_| n.chance(6)).collect::<BTreeSet<_>>();
    let engines =
        if n.chance(strict) { BTreeSet::from([format!("engine {}", n.below(3)), "x".into()]) } else { BTreeSet::new() };
    let band = |n: &mut Numbers| if n.chance(strict / 2) { Band::of(n.below(200)) } else { None };
    Need {
        runtime: if wasm { Runtime::Wasm1 } else { Runtime::Wgsl1 },
        engines,
        class: n.pick(&[Class::Exact, Class::Exact, Class::Tolerance, Class::Opaque]),
        kernel: if wasm { Kernel::Wasm } else { n.pick(&[Kernel::Integer, Kernel::Integer, Kernel::Float]) },
        units: 1 + n.below(2_000) as u32,
        work_mop: 1 + n.below(10_000),
        memory_bytes: n.below(16) << 28,
        binding_bytes: n.below(4) << 26,
        loop_iterations: n.pick(&[0, 32_768]),
        kinds: if n.chance(strict) {
            Set::of(&[Kind::Processor, Kind::Discrete, Kind::Integrated])
        } else {
            Set::all()
        },
        isas: if n.chance(strict) { Set::of(&[Isa::X86V3, Isa::X86V4, Isa::Arm64]) } else { Set::all() },
        isolation: if n.chance(strict) {
            Set::of(&[Layer::Process, Layer::Seccomp])
        } else {
            Set::of(&[Layer::Process])
        },
        countries: if n.chance(strict) { countries(&mut n) } else { BTreeSet::new() },
        operators_excluded: (0..7).filter(|_| n.chance(strict / 4)).map(|i| format!("operator-{i}")).collect(),
        providers_excluded: (0..20).filter(|_| n.chance(strict / 2)).map(|i| provider(i * 10)).collect(),
        currency: if n.chance(8) { Currency::KST } else { Currency::token(TOKEN) },
        price_per_unit_max: n.chance(strict).then(|| U256::from(n.below(4_000_000)) * U256::from(1_000_000_000u64)),
        deadline_us: if n.chance(strict) { n.below(400_000_000) } else { TIME_US_MAX },
        residency: n.chance(strict / 2).then(|| Residency {
            countries: countries(&mut n),
            evidence: if n.chance(5) { Evidence::Attested } else { Evidence::Claimed },
        }),
        proved: Bands { throughput: band(&mut n), memory: band(&mut n), bandwidth: band(&mut n) },
        stake: StakeRule {
            min_wei: u128::from(n.below(3)) * 1_000_000,
            probation: if n.chance(5) { Probation::Allowed } else { Probation::Refused },
        },
        probe_age_ms_max: n.chance(strict / 2).then(|| n.below(80_000)),
        completed_ppm_min: if n.chance(strict) { n.below(1_000_000) as u32 } else { 0 },
        blobs: (0..3)
            .filter(|_| n.chance(5))
            .map(|i| Blob {
                name: blob(i),
                bytes: i << 24,
                place: if i == 2 { BlobPlace::AtProvider } else { BlobPlace::Anywhere },
            })
            .collect(),
        source_bytes_per_s: 1 + n.below(100_000_000),
        input_bytes: n.below(1 << 24),
        output_bytes: n.below(1 << 24),
        rounds: n.below(10) as u32,
        weights: Weights {
            time_per_s: u128::from(n.below(1_000_000)) * 1_000_000_000,
            carbon_per_g: u128::from(n.below(100)) * 1_000_000_000,
        },
        checks: Checks::START,
    }
}
