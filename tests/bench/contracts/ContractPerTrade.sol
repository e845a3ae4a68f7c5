// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

/// @title A trade that is a contract, as in the tutorial of 2018: its buyer deploys it, with the money
/// @notice What EnergyMarket is measured against, at its cheapest: the terms are part of the code instead of storage,
///         and nothing is left to do in a further transaction.
contract ContractPerTrade {
    event Traded(address indexed seller, address indexed buyer, uint256 energyWh, uint256 priceWeiPerWh, uint256 slot);

    error WrongAmount(uint256 dueWei, uint256 givenWei);
    error PaymentFailed(address account);

    address public immutable seller;
    address public immutable buyer;
    uint256 public immutable energyWh;
    uint256 public immutable priceWeiPerWh;
    uint256 public immutable slot;

    constructor(address seller_, uint256 energyWh_, uint256 priceWeiPerWh_, uint256 slot_) payable {
        require(msg.value == energyWh_ * priceWeiPerWh_, WrongAmount(energyWh_ * priceWeiPerWh_, msg.value));
        (seller, buyer, energyWh, priceWeiPerWh, slot) = (seller_, msg.sender, energyWh_, priceWeiPerWh_, slot_);
        emit Traded(seller_, msg.sender, energyWh_, priceWeiPerWh_, slot_);
        (bool paid,) = seller_.call{value: msg.value}("");
        require(paid, PaymentFailed(seller_));
    }
}
