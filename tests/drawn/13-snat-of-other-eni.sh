#!/bin/bash
# amazon-vpc-cni#107 (page: source of another link's subnet; as #2025)
N=13; . "$(dirname "$0")/lib.sh"; NODE=d13-ip-10-11-0-20
build() {
  ns $NODE d13-vpc d13-inet; fwd $NODE d13-vpc
  v $NODE eth0 d13-vpc eni-a 9001; v $NODE eth1 d13-vpc eni-b 9001; v d13-vpc igw d13-inet eth0
  a $NODE eth0 10.11.0.20/20; a $NODE eth1 10.11.16.20/20; a d13-vpc eni-a 10.11.0.1/20; a d13-vpc eni-b 10.11.16.1/20; a d13-vpc igw 198.51.100.1/24; a d13-inet eth0 198.51.100.80/24
  r d13-inet 10.11.0.0/16 via 198.51.100.1; r $NODE default via 10.11.0.1; r $NODE default via 10.11.16.1 table 2; r $NODE 10.11.16.1 dev eth1 table 2
  urpf d13-vpc eni-a 10.11.0.0/20 eni-b 10.11.16.0/20
  podr $NODE d13-pay eni7aa 10.11.0.101 9001; podr $NODE d13-mail eni7bb 10.11.16.102 9001; r d13-vpc 10.11.0.101/32 via 10.11.0.20; r d13-vpc 10.11.16.102/32 via 10.11.16.20
  ip -n $NODE rule add to 10.11.0.101 lookup main prio 512; ip -n $NODE rule add to 10.11.16.102 lookup main prio 512; ip -n $NODE rule add from 10.11.16.102 to 10.11.0.0/16 lookup 2 prio 1536
  x $NODE iptables -t nat -N AWS-SNAT-CHAIN-0; x $NODE iptables -t nat -A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
  x $NODE iptables -t nat -A AWS-SNAT-CHAIN-0 ! -d 10.11.0.0/16 -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 10.11.0.20
  bg d13-inet web tcpd 0.0.0.0 25
  ok d13-mail tcpc 198.51.100.80 25; ok d13-pay tcpc 198.51.100.80 25
}
fault() {
  ip -n $NODE rule del prio 1536; ip -n $NODE rule add from 10.11.16.102 lookup 2 prio 1536
  no d13-mail tcpc 198.51.100.80 25
  bg d13-mail victim tcpc 198.51.100.80 25 --every .3; bg d13-pay healthy tcpc 198.51.100.80 25 --every .5
}
prove() {
  P "x $NODE ip rule; x $NODE ip route show table 2; x $NODE ip route get 198.51.100.80 from 10.11.16.102 iif eni7bb"
  P x $NODE iptables -t nat -nvL AWS-SNAT-CHAIN-0
  P x $NODE conntrack -L -s 10.11.16.102
  S $NODE eth1 --timeout 5 --n 4 --grep TCP
  P x d13-vpc nft list table ip srccheck
}
main "${1:-}"
