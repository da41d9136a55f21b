#!/bin/bash
# multus#1400 (two links in a pod, answers leave by the other one)
N=11; . "$(dirname "$0")/lib.sh"; NODE=d11-telco-1
build() {
  ns $NODE d11-mgmt d11-ran d11-ue; fwd $NODE d11-mgmt d11-ran
  v $NODE eno1 d11-mgmt ge0; v $NODE eno2 d11-ran xe0; v d11-ue eth0 d11-ran xe1; v d11-mgmt core0 d11-ran core0
  a $NODE eno1 10.60.1.21/24; a d11-mgmt ge0 10.60.1.1/24; a d11-ran xe0 172.20.30.1/24; a d11-ran xe1 172.20.99.1/24; a d11-ue eth0 172.20.99.40/24; a d11-mgmt core0 10.255.0.1/30; a d11-ran core0 10.255.0.2/30
  r $NODE default via 10.60.1.1; r d11-ue default via 172.20.99.1; r d11-mgmt 172.20.0.0/16 via 10.255.0.2; r d11-ran 10.60.1.0/24 via 10.255.0.1; urpf d11-mgmt ge0 10.60.1.0/24
  br $NODE cni0 10.85.0.1/16; br $NODE br-ext; ip -n $NODE link set eno2 master br-ext; sc $NODE net.bridge.bridge-nf-call-iptables=0
  podb $NODE cni0 d11-sip vetha0 10.85.0.9/16 10.85.0.1; v $NODE vethnet1 d11-sip net1; ip -n $NODE link set vethnet1 master br-ext; a d11-sip net1 172.20.30.50/24
  podb $NODE cni0 d11-prom vetha1 10.85.0.10/16 10.85.0.1
  x $NODE iptables -t nat -A POSTROUTING -s 10.85.0.0/16 ! -d 10.85.0.0/16 -m comment --comment "cni masquerade" -j MASQUERADE
  r d11-sip default via 172.20.30.1 table 30; ip -n d11-sip rule add from 172.20.30.50 lookup 30
  bg d11-sip server tcpd 0.0.0.0 5060; bg d11-ue uesrv tcpd 0.0.0.0 9100
  ok d11-ue tcpc 172.20.30.50 5060; ok d11-prom tcpc 172.20.99.40 9100
}
fault() {
  ip -n d11-sip rule del from 172.20.30.50 lookup 30; ip -n d11-sip route flush table 30
  no d11-ue tcpc 172.20.30.50 5060
  bg d11-ue victim tcpc 172.20.30.50 5060 --every .3 --timeout 3; bg d11-prom healthy tcpc 172.20.99.40 9100 --every .5
}
prove() {
  P "x d11-sip ip -br addr; x d11-sip ip route; x d11-sip ip rule; x d11-sip ip route get 172.20.99.40 from 172.20.30.50"
  S $NODE vethnet1 --timeout 4 --n 4 --grep TCP; S $NODE vetha0 --timeout 4 --n 4 --grep TCP; S $NODE eno1 --timeout 4 --n 4 --grep 172.20.30.50
  P "x $NODE conntrack -S; x d11-mgmt nft list table ip srccheck"
}
main "${1:-}"
