-- Where workloads' packets die, across the cluster, most first.
-- Of one workload: add AND namespace = '...' AND workload = '...'.
SELECT
    namespace, workload, pod, node, reason, location, hop, interface,
    sum(packets) AS packets,
    sum(bytes) AS bytes,
    min(time) AS first,
    max(time) AS last,
    argMax(concat(transport, ' ', source, ' to ', destination, ' port ', toString(port)), time) AS last_flow
FROM otel.netdiag_drops
WHERE time > now() - INTERVAL 1 HOUR
GROUP BY namespace, workload, pod, node, reason, location, hop, interface
ORDER BY packets DESC
LIMIT 100
