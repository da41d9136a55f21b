#!/bin/bash
# kubernetes#32551
N=02; . "$(dirname "$0")/lib.sh"; NODE=d02-gke-pool-1
build() {
  ns $NODE d02-meta; fwd $NODE; v $NODE ens4 d02-meta if0; a $NODE ens4 10.240.0.49/24; a d02-meta if0 10.240.0.1/24 169.254.169.254/32
  r $NODE default via 10.240.0.1
  br $NODE cbr0 10.192.2.1/24; podb $NODE cbr0 d02-sqlproxy vethb1 10.192.2.35/24 10.192.2.1; podb $NODE cbr0 d02-oauth vethb2 10.192.2.36/24 10.192.2.1; podb $NODE cbr0 d02-cloudsql vethb4 10.192.2.38/24 10.192.2.1; podb $NODE cbr0 d02-web vethb3 10.192.2.37/24 10.192.2.1
  x $NODE iptables-legacy -t nat -A POSTROUTING -s 10.192.0.0/14 ! -d 10.192.0.0/14 -m comment --comment "kubenet: SNAT for outbound traffic from cluster" -m addrtype ! --dst-type LOCAL -j MASQUERADE
  # the metadata server refuses a SYN of a connection that it still holds (as the thread's does; Linux itself would only be slow)
  sc d02-meta net.netfilter.nf_conntrack_tcp_timeout_close_wait=36000; nf d02-meta <<'R'
table ip front {
  chain i { type filter hook input priority 0; tcp dport 80 tcp flags & (syn | ack) == syn ct state established counter reject with tcp reset; }
}
R
  bg d02-meta server tcpd 169.254.169.254 80 --half; bg d02-meta server2 tcpd 10.240.0.1 8080
  ok d02-sqlproxy tcpc 169.254.169.254 80 --linger .2; ok d02-oauth tcpc 169.254.169.254 80 --sport 35714 --linger .1; ok d02-web tcpc 10.240.0.1 8080
}
fault() {
  sc $NODE net.netfilter.nf_conntrack_tcp_timeout_close_wait=3
  bg d02-sqlproxy victim1 tcpc 169.254.169.254 80 --linger 7 --every .2; bg d02-cloudsql holder holder 169.254.169.254 80 --sport 35500 --every 6; bg d02-oauth victim2 follower 169.254.169.254 80 --sport 35500 --every 6
  bg d02-web healthy tcpc 10.240.0.1 8080 --every .5
  for i in $(seq 40); do grep -q refused $RUN/victim2.log && break; sleep .5; done; grep -q refused $RUN/victim2.log || die "not refused"; for i in $(seq 40); do x d02-sqlproxy ss -Htn state last-ack | grep -q 169.254.169.254 && break; sleep .5; done; x d02-sqlproxy ss -Htn state last-ack | grep -q 169.254.169.254 || die "no stuck connection"
}
prove() {
  P x $NODE sysctl net.netfilter.nf_conntrack_tcp_timeout_close_wait
  P x $NODE conntrack -L -d 169.254.169.254
  S $NODE ens4 --timeout 16 --n 14 --grep "'10.192.2.'"
  S $NODE vethb2 --timeout 8 --n 12 --grep TCP
  P x d02-meta nft list table ip front
  P "x d02-cloudsql ss -tn; x d02-sqlproxy ss -tno state last-ack; x d02-meta ss -tn state fin-wait-2"
  P x $NODE iptables-legacy -t nat -nvL POSTROUTING
}
main "${1:-}"
