// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {BOND_ADDRESS} from "./Genesis.sol";
import {IBond} from "./IBond.sol";
import {HIGHEST_PRICE_WEI_PER_UNIT, IProviders} from "./IProviders.sol";

/// @title The register of providers
/// @notice See `IProviders`.
/// @dev It holds no money: what stands behind a provider's work is in `Bond`.
contract Providers is IProviders {
    using SafeCast for uint256;

    /// @inheritdoc IProviders
    uint128 public constant PRICE_WEI_PER_UNIT_MAX = HIGHEST_PRICE_WEI_PER_UNIT;

    /// @inheritdoc IProviders
    /// @dev Room for a relay address and several socket addresses.
    uint256 public constant ENDPOINT_BYTES_MAX = 256;

    /// @inheritdoc IProviders
    uint256 public constant PAGE_COUNT_MAX = 64;

    IBond private constant BOND = IBond(BOND_ADDRESS);

    /// @dev Slot 0: accounts in order of registration; entries are never removed or moved.
    address[] private _accounts;

    /// @dev Slot 1: the records.
    mapping(address account => Provider) private _providers;

    /// @inheritdoc IProviders
    function register(Offer calldata offer) external {
        Provider storage entry = _providers[msg.sender];
        if (entry.registeredAt != 0) revert AlreadyRegistered(msg.sender);
        _store(entry, offer);
        entry.registeredAt = entry.updatedAt;
        entry.offering = true;
        _accounts.push(msg.sender);
        emit ProviderRegistered(msg.sender, offer.nodeId, offer.capabilityHash, offer.priceWeiPerUnit, offer.endpoint);
    }

    /// @inheritdoc IProviders
    function update(Offer calldata offer) external {
        _store(_registered(msg.sender), offer);
        emit ProviderUpdated(msg.sender, offer.nodeId, offer.capabilityHash, offer.priceWeiPerUnit, offer.endpoint);
    }

    /// @inheritdoc IProviders
    function pause() external {
        Provider storage entry = _registered(msg.sender);
        if (!entry.offering) revert OfferingUnchanged(msg.sender, false);
        entry.offering = false;
        entry.updatedAt = block.timestamp.toUint40();
        emit ProviderPaused(msg.sender);
    }

    /// @inheritdoc IProviders
    function resume() external {
        Provider storage entry = _registered(msg.sender);
        if (entry.offering) revert OfferingUnchanged(msg.sender, true);
        entry.offering = true;
        entry.updatedAt = block.timestamp.toUint40();
        emit ProviderResumed(msg.sender);
    }

    /// @inheritdoc IProviders
    function provider(address account) external view returns (Provider memory) {
        return _registered(account);
    }

    /// @inheritdoc IProviders
    function quote(address account) external view returns (bool offering, uint128 priceWeiPerUnit) {
        Provider storage entry = _providers[account];
        return (entry.offering, entry.priceWeiPerUnit);
    }

    /// @inheritdoc IProviders
    function providerCount() external view returns (uint256) {
        return _accounts.length;
    }

    /// @inheritdoc IProviders
    function providerAt(uint256 index) external view returns (address) {
        return _accounts[index];
    }

    /// @inheritdoc IProviders
    function page(uint256 first, uint256 countMax) external view returns (Listing[] memory listings) {
        uint256 total = _accounts.length;
        uint256 rest = first < total ? total - first : 0;
        uint256 count = Math.min(Math.min(countMax, PAGE_COUNT_MAX), rest);
        listings = new Listing[](count);
        for (uint256 i = 0; i < count; ++i) {
            address account = _accounts[first + i];
            uint128 bondWei = BOND.accountOf(account).freeWei;
            listings[i] = Listing({account: account, provider: _providers[account], bondWei: bondWei});
        }
    }

    function _registered(address account) private view returns (Provider storage entry) {
        entry = _providers[account];
        if (entry.registeredAt == 0) revert NotRegistered(account);
    }

    function _store(Provider storage entry, Offer calldata offer) private {
        if (offer.nodeId == 0) revert NodeIdZero(msg.sender);
        uint256 gotBytes = bytes(offer.endpoint).length;
        if (gotBytes > ENDPOINT_BYTES_MAX) revert EndpointTooLong(gotBytes, ENDPOINT_BYTES_MAX);
        if (offer.priceWeiPerUnit == 0 || offer.priceWeiPerUnit > PRICE_WEI_PER_UNIT_MAX) {
            revert PriceOutOfRange(offer.priceWeiPerUnit, 1, PRICE_WEI_PER_UNIT_MAX);
        }
        entry.nodeId = offer.nodeId;
        entry.capabilityHash = offer.capabilityHash;
        entry.priceWeiPerUnit = offer.priceWeiPerUnit;
        entry.endpoint = offer.endpoint;
        entry.updatedAt = block.timestamp.toUint40();
    }
}
