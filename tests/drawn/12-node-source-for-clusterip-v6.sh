#!/bin/bash
# kubernetes#66062 (as #101910: the node's own programs ask a ClusterIP with the other NIC's address), IPv6
N=12; . "$(dirname "$0")/lib.sh"; NODE=d12-bm-07
build() {
  ns $NODE d12-edge d12-api; fwd $NODE d12-edge d12-api
  v $NODE extif d12-edge p7; v $NODE intif d12-api p0; v d12-api bond0 d12-edge core
  a $NODE extif 2001:db8:ff::7/64; a d12-edge p7 2001:db8:ff::1/64; a $NODE intif fd00:10::7/64; a d12-api p0 fd00:10::a/64; a d12-api bond0 fd00:99::2/64; a d12-edge core fd00:99::1/64
  r $NODE default via 2001:db8:ff::1; r d12-api default via fd00:99::1; r $NODE fd00:96::/112 dev intif src fd00:10::7
  sc d12-edge net.netfilter.nf_conntrack_tcp_loose=0
  nf d12-edge <<'R'
table inet fw {
  chain f { type filter hook forward priority 0; ct state invalid counter drop; tcp flags & (syn|ack) == (syn|ack) ct state new counter drop; }
}
R
  nf $NODE <<'R'
table ip6 kube-proxy {
  chain services { ip6 daddr fd00:96::1 tcp dport 443 counter dnat to [fd00:10::a]:6443; }
  chain pre { type nat hook prerouting priority dstnat; jump services; }
  chain out { type nat hook output priority -100; jump services; }
}
R
  podr $NODE d12-operator caliop fd00:244:7::8; r d12-api fd00:244:7::/64 via fd00:10::7
  bg d12-api apiserver tcpd :: 6443
  ok $NODE tcpc fd00:96::1 443; ok d12-operator tcpc fd00:96::1 443
}
fault() {
  ip -n $NODE -6 route del fd00:96::/112 dev intif; no $NODE tcpc fd00:96::1 443
  bg $NODE victim-kubelet tcpc fd00:96::1 443 --every .3; bg d12-operator healthy tcpc fd00:96::1 443 --every .5
}
prove() {
  P "x $NODE ip -6 route get fd00:96::1; x $NODE ip -6 route get fd00:10::a; x $NODE ip -6 route"
  P "x $NODE conntrack -L -f ipv6 -p tcp --state SYN_SENT; x $NODE conntrack -L -f ipv6 -p tcp --state SYN_RECV"
  S $NODE intif --timeout 4 --n 6 --grep ff::7; S d12-api bond0 --timeout 4 --n 4 --grep TCP
  P x d12-edge nft list table inet fw
}
main "${1:-}"
