//! Views over the table that OpenTelemetry's ClickHouse exporters write, and questions to ask of them.
