// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

/// @title A market as one would write it down: prepaid balances, and a transaction for every trade
/// @notice What EnergyMarket is measured against. No directory of actors, no negative prices, no readings, no
///         shortfalls: each of them would cost more gas.
contract OneTradePerTransaction {
    event Traded(address indexed seller, address indexed buyer, uint256 energyWh, uint256 priceWeiPerWh, uint256 slot);

    error NotOperator(address caller);
    error InsufficientFunds(address account, uint256 balanceWei);
    error WithdrawalFailed(address account);

    uint256 private constant SLOTS_PER_DAY = 96;

    address public operator;
    mapping(address account => uint256) public weiOf;
    mapping(uint256 day => mapping(address account => uint256)) public energyWhOf;

    constructor() {
        operator = msg.sender;
    }

    function depositFor(address account) external payable {
        weiOf[account] += msg.value;
    }

    function withdraw(uint256 amountWei) external {
        weiOf[msg.sender] -= amountWei;
        (bool paid,) = msg.sender.call{value: amountWei}("");
        require(paid, WithdrawalFailed(msg.sender));
    }

    function trade(address seller, address buyer, uint256 energyWh, uint256 priceWeiPerWh, uint256 slot) external {
        require(msg.sender == operator, NotOperator(msg.sender));
        uint256 amountWei = energyWh * priceWeiPerWh;
        uint256 balanceWei = weiOf[buyer];
        require(balanceWei >= amountWei, InsufficientFunds(buyer, balanceWei));
        weiOf[buyer] = balanceWei - amountWei;
        weiOf[seller] += amountWei;
        energyWhOf[slot / SLOTS_PER_DAY][buyer] += energyWh;
        emit Traded(seller, buyer, energyWh, priceWeiPerWh, slot);
    }
}
