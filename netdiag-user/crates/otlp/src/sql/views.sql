-- netdiag's records as tables: one view for each kind, made once.
CREATE OR REPLACE VIEW otel.netdiag_findings AS
SELECT
    Timestamp AS time,
    ResourceAttributes['k8s.node.name'] AS node,
    LogAttributes['netdiag.finding.id'] AS id,
    LogAttributes['netdiag.cause'] AS cause,
    LogAttributes['netdiag.severity'] AS severity,
    LogAttributes['netdiag.confidence'] AS confidence,
    LogAttributes['netdiag.state'] AS state,
    LogAttributes['netdiag.change'] AS change,
    LogAttributes['netdiag.consequence_of'] AS consequence_of,
    arrayFilter(x -> x != '', splitByChar(',', LogAttributes['netdiag.pods'])) AS pods,
    Body AS summary,
    LogAttributes['netdiag.finding.json'] AS finding
FROM otel.otel_logs
WHERE LogAttributes['event.name'] = 'netdiag.finding';

CREATE OR REPLACE VIEW otel.netdiag_drops AS
SELECT
    Timestamp AS time,
    ResourceAttributes['k8s.node.name'] AS node,
    LogAttributes['k8s.namespace.name'] AS namespace,
    LogAttributes['netdiag.workload'] AS workload,
    LogAttributes['k8s.pod.name'] AS pod,
    LogAttributes['netdiag.drop.reason'] AS reason,
    LogAttributes['netdiag.drop.location'] AS location,
    LogAttributes['netdiag.hop'] AS hop,
    LogAttributes['network.interface.name'] AS interface,
    LogAttributes['network.transport'] AS transport,
    LogAttributes['source.address'] AS source,
    LogAttributes['destination.address'] AS destination,
    toUInt16OrZero(LogAttributes['destination.port']) AS port,
    toUInt64OrZero(LogAttributes['netdiag.packets']) AS packets,
    toUInt64OrZero(LogAttributes['netdiag.bytes']) AS bytes
FROM otel.otel_logs
WHERE LogAttributes['event.name'] = 'netdiag.drop';

CREATE OR REPLACE VIEW otel.netdiag_legs AS
SELECT
    Timestamp AS time,
    ResourceAttributes['k8s.node.name'] AS node,
    LogAttributes['netdiag.suspicion'] AS suspicion,
    toUInt16OrZero(LogAttributes['netdiag.step']) AS step,
    LogAttributes['netdiag.hop'] AS hop,
    LogAttributes['network.interface.name'] AS interface,
    LogAttributes['netdiag.direction'] AS direction,
    LogAttributes['netdiag.carried'] AS carried,
    LogAttributes['network.transport'] AS transport,
    LogAttributes['source.address'] AS source,
    toUInt16OrZero(LogAttributes['source.port']) AS source_port,
    LogAttributes['destination.address'] AS destination,
    toUInt16OrZero(LogAttributes['destination.port']) AS destination_port,
    LogAttributes['netdiag.source.pod'] AS source_pod,
    LogAttributes['netdiag.destination.pod'] AS destination_pod,
    LogAttributes['netdiag.outer.source'] AS outer_source,
    LogAttributes['netdiag.outer.destination'] AS outer_destination,
    toUInt16OrZero(LogAttributes['netdiag.outer.port']) AS outer_port,
    toUInt32OrZero(LogAttributes['netdiag.vni']) AS vni,
    toUInt64OrZero(LogAttributes['netdiag.packets']) AS packets,
    toUInt64OrZero(LogAttributes['netdiag.bytes']) AS bytes,
    toUInt64OrZero(LogAttributes['netdiag.retransmits']) AS retransmits,
    toUInt32OrZero(LogAttributes['netdiag.largest']) AS largest
FROM otel.otel_logs
WHERE LogAttributes['event.name'] = 'netdiag.leg';

CREATE OR REPLACE VIEW otel.netdiag_tunnels AS
SELECT
    Timestamp AS time,
    ResourceAttributes['k8s.node.name'] AS node,
    LogAttributes['netdiag.outer.source'] AS own,
    LogAttributes['netdiag.outer.destination'] AS peer,
    toUInt16OrZero(LogAttributes['netdiag.outer.port']) AS port,
    toUInt32OrZero(LogAttributes['netdiag.vni']) AS vni,
    toUInt64OrZero(LogAttributes['netdiag.sent.packets']) AS sent,
    toUInt64OrZero(LogAttributes['netdiag.received.packets']) AS received
FROM otel.otel_logs
WHERE LogAttributes['event.name'] = 'netdiag.tunnel';

CREATE OR REPLACE VIEW otel.netdiag_nodes AS
SELECT
    ResourceAttributes['k8s.node.name'] AS node,
    argMax(arrayFilter(x -> x != '', splitByChar(',', LogAttributes['netdiag.node.addresses'])), Timestamp) AS addresses,
    argMax(arrayFilter(x -> x != '', splitByChar(',', LogAttributes['netdiag.node.vteps'])), Timestamp) AS vteps,
    argMax(arrayFilter(x -> x != '', splitByChar(',', LogAttributes['netdiag.node.pod_cidrs'])), Timestamp) AS pod_cidrs,
    argMax(LogAttributes['netdiag.kernel'], Timestamp) AS kernel
FROM otel.otel_logs
WHERE LogAttributes['event.name'] = 'netdiag.node'
GROUP BY node;

CREATE OR REPLACE VIEW otel.netdiag_coverage AS
SELECT
    Timestamp AS time,
    ResourceAttributes['k8s.node.name'] AS node,
    toUInt32OrZero(LogAttributes['netdiag.hooks']) AS hooks,
    LogAttributes['netdiag.blind'] AS blind,
    LogAttributes['netdiag.level'] AS level,
    toUInt64OrZero(LogAttributes['netdiag.lost.events']) AS lost_events,
    toUInt64OrZero(LogAttributes['netdiag.lost.packets']) AS lost_packets,
    toUInt64OrZero(LogAttributes['netdiag.lost.legs']) AS lost_legs,
    toUInt64OrZero(LogAttributes['netdiag.lost.records']) AS lost_records
FROM otel.otel_logs
WHERE LogAttributes['event.name'] = 'netdiag.coverage'
