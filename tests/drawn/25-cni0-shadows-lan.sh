#!/bin/bash
# k3s#4627: the NIC's network is 10.42.0.0/16, as the cluster's
N=25; . "$(dirname "$0")/lib.sh"; NODE=d25-k3s-home
build() {
  ns $NODE d25-sw d25-nas d25-inet; fwd $NODE d25-sw; br d25-sw lan 10.42.255.254/16; v $NODE eth0 d25-sw q1; v d25-nas eth0 d25-sw q2; ip -n d25-sw link set q1 master lan; ip -n d25-sw link set q2 master lan; v d25-sw wan d25-inet eth0; a d25-sw wan 198.18.0.1/24; a d25-inet eth0 198.18.0.7/24
  a $NODE eth0 10.42.0.15/16; a d25-nas eth0 10.42.0.200/16; r $NODE default via 10.42.255.254; r d25-inet default via 198.18.0.1
  bg d25-nas nas tcpd 0.0.0.0 445; bg d25-inet inet tcpd 0.0.0.0 80; ok $NODE tcpc 10.42.0.200 445
}
fault() {
  br $NODE cni0 10.42.0.1/24; sc $NODE net.bridge.bridge-nf-call-iptables=1
  podb $NODE cni0 d25-plex veth10 10.42.0.8/24 10.42.0.1; podb $NODE cni0 d25-db veth11 10.42.0.9/24 10.42.0.1
  x $NODE iptables -t nat -A POSTROUTING -s 10.42.0.0/16 ! -d 10.42.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE
  bg d25-db db tcpd 0.0.0.0 5432; ok d25-plex tcpc 10.42.0.9 5432; ok d25-plex tcpc 198.18.0.7 80
  no $NODE tcpc 10.42.0.200 445; no d25-plex tcpc 10.42.0.200 445
  bg $NODE victim-node tcpc 10.42.0.200 445 --every .5 --timeout 4; bg d25-plex victim-pod tcpc 10.42.0.200 445 --every .3 --timeout 4; bg d25-plex healthy-db tcpc 10.42.0.9 5432 --every .5; bg d25-plex healthy-out tcpc 198.18.0.7 80 --every .5
}
prove() {
  P "x $NODE ip route; x $NODE ip route get 10.42.0.200; x $NODE ip neigh"
  S $NODE cni0 --timeout 4 --n 6 --grep "'ARP|445'"; S $NODE eth0 --timeout 3 --n 3 --grep "10.42.0.200"
}
main "${1:-}"
