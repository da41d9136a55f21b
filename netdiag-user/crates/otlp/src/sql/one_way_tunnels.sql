-- Pairs of nodes of which one receives none of the other's tunnel packets.
-- `received_there` and `lost` are NULL where the other node reports nothing of the pair in the same minute:
-- then it saw no traffic of the pair at all, or traffic both ways.
WITH pairs AS
(
    SELECT own, peer, vni, port, node, toStartOfInterval(time, INTERVAL 1 MINUTE) AS minute,
        sum(sent) AS sent, sum(received) AS received
    FROM otel.netdiag_tunnels
    WHERE time > now() - INTERVAL 1 HOUR
    GROUP BY own, peer, vni, port, node, minute
)
SELECT
    a.node AS sender, a.own AS sender_address, a.peer AS receiver_address, b.node AS receiver,
    a.vni AS vni, a.port AS port,
    sum(a.sent) AS sent,
    if(countIf(b.node != '') = 0, NULL, sum(b.received)) AS received_there,
    if(countIf(b.node != '') = 0, NULL, toInt64(sum(a.sent)) - toInt64(sum(b.received))) AS lost,
    sum(a.received) AS answers_received,
    min(a.minute) AS first_minute, max(a.minute) AS last_minute
FROM pairs AS a
LEFT JOIN pairs AS b ON b.own = a.peer AND b.peer = a.own AND b.vni = a.vni AND b.port = a.port AND b.minute = a.minute
WHERE a.sent > 0
GROUP BY sender, sender_address, receiver_address, receiver, vni, port
HAVING ifNull(received_there, 0) = 0 AND (received_there = 0 OR answers_received = 0)
ORDER BY sent DESC
LIMIT 100
