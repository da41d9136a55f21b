#!/bin/bash
# joshdow.ca (asymmetric return of a node with two uplinks)
N=08; . "$(dirname "$0")/lib.sh"; NODE=d08-rig
build() {
  ns $NODE d08-core d08-client; fwd $NODE d08-core
  v $NODE eth0 d08-core lan1; v $NODE eth1 d08-core lan2; v d08-client eth0 d08-core users
  a $NODE eth0 10.1.0.10/24; a $NODE eth1 10.2.0.10/24; a d08-core lan1 10.1.0.1/24; a d08-core lan2 10.2.0.1/24; a d08-core users 10.9.0.1/24; a d08-client eth0 10.9.0.5/24
  r $NODE default via 10.1.0.1; r d08-client default via 10.9.0.1; r $NODE default via 10.2.0.1 table 200; ip -n $NODE rule add from 10.2.0.10 lookup 200 prio 1000
  urpf d08-core lan1 10.1.0.0/24 lan2 10.2.0.0/24
  br $NODE cni0 10.244.0.1/24; podb $NODE cni0 d08-grafana veth77 10.244.0.15/24 10.244.0.1
  x $NODE iptables -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE
  bg $NODE ingress tcpd 0.0.0.0 443; bg d08-client web tcpd 0.0.0.0 80
  ok d08-client tcpc 10.2.0.10 443; ok d08-client tcpc 10.1.0.10 443; ok d08-grafana tcpc 10.9.0.5 80
}
fault() {
  ip -n $NODE rule del from 10.2.0.10 lookup 200; no d08-client tcpc 10.2.0.10 443
  bg d08-client victim tcpc 10.2.0.10 443 --every .3; bg d08-client healthy-eth0 tcpc 10.1.0.10 443 --every .6; bg d08-grafana healthy-pod tcpc 10.9.0.5 80 --every .6
}
prove() {
  P "x $NODE ip rule; x $NODE ip route; x $NODE ip route get 10.9.0.5 from 10.2.0.10"
  S $NODE eth1 --timeout 4 --n 6 --grep TCP; S $NODE eth0 --timeout 4 --n 8 --grep 10.2.0.10
  P "x d08-core nft list table ip srccheck; x $NODE nstat -az TcpExtIPReversePathFilter"
}
main "${1:-}"
