#!/bin/bash
# kubernetes#74839, kubernetes.io 2019-03-29
N=06; . "$(dirname "$0")/lib.sh"; NODE=d06-n1
build() {
  ns $NODE d06-n2; fwd $NODE d06-n2; v $NODE eth0 d06-n2 eth0; a $NODE eth0 192.168.121.10/24; a d06-n2 eth0 192.168.121.11/24
  podr $NODE d06-client veth1a2b 10.36.1.7; podr $NODE d06-jobs veth1a2c 10.36.1.8; podr d06-n2 d06-server veth9f 10.36.2.9; podr d06-n2 d06-quiet veth9e 10.36.2.10
  r $NODE 10.36.2.0/24 via 192.168.121.11; r d06-n2 10.36.1.0/24 via 192.168.121.10
  x $NODE iptables-restore <<'R'
*filter
:FORWARD ACCEPT
:KUBE-FORWARD -
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES -
:KUBE-SVC-A -
:KUBE-SEP-A -
:KUBE-SVC-B -
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.39.250.3/32 -p tcp -m comment --comment "default/server cluster IP" -m tcp --dport 9000 -j KUBE-SVC-A
-A KUBE-SERVICES -d 10.39.250.4/32 -p tcp -m comment --comment "default/quiet cluster IP" -m tcp --dport 9000 -j KUBE-SVC-B
-A KUBE-SVC-A -j KUBE-SEP-A
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.36.2.9:9000
-A KUBE-SVC-B -p tcp -m tcp -j DNAT --to-destination 10.36.2.10:9000
COMMIT
R
  bg d06-server server0 tcpd 10.36.2.9 9000; bg d06-quiet quiet tcpd 10.36.2.10 9000
  ok d06-client tcpc 10.39.250.3 9000 --again .5; ok d06-jobs tcpc 10.39.250.4 9000
}
fault() {
  kill "$(head -1 $RUN/pids)"; sleep .3; bg d06-server server tcpd 10.36.2.9 9000 --stray; sleep .5
  no d06-client tcpc 10.39.250.3 9000 --again 1
  bg d06-client victim tcpc 10.39.250.3 9000 --again 1 --every .3; bg d06-jobs healthy tcpc 10.39.250.4 9000 --every .5 --again .5
}
prove() {
  P x $NODE sysctl net.netfilter.nf_conntrack_tcp_be_liberal
  P "x $NODE conntrack -S | head -2; sleep 3; x $NODE conntrack -S | head -2"
  S $NODE veth1a2b --timeout 5 --n 20 --grep TCP
  P x $NODE iptables -nvL KUBE-FORWARD
}
main "${1:-}"
