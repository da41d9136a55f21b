#!/bin/bash
# kubernetes#124290
N=07; . "$(dirname "$0")/lib.sh"; NODE=d07-worker-2
build() {
  ns $NODE; fwd $NODE; br $NODE cni0 10.42.7.1/24; sc $NODE net.bridge.bridge-nf-call-iptables=1
  podb $NODE cni0 d07-app vethapp 10.42.7.20/24 10.42.7.1; podb $NODE cni0 d07-db-old vethold 10.42.7.21/24 10.42.7.1; podb $NODE cni0 d07-db-new vethnew 10.42.7.22/24 10.42.7.1; podb $NODE cni0 d07-cron vethcron 10.42.7.23/24 10.42.7.1
  nf $NODE <<'R'
table ip nat {
  chain services { tcp dport 5432 ip daddr 10.43.0.77 counter dnat to 10.42.7.21:5432; }
  chain PREROUTING { type nat hook prerouting priority dstnat; jump services; }
}
R
  sc d07-app net.ipv4.tcp_rto_max_ms=4000 net.ipv4.tcp_retries2=255
  bg d07-db-old old tcpd 0.0.0.0 5432; bg d07-db-new new tcpd 0.0.0.0 5432
  ok d07-app tcpc 10.43.0.77 5432; ok d07-cron tcpc 10.43.0.77 5432
}
fault() {
  bg d07-app victim pool 10.43.0.77 5432 --n 12 --every .5 --ready $RUN/ready; for i in 1 2 3 4 5 6 7 8 9; do [ -f $RUN/ready ] && break; sleep .3; done; sleep 1
  # the pod is deleted: its link first, so that no FIN gets out; then the endpoint is exchanged
  ip -n $NODE link del vethold; kill "$(head -1 $RUN/pids)"
  x $NODE nft flush chain ip nat services; x $NODE nft add rule ip nat services tcp dport 5432 ip daddr 10.43.0.77 counter dnat to 10.42.7.22:5432
  x $NODE ip neigh flush dev cni0; sleep 4; grep -q 'FAIL silent=12' $RUN/victim.log || die "connections live"
  bg d07-cron healthy tcpc 10.43.0.77 5432 --every .5
}
prove() {
  P x $NODE conntrack -L -p tcp --state ESTABLISHED
  P x $NODE nft list chain ip nat services
  P "x d07-app ss -tno; x $NODE ip neigh show dev cni0"
  S $NODE vethapp --timeout 4 --n 10 --grep 10.43.0.77
  S $NODE cni0 --timeout 4 --n 6 --grep ARP
}
main "${1:-}"
