#!/bin/bash
# talos#8882: the nodes' network 10.100.0.0/24 lies within the Services' 10.96.0.0/12
N=23; . "$(dirname "$0")/lib.sh"; NODE=d23-talos-w1
build() {
  ns $NODE d23-talos-cp d23-rtr d23-ntp; fwd $NODE d23-rtr; br d23-rtr br0 10.100.0.1/24; v $NODE eth0 d23-rtr w1; v d23-talos-cp eth0 d23-rtr cp; ip -n d23-rtr link set w1 master br0; ip -n d23-rtr link set cp master br0
  v d23-rtr wan d23-ntp eth0; a d23-rtr wan 192.0.2.1/24; a d23-ntp eth0 192.0.2.123/24; a $NODE eth0 10.100.0.101/24; a d23-talos-cp eth0 10.100.0.100/24
  for n in $NODE d23-talos-cp; do r $n default via 10.100.0.1; done; r d23-ntp default via 192.0.2.1
  br $NODE cni0 10.244.1.1/24; podb $NODE cni0 d23-coredns veth01 10.244.1.4/24 10.244.1.1; podb $NODE cni0 d23-app veth02 10.244.1.5/24 10.244.1.1; sc $NODE net.bridge.bridge-nf-call-iptables=1
  nf $NODE <<'R'
table ip kube-proxy {
  set cluster-ips { type ipv4_addr; elements = { 10.96.0.10 }; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain dns { udp dport 53 dnat to 10.244.1.4; }
  chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade; }
  chain cluster-ips-check { ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"; }
  chain filter-input { type filter hook input priority -110; ct state new jump cluster-ips-check; }
  chain filter-forward { type filter hook forward priority -110; ct state new jump cluster-ips-check; }
  chain filter-output { type filter hook output priority -110; ct state new jump cluster-ips-check; }
}
add element ip kube-proxy service-ips { 10.96.0.10 . udp . 53 : jump dns }
R
  bg d23-talos-cp apiserver tcpd 0.0.0.0 6443; bg d23-coredns coredns udpd 0.0.0.0 53; bg d23-ntp ntp tcpd 0.0.0.0 123
  ok d23-app tcpc 10.100.0.100 6443; ok $NODE tcpc 10.100.0.100 6443; ok d23-app udpc 10.96.0.10 53; ok d23-app tcpc 192.0.2.123 123
}
fault() {
  x $NODE nft add rule ip kube-proxy cluster-ips-check ip daddr { 10.96.0.0/12 } counter drop comment '"Drop traffic to unallocated ClusterIPs"'
  no d23-app tcpc 10.100.0.100 6443; no $NODE tcpc 10.100.0.100 6443
  bg d23-app victim tcpc 10.100.0.100 6443 --every .3; bg $NODE victim-kubelet tcpc 10.100.0.100 6443 --every .5; bg d23-app healthy-dns udpc 10.96.0.10 53 --every .5; bg d23-app healthy-out tcpc 192.0.2.123 123 --every .5
}
prove() {
  P "x $NODE nft -a list chain ip kube-proxy cluster-ips-check; x $NODE ip -br addr show eth0"
  S $NODE veth02 --timeout 4 --n 4 --grep 10.100.0.100; S $NODE eth0 --timeout 3 --n 3 --grep 10.100.0.100
  P x $NODE nft list chain ip kube-proxy cluster-ips-check
}
main "${1:-}"
