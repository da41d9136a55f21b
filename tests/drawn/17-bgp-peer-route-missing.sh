#!/bin/bash
# calico#1628: calico-node took the docker bridge's 172.18.0.1, "already used", and ended: no routes to the other nodes' blocks
N=17; . "$(dirname "$0")/lib.sh"; NODE=d17-devops-node02
build() {
  ns $NODE d17-devops-master03 d17-rtr; fwd $NODE d17-devops-master03 d17-rtr
  br d17-rtr lan 192.168.33.1/24; for p in "$NODE 12" "d17-devops-master03 13"; do set -- $p; v $1 ens33 d17-rtr p$2; ip -n d17-rtr link set p$2 master lan; a $1 ens33 192.168.33.$2/24; r $1 default via 192.168.33.1; br $1 br-d710e33f6c1a 172.18.0.1/16; done
  ns d17-www; v d17-rtr wan d17-www eth0; a d17-rtr wan 100.64.0.1/30; a d17-www eth0 100.64.0.2/30; r d17-www default via 100.64.0.1; r d17-rtr blackhole 10.0.0.0/8
  podr $NODE d17-shop cali01 10.222.12.65; podr $NODE d17-cache cali02 10.222.12.66; podr d17-devops-master03 d17-mysql cali03 10.222.13.129
  x $NODE iptables-legacy -t nat -A POSTROUTING -s 10.222.0.0/16 ! -d 10.222.0.0/16 -m comment --comment "cali:nat-outgoing" -j MASQUERADE
  r $NODE 10.222.13.128/26 via 192.168.33.13 dev ens33 proto bird; r d17-devops-master03 10.222.12.64/26 via 192.168.33.12 dev ens33 proto bird
  bg d17-mysql mysql tcpd 0.0.0.0 3306; bg d17-cache cache tcpd 0.0.0.0 11211; bg d17-www www tcpd 0.0.0.0 80
  ok d17-shop tcpc 10.222.13.129 3306; ok d17-shop tcpc 10.222.12.66 11211; ok d17-cache tcpc 100.64.0.2 80
}
fault() {
  ip -n $NODE route del 10.222.13.128/26; ip -n d17-devops-master03 route del 10.222.12.64/26; no d17-shop tcpc 10.222.13.129 3306
  bg d17-shop victim tcpc 10.222.13.129 3306 --every .3; bg d17-shop healthy-local tcpc 10.222.12.66 11211 --every .5; bg d17-cache healthy-out tcpc 100.64.0.2 80 --every .5
}
prove() {
  P "x $NODE ip route; x $NODE ip route get 10.222.13.129 from 10.222.12.65 iif cali01; x $NODE ip -br addr"
  S $NODE ens33 --timeout 4 --n 6 --grep 10.222.13.129; P "x d17-rtr ip route get 10.222.13.129; x $NODE ip neigh; x d17-rtr ip -br link show lan"
}
main "${1:-}"
