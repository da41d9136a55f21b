#!/bin/bash
# calico#6910: the other node announced 10.96.0.10 (its nodelocaldns), an address that this node has too
N=16; . "$(dirname "$0")/lib.sh"; NODE=d16-rzc2q
build() {
  ns $NODE d16-vgs4z; fwd $NODE d16-vgs4z; v $NODE ens5 d16-vgs4z ens5 9001; a $NODE ens5 10.215.102.39/16; a d16-vgs4z ens5 10.215.101.177/16
  for p in "$NODE 10.215.102.39 1 2 10.215.101.177" "d16-vgs4z 10.215.101.177 2 1 10.215.102.39"; do set -- $p
    br $1 nodelocaldns 10.96.0.10/32 169.254.20.10/32
    ip -n $1 link add vxlan.calico address 66:0e:11:00:00:0$3 mtu 8951 type vxlan id 4096 local $2 dstport 4789 nolearning || die vxlan
    a $1 vxlan.calico 10.50.$3.0/32; ip -n $1 link set vxlan.calico up; r $1 10.50.$4.0/26 via 10.50.$4.0 dev vxlan.calico onlink
    ip -n $1 neigh add 10.50.$4.0 lladdr 66:0e:11:00:00:0$4 dev vxlan.calico nud permanent; ip netns exec $1 bridge fdb add 66:0e:11:00:00:0$4 dev vxlan.calico dst $5; done
  podr $NODE d16-front cali16a 10.50.1.5 8951; podr $NODE d16-dnsclient cali16b 10.50.1.6 8951; podr d16-vgs4z d16-back cali16c 10.50.2.7 8951
  bg d16-back back tcpd 0.0.0.0 8443; bg $NODE nodelocal udpd 10.96.0.10 53
  ok d16-front tcpc 10.50.2.7 8443; ok d16-dnsclient udpc 10.96.0.10 53
}
fault() {
  ip netns exec $NODE bridge fdb replace 66:0e:11:00:00:02 dev vxlan.calico dst 10.96.0.10
  ip -n d16-vgs4z link set vxlan.calico type vxlan local 10.96.0.10 2>/dev/null
  no d16-front tcpc 10.50.2.7 8443
  bg d16-front victim tcpc 10.50.2.7 8443 --every .3; bg d16-dnsclient healthy udpc 10.96.0.10 53 --every .5
}
prove() {
  P "ip netns exec $NODE bridge fdb show dev vxlan.calico; x $NODE ip route get 10.96.0.10; x $NODE ip -br addr"
  S $NODE vxlan.calico --timeout 4 --n 6 --grep 10.50.2.7; S $NODE ens5 --timeout 3 --n 4 --grep UDP; S $NODE cali16a --timeout 4 --n 4 --grep TCP
  P "x $NODE ip -s link show vxlan.calico; x $NODE nstat -az UdpInDatagrams UdpNoPorts"
}
main "${1:-}"
