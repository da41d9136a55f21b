#!/bin/bash
# calico#2638: the IP pool 192.168.0.0/16 holds the hosts' network 192.168.50.0/24: nat-outgoing spares it
N=24; . "$(dirname "$0")/lib.sh"; NODE=d24-k8s-node2
build() {
  ns $NODE d24-gw d24-nas d24-web; fwd $NODE d24-gw; br d24-gw lan 192.168.50.1/24; v $NODE ens160 d24-gw t1; v d24-nas eth0 d24-gw t2; ip -n d24-gw link set t1 master lan; ip -n d24-gw link set t2 master lan
  v d24-gw wan d24-web eth0; a d24-gw wan 203.0.113.1/24; a d24-web eth0 203.0.113.80/24; a $NODE ens160 192.168.50.12/24; a d24-nas eth0 192.168.50.20/24; for n in $NODE d24-nas; do r $n default via 192.168.50.1; done; r d24-web default via 203.0.113.1; r d24-gw blackhole 192.168.0.0/16
  podr $NODE d24-jenkins cali77 192.168.247.5; podr $NODE d24-nexus cali78 192.168.247.6
  x $NODE ipset create cali40all-ipam-pools hash:net; x $NODE ipset create cali40masq-ipam-pools hash:net; x $NODE ipset add cali40all-ipam-pools 192.168.192.0/18; x $NODE ipset add cali40masq-ipam-pools 192.168.192.0/18
  x $NODE iptables-legacy -t nat -N cali-nat-outgoing; x $NODE iptables-legacy -t nat -A POSTROUTING -j cali-nat-outgoing
  x $NODE iptables-legacy -t nat -A cali-nat-outgoing -m comment --comment "cali:flqWnvo8yq4ULQLa" -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE
  bg d24-nas nfs tcpd 0.0.0.0 2049; bg d24-web web tcpd 0.0.0.0 443; ok d24-jenkins tcpc 192.168.50.20 2049; ok d24-nexus tcpc 203.0.113.80 443
}
fault() {
  x $NODE ipset add cali40all-ipam-pools 192.168.0.0/16; x $NODE ipset add cali40masq-ipam-pools 192.168.0.0/16; no d24-jenkins tcpc 192.168.50.20 2049
  bg d24-jenkins victim tcpc 192.168.50.20 2049 --every .3; bg d24-nexus healthy tcpc 203.0.113.80 443 --every .5; bg $NODE healthy-node tcpc 192.168.50.20 2049 --every .6
}
prove() {
  P "x $NODE ipset list cali40all-ipam-pools; x $NODE iptables-legacy -t nat -nvL cali-nat-outgoing"
  S $NODE ens160 --timeout 4 --n 5 --grep "'192.168.247.5:'"; S d24-nas eth0 --timeout 4 --n 5 --grep "'192.168.247.5:'"
  P "x $NODE conntrack -L -s 192.168.247.5 -p tcp"
}
main "${1:-}"
