#!/bin/bash
# amazon-vpc-cni#711: two pods of one node have one address; the /32 route leads to the later one
N=34; . "$(dirname "$0")/lib.sh"; NODE=d34-ip-10-20-75-71
build() {
  ns $NODE d34-vpc d34-ext; fwd $NODE d34-vpc; v $NODE eth0 d34-vpc e0 9001; v d34-vpc e1 d34-ext eth0; a $NODE eth0 10.20.75.71/18; a d34-vpc e0 10.20.64.1/18; a d34-vpc e1 10.21.0.1/24; a d34-ext eth0 10.21.0.50/24; r $NODE default via 10.20.64.1; r d34-ext default via 10.21.0.1
  podr $NODE d34-data-ui eni0aa 10.20.72.196 9001; podr $NODE d34-curl eni0cc 10.20.72.20 9001; for i in 196 20; do r d34-vpc 10.20.72.$i/32 via 10.20.75.71; done
  bg d34-data-ui dataui tcpd 0.0.0.0 8080; bg d34-ext ext tcpd 0.0.0.0 443; ok d34-curl tcpc 10.20.72.196 8080; ok d34-data-ui tcpc 10.21.0.50 443; ok d34-curl tcpc 10.21.0.50 443
}
fault() {
  ip -n $NODE route del 10.20.72.196/32; podr $NODE d34-mock-server eni0bb 10.20.72.196 9001; bg d34-mock-server mock tcpd 0.0.0.0 1080; ok d34-curl tcpc 10.20.72.196 1080
  no d34-curl tcpc 10.20.72.196 8080; no d34-data-ui tcpc 10.21.0.50 443
  bg d34-curl victim-to-dataui tcpc 10.20.72.196 8080 --every .4; bg d34-data-ui victim-from-dataui tcpc 10.21.0.50 443 --every .3
  bg d34-curl healthy-mock tcpc 10.20.72.196 1080 --every .5; bg d34-curl healthy-ext tcpc 10.21.0.50 443 --every .5
}
prove() {
  P "x $NODE ip route; x d34-data-ui ip -br addr; x d34-mock-server ip -br addr; x $NODE ip neigh | grep 10.20"
  S $NODE eni0aa --timeout 4 --n 6 --grep TCP; S $NODE eni0bb --timeout 4 --n 12 --grep "'443|8080'"
}
main "${1:-}"
