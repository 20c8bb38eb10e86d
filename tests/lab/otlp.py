#!/usr/bin/env python3
"""Reads OTLP requests (NNN.traces, NNN.metrics in a folder) with the official message types and prints a JSON object for each span and metric."""

import json
import pathlib
import sys

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def tell(**fields):
    print(json.dumps(fields))


def traces(body):
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        assert any(one.key == "service.name" for one in of_resource.resource.attributes)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8 and any(span.span_id)
                assert len(span.parent_span_id) in (0, 8)
                assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
                tell(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    span=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=Span.SpanKind.Name(span.kind),
                )


def metrics(body):
    for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in of_resource.scope_metrics:
            for metric in scope.metrics:
                data = metric.WhichOneof("data")
                assert getattr(metric, data).data_points, metric.name
                tell(name=metric.name, data=data, unit=metric.unit)


for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if path.suffix in (".traces", ".metrics"):
        {".traces": traces, ".metrics": metrics}[path.suffix](path.read_bytes())
