#!/bin/bash
# multus#671: the host cannot reach a pod on it by its macvlan address
N=31; . "$(dirname "$0")/lib.sh"; NODE=d31-esx-k8s-1
build() {
  ns $NODE d31-sw d31-esx-k8s-2; fwd $NODE; br d31-sw sw; v $NODE ens160 d31-sw h1; v d31-esx-k8s-2 ens160 d31-sw h2; ip -n d31-sw link set h1 master sw; ip -n d31-sw link set h2 master sw; a $NODE ens160 10.20.30.5/24; a d31-esx-k8s-2 ens160 10.20.30.6/24
  podr $NODE d31-test cali5e 10.100.4.9; podr $NODE d31-log cali5f 10.100.4.10; ip -n $NODE link add mv0 link ens160 type macvlan mode bridge || die macvlan; ip -n $NODE link set mv0 netns d31-test name net1; ip -n d31-test link set net1 up; a d31-test net1 10.20.30.60/24
  bg d31-test web tcpd 0.0.0.0 8080; bg d31-log log tcpd 0.0.0.0 24224
  ok d31-esx-k8s-2 tcpc 10.20.30.60 8080; ok $NODE tcpc 10.100.4.10 24224; ok d31-test tcpc 10.100.4.10 24224
}
fault() {  # nothing is switched: the host only begins to ask
  no $NODE tcpc 10.20.30.60 8080
  bg $NODE victim-host tcpc 10.20.30.60 8080 --every .3 --timeout 4; bg d31-test victim-pod tcpc 10.20.30.5 24225 --every .5 --timeout 4; bg $NODE hostsrv tcpd 10.20.30.5 24225
  bg d31-esx-k8s-2 healthy-other-host tcpc 10.20.30.60 8080 --every .5; bg $NODE healthy-calico-ip tcpc 10.100.4.10 24224 --every .5; bg d31-test healthy-pod tcpc 10.100.4.10 24224 --every .5
}
prove() {
  P "x d31-test ip -d link show net1; x $NODE ip route get 10.20.30.60; x $NODE ip neigh show 10.20.30.60; x d31-test ip neigh show dev net1"
  S $NODE ens160 --timeout 5 --n 6 --grep ARP; S d31-esx-k8s-2 ens160 --timeout 3 --n 3 --grep ARP; S d31-test net1 --timeout 3 --n 6
}
main "${1:-}"
