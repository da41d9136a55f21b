#!/bin/bash
# ingress-nginx#10213 (page: a smaller MTU on the path; here a box that lets nothing above 1400 octets through)
N=21; . "$(dirname "$0")/lib.sh"; NODE=d21-edge-node
build() {
  ns $NODE d21-net d21-user d21-office; fwd $NODE d21-net; v $NODE eno1 d21-net port1; v d21-user eth0 d21-net dsl; v d21-office eth0 d21-net fibre
  a $NODE eno1 85.10.192.14/26; a d21-net port1 85.10.192.1/26; a d21-net dsl 84.56.1.1/24; a d21-user eth0 84.56.1.77/24; a d21-net fibre 80.80.0.1/24; a d21-office eth0 80.80.0.9/24
  r $NODE default via 85.10.192.1; r d21-user default via 84.56.1.1; r d21-office default via 80.80.0.1
  br $NODE cni0 10.42.3.1/24; podb $NODE cni0 d21-ingress vethi 10.42.3.30/24 10.42.3.1; podb $NODE cni0 d21-shop veths 10.42.3.31/24 10.42.3.1
  x $NODE iptables -t nat -A PREROUTING -p tcp --dport 443 -m addrtype --dst-type LOCAL -m comment --comment "CNI-DN ingress hostPort" -j DNAT --to-destination 10.42.3.30:443
  bg d21-ingress ingress tcpd 0.0.0.0 443; bg d21-shop shop tcpd 0.0.0.0 8080
  ok d21-user tcpc 85.10.192.14 443 --get 90000; ok d21-ingress tcpc 10.42.3.31 8080 --get 90000
}
fault() {
  nf d21-net <<'R'
table ip pppoe {
  chain f { type filter hook forward priority 0; oifname "dsl" meta length > 1400 counter drop; }
}
R
  no d21-user tcpc 85.10.192.14 443 --get 90000
  bg d21-user victim tcpc 85.10.192.14 443 --get 90000 --every .3 --timeout 3.5; sleep 1.7; bg d21-user victim2 tcpc 85.10.192.14 443 --get 90000 --every .3 --timeout 3.5; bg d21-user healthy-small tcpc 85.10.192.14 443 --every .6; bg d21-office healthy-large tcpc 85.10.192.14 443 --get 90000 --every .6; bg d21-ingress healthy-upstream tcpc 10.42.3.31 8080 --get 90000 --every .6
}
prove() {
  P "x d21-ingress ss -tino dst 84.56.1.77"
  S $NODE eno1 --timeout 5 --n 14 --grep 84.56.1.77; P x d21-net nft list table ip pppoe
}
main "${1:-}"
