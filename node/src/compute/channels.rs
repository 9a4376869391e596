//! Payment channels as calls of one account.
//!
//! Spec: specs/0009-channel.md.

use crate::compute::{
    account::{Account, Receipt, Signed},
    market::{Taken, held_back},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolEvent as _;
use eyre::{Context as _, Result, eyre};
use keystead_contracts::{
    CHANNEL_ADDRESS,
    bindings::{
        channel::{Channel as Calls, IAuditTypes as channel_types, IChannel},
        market::IAuditTypes,
    },
};
use keystead_market::Currency;
use keystead_payment::{Claim, Domain, Signed as Voucher, Standing, Terms, channel::from_entry};
use std::{sync::Arc, time::Duration};

/// How the windows of a channel are audited: what stands on the chain since its opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) job_hash: B256,
    pub(crate) price_wei_per_step: u128,
    pub(crate) terms: IAuditTypes::Terms,
}

/// How a channel is opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) provider: Address,
    pub(crate) signer: Address,
    pub(crate) challenge_seconds: u32,
    pub(crate) life_seconds: u32,
    /// In wei, or in the smallest units of the token, as all that is paid in the channel.
    pub(crate) deposit_wei: u128,
    /// What it is paid in; one whose windows are audited is in KST.
    pub(crate) currency: Currency,
    /// If its windows are audited: how.
    pub(crate) audit: Option<Agreed>,
}

/// The contract, for one account.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    pub(crate) account: Arc<Account>,
}

impl Channels {
    /// What was agreed and where it stands at the newest block.
    ///
    /// # Errors
    /// There is no such channel, or the node does not answer.
    pub(crate) async fn look(&self, id: B256) -> Result<(Terms, Standing)> {
        let entry = self.account.read(CHANNEL_ADDRESS, &Calls::channelCall { channelId: id }).await?;
        let (_, now) = self.account.head().await?;
        let domain = Domain::of_chain(self.account.chain_id());
        from_entry(domain, id, &entry, Duration::from_secs(now))
            .wrap_err("the contract is not the one that is known here")
    }

    /// Signs the opening of a channel, without sending it. The deposit of one in a token must be approved before: the contract takes it.
    pub(crate) async fn sign_open(&self, opening: &Opening) -> Result<Signed> {
        let terms = IChannel::Terms {
            provider: opening.provider,
            signer: opening.signer,
            token: opening.currency.address(),
            challengeSeconds: opening.challenge_seconds,
            lifeSeconds: opening.life_seconds,
        };
        let (amount, value) = (opening.deposit_wei, sent_along(opening.currency, opening.deposit_wei));
        match &opening.audit {
            None => self.account.sign_call(CHANNEL_ADDRESS, &Calls::openCall { terms, amount }, value).await,
            Some(agreed) => {
                let audit = IChannel::Audit {
                    jobHash: agreed.job_hash,
                    priceWeiPerUnit: agreed.price_wei_per_step,
                    terms: terms_as!(channel_types::Terms, &agreed.terms),
                };
                self.account.sign_call(CHANNEL_ADDRESS, &Calls::openAuditedCall { terms, audit, amount }, value).await
            }
        }
    }

    /// How the windows of an audited channel are audited.
    pub(crate) async fn audit_of(&self, id: B256) -> Result<Agreed> {
        let audit = self.account.read(CHANNEL_ADDRESS, &Calls::auditOfCall { channelId: id }).await?;
        Ok(Agreed {
            job_hash: audit.jobHash,
            price_wei_per_step: audit.priceWeiPerUnit,
            terms: terms_as!(IAuditTypes::Terms, &audit.terms),
        })
    }

    /// Opens a paid window in the audit: of this commitment, and with this list of steps. Nothing waits for its block but the channel's next one: other
    /// windows have to be opened in time.
    pub(crate) async fn announce(&self, signed: &Voucher, commitment: B256, steps: B256) -> Result<Receipt> {
        let signature = Bytes::copy_from_slice(signed.signature.0.as_slice());
        let voucher = IChannel::Voucher::from(signed.voucher);
        let call = Calls::announceCall { voucher, signature, commitment, steps };
        self.account.send_beside(CHANNEL_ADDRESS, &call, U256::ZERO).await
    }

    /// The channel that a transaction opened.
    pub(crate) fn opened_in(receipt: &Receipt) -> Result<B256> {
        let opened = receipt.logs.iter().find_map(|log| {
            let event = Calls::ChannelOpened::decode_raw_log(log.topics.iter().copied(), &log.data).ok()?;
            (log.address == CHANNEL_ADDRESS).then_some(event.channelId)
        });
        opened.ok_or_else(|| eyre!("the contract took the deposit without naming the channel"))
    }

    /// Pays more into a channel of this currency; a token must be approved before.
    pub(crate) async fn top_up(&self, id: B256, currency: Currency, amount_wei: u128) -> Result<Receipt> {
        let call = Calls::topUpCall { channelId: id, amount: amount_wei };
        self.account.send(CHANNEL_ADDRESS, &call, sent_along(currency, amount_wei)).await
    }

    pub(crate) async fn claim(&self, claim: &Claim) -> Result<Receipt> {
        let (voucher, signature, skipped) = parts(claim);
        self.account.send(CHANNEL_ADDRESS, &Calls::claimCall { voucher, signature, skipped }, U256::ZERO).await
    }

    pub(crate) async fn claim_and_close(&self, claim: &Claim) -> Result<Receipt> {
        let (voucher, signature, skipped) = parts(claim);
        self.account.send(CHANNEL_ADDRESS, &Calls::claimAndCloseCall { voucher, signature, skipped }, U256::ZERO).await
    }

    pub(crate) async fn close(&self, id: B256) -> Result<Receipt> {
        self.account.send(CHANNEL_ADDRESS, &Calls::closeCall { channelId: id }, U256::ZERO).await
    }

    pub(crate) async fn request_close(&self, id: B256) -> Result<Receipt> {
        self.account.send(CHANNEL_ADDRESS, &Calls::requestCloseCall { channelId: id }, U256::ZERO).await
    }

    pub(crate) async fn finish(&self, id: B256) -> Result<Receipt> {
        self.account.send(CHANNEL_ADDRESS, &Calls::finishCall { channelId: id }, U256::ZERO).await
    }

    /// What closed channels owe this account in a currency.
    async fn credit(&self, currency: Currency) -> Result<U256> {
        let call = Calls::creditCall { account: self.account.address(), token: currency.address() };
        self.account.read(CHANNEL_ADDRESS, &call).await
    }

    /// Takes what closed channels owe this account in a currency, if anything; how much it was.
    pub(crate) async fn withdraw(&self, currency: Currency) -> Result<U256> {
        if self.credit(currency).await?.is_zero() {
            return Ok(U256::ZERO);
        }
        let call = Calls::withdrawCall { token: currency.address() };
        let receipt = self.account.send(CHANNEL_ADDRESS, &call, U256::ZERO).await?;
        let taken = receipt.logs.iter().find_map(|log| {
            let event = Calls::Withdrawn::decode_raw_log(log.topics.iter().copied(), &log.data).ok()?;
            (log.address == CHANNEL_ADDRESS && event.token == currency.address()).then_some(event.amount)
        });
        Ok(taken.unwrap_or_default())
    }

    /// Takes home what is owed in a currency. KST always comes; a token may refuse, for a while or for ever: then the contract goes on owing it, and
    /// nothing else has to wait. Done already, by another process of this account, is done as well.
    ///
    /// # Errors
    /// The node's: worth another try.
    pub(crate) async fn take(&self, currency: Currency) -> Result<Taken> {
        match self.withdraw(currency).await {
            Ok(amount) => Ok(Taken::Out(amount)),
            Err(_) if self.credit(currency).await?.is_zero() => Ok(Taken::Out(U256::ZERO)),
            Err(error) => {
                let call = currency.contract().map(|token| Calls::withdrawCall { token });
                held_back(error, &self.account, CHANNEL_ADDRESS, call).await
            }
        }
    }
}

/// What goes along with a call that pays in: KST itself; a token is taken by the contract.
fn sent_along(currency: Currency, amount: u128) -> U256 {
    if currency == Currency::KST { U256::from(amount) } else { U256::ZERO }
}

fn parts(claim: &Claim) -> (IChannel::Voucher, Bytes, Vec<IChannel::Window>) {
    let voucher = IChannel::Voucher::from(claim.signed.voucher);
    let signature = Bytes::copy_from_slice(claim.signed.signature.0.as_slice());
    let skipped = claim.skipped.iter().map(|&(units, root)| IChannel::Window { units, root }).collect();
    (voucher, signature, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_by_the_contract_and_kst_alone_goes_along_with_the_call() {
        assert_eq!(sent_along(Currency::KST, 7), U256::from(7));
        assert_eq!(sent_along(Currency::token(Address::repeat_byte(1)), 7), U256::ZERO);
    }
}
