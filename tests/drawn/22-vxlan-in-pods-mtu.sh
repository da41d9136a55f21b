#!/bin/bash
# pod-gateway#33: vxlan0 within the pods has MTU 1450, the VPN in the gateway pod less
N=22; . "$(dirname "$0")/lib.sh"; NODE=d22-home-01
build() {
  ns $NODE; fwd $NODE; br $NODE cbr0 10.244.2.1/24
  podb $NODE cbr0 d22-gateway vethgw 10.244.2.9/24 10.244.2.1; podb $NODE cbr0 d22-qbt vethqb 10.244.2.10/24 -; podb $NODE cbr0 d22-sonarr vethso 10.244.2.11/24 10.244.2.1
  ns d22-vpn; v d22-gateway wg0 d22-vpn wg0 1320; a d22-gateway wg0 10.66.5.2/24; a d22-vpn wg0 10.66.5.1/24; ns d22-www; v d22-vpn wan d22-www eth0; a d22-vpn wan 198.51.100.1/24; a d22-www eth0 198.51.100.20/24; r d22-www default via 198.51.100.1; fwd d22-gateway d22-vpn
  ip -n d22-gateway link add vxlan0 type vxlan id 42 dstport 4789 dev eth0; ip -n d22-qbt link add vxlan0 type vxlan id 42 dstport 4789 dev eth0 remote 10.244.2.9
  a d22-gateway vxlan0 172.16.0.1/24; a d22-qbt vxlan0 172.16.0.50/24; ip -n d22-gateway link set vxlan0 up mtu 1270; ip -n d22-qbt link set vxlan0 up mtu 1270
  ip netns exec d22-gateway bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 10.244.2.10
  r d22-qbt default via 172.16.0.1; r d22-qbt 10.244.0.0/16 via 10.244.2.1; r d22-gateway 198.51.100.0/24 via 10.66.5.1
  nf d22-gateway <<'R'
table ip gw {
  chain post { type nat hook postrouting priority srcnat; oifname "wg0" masquerade; }
  chain forw { type filter hook forward priority 0; policy drop; iifname "vxlan0" oifname "wg0" accept; iifname "wg0" ct state established,related accept; }
  chain out { type filter hook output priority 0; policy drop; oifname { "lo", "wg0" } accept; ip daddr { 10.0.0.0/8, 192.168.0.0/16 } accept; counter comment "VPN kill switch"; }
}
R
  bg d22-www www tcpd 0.0.0.0 443; bg d22-sonarr sonarr tcpd 0.0.0.0 8989; ok d22-qbt tcpc 198.51.100.20 443 --put 30000; ok d22-qbt tcpc 10.244.2.11 8989 --put 30000
}
fault() {
  ip -n d22-gateway link set vxlan0 mtu 1450; ip -n d22-qbt link set vxlan0 mtu 1450; ip -n d22-qbt route flush cache
  no d22-qbt tcpc 198.51.100.20 443 --put 30000
  bg d22-qbt victim tcpc 198.51.100.20 443 --put 30000 --every .3 --timeout 3.5; sleep 1.7; bg d22-qbt victim2 tcpc 198.51.100.20 443 --put 30000 --every .3 --timeout 3.5; bg d22-qbt healthy-small tcpc 198.51.100.20 443 --every .6; bg d22-qbt healthy-direct tcpc 10.244.2.11 8989 --put 30000 --every .6
}
prove() {
  P "x d22-qbt ip -d link show vxlan0; x d22-gateway ip -br link; x d22-gateway ip link show wg0"
  P "x d22-qbt ss -tino dst 198.51.100.20; x d22-gateway nstat -az IpFragFails IcmpOutDestUnreachs; x d22-gateway nft list chain ip gw out"
  S $NODE vethqb --timeout 5 --n 14 --grep vni
}
main "${1:-}"
