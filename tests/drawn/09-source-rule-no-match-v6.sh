#!/bin/bash
# cilium#12895 (page: asymmetric return; a rule "from X" that does not match), IPv6
N=09; . "$(dirname "$0")/lib.sh"; NODE=d09-k8s-3
build() {
  ns $NODE d09-leaf d09-ext; fwd $NODE d09-leaf
  v $NODE ens18 d09-leaf e1; v $NODE ens19 d09-leaf e2; v d09-ext eth0 d09-leaf e3
  a $NODE ens18 2001:db8:a::3/64; a $NODE ens19 2001:db8:b::3/64; a d09-leaf e1 2001:db8:a::1/64; a d09-leaf e2 2001:db8:b::1/64; a d09-leaf e3 2001:db8:e::1/64; a d09-ext eth0 2001:db8:e::99/64
  r $NODE default via 2001:db8:a::1; r d09-ext default via 2001:db8:e::1; r d09-leaf 2001:db8:b5::/64 via 2001:db8:b::3; r d09-leaf 2001:db8:a5::/64 via 2001:db8:a::3
  ip -n $NODE -6 route add default via 2001:db8:b::1 table 19; ip -n $NODE -6 rule add from 2001:db8:b5::/64 lookup 19 prio 100
  podr $NODE d09-lb lxc0b5 2001:db8:b5::5; podr $NODE d09-app lxc0a5 2001:db8:a5::7
  nf d09-leaf <<'R'
table inet urpf {
  chain p { type filter hook prerouting priority -300; iifname { "e1", "e2" } ip6 saddr != fe80::/10 fib saddr . iif oif missing counter drop; }
}
R
  bg d09-lb server tcpd :: 8080; bg d09-app server2 tcpd :: 8080
  ok d09-ext tcpc 2001:db8:b5::5 8080; ok d09-ext tcpc 2001:db8:a5::7 8080
}
fault() {
  ip -n $NODE -6 rule del from 2001:db8:b5::/64 lookup 19; ip -n $NODE -6 rule add from 2001:db8:b::/64 lookup 19 prio 100
  no d09-ext tcpc 2001:db8:b5::5 8080
  bg d09-ext victim tcpc 2001:db8:b5::5 8080 --every .2; bg d09-ext healthy tcpc 2001:db8:a5::7 8080 --every .5
}
prove() {
  P "x $NODE ip -6 rule; x $NODE ip -6 route show table 19; x $NODE ip -6 route get 2001:db8:e::99 from 2001:db8:b5::5 iif lxc0b5"
  S $NODE ens19 --timeout 4 --n 6 --grep b5::5; S $NODE ens18 --timeout 4 --n 6 --grep b5::5
  P x d09-leaf nft list table inet urpf
}
main "${1:-}"
