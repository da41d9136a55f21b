#!/bin/bash
# k3s#5019: forwarding=1 with accept_ra=1: the node drops its IPv6 default route and takes no new one
N=35; . "$(dirname "$0")/lib.sh"; NODE=d35-k3s-dual
build() {
  ns $NODE d35-fritz d35-peer d35-www; fwd d35-fritz; br d35-fritz lan 2003:e5:d731:9d04::1/64; for p in "$NODE 5" "d35-peer 6"; do set -- $p; v $1 enp1s0 d35-fritz g$2; ip -n d35-fritz link set g$2 master lan; a $1 enp1s0 2003:e5:d731:9d04::$2/64; done
  v d35-fritz wan d35-www eth0; a d35-fritz wan 2001:db8:35::1/64; a d35-www eth0 2001:db8:35::80/64; r d35-www default via 2001:db8:35::1; r d35-fritz 2003:e5:d731:9d44::/64 via 2003:e5:d731:9d04::5
  sc $NODE net.ipv6.conf.enp1s0.accept_ra=2; fwd $NODE; bg d35-fritz radvd rad lan
  br $NODE cni0 2003:e5:d731:9d44::1/64; podb $NODE cni0 d35-traefik vetht 2003:e5:d731:9d44::4/64 2003:e5:d731:9d44::1; podb $NODE cni0 d35-ha vethh 2003:e5:d731:9d44::5/64 2003:e5:d731:9d44::1
  bg d35-www www tcpd :: 443; bg d35-ha ha tcpd :: 8123; bg d35-peer peer tcpd :: 22; sleep 3
  ok d35-traefik tcpc 2001:db8:35::80 443; ok $NODE tcpc 2001:db8:35::80 443; ok d35-traefik tcpc 2003:e5:d731:9d44::5 8123
}
fault() {
  sc $NODE net.ipv6.conf.enp1s0.accept_ra=1 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.all.forwarding=1; sleep 3
  no d35-traefik tcpc 2001:db8:35::80 443; no $NODE tcpc 2001:db8:35::80 443
  bg d35-traefik victim tcpc 2001:db8:35::80 443 --every .4; bg $NODE victim-node tcpc 2001:db8:35::80 443 --every .6; bg d35-traefik healthy-pod tcpc 2003:e5:d731:9d44::5 8123 --every .5; bg $NODE healthy-lan tcpc 2003:e5:d731:9d04::6 22 --every .5
}
prove() {
  P "x $NODE sysctl net.ipv6.conf.enp1s0.accept_ra net.ipv6.conf.enp1s0.forwarding net.ipv6.conf.all.forwarding; x $NODE ip -6 route; x $NODE ip -6 route get 2001:db8:35::80"
  S $NODE enp1s0 --timeout 7 --n 3 --grep "'type 134'"; S $NODE vetht --timeout 4 --n 6 --grep 35::80
  P "x $NODE nstat -az Ip6InNoRoutes Ip6OutNoRoutes Icmp6InRouterAdvertisements"
}
main "${1:-}"
