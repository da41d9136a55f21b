#!/bin/bash
# kubernetes#48370
N=04; . "$(dirname "$0")/lib.sh"; NODE=d04-minion
dnat() { x $NODE iptables-legacy -t nat "$1" KUBE-SERVICES -d 10.15.240.10/32 -p udp -m udp --dport 53 -m comment --comment "kube-system/dns:dns" -j DNAT --to-destination 10.12.0.11:53; }
build() {
  ns $NODE d04-gw; fwd $NODE d04-gw; v $NODE eth0 d04-gw p1; a $NODE eth0 10.128.0.7/20; a d04-gw p1 10.128.0.1/20; r $NODE default via 10.128.0.1; r d04-gw blackhole 10.0.0.0/8
  br $NODE cbr0 10.12.0.1/24; podb $NODE cbr0 d04-sender vetha 10.12.0.14/24 10.12.0.1; podb $NODE cbr0 d04-backend vethb 10.12.0.11/24 10.12.0.1; podb $NODE cbr0 d04-other vethc 10.12.0.15/24 10.12.0.1
  x $NODE iptables-legacy -t nat -A POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -m mark --mark 0x4000/0x4000 -j MASQUERADE
  x $NODE iptables-legacy -t nat -N KUBE-SERVICES; x $NODE iptables-legacy -t nat -A PREROUTING -j KUBE-SERVICES; x $NODE iptables-legacy -t nat -A OUTPUT -j KUBE-SERVICES; dnat -A
  sc $NODE net.bridge.bridge-nf-call-iptables=1
  bg d04-backend server udpd 0.0.0.0 53
  ok d04-sender udpc 10.15.240.10 53 --sport 43145; ok d04-other udpc 10.15.240.10 53
}
fault() {
  dnat -D; x $NODE conntrack -D -p udp >/dev/null 2>&1
  bg d04-sender victim udpc 10.15.240.10 53 --sport 43145 --every .2 --timeout .8; sleep 1.5; dnat -A; sleep 1.2
  bg d04-other healthy udpc 10.15.240.10 53 --every .5; sleep 1
  grep -q ' ok ' $RUN/victim.log && die "healed"; ok d04-other udpc 10.15.240.10 53
}
prove() {
  P x $NODE conntrack -L -p udp
  P x $NODE iptables-legacy -t nat -nvL KUBE-SERVICES
  S $NODE eth0 --timeout 5 --n 6 --grep 10.15.240.10
  S $NODE vethc --timeout 2 --n 4 --grep UDP
}
main "${1:-}"
