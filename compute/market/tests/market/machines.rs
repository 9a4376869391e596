//! Capability records of three machines, and a checker that signs.

use alloy_primitives::{Address, B256, FixedBytes, U256, keccak256};
use keystead_job::Class;
use keystead_market::{
    Currency,
    band::{Band, Bands},
    record::{
        Adapter, Claimed, Draft, Statement,
        claimed::{Device, Energy, GpuKind, Place, Price, Processor, RuntimeClaim, SoftwareKind, Speed},
        sets::{EnergyMethod, Isa, Kernel, Layer, Set, Tier},
    },
};
use secp256k1::{Message, SECP256K1, SecretKey};

pub(crate) const CHAIN_ID: u64 = 19_283;
pub(crate) const PROVIDER: Address = Address::repeat_byte(0x11);

/// The checker's account and its signature of a hash.
pub(crate) fn signed(hash: B256) -> (Address, FixedBytes<65>) {
    let key = SecretKey::from_byte_array([7; 32]).unwrap();
    let public = key.public_key(SECP256K1).serialize_uncompressed();
    let account = Address::from_word(keccak256(&public[1..]));
    let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(hash.0), &key);
    let (recovery, bytes) = signature.serialize_compact();
    let mut all = [0u8; 65];
    all[..64].copy_from_slice(&bytes);
    all[64] = 27 + i32::from(recovery) as u8;
    (account, all.into())
}

pub(crate) fn checker() -> Address {
    signed(B256::ZERO).0
}

pub(crate) fn statement(device: u8) -> Statement {
    Statement {
        provider: PROVIDER,
        device,
        challenge: B256::repeat_byte(0xc0),
        height: 4_000,
        time_s: 1_800_000_000,
        bands: Bands { throughput: Band::of(900_000), memory: Band::of(19_661), bandwidth: None },
        checker: checker(),
    }
}

pub(crate) fn price(currency: Currency, kernel: Kernel, per_mop: u64) -> Price {
    Price { tier: Tier::Standard, currency, kernel, per_mop, per_unit_min: U256::from(5_000u64) }
}

pub(crate) fn device(name: &str, driver: &str, memory_mib: u64) -> Device {
    Device {
        name: name.into(),
        driver: driver.into(),
        memory_mib,
        buffer_bytes_max: 1 << 31,
        binding_bytes_max: 1 << 27,
        loop_iterations_max: 32_768,
        lanes: 1,
        power_mw: 300_000,
        speeds: vec![
            Speed { kernel: Kernel::Integer, mop_per_s: 1_000_000 },
            Speed { kernel: Kernel::Float, mop_per_s: 2_000_000 },
        ],
    }
}

pub(crate) fn gpu() -> Adapter {
    Adapter::Gpu {
        kind: GpuKind::Discrete,
        vendor: 0x10de,
        architecture: "ada".into(),
        device: device("Example RTX 4090", "nvidia-550", 24_576),
    }
}

pub(crate) fn software() -> Adapter {
    Adapter::Software { kind: SoftwareKind::Cpu, device: device("llvmpipe (LLVM 15)", "mesa-22", 8_192) }
}

/// A workstation with a GPU and a software adapter, paid in KST and a token.
pub(crate) fn workstation() -> Draft {
    let token = Currency::token(Address::repeat_byte(0x70));
    Draft {
        provider: PROVIDER,
        issued_height: 3_999,
        claimed: Claimed {
            runtimes: vec![
                RuntimeClaim { name: "wasm/1".into(), engine: "wasmtime 48.0.8".into() },
                RuntimeClaim { name: "wgsl/1".into(), engine: "wgpu 30.0.1".into() },
            ],
            classes: Set::of(&[Class::Exact, Class::SelfChecking]),
            processor: Processor {
                isa: Isa::X86V3,
                cores: 8,
                memory_mib: 32_768,
                lanes: 8,
                power_mw: 65_000,
                speeds: vec![Speed { kernel: Kernel::Wasm, mop_per_s: 2_500 }],
            },
            adapters: vec![gpu(), software()],
            disk_mib: 100_000,
            down_kib_per_s: 12_500,
            up_kib_per_s: 5_000,
            place: Place { country: "DE".into(), zone: "house-1".into(), operator: "example".into() },
            isolation: Set::of(&[Layer::Process, Layer::Seccomp, Layer::Rlimits]),
            prices: vec![
                price(Currency::KST, Kernel::Wasm, 40),
                price(Currency::KST, Kernel::Integer, 3),
                price(token, Kernel::Integer, 7),
            ],
            energy: Energy {
                method: EnergyMethod::Model,
                carbon_g_per_kwh: 381,
                source: "public table 2023".into(),
                year: 2023,
            },
        },
        attested: Vec::new(),
    }
}

/// A laptop that says as little as possible.
pub(crate) fn least() -> Draft {
    let mut draft = workstation();
    let claimed = &mut draft.claimed;
    claimed.runtimes.truncate(1);
    claimed.adapters.clear();
    claimed.place = Place::default();
    claimed.prices.truncate(1);
    claimed.isolation = Set::EMPTY;
    claimed.energy = Energy { method: EnergyMethod::Unknown, carbon_g_per_kwh: 0, source: String::new(), year: 0 };
    (claimed.processor.power_mw, claimed.disk_mib, claimed.down_kib_per_s, claimed.up_kib_per_s) = (0, 0, 0, 0);
    draft
}
