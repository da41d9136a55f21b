#!/bin/bash
# moby#31208
N=03; . "$(dirname "$0")/lib.sh"; NODE=d03-mgr
build() {
  ns $NODE d03-wrk; v $NODE eth0 d03-wrk eth0; a $NODE eth0 172.31.9.11/20; a d03-wrk eth0 172.31.9.12/20
  for p in "$NODE 172.31.9.11 172.31.9.12" "d03-wrk 172.31.9.12 172.31.9.11"; do set -- $p
    ip -n $1 link add vxlan1 mtu 1450 type vxlan id 4097 local $2 dstport 4789 || die vxlan; br $1 br0; ip -n $1 link set vxlan1 master br0 up; ip netns exec $1 bridge fdb append 00:00:00:00:00:00 dev vxlan1 dst $3; done
  podb $NODE br0 d03-web veth0 10.0.5.6/24 - 1450; podb $NODE br0 d03-cron veth1 10.0.5.8/24 - 1450; podb d03-wrk br0 d03-api veth0 10.0.5.7/24 - 1450
  nf d03-web <<'R'
table ip lb {
  chain out { type nat hook output priority -100; ip daddr 10.0.5.20 counter dnat to 10.0.5.7; }
}
R
  bg d03-api server tcpd 10.0.5.7 4000
  ok d03-web tcpc 10.0.5.20 4000 --idle 1; ok d03-cron tcpc 10.0.5.7 4000
}
fault() {
  sc d03-web net.netfilter.nf_conntrack_tcp_timeout_established=3 net.netfilter.nf_conntrack_tcp_loose=0
  no d03-web tcpc 10.0.5.20 4000 --idle 5
  for i in 1 2 3; do bg d03-web victim$i tcpc 10.0.5.20 4000 --idle 4.5 --every .$i --timeout 6; sleep 1.5; done
  bg d03-cron healthy tcpc 10.0.5.7 4000 --every .5
  for i in $(seq 30); do grep -q FAIL $RUN/victim1.log && break; sleep .5; done; grep -q FAIL $RUN/victim1.log || die "no failure"
}
prove() {
  P "x d03-web conntrack -L -p tcp"
  P "x d03-web ss -tno | head; x d03-web ip neigh"
  S $NODE veth0 --timeout 12 --n 12 --grep "'ARP|10.0.5.20'"
  S $NODE vxlan1 --timeout 6 --n 6 --grep 10.0.5.20
  P "x d03-wrk ip -br addr; x d03-api ip -br addr"
}
main "${1:-}"
