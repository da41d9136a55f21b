#!/bin/bash
# kubernetes#114668, IPv6, one-way datagrams
N=05; . "$(dirname "$0")/lib.sh"; NODE=d05-node-b
build() {
  ns $NODE d05-tor; fwd $NODE d05-tor; v $NODE enp3s0 d05-tor swp4; a $NODE enp3s0 2001:db8:50::b/64; a d05-tor swp4 2001:db8:50::1/64; r $NODE default via 2001:db8:50::1; ip -n d05-tor -6 route add blackhole fd00::/8
  podr $NODE d05-shop cali51 fd00:10:244:b::51; podr $NODE d05-statsd cali52 fd00:10:244:b::52; podr $NODE d05-blog cali53 fd00:10:244:b::53
  nf $NODE <<'R'
table ip6 kube-proxy {
  map service-ips { type ipv6_addr . inet_proto . inet_service : verdict; }
  chain svc-statsd { meta l4proto udp counter dnat to fd00:10:244:b::52; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; ip6 daddr . meta l4proto . th dport vmap @service-ips; }
}
add element ip6 kube-proxy service-ips { fd00:10:96::a:7d . udp . 8125 : jump svc-statsd, fd00:10:96::a:7d . udp . 8126 : jump svc-statsd }
R
  bg d05-statsd server udpd :: 8125 --oneway; bg d05-statsd server2 udpd :: 8126
  ok d05-shop udpc fd00:10:96::a:7d 8126; ok d05-blog udpc fd00:10:96::a:7d 8126
  for i in 1 2 3 4 5; do ok d05-shop udpc fd00:10:96::a:7d 8125 --oneway; sleep .5; grep -q got $RUN/server.log && break; done; grep -q got $RUN/server.log || die "statsd got nothing"
}
fault() {
  x $NODE nft delete element ip6 kube-proxy service-ips '{ fd00:10:96::a:7d . udp . 8125 }'; x $NODE conntrack -D -f ipv6 -p udp >/dev/null 2>&1
  bg d05-shop victim udpc fd00:10:96::a:7d 8125 --oneway --sport 39001 --every .3; sleep 1
  x $NODE nft add element ip6 kube-proxy service-ips '{ fd00:10:96::a:7d . udp . 8125 : jump svc-statsd }'; sleep 1
  local n; n=$(x $NODE conntrack -L -f ipv6 -p udp 2>/dev/null | grep -c 'src=fd00:10:96::a:7d'); [ $n = 1 ] || die "no stale entry"
  bg d05-blog healthy udpc fd00:10:96::a:7d 8126 --every .5
}
prove() {
  P x $NODE conntrack -L -f ipv6 -p udp
  P x $NODE nft list table ip6 kube-proxy
  S $NODE enp3s0 --timeout 4 --n 6 --grep a:7d
  S $NODE cali52 --timeout 3 --n 6 --grep UDP
  P "grep -c . $RUN/server.log; for i in 1 2 3 4 5 6 7 8 9 10; do x d05-blog \$PY udpc fd00:10:96::a:7d 8125 --oneway --once >/dev/null; done; tail -2 $RUN/server.log"
}
main "${1:-}"
