#!/bin/bash
# containernetworking/plugins#512 (= cni#778, kubernetes#93091): firewalld's restart took the CNI-HOSTPORT chains
N=32; . "$(dirname "$0")/lib.sh"; NODE=d32-node85
kp() { x $NODE iptables-restore --noflush <<'R'
*nat
:KUBE-SERVICES -
:KUBE-SEP-WEB -
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -p tcp -m comment --comment "default/web" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j KUBE-SEP-WEB
-A KUBE-SERVICES -d 10.254.3.3/32 -p tcp -m comment --comment "default/web" -m tcp --dport 80 -j KUBE-SEP-WEB
-A KUBE-SEP-WEB -p tcp -j DNAT --to-destination 10.0.85.6:80
-A POSTROUTING -s 10.0.85.0/24 ! -d 10.0.0.0/16 -j MASQUERADE
COMMIT
R
}
build() {
  ns $NODE d32-lab d32-pc; fwd $NODE d32-lab; v $NODE ens192 d32-lab i1; v d32-pc eth0 d32-lab i2; a $NODE ens192 10.99.212.85/24; a d32-lab i1 10.99.212.1/24; a d32-lab i2 10.99.8.1/24; a d32-pc eth0 10.99.8.30/24; r $NODE default via 10.99.212.1; r d32-pc default via 10.99.8.1
  br $NODE mynet0 10.0.85.1/24; podb $NODE mynet0 d32-nginx vethab 10.0.85.6/24 10.0.85.1; podb $NODE mynet0 d32-job vethac 10.0.85.7/24 10.0.85.1; sc $NODE net.bridge.bridge-nf-call-iptables=1; kp
  x $NODE iptables-restore --noflush <<'R'
*nat
:CNI-HOSTPORT-DNAT -
:CNI-DN-93fd5f42fffe1daf6b01f -
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"mynet\" id: \"56b561eaa446\"" -m multiport --dports 8088 -j CNI-DN-93fd5f42fffe1daf6b01f
-A CNI-DN-93fd5f42fffe1daf6b01f -p tcp -m tcp --dport 8088 -j DNAT --to-destination 10.0.85.6:80
COMMIT
R
  bg d32-nginx nginx tcpd 0.0.0.0 80; ok d32-pc tcpc 10.99.212.85 8088; ok d32-pc tcpc 10.99.212.85 30080; ok d32-job tcpc 10.254.3.3 80
}
fault() {
  x $NODE iptables -t nat -F; x $NODE iptables -t nat -X; kp; no d32-pc tcpc 10.99.212.85 8088
  bg d32-pc victim tcpc 10.99.212.85 8088 --every .4; bg d32-pc healthy-nodeport tcpc 10.99.212.85 30080 --every .5; bg d32-job healthy-clusterip tcpc 10.254.3.3 80 --every .5
}
prove() {
  P "x $NODE iptables-save -t nat -c; x $NODE ss -Htln"
  S $NODE ens192 --timeout 4 --n 6 --grep 8088; P "x $NODE nstat -az TcpOutRsts; sleep 2; x $NODE nstat -az TcpOutRsts"
}
main "${1:-}"
