#!/bin/bash
# flannel#1550: two nodes have the podCIDR 10.244.1.0/24
N=26; . "$(dirname "$0")/lib.sh"; NODE=d26-fl-1
build() {
  ns $NODE d26-fl-2 d26-fl-3 d26-net; fwd $NODE d26-fl-2 d26-fl-3; br d26-net sw
  for i in 1 2 3; do n=d26-fl-$i; v $n eth0 d26-net e$i; ip -n d26-net link set e$i master sw; a $n eth0 10.10.10.$i/24
    ip -n $n link add flannel.1 address 5e:00:00:00:00:0$i mtu 1450 type vxlan id 1 local 10.10.10.$i dstport 8472 nolearning || die vxlan; a $n flannel.1 10.244.$i.0/32; ip -n $n link set flannel.1 up; br $n cni0 10.244.$i.1/24
    for j in 1 2 3; do [ $i = $j ] || { r $n 10.244.$j.0/24 via 10.244.$j.0 dev flannel.1 onlink; ip -n $n neigh add 10.244.$j.0 lladdr 5e:00:00:00:00:0$j dev flannel.1 nud permanent; ip netns exec $n bridge fdb add 5e:00:00:00:00:0$j dev flannel.1 dst 10.10.10.$j; }; done; done
  podb $NODE cni0 d26-front vethf 10.244.1.5/24 10.244.1.1 1450; podb d26-fl-2 cni0 d26-back vethb 10.244.2.7/24 10.244.2.1 1450; podb d26-fl-3 cni0 d26-cache vethc 10.244.3.9/24 10.244.3.1 1450
  bg d26-back back tcpd 0.0.0.0 8080; bg d26-cache cache tcpd 0.0.0.0 6379; ok d26-front tcpc 10.244.2.7 8080; ok d26-front tcpc 10.244.3.9 6379
}
fault() {  # node 2 joins again, its podCIDR written by hand: 10.244.1.0/24
  ip -n d26-fl-2 addr flush dev cni0; ip -n d26-fl-2 route del 10.244.1.0/24; a d26-fl-2 cni0 10.244.1.1/24; ip -n d26-fl-2 addr flush dev flannel.1 scope global; a d26-fl-2 flannel.1 10.244.1.0/32; ip -n d26-back addr flush dev eth0 scope global; a d26-back eth0 10.244.1.7/24; r d26-back default via 10.244.1.1
  for n in $NODE d26-fl-3; do ip -n $n route del 10.244.2.0/24; done
  no d26-front tcpc 10.244.1.7 8080
  bg d26-front victim tcpc 10.244.1.7 8080 --every .3 --timeout 4; bg d26-front healthy tcpc 10.244.3.9 6379 --every .5
}
prove() {
  P "x $NODE ip route; x d26-fl-2 ip route; x d26-back ip -br addr; x d26-front ip neigh"
  S $NODE vethf --timeout 4 --n 6 --grep ARP; S $NODE flannel.1 --timeout 3 --n 4 --grep TCP
}
main "${1:-}"
