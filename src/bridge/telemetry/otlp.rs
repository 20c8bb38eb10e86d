//! Spans and figures as OTLP messages. (OpenTelemetry protocol 1.x; the message types are the official ones)

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Written, Status, span, status};
use prost::Message;

use super::span::{Kind, Span, Value};
use crate::bridge::metrics::{self, Family};
use crate::time::Wall;

/// The scope of all spans and figures.
const SCOPE: &str = "kakehashi";
/// The trace flag of what is recorded. (W3C Trace Context §3.2.2.5)
const SAMPLED: u32 = 1;

/// This process, as a collector tells it from others. (OpenTelemetry semantic conventions, service)
pub(super) fn resource(node: &str) -> Resource {
    let attributes = [
        ("service.name", "kakehashi"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", node),
        ("kakehashi.node", node),
    ];
    Resource { attributes: attributes.map(|(key, value)| text(key, value.into())).into(), ..Resource::default() }
}

/// Spans as the body of `POST /v1/traces`.
pub(super) fn traces(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let scope_spans =
        ScopeSpans { scope: Some(scope()), spans: spans.iter().map(written).collect(), ..ScopeSpans::default() };
    let of_this =
        ResourceSpans { resource: Some(resource.clone()), scope_spans: vec![scope_spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![of_this] }.encode_to_vec()
}

/// Spans that a collector took the request without; 0 where its answer says nothing.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

/// Figures as the body of `POST /v1/metrics`; counters count from `start`.
pub(super) fn figures(resource: &Resource, families: &[Family], (start, now): (Wall, Wall)) -> Vec<u8> {
    let metrics = families.iter().filter(|family| !family.samples.is_empty());
    let metrics = metrics.map(|family| of_family(family, nanos(start), nanos(now))).collect();
    let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
    let of_this = ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics: vec![scope_metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![of_this] }.encode_to_vec()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: SCOPE.into(), version: env!("CARGO_PKG_VERSION").into(), ..Default::default() }
}

fn written(of: &Span) -> Written {
    let kind = match of.kind {
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
        Kind::Internal => span::SpanKind::Internal,
    };
    let attributes = of.attributes.iter().map(|(key, value)| match value {
        Value::Word(word) => text(key, (*word).into()),
        Value::Id(id) => text(key, id.to_string()),
        Value::Name(name) => text(key, name.clone()),
        Value::Number(number) => pair(key, any_value::Value::IntValue(*number)),
    });
    Written {
        trace_id: of.contact.0.as_bytes().into(),
        span_id: of.id.into(),
        parent_span_id: of.parent.map(Vec::from).unwrap_or_default(),
        flags: SAMPLED,
        name: of.name.into(),
        kind: kind.into(),
        start_time_unix_nano: nanos(of.start),
        end_time_unix_nano: nanos(of.end),
        attributes: attributes.collect(),
        status: of.failed.then(|| Status { code: status::StatusCode::Error.into(), ..Status::default() }),
        ..Written::default()
    }
}

/// One family of figures. A counter has no `_total` here: whoever shows it in Prometheus puts it back. (OpenTelemetry, Prometheus compatibility)
fn of_family(family: &Family, start: u64, now: u64) -> Metric {
    let is_counter = family.kind == metrics::COUNTER;
    let data_points = family.samples.iter().map(|(labels, value)| NumberDataPoint {
        attributes: labels.iter().map(|(key, value)| text(key, value.clone())).collect(),
        start_time_unix_nano: if is_counter { start } else { 0 },
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(*value)),
        ..NumberDataPoint::default()
    });
    let data_points = data_points.collect();
    let data = if is_counter {
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
    } else {
        metric::Data::Gauge(Gauge { data_points })
    };
    let name = family.name.trim_end_matches("_total");
    let unit = match () {
        () if name.ends_with("_seconds") => "s",
        () if name.contains("_bytes") => "By",
        () => "1",
    };
    Metric {
        name: name.into(),
        description: family.help.into(),
        unit: unit.into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn text(key: &str, value: String) -> KeyValue {
    pair(key, any_value::Value::StringValue(value))
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(time: Wall) -> u64 {
    u64::try_from(time.0).unwrap_or(0).saturating_mul(1_000)
}
