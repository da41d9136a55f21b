#!/bin/bash
# microk8s#1511
N=15; . "$(dirname "$0")/lib.sh"; NODE=d15-mk8s-a
vx() { ip -n $1 link del vxlan.calico 2>/dev/null; ip -n $1 link add vxlan.calico address $3 mtu 1410 type vxlan id 4096 local $2 dstport 4789 nolearning || die vxlan; a $1 vxlan.calico $4/32; ip -n $1 link set vxlan.calico up
  r $1 $5 via $6 dev vxlan.calico onlink; ip -n $1 neigh replace $6 lladdr $7 dev vxlan.calico nud permanent; ip netns exec $1 bridge fdb replace $7 dev vxlan.calico dst $8; }
build() {
  ns $NODE d15-mk8s-b d15-gw d15-lan; fwd $NODE d15-mk8s-b d15-gw
  br d15-lan sw; for p in "$NODE 10.7.0.21" "d15-mk8s-b 10.7.0.22" "d15-gw 10.7.0.1"; do set -- $p; v $1 enp1s0 d15-lan s-${1#d15-}; ip -n d15-lan link set s-${1#d15-} master sw; a $1 enp1s0 $2/22; done
  r $NODE default via 10.7.0.1; r d15-mk8s-b default via 10.7.0.1; r d15-gw blackhole 10.0.0.0/8
  br $NODE lxdbr0 10.154.148.1/24; ns d15-lxc; v $NODE vethlxc d15-lxc eth0; ip -n $NODE link set vethlxc master lxdbr0; a d15-lxc eth0 10.154.148.61/24
  vx $NODE 10.7.0.21 66:57:ed:b9:00:0a 10.1.17.64 10.1.99.64/26 10.1.99.64 66:57:ed:b9:00:0b 10.7.0.22
  vx d15-mk8s-b 10.7.0.22 66:57:ed:b9:00:0b 10.1.99.64 10.1.17.64/26 10.1.17.64 66:57:ed:b9:00:0a 10.7.0.21
  podr $NODE d15-web cali90e 10.1.17.70 1410; podr $NODE d15-api cali90f 10.1.17.71 1410; podr d15-mk8s-b d15-redis cali5af 10.1.99.80 1410
  bg d15-redis redis tcpd 0.0.0.0 6379; bg d15-api api tcpd 0.0.0.0 8000; bg d15-mk8s-b kubelet tcpd 0.0.0.0 10250
  ok d15-web tcpc 10.1.99.80 6379; ok d15-web tcpc 10.1.17.71 8000; ok $NODE tcpc 10.7.0.22 10250
}
fault() {
  vx $NODE 10.154.148.1 66:57:ed:b9:00:0a 10.1.17.64 10.1.99.64/26 10.1.99.64 66:57:ed:b9:00:0b 10.7.0.22
  ip netns exec d15-mk8s-b bridge fdb replace 66:57:ed:b9:00:0a dev vxlan.calico dst 10.154.148.1
  no d15-web tcpc 10.1.99.80 6379
  bg d15-web victim tcpc 10.1.99.80 6379 --every .3; bg d15-web healthy tcpc 10.1.17.71 8000 --every .5; bg $NODE healthy-host tcpc 10.7.0.22 10250 --every .7
}
prove() {
  P "x $NODE ip -d link show vxlan.calico; x $NODE ip -br addr; x $NODE ip route get 10.7.0.22"
  P "ip netns exec d15-mk8s-b bridge fdb show dev vxlan.calico; x d15-mk8s-b ip route get 10.154.148.1"
  S $NODE enp1s0 --timeout 4 --n 6 --grep vni; S d15-mk8s-b enp1s0 --timeout 5 --n 6 --grep vni; S d15-gw enp1s0 --timeout 5 --n 3 --grep vni
}
main "${1:-}"
