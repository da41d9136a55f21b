-- Causes that stand now, each once: one cause on many nodes is one incident.
-- Agents tell each hour what stands: what was not heard of for two hours does not, or nobody looks.
SELECT
    cause,
    uniqExact(node) AS nodes_count,
    groupUniqArray(10)(node) AS nodes,
    arrayDistinct(arrayFlatten(groupArray(20)(pods))) AS pods,
    min(began) AS since,
    argMax(stands.severity, indexOf(['info', 'warning', 'critical'], stands.severity)) AS severity,
    argMax(stands.summary, indexOf(['info', 'warning', 'critical'], stands.severity)) AS example
FROM
(
    SELECT node, id, any(cause) AS cause, argMax(state, time) AS state, max(time) AS heard,
        if(countIf(change = 'begins') > 0, maxIf(time, change = 'begins'), min(time)) AS began,
        argMax(severity, time) AS severity, argMax(summary, time) AS summary, argMax(pods, time) AS pods
    FROM otel.netdiag_findings
    WHERE time > now() - INTERVAL 7 DAY
    GROUP BY node, id
) AS stands
WHERE state = 'firing' AND heard > now() - INTERVAL 2 HOUR
GROUP BY cause
ORDER BY nodes_count DESC, cause
LIMIT 100
