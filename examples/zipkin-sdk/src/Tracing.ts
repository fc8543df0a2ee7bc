/**
 * Spans to Zipkin by OpenTelemetry's own SDK: for programs that need another exporter, processor or sampler of an SDK. `Exporter` of
 * `@ballast/telemetry` needs none of these packages: it sends to Zipkin with `OTEL_TRACES_EXPORTER=zipkin`.
 */
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import { ZipkinExporter } from "@opentelemetry/exporter-zipkin"
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base"

/** What is still waiting is sent when the layer is closed. */
export const layer = (url: string) =>
  NodeSdk.layer(() => ({
    resource: { serviceName: "shop" },
    spanProcessor: new BatchSpanProcessor(new ZipkinExporter({ url }))
  }))
