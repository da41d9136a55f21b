#!/bin/bash
# amazon-vpc-cni#180 (page: pods' untunnelled packets are dropped between the nodes, which reach each other), IPv6
N=30; . "$(dirname "$0")/lib.sh"; NODE=d30-ip6-node1
build() {
  ns $NODE d30-ip6-node2 d30-ip6-node3 d30-vpc; fwd $NODE d30-ip6-node2 d30-ip6-node3 d30-vpc
  for i in 1 2 3; do n=d30-ip6-node$i; v $n ens5 d30-vpc e$i; a $n ens5 2600:1f14:30:$i::10/64; a d30-vpc e$i 2600:1f14:30:$i::1/64; r $n default via 2600:1f14:30:$i::1; r d30-vpc 2600:1f14:30:f$i::/80 via 2600:1f14:30:$i::10; done
  podr $NODE d30-cart enicart 2600:1f14:30:f1::5; podr d30-ip6-node2 d30-pay enipay 2600:1f14:30:f2::6; podr d30-ip6-node3 d30-mail enimail 2600:1f14:30:f3::7
  bg d30-pay pay tcpd :: 8080; bg d30-mail mail tcpd :: 8080; bg d30-ip6-node2 kubelet tcpd :: 10250; ok d30-cart tcpc 2600:1f14:30:f2::6 8080; ok d30-cart tcpc 2600:1f14:30:f3::7 8080; ok $NODE tcpc 2600:1f14:30:2::10 10250
}
fault() {
  nf d30-vpc <<'R'
table ip6 sg {
  chain f { type filter hook forward priority 0; oifname "e2" ip6 daddr 2600:1f14:30:f2::/80 counter drop; }
}
R
  no d30-cart tcpc 2600:1f14:30:f2::6 8080
  bg d30-cart victim tcpc 2600:1f14:30:f2::6 8080 --every .3; bg d30-cart healthy-pod tcpc 2600:1f14:30:f3::7 8080 --every .5; bg $NODE healthy-node tcpc 2600:1f14:30:2::10 10250 --every .5
}
prove() {
  P "x $NODE ip -6 route get 2600:1f14:30:f2::6 from 2600:1f14:30:f1::5 iif enicart"; S $NODE ens5 --timeout 4 --n 4 --grep f2::6; S d30-ip6-node2 ens5 --timeout 3 --n 3 --grep f2::6; P x d30-vpc nft list table ip6 sg
}
main "${1:-}"
