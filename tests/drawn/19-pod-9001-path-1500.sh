#!/bin/bash
# amazon-vpc-cni#356
N=19; . "$(dirname "$0")/lib.sh"; NODE=d19-ip-10-3-4-5
build() {
  ns $NODE d19-vgw d19-partner d19-s3; fwd $NODE d19-vgw; v $NODE eth0 d19-vgw vpc 9001; v d19-vgw vpn d19-partner eth0 1500; v d19-vgw s3 d19-s3 eth0 9001
  a $NODE eth0 10.3.4.5/22; a d19-vgw vpc 10.3.4.1/22; a d19-vgw vpn 192.168.250.1/24; a d19-partner eth0 192.168.250.20/24; a d19-vgw s3 52.216.9.1/24; a d19-s3 eth0 52.216.9.9/24
  ip -n d19-partner link set eth0 mtu 9001; ip -n d19-s3 route add default via 52.216.9.1; r d19-partner default via 192.168.250.1; r $NODE default via 10.3.4.1
  podr $NODE d19-edi enia1 10.3.4.101 9001; podr $NODE d19-backup enia2 10.3.4.102 9001; podr $NODE d19-poll enia3 10.3.4.103 9001
  x $NODE iptables -t nat -A POSTROUTING -s 10.3.4.96/27 ! -d 10.3.0.0/16 -m comment --comment "AWS, SNAT" -j SNAT --to-source 10.3.4.5
  bg d19-partner partner tcpd 0.0.0.0 8443; bg d19-s3 s3 tcpd 0.0.0.0 443
  ok d19-edi tcpc 192.168.250.20 8443 --put 60000; ok d19-backup tcpc 52.216.9.9 443 --put 60000
}
fault() {
  nf d19-vgw <<'R'
table ip noicmp {
  chain o { type filter hook output priority 0; icmp type destination-unreachable counter drop; }
}
R
  x $NODE ip route flush cache; ip -n d19-edi route flush cache; no d19-edi tcpc 192.168.250.20 8443 --put 60000
  bg d19-edi victim tcpc 192.168.250.20 8443 --put 60000 --every .3 --timeout 3.5; sleep 1.7; bg d19-edi victim2 tcpc 192.168.250.20 8443 --put 60000 --every .3 --timeout 3.5; bg d19-backup healthy-large tcpc 52.216.9.9 443 --put 60000 --every .6; bg d19-poll healthy-small tcpc 192.168.250.20 8443 --every .6
}
prove() {
  P "x d19-edi ip link show eth0; x $NODE ip link show eth0; x d19-vgw ip link show vpn"
  P "x d19-edi ss -tino"
  S $NODE eth0 --timeout 5 --n 12 --grep 192.168.250.20; P x d19-vgw nft list table ip noicmp
}
main "${1:-}"
