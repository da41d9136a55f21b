-- Causes that stand now, each once: one cause on many nodes is one incident.
SELECT
    cause,
    uniqExact(node) AS nodes_count,
    groupUniqArray(10)(node) AS nodes,
    arrayDistinct(arrayFlatten(groupArray(20)(pods))) AS pods,
    min(began) AS since,
    max(stands.severity) AS severity,
    any(stands.summary) AS example
FROM
(
    SELECT node, id, any(cause) AS cause, argMax(state, time) AS state, min(time) AS began,
        argMax(severity, time) AS severity, argMax(summary, time) AS summary, argMax(pods, time) AS pods
    FROM otel.netdiag_findings
    WHERE time > now() - INTERVAL 1 DAY
    GROUP BY node, id
) AS stands
WHERE state = 'firing'
GROUP BY cause
ORDER BY nodes_count DESC, cause
LIMIT 100
