#!/bin/bash
# moby#30972 (swarm; page: the overlay uses an interface that does not carry it)
N=18; . "$(dirname "$0")/lib.sh"; NODE=d18-sw-mgr1
vx() { ip -n $1 link del vx-001002-ov 2>/dev/null; ip -n $1 link add vx-001002-ov mtu 1450 type vxlan id 4098 local $2 dstport 4789 || die vxlan; ip -n $1 link set vx-001002-ov master ov-001002 up; ip netns exec $1 bridge fdb append 00:00:00:00:00:00 dev vx-001002-ov dst $3; }
build() {
  ns $NODE d18-sw-wrk1 d18-isp; fwd $NODE d18-sw-wrk1 d18-isp
  v $NODE eth0 d18-isp c1; v d18-sw-wrk1 eth0 d18-isp c2; v $NODE eth1 d18-sw-wrk1 eth1
  a $NODE eth0 203.0.113.10/28; a d18-isp c1 203.0.113.1/28; a d18-sw-wrk1 eth0 203.0.113.70/28; a d18-isp c2 203.0.113.65/28; a $NODE eth1 192.168.100.10/24; a d18-sw-wrk1 eth1 192.168.100.11/24
  r $NODE default via 203.0.113.1; r d18-sw-wrk1 default via 203.0.113.65
  nf d18-isp <<'R'
table ip acl {
  chain f { type filter hook forward priority 0; udp dport 4789 counter drop; }
}
R
  br $NODE ov-001002; br d18-sw-wrk1 ov-001002; vx $NODE 192.168.100.10 192.168.100.11; vx d18-sw-wrk1 192.168.100.11 192.168.100.10
  podb $NODE ov-001002 d18-traefik veth1c 10.0.9.3/24 - 1450; podb $NODE ov-001002 d18-whoami veth1d 10.0.9.4/24 - 1450; podb d18-sw-wrk1 ov-001002 d18-app veth1e 10.0.9.8/24 - 1450
  bg d18-app app tcpd 0.0.0.0 8000; bg d18-whoami whoami tcpd 0.0.0.0 80; bg d18-sw-wrk1 raft tcpd 0.0.0.0 2377
  ok d18-traefik tcpc 10.0.9.8 8000; ok d18-traefik tcpc 10.0.9.4 80; ok $NODE tcpc 203.0.113.70 2377; ok $NODE tcpc 192.168.100.11 2377
}
fault() {
  vx $NODE 203.0.113.10 203.0.113.70; vx d18-sw-wrk1 203.0.113.70 203.0.113.10; ip -n d18-traefik neigh flush dev eth0; sleep .5
  no d18-traefik tcpc 10.0.9.8 8000
  bg d18-traefik victim tcpc 10.0.9.8 8000 --every .3 --timeout 4; bg d18-traefik healthy tcpc 10.0.9.4 80 --every .5; bg $NODE healthy-raft-public tcpc 203.0.113.70 2377 --every .7; bg $NODE healthy-raft-private tcpc 192.168.100.11 2377 --every .7
}
prove() {
  P "x $NODE ip -d link show vx-001002-ov; ip netns exec $NODE bridge fdb show dev vx-001002-ov; x $NODE ip route"
  S $NODE eth0 --timeout 5 --n 5 --grep vni; S d18-sw-wrk1 eth0 --timeout 4 --n 3 --grep vni
  P x d18-isp nft list table ip acl
}
main "${1:-}"
