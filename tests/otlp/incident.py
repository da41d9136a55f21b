#!/usr/bin/env python3
"""By hand: a lab of two nodes, an agent in each, rotel as the collector and ClickHouse's engine behind it;
then every saved query, asked of what the agents sent. As root, after `cargo build`:

    pip install --target DIR rotel chdb
    PYTHONPATH=DIR tests/otlp/incident.py overlay-blocked 90
    PYTHONPATH=DIR tests/otlp/incident.py far-node 90

`far-node` is the healthy lab with a rule on the second node that drops what comes for a pod's port.
`--bytes` tells what each agent sent to the collector instead, in a window of so many seconds. `idle` is the
healthy lab without its traffic. `--raw` prints all legs as well."""
import os, re, signal, subprocess, sys, time
from pathlib import Path

import rotel

ROOT = Path(__file__).resolve().parents[2]
NETDIAG = os.environ.get("NETDIAG_BIN", str(ROOT / "target/debug/netdiag"))
SQL = ROOT / "netdiag-user/crates/otlp/src/sql"
QUERIES = ["workload_drops", "one_way_tunnels", "never_arrived", "causes_over_time", "causes_as_one"]
started = []


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def start(name, *command, **environment):
    log = open(f"/tmp/netdiag-otlp-{name}.log", "w")
    child = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    started.append(child)
    return child


def ask(netns, query):
    url = "http://127.0.0.1:8123/"
    curl = ["ip", "netns", "exec", netns, "curl", "-sS", "--max-time", "30", "--data-binary", "@-", url]
    return subprocess.run(curl, input=query, capture_output=True, text=True, check=True).stdout


def until(what, holds):
    for _ in range(60):
        if holds():
            return
        time.sleep(1)
    sys.exit(f"{what}: not within a minute")


BYTES = """SELECT ResourceAttributes['k8s.node.name'] AS node, LogAttributes['event.name'] AS record,
    count() AS records, sum(length(Body) + length(toString(LogAttributes))) AS bytes_of_text
FROM otel.otel_logs GROUP BY node, record ORDER BY node, record"""


def sent(netns):
    """Bytes of all connections to the collector, HTTP/2 and gRPC included."""
    told = output("ip", "netns", "exec", netns, "ss", "-tinHO", "dport", "=", ":4317")
    return sum(int(n) for n in re.findall(r"bytes_sent:(\d+)", told))


def far_node(nodes, pods):
    """On the second node, what comes for its first pod and the port that its clients use most."""
    address, (name, netns) = pods["worker-2"], nodes["worker-2"]
    ports = lambda: re.findall(r":(\d+)\s", output("ip", "netns", "exec", f"{netns}-{pods['name']}", "ss", "-tlnH"))
    until("the pod listens", ports)
    port = sorted(ports(), key=int)[0]
    rule = f"table ip far {{ chain forward {{ type filter hook forward priority 0; ip daddr {address} tcp dport {port} drop; }}; }}"
    subprocess.run(["ip", "netns", "exec", netns, "nft", "-f", "-"], input=rule, text=True, check=True)
    print(f"planted: {name} drops tcp {address}:{port}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fault, seconds = sys.argv[1], int(sys.argv[2])
    scenario = "healthy" if fault in ("far-node", "healthy", "idle") else fault
    told = output(NETDIAG, "lab", "up", scenario)
    lab = told.split()[1]
    try:
        run(lab, told, fault, seconds)
    finally:
        for child in reversed(started):
            child.send_signal(signal.SIGTERM)
        for child in started:
            child.wait()
        output(NETDIAG, "lab", "down", lab)


def run(lab, told, fault, seconds):
    nodes = {name: (name, netns) for name, netns in re.findall(r"node (worker-\d) .*exec (\S+) bash", told)}
    outside, address = f"netdiag-{lab}-outside", re.search(r"host outside\s+(\S+)", told)[1]
    pods = re.findall(r"pod (\S+)\s+(\S+)\s+ip netns exec \S+-(worker-\d)-(\S+) bash", told)
    enter = ["ip", "netns", "exec", outside]
    store = [str(ROOT / "tests/otlp/clickhouse.py"), "127.0.0.1:8123", str(SQL / "otel_logs.sql"), str(SQL / "views.sql")]
    start("clickhouse", *enter, sys.executable, *store)
    ready = Path("/tmp/netdiag-otlp-clickhouse.log")
    until("ClickHouse", lambda: "ready" in ready.read_text())
    agent = str(Path(rotel.__file__).parent / "rotel-agent")
    start("rotel", *enter, agent, "start", "--otlp-grpc-endpoint", f"{address}:4317", "--exporter", "clickhouse",
          "--clickhouse-exporter-endpoint", "http://127.0.0.1:8123", "--clickhouse-exporter-compression", "none",
          "--clickhouse-exporter-async-insert", "false", ROTEL_BATCH_TIMEOUT="500ms")
    time.sleep(2)
    for name, netns in nodes.values():
        start(name, "ip", "netns", "exec", netns, NETDIAG, "agent", "--cni-dir", f"/run/netdiag/lab/{lab}/cni/{name}",
              "--node-name", name, "--resolve-after", "30s", "--otlp", f"http://{address}:4317")
    time.sleep(5)
    if fault != "idle":
        start("traffic", NETDIAG, "lab", "traffic", lab)
    if fault == "far-node":
        there = next((ip, pod) for _, ip, node, pod in pods if node == "worker-2")
        far_node(nodes, {"worker-2": there[0], "name": there[1]})
    if "--bytes" in sys.argv:
        # What the agents' beginning costs is no part of it.
        time.sleep(30)
    before = {name: sent(netns) for name, netns in nodes.values()}
    began = time.time()
    time.sleep(seconds)
    for name, netns in nodes.values():
        wire = sent(netns) - before[name]
        print(f"{name}: {wire} bytes to the collector in {seconds} s, {wire * 3600 // seconds} an hour")
    # A batch is with ClickHouse a moment later than it was sent.
    time.sleep(2)
    since = f"WHERE toUnixTimestamp64Milli(Timestamp) >= {int(began * 1000)} " if "--bytes" in sys.argv else ""
    print(ask(outside, BYTES.replace("GROUP BY", since + "GROUP BY")))
    if "--raw" in sys.argv:
        print(ask(outside, "SELECT * FROM otel.netdiag_legs ORDER BY transport, greatest(source_port, destination_port), time"))
    if "--bytes" not in sys.argv:
        for name in QUERIES:
            print(f"== {name}\n{ask(outside, (SQL / f'{name}.sql').read_text())}")


main()
