// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

// What a batch reads and writes is packed into one word for each account and one for the operator: it pays for words,
// not for numbers. A number that is put into a word has to fit its bits.

/// @dev An actor's account.
///
///      | bits      | what                                                          |
///      |-----------|---------------------------------------------------------------|
///      | 0 – 95    | money in wei                                                  |
///      | 96 – 159  | energy bought for `day` in Wh that is not in _heldWh yet      |
///      | 160 – 191 | that day                                                      |
///      | 192       | whether it is registered                                      |
///      | 193       | whether it owes somebody money                                |
///      | 194       | whether it asked to be paid                                   |
type AccountWord is uint256;

using {
    balanceWei,
    boughtWh,
    accountDay,
    isRegistered,
    owes,
    isWithdrawing,
    withBalance,
    withBought,
    withDebt,
    withWithdrawing
} for AccountWord global;

uint256 constant MONEY = (1 << 96) - 1;
uint256 constant BOUGHT_AND_DAY = ((1 << 96) - 1) << 96;
uint256 constant REGISTERED = 1 << 192;
uint256 constant DEBT = 1 << 193;
uint256 constant WITHDRAWING = 1 << 194;

function balanceWei(AccountWord word) pure returns (uint256) {
    return AccountWord.unwrap(word) & MONEY;
}

function boughtWh(AccountWord word) pure returns (uint256) {
    return uint64(AccountWord.unwrap(word) >> 96);
}

function accountDay(AccountWord word) pure returns (uint256) {
    return uint32(AccountWord.unwrap(word) >> 160);
}

function isRegistered(AccountWord word) pure returns (bool) {
    return AccountWord.unwrap(word) & REGISTERED != 0;
}

function owes(AccountWord word) pure returns (bool) {
    return AccountWord.unwrap(word) & DEBT != 0;
}

function isWithdrawing(AccountWord word) pure returns (bool) {
    return AccountWord.unwrap(word) & WITHDRAWING != 0;
}

function withBalance(AccountWord word, uint256 wei_) pure returns (AccountWord) {
    return AccountWord.wrap((AccountWord.unwrap(word) & ~MONEY) | wei_);
}

function withBought(AccountWord word, uint256 energyWh, uint256 day) pure returns (AccountWord) {
    return AccountWord.wrap((AccountWord.unwrap(word) & ~BOUGHT_AND_DAY) | (energyWh << 96) | (day << 160));
}

function withDebt(AccountWord word, bool debt) pure returns (AccountWord) {
    return AccountWord.wrap(debt ? AccountWord.unwrap(word) | DEBT : AccountWord.unwrap(word) & ~DEBT);
}

function withWithdrawing(AccountWord word, bool withdrawing) pure returns (AccountWord) {
    uint256 rest = AccountWord.unwrap(word) & ~WITHDRAWING;
    return AccountWord.wrap(withdrawing ? rest | WITHDRAWING : rest);
}

/// @dev An operator. It has one number for ever, also with another key. The ledger of the last day that it settled goes
///      with it; that of an earlier day has a word of its own.
///
///      | bits      | what                                                    |
///      |-----------|---------------------------------------------------------|
///      | 0 – 31    | the sequence number of its next batch                   |
///      | 32        | whether it may settle                                   |
///      | 33        | whether the market is paused                            |
///      | 34 – 49   | its number                                              |
///      | 50        | whether it is or was one, whatever else is in the word  |
///      | 64 – 95   | day                                                     |
///      | 96 – 143  | energy settled of that day in Wh                        |
///      | 144 – 255 | the end of the chain of its batches of that day         |
type OperatorWord is uint256;

using {
    nextSeq,
    isAllowed,
    isPaused,
    isKnown,
    number,
    operatorDay,
    ledger,
    withNextSeq,
    withLedger,
    withFlags
} for OperatorWord global;

uint256 constant ALLOWED = 1 << 32;
uint256 constant PAUSED = 1 << 33;
uint256 constant KNOWN = 1 << 50;
uint256 constant SEQ = (1 << 32) - 1;
uint256 constant ALL_BUT_DAY_AND_LEDGER = (1 << 64) - 1;

/// @dev What an operator settled of a day: Wh in the low 48 bits, and the end of the chain of batches in the 112 above.
type Ledger is uint256;

using {soldWh, link} for Ledger global;

function newOperator(uint256 number_, bool paused) pure returns (OperatorWord) {
    return OperatorWord.wrap(KNOWN | (number_ << 34) | (paused ? PAUSED : 0));
}

function nextSeq(OperatorWord word) pure returns (uint32) {
    return uint32(OperatorWord.unwrap(word));
}

function isAllowed(OperatorWord word) pure returns (bool) {
    return OperatorWord.unwrap(word) & ALLOWED != 0;
}

function isPaused(OperatorWord word) pure returns (bool) {
    return OperatorWord.unwrap(word) & PAUSED != 0;
}

function isKnown(OperatorWord word) pure returns (bool) {
    return OperatorWord.unwrap(word) & KNOWN != 0;
}

function number(OperatorWord word) pure returns (uint256) {
    return uint16(OperatorWord.unwrap(word) >> 34);
}

function operatorDay(OperatorWord word) pure returns (uint256) {
    return uint32(OperatorWord.unwrap(word) >> 64);
}

function ledger(OperatorWord word) pure returns (Ledger) {
    return Ledger.wrap(OperatorWord.unwrap(word) >> 96);
}

function withNextSeq(OperatorWord word, uint32 seq) pure returns (OperatorWord) {
    return OperatorWord.wrap((OperatorWord.unwrap(word) & ~SEQ) | seq);
}

function withFlags(OperatorWord word, bool allowed, bool paused) pure returns (OperatorWord) {
    uint256 flags = (allowed ? ALLOWED : 0) | (paused ? PAUSED : 0);
    return OperatorWord.wrap((OperatorWord.unwrap(word) & ~(ALLOWED | PAUSED)) | flags);
}

function withLedger(OperatorWord word, uint256 day, Ledger ledger_) pure returns (OperatorWord) {
    uint256 rest = OperatorWord.unwrap(word) & ALL_BUT_DAY_AND_LEDGER;
    return OperatorWord.wrap(rest | (day << 64) | (Ledger.unwrap(ledger_) << 96));
}

function newLedger(uint256 soldWh_, uint112 link_) pure returns (Ledger) {
    return Ledger.wrap((uint256(link_) << 48) | soldWh_);
}

function soldWh(Ledger ledger_) pure returns (uint256) {
    return uint48(Ledger.unwrap(ledger_));
}

function link(Ledger ledger_) pure returns (uint112) {
    return uint112(Ledger.unwrap(ledger_) >> 48);
}
