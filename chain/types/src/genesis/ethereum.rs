//! Genesis files of foreign chains: forks, blob schedule and the header of block 0, as geth reads them.

use super::{Genesis, GenesisError, accounts};
use crate::{
    block::{Block, EthereumBody},
    forks::{Blobs, DEPOSIT_CONTRACT, Fork, Forks, Merge},
    spec::ChainSpec,
};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip1559::INITIAL_BASE_FEE, eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH, eip7840::BlobParams};
use alloy_genesis::ChainConfig;
use alloy_primitives::{B64, B256};

impl Genesis {
    /// Reads the genesis file of a foreign chain, which runs under Ethereum's own rules.
    ///
    /// # Errors
    /// [`GenesisError::Malformed`]; [`GenesisError::Unsupported`] if the file names a fork, a seal or a blob schedule
    /// that this program would get wrong.
    pub fn ethereum_from_json(json: &str) -> Result<Self, GenesisError> {
        let file: alloy_genesis::Genesis = serde_json::from_str(json)?;
        let forks = forks(&file.config)?;
        if file.number.is_some_and(|number| number != 0) {
            return Err(GenesisError::Unsupported(format!("number={}", file.number.unwrap_or_default())));
        }
        let base_fee = u64::try_from(file.base_fee_per_gas.unwrap_or_else(|| u128::from(INITIAL_BASE_FEE)));
        let base_fee = base_fee.map_err(|_| GenesisError::Unsupported("baseFeePerGas above 64 bits".to_owned()))?;
        let fork = forks.fork(0, file.timestamp, file.difficulty);
        let header = Header {
            parent_hash: file.parent_hash.unwrap_or_default(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: file.coinbase,
            transactions_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            difficulty: file.difficulty,
            gas_limit: file.gas_limit,
            timestamp: file.timestamp,
            extra_data: file.extra_data,
            mix_hash: file.mix_hash,
            nonce: B64::from(file.nonce),
            base_fee_per_gas: (fork >= Fork::London).then_some(base_fee),
            withdrawals_root: (fork >= Fork::Shanghai).then_some(EMPTY_WITHDRAWALS),
            blob_gas_used: (fork >= Fork::Cancun).then(|| file.blob_gas_used.unwrap_or_default()),
            excess_blob_gas: (fork >= Fork::Cancun).then(|| file.excess_blob_gas.unwrap_or_default()),
            parent_beacon_block_root: (fork >= Fork::Cancun).then_some(B256::ZERO),
            requests_hash: (fork >= Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        Ok(Self {
            spec: ChainSpec::ethereum(file.config.chain_id, file.gas_limit, forks),
            timestamp: file.timestamp,
            accounts: accounts(file.alloc),
            header: Some(Box::new(header)),
        })
    }
}

/// Block 0 of a foreign chain. Its body is empty, whatever the header's roots in the file say.
pub(super) fn block(header: &Header, state_root: B256) -> Block {
    let header = Header {
        state_root,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: EMPTY_ROOT_HASH,
        withdrawals_root: header.withdrawals_root.map(|_| EMPTY_WITHDRAWALS),
        ..header.clone()
    };
    let withdrawals = header.withdrawals_root.map(|_| Withdrawals::default());
    let body = EthereumBody { ommers: Vec::new(), withdrawals };
    Block::ethereum(header, Vec::new(), body).expect("invariant: the roots are those of empty lists")
}

fn forks(config: &ChainConfig) -> Result<Forks, GenesisError> {
    refuse_unknown(config)?;
    let earlier = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    let terminal = config.terminal_total_difficulty;
    let merge = match config.merge_netsplit_block {
        _ if terminal.is_some_and(|it| it.is_zero()) => Merge::Block(0),
        Some(number) => Merge::Block(number),
        None if terminal.is_some() => Merge::ZeroDifficulty,
        None => Merge::Never,
    };
    let mut forks = Forks {
        homestead: config.homestead_block,
        tangerine_whistle: config.eip150_block,
        spurious_dragon: earlier(config.eip155_block, config.eip158_block),
        byzantium: config.byzantium_block,
        constantinople: config.constantinople_block,
        petersburg: config.petersburg_block,
        istanbul: config.istanbul_block,
        muir_glacier: config.muir_glacier_block,
        berlin: config.berlin_block,
        london: config.london_block,
        arrow_glacier: config.arrow_glacier_block,
        gray_glacier: config.gray_glacier_block,
        merge,
        shanghai: config.shanghai_time,
        cancun: config.cancun_time,
        prague: config.prague_time,
        osaka: config.osaka_time,
        deposit_contract: config.deposit_contract_address.unwrap_or(DEPOSIT_CONTRACT),
        ..Forks::FRONTIER
    };
    let entries = [
        ("cancun", config.cancun_time, Some(BlobParams::cancun())),
        ("prague", config.prague_time, Some(BlobParams::prague())),
        // Osaka changes nothing in the schedule unless the file says so.
        ("osaka", config.osaka_time, None),
        ("bpo1", config.bpo1_time, Some(BlobParams::bpo1())),
        ("bpo2", config.bpo2_time, Some(BlobParams::bpo2())),
        ("bpo3", config.bpo3_time, None),
        ("bpo4", config.bpo4_time, None),
        ("bpo5", config.bpo5_time, None),
    ];
    for (name, since, preset) in entries {
        let Some(since) = since else { continue };
        let Some(params) = config.blob_schedule.get(name).copied().or(preset) else { continue };
        let unknown = || GenesisError::Unsupported(format!("blobSchedule.{name}"));
        let update_fraction = u64::try_from(params.update_fraction).map_err(|_| unknown())?;
        let (target, max) = (params.target_blob_count, params.max_blob_count);
        let sound = update_fraction > 0 && (1..=BLOBS_MAX).contains(&max) && target <= max;
        if !sound || !forks.schedule(Blobs { since, target, max, update_fraction }) {
            return Err(unknown());
        }
    }
    Ok(forks)
}

/// Most blobs per block that a schedule may name: with it, no product of the price rules leaves 64 bits.
const BLOBS_MAX: u64 = 1 << 20;

/// Rules that would be silently wrong.
fn refuse_unknown(config: &ChainConfig) -> Result<(), GenesisError> {
    let unknown = [
        ("daoForkSupport", config.dao_fork_support && config.dao_fork_block.is_some()),
        ("amsterdamTime", config.amsterdam_time.is_some()),
        ("bogotaTime", config.bogota_time.is_some()),
        ("clique", config.clique.is_some()),
        ("parlia", config.parlia.is_some()),
    ];
    match unknown.into_iter().find(|(_, named)| *named) {
        Some((name, _)) => Err(GenesisError::Unsupported(format!("config.{name}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use alloy_primitives::{Address, U256};

    fn read(config: &str, rest: &str) -> Result<Genesis, GenesisError> {
        let json = format!(r#"{{"config":{{"chainId":7{config}}},"gasLimit":"0x5f5e100","alloc":{{}}{rest}}}"#);
        Genesis::ethereum_from_json(&json)
    }

    #[test]
    fn forks_blobs_and_the_header_come_from_the_file() {
        let config = r#","homesteadBlock":0,"eip150Block":3,"eip155Block":6,"eip158Block":6,"byzantiumBlock":9,
            "constantinopleBlock":12,"petersburgBlock":15,"istanbulBlock":18,"berlinBlock":24,"londonBlock":27,
            "mergeNetsplitBlock":36,"shanghaiTime":390,"cancunTime":420,"pragueTime":450,"osakaTime":480,"bpo1Time":510,
            "terminalTotalDifficulty":4732352,"ethash":{},
            "depositContractAddress":"0x0000000000000000000000000000000000000000",
            "blobSchedule":{"bpo1":{"target":10,"max":15,"baseFeeUpdateFraction":8346193}}"#;
        let genesis = read(config, r#","difficulty":"0x20000","extraData":"0x68","nonce":"0x2a""#).unwrap();
        let forks = genesis.spec.ethereum.unwrap();
        let work = U256::from(131_072);
        assert_eq!(forks.fork(5, 50, work), Fork::TangerineWhistle);
        assert_eq!(forks.fork(14, 140, work), Fork::Petersburg);
        assert_eq!(forks.fork(52, 520, U256::ZERO), Fork::Osaka);
        assert_eq!(forks.blobs(Fork::Osaka, 520).unwrap().max_blob_count, 15);
        assert_eq!(forks.deposit_contract, Address::ZERO);
        let block = genesis.block(B256::repeat_byte(5));
        let header = block.header();
        assert_eq!((header.difficulty, header.nonce, header.gas_limit), (work, B64::from(42_u64), 100_000_000));
        assert_eq!((header.state_root, header.base_fee_per_gas), (B256::repeat_byte(5), None));
        assert!(block.ethereum_body().unwrap().withdrawals.is_none());
    }

    #[test]
    fn a_chain_that_starts_in_prague_has_all_fields_in_its_genesis_header() {
        let config = r#","londonBlock":0,"terminalTotalDifficulty":0,"shanghaiTime":0,"cancunTime":0,"pragueTime":0"#;
        let genesis = read(config, "").unwrap();
        let block = genesis.block(B256::ZERO);
        let header = block.header();
        assert_eq!(header.requests_hash, Some(EMPTY_REQUESTS_HASH));
        assert_eq!((header.excess_blob_gas, header.base_fee_per_gas), (Some(0), Some(INITIAL_BASE_FEE)));
        assert!(block.ethereum_body().unwrap().withdrawals.is_some());
    }

    #[test]
    fn rules_that_this_program_does_not_have_are_refused_by_name() {
        let bad = |config: &str| read(config, "").unwrap_err().to_string();
        assert!(bad(r#","amsterdamTime":1"#).contains("amsterdamTime"));
        assert!(bad(r#","daoForkSupport":true,"daoForkBlock":1"#).contains("daoForkSupport"));
        assert!(bad(r#","clique":{"period":0,"epoch":8}"#).contains("clique"));
        let zero = r#","cancunTime":1,"blobSchedule":{"cancun":{"target":3,"max":6,"baseFeeUpdateFraction":0}}"#;
        assert!(bad(zero).contains("blobSchedule.cancun"));
        let inverted = r#","cancunTime":1,"blobSchedule":{"cancun":{"target":7,"max":6,"baseFeeUpdateFraction":9}}"#;
        assert!(bad(inverted).contains("blobSchedule.cancun"));
    }
}
