#!/bin/bash
# kubernetes#97125: two keepalived instances with one virtual router id
N=29; . "$(dirname "$0")/lib.sh"; NODE=d29-lb-1
build() {
  ns $NODE d29-lb-other d29-sw d29-admin; br d29-sw sw; for p in "$NODE 21" "d29-lb-other 41" "d29-admin 90"; do set -- $p; v $1 eth0 d29-sw w$2; ip -n d29-sw link set w$2 master sw; a $1 eth0 10.77.0.$2/24; done
  fwd $NODE; podr $NODE d29-coredns cali29a 10.200.3.7; podr $NODE d29-kubectl cali29b 10.200.3.8; bg d29-coredns dns udpd 0.0.0.0 53; ok d29-kubectl udpc 10.200.3.7 53
  a $NODE eth0 10.77.0.100/32; bg $NODE api1 tcpd 0.0.0.0 6443; bg d29-lb-other api2 tcpd 0.0.0.0 6443; bg $NODE keepalived vrrp eth0 51 --src 10.77.0.100 --n 150
  ok d29-admin tcpc 10.77.0.100 6443 --idle 2; ok d29-admin tcpc 10.77.0.21 6443
}
fault() {
  a d29-lb-other eth0 10.77.0.100/32; sleep .5; bg d29-lb-other keepalived2 vrrp eth0 51 --src 10.77.0.100 --n 100; sleep 1.5
  bg d29-admin victim tcpc 10.77.0.100 6443 --keep --every .3; bg d29-admin healthy tcpc 10.77.0.21 6443 --keep --every .3; bg d29-kubectl healthy-pod-dns udpc 10.200.3.7 53 --every .5; bg d29-kubectl healthy-pod-api tcpc 10.77.0.21 6443 --every .5; sleep 6; grep -q reset $RUN/victim.log || die "no reset"
}
prove() {
  S $NODE eth0 --timeout 5 --n 14 --grep "'ARP|proto 112'"; S d29-admin eth0 --timeout 4 --n 16 --grep 10.77.0.100
  P "x d29-admin ip neigh; sleep .6; x d29-admin ip neigh; x d29-lb-other ip -br addr; x $NODE ip -br addr"
}
main "${1:-}"
