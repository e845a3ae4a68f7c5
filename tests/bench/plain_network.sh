#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The network of inventories/local as somebody would write it down who needs it once: the same processes, ports and flags
# as site.yml gives them, and none of what site.yml keeps, checks and repairs. It says "sealed" when all four signers have
# sealed within eight blocks, and runs until it is told to end.
set -euo pipefail

if (($# != 4)); then
  echo "usage: plain_network.sh DIRECTORY PROGRAMS BASE_PORT PERIOD_S   (PROGRAMS: the folder of geth and bootnode)" >&2
  exit 2
fi
directory=$1 PATH=$2:$PATH base=$3 period=$4
chain_id=1337 gas_limit=30000000
sealers="1 2 3 4" gateway=20

trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
trap exit INT TERM
mkdir -p "$directory"
cd "$directory"
umask 077

each() { # run a function for several nodes at once
  local run=$1 n
  local -A pids
  shift
  for n in "$@"; do "$run" "$n" >>"$n.log" 2>&1 & pids[$n]=$!; done
  for n in "$@"; do wait "${pids[$n]}" || { tail -n 5 "$n.log" >&2; exit 1; }; done
}

account() {
  mkdir "$1"
  head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$1/password"
  geth account new --datadir "$1" --password "$1/password" --lightkdf
}
address() { grep -ho '"address":"[0-9a-f]*"' "$1"/keystore/* | cut -d '"' -f 4; }
each account $sealers $gateway

signers=$(for n in $sealers; do address $n; done | sort)
cat >genesis.json <<END
{"config": {"chainId": $chain_id, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
  "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0,
  "londonBlock": 0, "clique": {"period": $period, "epoch": 30000}},
 "difficulty": "1", "gasLimit": "$gas_limit", "baseFeePerGas": "0x7",
 "extraData": "0x$(printf '%064d' 0)$(tr -d '\n' <<<"$signers")$(printf '%0130d' 0)",
 "alloc": {$(for a in $signers $(address $gateway); do printf '"%s": {"balance": "0xd3c21bcecceda1000000"}, ' "$a"; done | sed 's/, $//')}}
END

initialise() { geth init --datadir "$1" --state.scheme hash genesis.json; }
each initialise $sealers $gateway

bootnode -genkey boot.key
bootnode -nodekey boot.key -addr "127.0.0.1:$base" -netrestrict 127.0.0.0/8 >boot.log 2>&1 &
enode="enode://$(bootnode -nodekey boot.key -writeaddress)@127.0.0.1:0?discport=$base"

node() { # number, further flags
  local n=$1
  shift
  geth --datadir "$n" --networkid $chain_id --syncmode full --gcmode archive --state.scheme hash --cache 128 \
    --snapshot=false --port $((base + n)) --authrpc.port $((base + 30 + n)) --nat extip:127.0.0.1 \
    --netrestrict 127.0.0.0/8 --bootnodes "$enode" --miner.gasprice 1 --miner.gaslimit $gas_limit "$@" >>"$n.log" 2>&1 &
}
for n in $sealers; do
  a=0x$(address "$n")
  node "$n" --mine --miner.etherbase "$a" --unlock "$a" --password "$n/password"
done
node $gateway --http --http.port $((base + 90)) --http.api eth,net,web3,txpool,clique --rpc.txfeecap 0

sealed() { # how many signers the last eight blocks have
  geth attach --exec 'for (var seen = {}, head = eth.blockNumber, n = Math.max(1, head - 7); n <= head; n++)
    seen[clique.getSigner("0x" + n.toString(16))] = true; Object.keys(seen).length' 1/geth.ipc 2>/dev/null || true
}
until [[ $(sealed) == 4 ]]; do
  if ((SECONDS > 24 * period)); then
    echo "not every signer has sealed within 24 periods" >&2
    exit 1
  fi
  sleep 0.25
done
echo sealed
wait
