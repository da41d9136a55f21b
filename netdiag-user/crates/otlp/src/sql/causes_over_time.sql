-- What was named in each five minutes of the last day, by cause.
SELECT
    toStartOfInterval(time, INTERVAL 5 MINUTE) AS five_minutes, cause, severity,
    countIf(change = 'begins') AS began,
    countIf(change = 'ends') AS ended,
    uniqExact(node) AS nodes,
    argMax(summary, time) AS latest
FROM otel.netdiag_findings
WHERE time > now() - INTERVAL 1 DAY
GROUP BY five_minutes, cause, severity
ORDER BY five_minutes, cause
LIMIT 1000
