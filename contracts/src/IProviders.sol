// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @dev Highest price that can be listed or agreed, in wei per unit, inclusive: one million KST. With the market's
/// `UNITS_MAX` (2^20) every escrow stays below 2^100 wei.
uint128 constant HIGHEST_PRICE_WEI_PER_UNIT = 1e24;

/// @title The register of providers: who offers to compute, how to reach them and at what price
/// @notice A provider lists a machine here before customers can order from it. Listing costs nothing, and no money is kept
/// here: what stands behind a provider's work is in `Bond`.
/// @dev Deployed at genesis as runtime code over empty storage: no constructor, no immutables, no owner.
/// Spec: specs/0004-market.md, section 3.
interface IProviders {
    /// @notice What a provider publishes about itself.
    /// @param nodeId Public key (32 bytes) of the provider's node on the data network. It is stated, not proved:
    /// whoever connects sees the key proved by the handshake. Never zero, and not unique, so that nobody can squat
    /// another's key.
    /// @param capabilityHash Hash of the provider's capability record (hardware, runtimes); zero means none is
    /// published.
    /// @param priceWeiPerUnit Lowest accepted price in wei for one unit of a job, 1 to `PRICE_WEI_PER_UNIT_MAX`
    /// inclusive.
    /// @param endpoint Where the node can be dialled, as UTF-8 text of at most `ENDPOINT_BYTES_MAX` bytes; may be
    /// empty. It is hostile input to whoever reads it.
    struct Offer {
        bytes32 nodeId;
        bytes32 capabilityHash;
        uint128 priceWeiPerUnit;
        string endpoint;
    }

    /// @notice A provider as stored.
    /// @dev Four slots, in this order: nodeId; capabilityHash; price, times and flag; endpoint. The layout is part of the proof format (specs/0004-market.md, section 6).
    /// @param nodeId As in `Offer`.
    /// @param capabilityHash As in `Offer`.
    /// @param priceWeiPerUnit As in `Offer`.
    /// @param registeredAt Unix time in seconds of the registration; zero means never registered.
    /// @param updatedAt Unix time in seconds of the last change of the offer or of the flag.
    /// @param offering Whether new orders are taken at the moment.
    /// @param endpoint As in `Offer`.
    struct Provider {
        bytes32 nodeId;
        bytes32 capabilityHash;
        uint128 priceWeiPerUnit;
        uint40 registeredAt;
        uint40 updatedAt;
        bool offering;
        string endpoint;
    }

    /// @notice A provider together with its account, as `page` returns it.
    /// @param account The provider's account.
    /// @param provider The stored record.
    /// @param bondWei Its free bond in wei: what can be locked behind new work (`IBond`).
    struct Listing {
        address account;
        Provider provider;
        uint128 bondWei;
    }

    /// @notice A provider listed itself and takes orders from now on.
    /// @param account The provider's account.
    /// @param nodeId As in `Offer`.
    /// @param capabilityHash As in `Offer`.
    /// @param priceWeiPerUnit As in `Offer`, in wei.
    /// @param endpoint As in `Offer`.
    event ProviderRegistered(
        address indexed account,
        bytes32 indexed nodeId,
        bytes32 capabilityHash,
        uint128 priceWeiPerUnit,
        string endpoint
    );

    /// @notice A provider changed its offer.
    /// @param account The provider's account.
    /// @param nodeId As in `Offer`.
    /// @param capabilityHash As in `Offer`.
    /// @param priceWeiPerUnit As in `Offer`, in wei.
    /// @param endpoint As in `Offer`.
    event ProviderUpdated(
        address indexed account,
        bytes32 indexed nodeId,
        bytes32 capabilityHash,
        uint128 priceWeiPerUnit,
        string endpoint
    );

    /// @notice A provider stopped taking new orders; running orders go on.
    /// @param account The provider's account.
    event ProviderPaused(address indexed account);

    /// @notice A provider takes new orders again.
    /// @param account The provider's account.
    event ProviderResumed(address indexed account);

    /// @notice This account is already listed; use `update`.
    /// @param account The caller.
    error AlreadyRegistered(address account);

    /// @notice This account is not listed; use `register`.
    /// @param account The account asked about, or the caller.
    error NotRegistered(address account);

    /// @notice The node id is zero.
    /// @param account The caller.
    error NodeIdZero(address account);

    /// @notice The endpoint text is too long.
    /// @param gotBytes Its length in bytes.
    /// @param maxBytes The longest allowed, in bytes, inclusive.
    error EndpointTooLong(uint256 gotBytes, uint256 maxBytes);

    /// @notice The price is outside the allowed range.
    /// @param priceWeiPerUnit The price given, in wei per unit.
    /// @param minWei Lowest allowed, in wei, inclusive.
    /// @param maxWei Highest allowed, in wei, inclusive.
    error PriceOutOfRange(uint256 priceWeiPerUnit, uint256 minWei, uint256 maxWei);

    /// @notice The provider already pauses (or already takes orders).
    /// @param account The caller.
    /// @param offering The flag as it is.
    error OfferingUnchanged(address account, bool offering);

    /// @notice Highest price that can be listed or agreed, in wei per unit, inclusive.
    function PRICE_WEI_PER_UNIT_MAX() external view returns (uint128);

    /// @notice Longest endpoint text in bytes, inclusive.
    function ENDPOINT_BYTES_MAX() external view returns (uint256);

    /// @notice Most providers that one call of `page` returns.
    function PAGE_COUNT_MAX() external view returns (uint256);

    /// @notice List the caller as a provider that takes orders.
    /// @dev Reverts with `AlreadyRegistered`, `NodeIdZero`, `EndpointTooLong` or `PriceOutOfRange`.
    /// @param offer What to publish.
    function register(Offer calldata offer) external;

    /// @notice Replace the caller's offer. Orders already placed keep their agreed price.
    /// @dev Reverts with `NotRegistered`, `NodeIdZero`, `EndpointTooLong` or `PriceOutOfRange`.
    /// @param offer What to publish from now on.
    function update(Offer calldata offer) external;

    /// @notice Take no new orders.
    /// @dev Reverts with `NotRegistered` or `OfferingUnchanged`.
    function pause() external;

    /// @notice Take new orders again.
    /// @dev Reverts with `NotRegistered` or `OfferingUnchanged`.
    function resume() external;

    /// @notice The stored record of a provider.
    /// @dev Reverts with `NotRegistered`.
    /// @param account The provider's account.
    /// @return The record.
    function provider(address account) external view returns (Provider memory);

    /// @notice What the market needs to know before an order; never reverts.
    /// @param account The provider's account.
    /// @return offering Whether new orders are taken; false also for accounts that never registered.
    /// @return priceWeiPerUnit The listed price in wei per unit.
    function quote(address account) external view returns (bool offering, uint128 priceWeiPerUnit);

    /// @notice How many providers ever registered.
    /// @return The count; indexes run from 0 to count - 1 and never change.
    function providerCount() external view returns (uint256);

    /// @notice The provider at an index, in order of registration.
    /// @dev Reverts (panic 0x32) when `index` is not below `providerCount`.
    /// @param index 0 to `providerCount` - 1.
    /// @return The provider's account.
    function providerAt(uint256 index) external view returns (address);

    /// @notice A run of providers in order of registration, for clients that list them all.
    /// @param first Index of the first one; past the end gives an empty list.
    /// @param countMax Most to return; more than `PAGE_COUNT_MAX` counts as that.
    /// @return listings The providers from `first` on.
    function page(uint256 first, uint256 countMax) external view returns (Listing[] memory listings);
}
