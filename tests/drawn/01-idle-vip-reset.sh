#!/bin/bash
# kubernetes#80298 (IPVS; here conntrack forgets, for this kernel has no ip_vs)
N=01; . "$(dirname "$0")/lib.sh"; NODE=d01-kw3
build() {
  ns $NODE; fwd $NODE
  podr $NODE d01-gateway calia1f0 10.233.64.11; podr $NODE d01-auth calia1f1 10.233.64.12; podr $NODE d01-metrics calia1f2 10.233.64.13
  br $NODE kube-ipvs0 10.233.12.40/32
  nf $NODE <<'R'
table ip svc {
  chain pre { type nat hook prerouting priority dstnat; ip daddr 10.233.12.40 tcp dport 50048 counter dnat to 10.233.64.12; }
  chain post { type nat hook postrouting priority srcnat; ip saddr 10.233.64.0/18 oifname "eth*" masquerade; }
}
R
  bg d01-auth server tcpd 10.233.64.12 50048
  ok d01-gateway tcpc 10.233.12.40 50048 --idle 1; ok d01-metrics tcpc 10.233.12.40 50048
}
fault() {
  sc $NODE net.netfilter.nf_conntrack_tcp_timeout_established=5 net.netfilter.nf_conntrack_tcp_loose=0
  no d01-gateway tcpc 10.233.12.40 50048 --idle 8
  for i in 1 2 3; do bg d01-gateway victim$i tcpc 10.233.12.40 50048 --idle 7.$i --every .$i; sleep .8; done
  bg d01-metrics healthy tcpc 10.233.12.40 50048 --every .5
}
prove() {
  P x $NODE sysctl net.netfilter.nf_conntrack_tcp_timeout_established net.netfilter.nf_conntrack_tcp_loose
  P x $NODE conntrack -L -d 10.233.12.40
  S $NODE calia1f0 --timeout 20 --n 24 --grep 10.233.12.40
  P "x d01-auth nstat -az TcpInSegs TcpOutRsts; x $NODE nstat -az TcpOutRsts"
  P x $NODE ss -Htln
}
main "${1:-}"
