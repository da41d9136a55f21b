#!/bin/bash
# amazon-vpc-cni#130 (fixes #75)
N=14; . "$(dirname "$0")/lib.sh"; NODE=d14-ip-172-30-182
build() {
  ns $NODE d14-vpc d14-nlb; fwd $NODE d14-vpc
  v $NODE ens3 d14-vpc a0; v $NODE ens4 d14-vpc a1; v d14-nlb eth0 d14-vpc a2
  a $NODE ens3 172.30.182.34/24; a $NODE ens4 172.30.183.34/24; a d14-vpc a0 172.30.182.1/24; a d14-vpc a1 172.30.183.1/24; a d14-vpc a2 172.21.51.1/24; a d14-nlb eth0 172.21.51.75/24
  r $NODE default via 172.30.182.1; r d14-nlb default via 172.21.51.1; r $NODE default via 172.30.183.1 table 3
  podr $NODE d14-web1 veth3b59 172.30.182.212; podr $NODE d14-web2 veth3b5a 172.30.183.212; r d14-vpc 172.30.183.212/32 via 172.30.183.34
  ip -n $NODE rule add to 172.30.183.212 lookup main prio 512; ip -n $NODE rule add fwmark 0x80/0x80 lookup main prio 1024; ip -n $NODE rule add from 172.30.183.212 lookup 3 prio 1536
  x $NODE iptables-restore <<'R'
*mangle
-A PREROUTING -i ens3 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL -j CONNMARK --set-xmark 0x80/0x80
-A PREROUTING -i veth+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80
COMMIT
*nat
-A PREROUTING -p tcp -m comment --comment "default/web1 NodePort" -m addrtype --dst-type LOCAL -m tcp --dport 30053 -j DNAT --to-destination 172.30.182.212:80
-A PREROUTING -p tcp -m comment --comment "default/web2 NodePort" -m addrtype --dst-type LOCAL -m tcp --dport 30054 -j DNAT --to-destination 172.30.183.212:80
COMMIT
R
  bg d14-web1 s1 tcpd 0.0.0.0 80; bg d14-web2 s2 tcpd 0.0.0.0 80
  ok d14-nlb tcpc 172.30.182.34 30053; ok d14-nlb tcpc 172.30.182.34 30054
}
fault() {
  x $NODE iptables -t mangle -F PREROUTING; ip -n $NODE rule del prio 1024; sc $NODE net.ipv4.conf.ens3.rp_filter=1
  no d14-nlb tcpc 172.30.182.34 30054
  bg d14-nlb victim tcpc 172.30.182.34 30054 --every .3; bg d14-nlb healthy tcpc 172.30.182.34 30053 --every .5
}
prove() {
  P "x $NODE sysctl net.ipv4.conf.ens3.rp_filter net.ipv4.conf.all.rp_filter; x $NODE ip rule"
  P "x $NODE ip route get 172.30.183.212 from 172.21.51.75 iif ens3; x $NODE ip route get 172.21.51.75 from 172.30.183.212 iif veth3b5a"
  P "x $NODE nstat -az TcpExtIPReversePathFilter; sleep 2; x $NODE nstat -az TcpExtIPReversePathFilter"
  S $NODE ens3 --timeout 3 --n 4 --grep 30054; S $NODE veth3b5a --timeout 3 --n 4 --grep TCP
}
main "${1:-}"
