/** What it costs to see each call, and what a collector or a reader of the log that fails costs. */
import type { Bench, Started } from "./bench.ts"
import { concurrency, type Measured } from "./measure.ts"
import { type Server, startServer } from "./process.ts"
import { measured, partial } from "./serverSide.ts"
import { answer } from "./traffic.ts"

const main = "packages/gateway/src/main.ts"

/**
 * Traces go to the collector; lines go to standard error, and metrics wait to be scraped, as in `ops/compose.yaml`. Each gateway has a ledger
 * of its own: its rows are no telemetry, and gateways that share a file wait for each other.
 */
const environment = (service: Server, collector?: Server, more: Readonly<Record<string, string>> = {}) => ({
  DEEPSEEK_API_KEY: "bench",
  DEEPSEEK_BASE_URL: service.url,
  BALLAST_DATABASE: ":memory:",
  OTEL_EXPORTER_OTLP_ENDPOINT: "",
  ...(collector !== undefined && { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces` }),
  ...more
})

/** A gateway as it is started by hand. */
const gateway = (
  started: Started,
  name: string,
  env: Readonly<Record<string, string>>,
  unread = false
): Promise<Measured> =>
  measured(started, name, startServer(main, { args: ["serve"], env, unread }), "complete", concurrency)

const collectorOf = async (started: Started, ...args: ReadonlyArray<string>): Promise<Server> => {
  const collector = await startServer("bench/src/collector.ts", { args })
  started(collector.stop)
  return collector
}

const telemetry: Bench = {
  about:
    "A call through a gateway with lines of the log, metrics and exported traces, beside one without lines and spans in the same process",
  // A call has three spans, and a batch a thousand: with 450 calls, batches are sent within blocks, and seldom when one has just ended.
  plan: { operations: 450, turns: 48, warmUp: 40, expected: answer.length },
  // A share of 20 % of the whole is a quarter more than without it; one of 5 % is 1/0.95.
  targets: [
    { side: "every trace", beside: "unseen", atMost: 1.25 },
    { side: "one trace in a hundred", beside: "unseen", atMost: 1.053 }
  ],
  sides: async (service, started) => {
    const collector = await collectorOf(started)
    const seen = (...given: Parameters<typeof environment>) => ({
      seen: true,
      ledger: true,
      env: environment(...given)
    })
    return partial(started, service, {
      unseen: { seen: false, ledger: true, env: environment(service) },
      "lines and metrics": seen(service),
      "one trace in a hundred": seen(service, collector, {
        OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG: "0.01"
      }),
      "every trace": seen(service, collector)
    })
  }
}

const outages: Bench = {
  about: "A call through the gateway while its collector hangs, answers 500, or its standard error is not read",
  plan: { operations: 500, turns: 24, expected: answer.length },
  targets: ["collector hangs", "collector answers 500", "log is not read"].map((side) => ({
    side,
    beside: "all is well",
    atMost: 1.1,
    of: "wall"
  })),
  sides: async (service, started) => [
    await gateway(started, "all is well", environment(service, await collectorOf(started))),
    await gateway(started, "collector hangs", environment(service, await collectorOf(started, "hang"))),
    await gateway(started, "collector answers 500", environment(service, await collectorOf(started, "fail"))),
    await gateway(started, "log is not read", environment(service, await collectorOf(started)), true)
  ]
}

export const telemetryBenches: Record<string, Bench> = { telemetry, "telemetry-outages": outages }
