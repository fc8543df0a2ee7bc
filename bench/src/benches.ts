import { type Bench, worker } from "./bench.ts"
import { concurrency } from "./measure.ts"
import { policyBenches } from "./policyBenches.ts"
import { startServer } from "./process.ts"
import { startRedis } from "./redisServer.ts"
import { routingBenches } from "./routingBenches.ts"
import { type Load, measured } from "./serverSide.ts"
import { telemetryBenches } from "./telemetryBenches.ts"
import { answer } from "./traffic.ts"
import { workflowBenches } from "./workflowBenches.ts"

/** A whole call gets cheaper for the first 30,000 on either side. */
const calls = { operations: 500, turns: 12, warmUp: 60, expected: answer.length } as const

/** And a stream for the first 8,000. */
const streams = { operations: 200, turns: 12, warmUp: 40, expected: answer.length } as const

const clients = (side: "complete" | "stream"): Bench["sides"] => async ({ url }, started) => [
  worker(started, { name: "undici", module: "undici", side }, url),
  worker(started, { name: "openai", module: "openai", side }, url),
  worker(started, { name: "@ai-sdk/deepseek", module: "ai", side }, url),
  worker(started, { name: "@ballast/deepseek", module: "ballast", side }, url)
]

const client: Bench = {
  about:
    `A call that is not streamed, ${concurrency} in flight; ballast with its default policies, a rate limiter and spans`,
  plan: calls,
  targets: [{ side: "@ballast/deepseek", beside: "openai", atMost: 0.35 }],
  sides: clients("complete")
}

const stream: Bench = {
  about: `A stream of 66 events that arrive one by one, ${concurrency} in flight; ballast as above`,
  plan: streams,
  targets: [{ side: "@ballast/deepseek", beside: "openai", atMost: 0.25 }],
  sides: clients("stream")
}

const streamBurst: Bench = { ...stream, about: "The same when all events arrive at once", burst: true }

const gateways = (load: Load): Bench["sides"] => async (service, started, lanes) => {
  const env = { DEEPSEEK_API_KEY: "bench", DEEPSEEK_BASE_URL: service.url, OTEL_EXPORTER_OTLP_ENDPOINT: "" }
  const portkey = {
    path: "/v1/chat/completions",
    headers: { "x-portkey-provider": "openai", "x-portkey-custom-host": service.url }
  }
  return [
    await measured(started, "pass-through", startServer("bench/src/passThrough.ts", { env }), load, lanes),
    await measured(
      started,
      "gateway",
      startServer("packages/gateway/src/main.ts", { args: ["serve"], env }),
      load,
      lanes
    ),
    // Its streams gave this client no text.
    ...(load === "stream" ? [] : [
      await measured(started, "portkey", startServer("bench/src/portkey.ts", { env }), load, lanes, portkey)
    ])
  ]
}

const gateway: Bench = {
  about:
    `A call through a server process beside a bare node:http pass-through, ${concurrency} in flight over kept connections`,
  plan: calls,
  targets: [
    { side: "gateway", beside: "pass-through", atMost: 1.8 },
    { side: "gateway", beside: "portkey", atMost: 0.4 }
  ],
  sides: gateways("complete")
}

const gatewayStream: Bench = {
  about: "The same for a stream of 66 events",
  plan: streams,
  targets: [
    { side: "gateway", beside: "pass-through", atMost: 2 }
  ],
  sides: gateways("stream")
}

const throughput: Bench = {
  about: "Calls through a server process: 1,000,000 by the wall time is how many a second it takes",
  plan: { operations: 1024, turns: 4, expected: answer.length },
  lanes: [1, 16, 64, 256, 1024],
  targets: [],
  sides: gateways("complete")
}

const redisLimiter: Bench = {
  about:
    `A decision of a limit in Redis, ${concurrency} in flight on one connection; ballast for each call, and leased by 100,000`,
  plan: { operations: 20_000, turns: 10, expected: 1 },
  targets: [
    { side: "ballast", beside: "rate-limiter-flexible", atMost: 1, of: "wall" },
    { side: "ballast, leased", beside: "rate-limiter-flexible", atMost: 0.05, of: "wall" }
  ],
  sides: async (_service, started) => {
    const { stop, url } = await startRedis()
    started(stop)
    return [
      worker(started, { name: "rate-limiter-flexible", module: "redis", side: "flexible" }, url),
      worker(started, { name: "ballast", module: "redis", side: "plain" }, url),
      worker(started, { name: "ballast, leased", module: "redis", side: "leased" }, url)
    ]
  }
}

/** Every bench by the name that `--only` takes. */
export const benches: Record<string, Bench> = {
  client,
  stream,
  "stream-burst": streamBurst,
  gateway,
  "gateway-stream": gatewayStream,
  throughput,
  ...routingBenches,
  ...telemetryBenches,
  ...policyBenches,
  ...workflowBenches,
  "redis-limiter": redisLimiter
}
