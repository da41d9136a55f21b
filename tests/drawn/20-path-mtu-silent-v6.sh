#!/bin/bash
# ocm#1314 (page: a smaller MTU on the path, frag-needed absent), IPv6, answers of a pod's server
N=20; . "$(dirname "$0")/lib.sh"; NODE=d20-spoke-1
build() {
  ns $NODE d20-fw d20-hub d20-near; fwd $NODE d20-fw; v $NODE bond0 d20-fw in; v d20-fw tun d20-hub eth0; v d20-fw dmz d20-near eth0
  a $NODE bond0 2001:db8:20::5/64; a d20-fw in 2001:db8:20::1/64; a d20-fw tun 2001:db8:21::1/64; a d20-hub eth0 2001:db8:21::9/64; a d20-fw dmz 2001:db8:22::1/64; a d20-near eth0 2001:db8:22::9/64
  ip -n d20-fw link set tun mtu 1380
  r $NODE default via 2001:db8:20::1; r d20-hub default via 2001:db8:21::1; r d20-near default via 2001:db8:22::1; r d20-fw 2001:db8:2000::/56 via 2001:db8:20::5
  podr $NODE d20-registry lxc1f 2001:db8:2000:1::f; podr $NODE d20-agent lxc20 2001:db8:2000:1::20
  bg d20-registry registry tcpd :: 5000; bg d20-agent agent tcpd :: 8080; ok d20-hub tcpc 2001:db8:2000:1::f 5000 --get 40000; ok d20-near tcpc 2001:db8:2000:1::f 5000 --get 40000
}
fault() {
  nf d20-fw <<'R'
table ip6 quiet {
  chain o { type filter hook output priority 0; icmpv6 type packet-too-big counter drop; }
}
R
  ip -n d20-registry -6 route flush cache; no d20-hub tcpc 2001:db8:2000:1::f 5000 --get 40000
  bg d20-hub victim tcpc 2001:db8:2000:1::f 5000 --get 40000 --every .3 --timeout 3.5; sleep 1.7; bg d20-hub victim2 tcpc 2001:db8:2000:1::f 5000 --get 40000 --every .3 --timeout 3.5; bg d20-hub healthy-small tcpc 2001:db8:2000:1::20 8080 --every .5; bg d20-near healthy-large tcpc 2001:db8:2000:1::f 5000 --get 40000 --every .5
}
prove() {
  P "x d20-registry ip link show eth0; x d20-fw ip link show tun; x d20-registry ip -6 route get 2001:db8:21::9"
  P "x d20-registry ss -tino dst \[2001:db8:21::9\]"
  S $NODE bond0 --timeout 5 --n 14 --grep 21::9; P x d20-fw nft list table ip6 quiet
}
main "${1:-}"
