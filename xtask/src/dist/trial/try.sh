# Runs once in a Debian that has just started, as root: installs /root/netdiag.deb, uses it, takes it
# away. Each line that begins with "ok: " or "FAILED: " is a check; "done" comes after the last.
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat
export DEBIAN_FRONTEND=noninteractive

unit=netdiag-agent
state() { [ "$(systemctl is-active $unit)/$(systemctl is-enabled $unit 2>/dev/null)" = "$1" ]; }
installs() { dpkg -i /root/netdiag.deb >/tmp/dpkg 2>&1 || { cat /tmp/dpkg; false; }; }
pid() { systemctl show --property MainPID --value $unit; }
# A busy host emulates slowly: these end as soon as it is so.
ready() {
    for _ in $(seq 600); do
        $in curl -sf -m 10 http://127.0.0.1:9464/readyz >/dev/null && return
        sleep 1
    done
    $in curl -sS -m 10 http://127.0.0.1:9464/readyz
    false
}
check() {
    if eval "$2"; then echo "ok: $1"; else echo "FAILED: $1"; fi
}

while read -r module; do insmod "$module" 2>/dev/null; done </root/modules/order
ip link set lo up
# As on a node: where no link is a pod's, a bridge, a tunnel or an uplink, the agent is not ready.
ip link add eth0 type veth peer name cable
ip link set cable up
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip route add default via 192.0.2.254
in=
echo "Linux $(uname -r), $(systemctl --version | head -1)"

check "installs" installs
check "is enabled and runs" "state active/enabled"
check "sees drops" ready
check "the unit is right" "systemd-analyze verify /lib/systemd/system/$unit.service"
check "keeps its history" "[ -n \"\$(ls /var/lib/netdiag/history)\" ]"
check "its folders are root's alone" "[ \"\$(stat -c %a%U /var/lib/netdiag /run/netdiag | uniq)\" = 700root ]"
check "dpkg finds its files whole" "dpkg --verify netdiag"
check "has man pages" "man -w netdiag netdiag-agent netdiag-agent-snapshot kubectl-netdiag >/dev/null"
systemd-analyze security --no-pager $unit.service | tail -1
grep -E "^Cap(Bnd|Amb)" /proc/$(pid)/status

# An incident of the lab, which the agent watches from within its node and its restrictions.
systemctl stop $unit
check "stops when it is told to" "[ \"\$(systemctl show -p Result --value $unit)\" = success ]"
netdiag lab up firewall-drop >/tmp/lab
lab=$(sed -n 's/^lab \([0-9a-f]*\) stands.*/\1/p' /tmp/lab)
node=/run/netdiag/lab/$lab
in="ip netns exec netdiag-$lab-worker-1"
mkdir -p /etc/systemd/system/$unit.service.d
cat >/etc/systemd/system/$unit.service.d/lab.conf <<END
[Service]
NetworkNamespacePath=/run/netns/netdiag-$lab-worker-1
ExecStart=
ExecStart=/usr/bin/netdiag agent --root $node/root/worker-1 --cni-dir $node/cni/worker-1 --cgroup-root netdiag-$lab --node-name worker-1
END
systemctl daemon-reload
systemctl start $unit
check "sees drops in the lab's node" ready
# It goes on until it is told to stop.
netdiag lab traffic "$lab" >/tmp/traffic 2>&1 &
traffic=$!
named() { grep -q '^netdiag_finding{cause="firewall-drop",.*confidence="confirmed"' /tmp/metrics; }
for _ in $(seq 300); do
    $in curl -s -m 10 http://127.0.0.1:9464/metrics >/tmp/metrics
    named && break
    sleep 1
done
check "names the incident's cause" named
grep '^netdiag_finding{' /tmp/metrics
check "a snapshot has it, too" "netdiag agent snapshot --since 10m /root/i.ndr >/dev/null; netdiag replay /root/i.ndr | grep firewall-drop"
filters() { $in tc filter show dev cni0 ingress; }
# By clsact: this kernel has no tcx.
check "watches the bridge by a filter" "filters | grep -q bpf"
# systemd takes it away before it starts the agent again, ten seconds later.
unfiltered() {
    for _ in $(seq 100); do
        filters | grep -q bpf || return 0
        sleep 0.1
    done
    false
}
kill -9 "$(pid)"
check "leaves no filter after a kill" unfiltered
check "comes again after a kill" "ready && systemctl is-active $unit >/dev/null"
systemctl stop $unit
kill "$traffic"
wait "$traffic"
netdiag lab down "$lab" >/dev/null
rm -r /etc/systemd/system/$unit.service.d
systemctl daemon-reload
in=

systemctl disable --now $unit 2>/dev/null
check "stays disabled over an upgrade" "installs && state inactive/disabled"
systemctl enable --now $unit 2>/dev/null
before=$(pid)
check "is restarted by an upgrade" "installs && state active/enabled && [ \"\$(pid)\" != $before ]"
dpkg -r netdiag >/dev/null
check "is stopped by a removal" "[ \"\$(systemctl is-active $unit)\" = inactive ]"
check "keeps settings and history then" "[ -f /etc/netdiag/agent.toml ] && [ -d /var/lib/netdiag/history ]"
dpkg -P netdiag >/dev/null
check "leaves nothing after a purge" "[ -z \"\$(find /etc /var/lib /usr -xdev -name '*netdiag*' -print -quit)\" ]"
check "installs again" "installs && state active/enabled"
echo done
