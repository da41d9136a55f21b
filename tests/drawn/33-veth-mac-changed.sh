#!/bin/bash
# amazon-eks-ami#2222 (and Flatcar#278): udev gave the node's veth another MAC; the pod has a permanent entry with the old one
N=33; . "$(dirname "$0")/lib.sh"; NODE=d33-al2023
build() {
  ns $NODE d33-vpc d33-eksapi; fwd $NODE d33-vpc; v $NODE ens5 d33-vpc q0 9001; v d33-vpc q1 d33-eksapi eth0; a $NODE ens5 10.80.4.10/22; a d33-vpc q0 10.80.4.1/22; a d33-vpc q1 10.80.0.1/24; a d33-eksapi eth0 10.80.0.222/24; r $NODE default via 10.80.4.1; r d33-eksapi default via 10.80.0.1
  for p in "coredns 41" "argocd 42" "loki 43"; do set -- $p; podr $NODE d33-$1 eni4bd1$2 10.80.4.1$2 9001; r d33-vpc 10.80.4.1$2/32 via 10.80.4.10; sc $NODE net.ipv4.conf.eni4bd1$2.proxy_arp=0; done
  x $NODE iptables -t nat -A PREROUTING -d 172.20.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j DNAT --to-destination 10.80.0.222:443
  bg d33-eksapi api tcpd 0.0.0.0 443; for p in coredns argocd loki; do ok d33-$p tcpc 172.20.0.1 443; done
}
fault() {
  ip -n $NODE link set eni4bd142 address 0e:33:4a:64:18:29; no d33-argocd tcpc 172.20.0.1 443
  bg d33-argocd victim tcpc 172.20.0.1 443 --every .3; bg d33-coredns healthy1 tcpc 172.20.0.1 443 --every .5; bg d33-loki healthy2 tcpc 172.20.0.1 443 --every .5
}
prove() {
  P "x d33-argocd ip neigh; x $NODE ip link show eni4bd142; x d33-coredns ip neigh; x $NODE ip link show eni4bd141"
  S $NODE eni4bd142 --timeout 4 --n 4; S $NODE ens5 --timeout 2 --n 4 --grep 10.80.4.142; P "x $NODE ip -s link show eni4bd142"
}
main "${1:-}"
