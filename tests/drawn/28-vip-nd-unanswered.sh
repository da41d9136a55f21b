#!/bin/bash
# metallb#2414 (page: neighbour solicitations for a LoadBalancer address that no node answers), IPv6
N=28; . "$(dirname "$0")/lib.sh"; NODE=d28-rke-a
build() {
  ns $NODE d28-tor d28-user; fwd $NODE d28-tor; v $NODE bond0 d28-tor down1; v d28-user eth0 d28-tor down2
  a $NODE bond0 2001:db8:7::a/64; a d28-tor down1 2001:db8:7::1/64; a d28-tor down2 2001:db8:9::1/64; a d28-user eth0 2001:db8:9::33/64; r $NODE default via 2001:db8:7::1; r d28-user default via 2001:db8:9::1
  podr $NODE d28-web caliw 2001:db8:7a::10; podr $NODE d28-api calia 2001:db8:7a::11
  nf $NODE <<'R'
table ip6 lb {
  chain pre { type nat hook prerouting priority dstnat; ip6 daddr 2001:db8:7::240 tcp dport 80 counter dnat to [2001:db8:7a::10]:8080; ip6 daddr 2001:db8:7::a tcp dport 30080 counter dnat to [2001:db8:7a::11]:8080; }
}
R
  sc $NODE net.ipv6.conf.bond0.proxy_ndp=1; ip -n $NODE -6 neigh add proxy 2001:db8:7::240 dev bond0
  bg d28-web web tcpd :: 8080; bg d28-api api tcpd :: 8080; ok d28-user tcpc 2001:db8:7::240 80; ok d28-user tcpc 2001:db8:7::a 30080
}
fault() {
  ip -n $NODE -6 neigh del proxy 2001:db8:7::240 dev bond0; sc $NODE net.ipv6.conf.bond0.proxy_ndp=0; ip -n d28-tor -6 neigh flush dev down1; no d28-user tcpc 2001:db8:7::240 80
  bg d28-user victim tcpc 2001:db8:7::240 80 --every .3 --timeout 4; bg d28-user healthy tcpc 2001:db8:7::a 30080 --every .5
}
prove() {
  S $NODE bond0 --timeout 5 --n 6 --grep "7::240"; P "x d28-tor ip -6 neigh; x $NODE ip -6 addr show bond0; x $NODE ip -6 neigh show proxy"; P x $NODE nft list table ip6 lb
}
main "${1:-}"
