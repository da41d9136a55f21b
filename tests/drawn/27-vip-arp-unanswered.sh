#!/bin/bash
# metallb#2329: nobody answers ARP for the LoadBalancer address
N=27; . "$(dirname "$0")/lib.sh"; NODE=d27-cube-1
build() {
  ns $NODE d27-cube-2 d27-sw d27-pc; fwd $NODE d27-cube-2; br d27-sw sw; for p in "$NODE 11" "d27-cube-2 12" "d27-pc 50"; do set -- $p; v $1 eth0 d27-sw u$2; ip -n d27-sw link set u$2 master sw; a $1 eth0 192.168.179.$2/24; done
  br $NODE cni0 10.244.8.1/24; podb $NODE cni0 d27-mesh vethmg 10.244.8.3/24 10.244.8.1; podb $NODE cni0 d27-probe vethpr 10.244.8.4/24 10.244.8.1; sc $NODE net.bridge.bridge-nf-call-iptables=1
  x $NODE iptables-restore <<'R'
*nat
:KUBE-SERVICES -
:KUBE-EXT-MESH -
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 192.168.179.31/32 -p tcp -m comment --comment "consul/consul-mesh-gateway loadbalancer IP" -m tcp --dport 443 -j KUBE-EXT-MESH
-A KUBE-SERVICES -d 10.106.185.199/32 -p tcp -m comment --comment "consul/consul-mesh-gateway cluster IP" -m tcp --dport 443 -j KUBE-EXT-MESH
-A KUBE-SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30443 -j KUBE-EXT-MESH
-A KUBE-EXT-MESH -p tcp -j DNAT --to-destination 10.244.8.3:8443
COMMIT
R
  bg $NODE speaker arpd eth0 --src 192.168.179.31; bg d27-mesh mesh tcpd 0.0.0.0 8443
  ok d27-pc tcpc 192.168.179.31 443; ok d27-pc tcpc 192.168.179.11 30443; ok d27-probe tcpc 10.106.185.199 443
}
fault() {
  kill "$(head -1 $RUN/pids)"; sleep .3; ip -n d27-pc neigh flush dev eth0; no d27-pc tcpc 192.168.179.31 443
  bg d27-pc victim tcpc 192.168.179.31 443 --every .3 --timeout 4; bg d27-pc healthy-nodeport tcpc 192.168.179.11 30443 --every .5; bg d27-probe healthy-clusterip tcpc 10.106.185.199 443 --every .5
}
prove() {
  S $NODE eth0 --timeout 5 --n 6 --grep "'ARP|.31'"; P "x d27-pc ip neigh; x $NODE ip -br addr; x d27-cube-2 ip -br addr"; P x $NODE iptables -t nat -nvL KUBE-SERVICES
  P "x d27-pc arping -c 2 -w 3 -I eth0 192.168.179.31 || x d27-pc arping -c 2 -i eth0 192.168.179.31"
}
main "${1:-}"
