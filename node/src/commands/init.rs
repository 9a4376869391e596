//! `keystead init`: the files of a new development network.
//!
//! The keys come from a dealer, this process, which sees every share: fine for development, never for value.

use crate::{
    cli::Init,
    network::{ConfigFile, FORMAT_VERSION, KeysFile, NetworkFile, ValidatorEntry},
};
use alloy_eips::{eip2935, eip4788};
use alloy_primitives::{Address, Bytes, U256, address, bytes, hex};
use alloy_signer_local::{MnemonicBuilder, coins_bip39::English};
use eyre::{Context as _, Result, bail, ensure, eyre};
use keystead_consensus::{Dealing, deal};
use keystead_types::{ChainSpec, Genesis, GenesisAccount};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

/// The mnemonic whose accounts every Ethereum tool knows. Their keys are public.
const TEST_MNEMONIC: &str = "test test test test test test test test test test test junk";
/// How many of its accounts get money.
const TEST_ACCOUNTS: u32 = 10;
/// KST that a funded account gets.
const FUNDED_KST: u64 = 10_000;
/// Wei per KST.
pub(super) const WEI_PER_KST: u64 = 1_000_000_000_000_000_000;

/// The deterministic CREATE2 deployer that Foundry and others expect on every chain, and its runtime code.
const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
const CREATE2_DEPLOYER_CODE: Bytes = bytes!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

pub(crate) fn run(options: &Init) -> Result<ExitCode> {
    let out = &options.out;
    if out.exists() {
        let empty = fs::read_dir(out).wrap_err_with(|| format!("cannot read {}", out.display()))?.next().is_none();
        ensure!(empty, "{} exists and is not empty: choose another folder", out.display());
    }
    let addresses = addresses(options)?;
    let dealing = deal(options.validators)?;
    let genesis = genesis(options)?;
    fs::create_dir_all(out).wrap_err_with(|| format!("cannot make {}", out.display()))?;
    fs::write(out.join("genesis.json"), genesis.to_json()?)?;
    write_json(&out.join("network.json"), &network_file(options, &dealing, &addresses))?;
    for (index, (member, address)) in dealing.members.iter().zip(&addresses).enumerate() {
        let folder = out.join(format!("validator-{index}"));
        fs::create_dir(&folder)?;
        let config = ConfigFile {
            version: FORMAT_VERSION,
            network: "../network.json".into(),
            genesis: "../genesis.json".into(),
            p2p_listen: address.p2p,
            rpc_listen: address.rpc,
            fee_recipient: Address::from_slice(member.public_key.get(..20).ok_or_else(|| eyre!("key too short"))?),
            block_interval_ms: options.interval,
        };
        fs::write(folder.join("config.toml"), toml::to_string_pretty(&config)?)?;
        let keys = KeysFile {
            version: FORMAT_VERSION,
            private_key: hex::encode(&member.private_key),
            share: hex::encode(&member.share),
        };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("keys.json"))?;
        file.write_all(serde_json::to_string_pretty(&keys)?.as_bytes())?;
    }
    report(options, &dealing, &addresses);
    Ok(ExitCode::SUCCESS)
}

/// Where one validator listens.
struct Addresses {
    p2p: SocketAddr,
    rpc: SocketAddr,
}

fn addresses(options: &Init) -> Result<Vec<Addresses>> {
    // Listeners are held until all ports are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut port = |host: IpAddr, base: u16, index: u32| -> Result<u16> {
        if base == 0 {
            let listener = TcpListener::bind((host, 0)).wrap_err_with(|| format!("no free port on {host}"))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            return Ok(port);
        }
        u16::try_from(u32::from(base).saturating_add(index))
            .map_err(|_| eyre!("port {base} + {index} is beyond 65535: choose a lower first port"))
    };
    let mut out = Vec::new();
    for index in 0..options.validators {
        out.push(Addresses {
            p2p: SocketAddr::new(options.host, port(options.host, options.p2p_port, index)?),
            rpc: SocketAddr::new(options.rpc_host, port(options.rpc_host, options.rpc_port, index)?),
        });
    }
    let meet = |a: SocketAddr, b: SocketAddr| {
        a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    };
    let overlap = out.iter().any(|a| out.iter().any(|b| meet(a.p2p, b.rpc)));
    if overlap {
        bail!("the ports for validators and for JSON-RPC overlap: choose --p2p-port and --rpc-port further apart");
    }
    Ok(out)
}

fn genesis(options: &Init) -> Result<Genesis> {
    let mut accounts = BTreeMap::new();
    let funded = GenesisAccount {
        balance: U256::from(FUNDED_KST).saturating_mul(U256::from(WEI_PER_KST)),
        ..GenesisAccount::default()
    };
    for index in 0..TEST_ACCOUNTS {
        let signer = MnemonicBuilder::<English>::default()
            .phrase(TEST_MNEMONIC)
            .index(index)
            .and_then(|builder| builder.build())
            .wrap_err("cannot derive the test accounts")?;
        accounts.insert(signer.address(), funded.clone());
    }
    accounts.extend(options.fund.iter().map(|address| (*address, funded.clone())));
    accounts.extend(contracts());
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).wrap_err("the clock stands before 1970")?.as_secs();
    Ok(Genesis { spec: ChainSpec::keystead(options.chain_id), timestamp, accounts, header: None })
}

/// The contracts that every chain of ours has from the beginning.
pub(super) fn contracts() -> impl Iterator<Item = (Address, GenesisAccount)> {
    let foreign = [
        (eip4788::BEACON_ROOTS_ADDRESS, eip4788::BEACON_ROOTS_CODE.clone()),
        (eip2935::HISTORY_STORAGE_ADDRESS, eip2935::HISTORY_STORAGE_CODE.clone()),
        (CREATE2_DEPLOYER, CREATE2_DEPLOYER_CODE),
    ];
    let ours = keystead_contracts::genesis::contracts().map(|contract| (contract.address, contract.code));
    let account = |(address, code)| (address, GenesisAccount { nonce: 1, code, ..GenesisAccount::default() });
    foreign.into_iter().chain(ours).map(account)
}

fn network_file(options: &Init, dealing: &Dealing, addresses: &[Addresses]) -> NetworkFile {
    NetworkFile {
        version: FORMAT_VERSION,
        chain_id: options.chain_id,
        network_key: hex::encode(dealing.network_key),
        sharing: hex::encode(&dealing.sharing),
        validators: dealing
            .members
            .iter()
            .zip(addresses)
            .map(|(member, address)| ValidatorEntry {
                public_key: hex::encode(member.public_key),
                p2p_address: address.p2p,
            })
            .collect(),
    }
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(value)?).wrap_err_with(|| format!("cannot write {}", path.display()))
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn report(options: &Init, dealing: &Dealing, addresses: &[Addresses]) {
    println!("A development network of {} validators in {}", options.validators, options.out.display());
    println!("  chain id     {}", options.chain_id);
    println!("  network key  0x{}", hex::encode(dealing.network_key));
    println!("  accounts     ten test accounts (mnemonic `{TEST_MNEMONIC}`), {FUNDED_KST} KST each");
    println!();
    println!("The keys were dealt by this program, which saw all of them: use this network for development only.");
    println!("Start each validator in its own terminal:");
    for (index, address) in addresses.iter().enumerate() {
        println!(
            "  keystead node --dir {}    # JSON-RPC on http://{}",
            options.out.join(format!("validator-{index}")).display(),
            address.rpc
        );
    }
}
