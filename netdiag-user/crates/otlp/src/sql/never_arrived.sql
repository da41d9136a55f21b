-- Suspicious flows that left a node by a tunnel, and what the node at the other end saw of them.
-- Left out are flows that are refused, for somebody answers them, and those that merely retransmit: the other
-- node need not find anything wrong with them; single packets, which can be where one node's interval ends; and
-- the last half minute, of which not every node has told.
-- `arrived`: packets that the other node counted coming in; 0 where it watched and reports none of the flow, NULL
-- where it did not watch, where no record says which node has that address, and for datagrams that it does not
-- report. `died_there`: what its kernel says of packets to the same address and port.
WITH
gone AS
(
    SELECT node, transport, source, source_port, destination, destination_port,
        any(source_pod) AS source_pod, any(destination_pod) AS destination_pod,
        outer_source, outer_destination, any(suspicion) AS why,
        sum(packets) AS packets, min(time) AS first, max(time) AS last
    FROM otel.netdiag_legs
    WHERE direction = 'egress' AND suspicion IN ('dropped', 'unanswered') AND outer_destination != ''
        AND time BETWEEN now() - INTERVAL 1 HOUR AND now() - INTERVAL 30 SECOND
    GROUP BY node, transport, source, source_port, destination, destination_port, outer_source, outer_destination
),
came AS
(
    SELECT transport, source, source_port, destination, destination_port, outer_destination, sum(packets) AS packets
    FROM otel.netdiag_legs
    WHERE direction = 'ingress' AND outer_destination != '' AND time > now() - INTERVAL 1 HOUR
    GROUP BY transport, source, source_port, destination, destination_port, outer_destination
),
peers AS
(
    SELECT node, arrayJoin(arrayDistinct(arrayConcat(addresses, vteps))) AS address FROM otel.netdiag_nodes
),
watched AS
(
    SELECT node FROM otel.netdiag_coverage
    WHERE time > now() - INTERVAL 1 HOUR GROUP BY node HAVING max(blind) = ''
),
deaths AS
(
    SELECT node, destination, port, groupUniqArray(concat(reason, ' at ', location)) AS died
    FROM otel.netdiag_drops WHERE time > now() - INTERVAL 1 HOUR GROUP BY node, destination, port
)
SELECT
    gone.node AS left_node, peers.node AS to_node,
    gone.transport AS transport, gone.source AS source, gone.source_pod AS source_pod,
    gone.destination AS destination, gone.destination_port AS port, gone.destination_pod AS destination_pod,
    any(gone.why) AS suspicion,
    count() AS flows, sum(gone.packets) AS packets_left,
    if(watched.node = '' OR (transport != 'tcp' AND sum(came.packets) = 0), NULL, sum(came.packets)) AS arrived,
    any(deaths.died) AS died_there,
    min(gone.first) AS first, max(gone.last) AS last
FROM gone
LEFT JOIN came USING (transport, source, source_port, destination, destination_port, outer_destination)
LEFT JOIN peers ON peers.address = gone.outer_destination
LEFT JOIN watched ON watched.node = peers.node
LEFT JOIN deaths ON deaths.node = peers.node AND deaths.destination = gone.destination AND deaths.port = gone.destination_port
GROUP BY left_node, to_node, transport, source, source_pod, destination, port, destination_pod, watched.node
HAVING packets_left > 1 AND (ifNull(arrived, 0) = 0 OR notEmpty(died_there))
ORDER BY packets_left DESC
LIMIT 100
