# Shared by the drawn incidents: namespaces, links, pods, traffic. A script sets N, defines build, fault, prove and ends with: main "$1"
# Everything lives in network namespaces that start with d$N-; nothing of the root namespace is touched.
set -u
HERE=$(cd "$(dirname "$0")" && pwd); RUN=${TMPDIR:-/tmp}/netdiag-drawn/$N; PY="/usr/bin/python3 $HERE/app.py"
die() { echo "$N: $*" >&2; exit 1; }
ns() { local n; for n; do ip netns add "$n" || die "netns $n"; echo "$n" >>"$RUN/ns"; ip -n "$n" link set lo up; done; }
x() { local n=$1; shift; nsenter --net=/run/netns/"$n" "$@"; }
sc() { local n=$1 k; shift; for k; do x "$n" sysctl -qw "$k" || die "sysctl $k"; done; }
fwd() { local n; for n; do sc "$n" net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0; done; }
# v NS1 IF1 NS2 IF2 [MTU]
v() { ip -n "$1" link add name "$2" mtu "${5:-1500}" type veth peer name "$4" mtu "${5:-1500}" netns "$3" || die "veth $2 $4"; ip -n "$1" link set "$2" up; ip -n "$3" link set "$4" up; }
a() { local n=$1 i=$2 z; shift 2; for z; do case $z in *:*) ip -n "$n" addr add "$z" dev "$i" nodad;; *) ip -n "$n" addr add "$z" dev "$i";; esac || die "addr $z"; done; }
r() { local n=$1; shift; ip -n "$n" route add "$@" || die "route $*"; }
br() { local n=$1 b=$2; shift 2; ip -n "$n" link add "$b" type bridge forward_delay 0 || die bridge; ip -n "$n" link set "$b" up; a "$n" "$b" "$@"; }
# podb NODE BRIDGE POD HOSTIF ADDR/LEN GW [MTU]: a pod on a bridge
podb() { ns "$3"; v "$1" "$4" "$3" eth0 "${7:-1500}"; ip -n "$1" link set "$4" master "$2"; a "$3" eth0 "$5"; [ "$6" = - ] || r "$3" default via "$6"; }
# podr NODE POD HOSTIF ADDR [MTU]: a routed pod (/32 or /128), as Calico's and AWS's
podr() { ns "$2"; v "$1" "$3" "$2" eth0 "${5:-1500}"
  case $4 in *:*) a "$1" "$3" fe80::ecee:eeff:feee:eeee/64; a "$2" eth0 "$4/128"; ip -n "$2" -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0 || die route; r "$1" "$4/128" dev "$3";;
  *) sc "$1" net.ipv4.conf."$3".proxy_arp=1; x "$1" sh -c "echo 0 >/proc/sys/net/ipv4/neigh/$3/proxy_delay"; a "$2" eth0 "$4/32"; ip -n "$2" neigh replace 169.254.1.1 lladdr "$(ip -n "$1" -j link show "$3" | sed 's/.*"address":"\([^"]*\)".*/\1/')" dev eth0 nud permanent; r "$2" 169.254.1.1 dev eth0 scope link; r "$2" default via 169.254.1.1 dev eth0; r "$1" "$4/32" dev "$3" scope link;; esac; }
nf() { x "$1" nft -f - || die "nft $1"; }
# urpf NS IF CIDR ...: a switch or VPC that drops sources which are not its port's (it still answers ARP)
urpf() { local n=$1; shift; { echo 'table ip srccheck {'; echo ' chain pre { type filter hook prerouting priority -300;'; while [ $# -gt 1 ]; do echo "  iifname \"$1\" ip saddr != { $2 } counter drop"; shift 2; done; echo ' }'; echo '}'; } | nf "$n"; }
# bg NS NAME ARGS...: traffic in the background, its log in run/NN/NAME.log
bg() { local n=$1 l=$2; shift 2; setsid nsenter --net=/run/netns/"$n" $PY "$@" >"$RUN/$l.log" 2>&1 </dev/null & echo $! >>"$RUN/pids"; }
# ok NS ARGS...: the request has to succeed (tried for about 5 s); no NS ARGS...: it has to fail
ok() { local n=$1 i; shift; for i in 1 2 3 4 5 6; do x "$n" $PY "$@" --once --timeout 1.5 >"$RUN/check" 2>&1 && { echo "healthy: $n $*"; return; }; sleep .5; done; cat "$RUN/check"; die "should work: $n $*"; }
no() { local n=$1; shift; x "$n" $PY "$@" --once >"$RUN/check" 2>&1 && die "should fail: $n $*"; echo "broken:  $n $* ($(tail -1 "$RUN/check" | cut -c10-90))"; }
P() { echo "# $*"; eval "$*" 2>&1; echo; }   # a command of the proof and its output
S() { local n=$1; shift; P "x $n \$PY sniff $*"; }
logs() { local f; for f in "$RUN"/*.log; do echo "== background $(basename "$f"): $(grep -c ' ok ' "$f") ok, $(grep -c FAIL "$f") failed; last:"; tail -2 "$f"; done; }
up() { [ -d "$RUN" ] && die "already up; down first"; mkdir -p "$RUN"; build || { down; exit 1; }; fault || { down; exit 1; }; echo "$N up; node $NODE"; }
down() { local p n; :
  if [ -f "$RUN/pids" ]; then for p in $(cat "$RUN/pids"); do kill "$p" 2>/dev/null; done; sleep .2; for p in $(cat "$RUN/pids"); do kill -9 "$p" 2>/dev/null; done; fi
  for n in $(ip netns list | grep -o "^d$N-[^ ]*"); do ip netns del "$n" 2>/dev/null; done
  rm -rf "$RUN"; }
main() { case ${1:-} in up) (up) || { (down); exit 1; };; down) down; echo "$N down";; prove) [ -d "$RUN" ] || die "not up"; prove; logs;; *) die "usage: $0 up|down";; esac; }
