#!/bin/bash
# metallb#490 (as #533, #319, #610: the LB address is on the second NIC's network, answers leave by the default route)
N=10; . "$(dirname "$0")/lib.sh"; NODE=d10-pi-2
build() {
  ns $NODE d10-pfsense d10-laptop; fwd $NODE d10-pfsense
  v $NODE eth0 d10-pfsense igb0; v $NODE eth1 d10-pfsense igb17; v d10-laptop wlan0 d10-pfsense igb42
  a $NODE eth0 10.45.0.12/16; a $NODE eth1 10.46.0.12/16; a d10-pfsense igb0 10.45.255.254/16; a d10-pfsense igb17 10.46.255.254/16; a d10-pfsense igb42 10.42.0.254/24; a d10-laptop wlan0 10.42.0.1/24
  r $NODE default via 10.45.255.254; r d10-laptop default via 10.42.0.254; r $NODE default via 10.46.255.254 table 17
  bg $NODE speaker arpd eth1 --src 10.46.200.0
  urpf d10-pfsense igb0 10.45.0.0/16 igb17 10.46.0.0/16
  br $NODE cbr0 10.17.3.1/24; podb $NODE cbr0 d10-nginx vethn 10.17.3.4/24 10.17.3.1; podb $NODE cbr0 d10-mqtt vethm 10.17.3.5/24 10.17.3.1
  x $NODE iptables-restore <<'R'
*mangle
-A PREROUTING -i eth1 -m conntrack --ctstate NEW -j CONNMARK --set-mark 0x17
-A PREROUTING -i cbr0 -j CONNMARK --restore-mark
COMMIT
*nat
:KUBE-SERVICES -
:KUBE-FW-NGINX -
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.46.200.0/32 -p tcp -m comment --comment "web/nginx loadbalancer IP" -m tcp --dport 80 -j KUBE-FW-NGINX
-A KUBE-FW-NGINX -p tcp -j DNAT --to-destination 10.17.3.4:8080
-A KUBE-SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 31883 -j DNAT --to-destination 10.17.3.5:1883
COMMIT
R
  ip -n $NODE rule add fwmark 0x17 lookup 17 prio 217
  bg d10-nginx nginx tcpd 0.0.0.0 8080; bg d10-mqtt mqtt tcpd 0.0.0.0 1883
  ok d10-laptop tcpc 10.46.200.0 80; ok d10-laptop tcpc 10.45.0.12 31883
}
fault() {
  ip -n $NODE rule del fwmark 0x17 lookup 17; x $NODE iptables -t mangle -F PREROUTING; ip -n $NODE route flush table 17
  no d10-laptop tcpc 10.46.200.0 80
  bg d10-laptop victim tcpc 10.46.200.0 80 --every .4 --timeout 3; bg d10-laptop healthy tcpc 10.45.0.12 31883 --every .5
}
prove() {
  P "x $NODE ip route get 10.42.0.1 from 10.17.3.4 iif cbr0; x $NODE ip rule"
  P x $NODE iptables -t nat -nvL KUBE-FW-NGINX
  S $NODE eth1 --timeout 4 --n 6 --grep 10.46.200.0; S $NODE eth0 --timeout 4 --n 6 --grep 10.46.200.0
  P x d10-pfsense nft list table ip srccheck
}
main "${1:-}"
