/** What routes, the answer cache and the ledger cost, and what a second process brings. */
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { type Bench, type Started, worker } from "./bench.ts"
import { concurrency } from "./measure.ts"
import { type Server, startServer } from "./process.ts"
import { type Load, measured, partial } from "./serverSide.ts"
import { answer } from "./traffic.ts"

/** A settings file, gone with the bench. */
const file = (settings: object, started: Started): string => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-"))
  started(async () => Fs.rmSync(folder, { recursive: true }))
  const path = Path.join(folder, "ballast.yaml")
  Fs.writeFileSync(path, JSON.stringify(settings))
  return path
}

const provider = ({ url }: Server) => ({
  type: "deepseek",
  baseUrl: url,
  accounts: { main: { keys: ["bench-1"] } }
})

const unrouted = (service: Server) => ({ providers: { deepseek: provider(service) } })

/** Two accounts, a trial of 5 % that keeps its users, a condition, and somewhere else to go. */
const routed = (service: Server) => ({
  providers: {
    deepseek: {
      ...provider(service),
      accounts: { main: { keys: ["bench-1"] }, second: { keys: ["bench-2"], weight: 2 } }
    },
    other: provider(service)
  },
  models: {
    "deepseek-flash": {
      choice: "user",
      targets: [
        { provider: "deepseek", weight: 95 },
        { provider: "other", weight: 5, arm: "trial", when: "request.size < 100000" }
      ],
      failover: [{ provider: "other" }]
    },
    "*": { targets: [{ provider: "deepseek" }] }
  }
})

const serving = (settings: object, started: Started, ...args: ReadonlyArray<string>): Promise<Server> =>
  startServer("packages/gateway/src/main.ts", {
    args: ["serve", "--config", file(settings, started), ...args],
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: "" }
  })

const routes: Bench = {
  about: "A call through a gateway with accounts, weights, a condition and failover, beside one with a single provider",
  plan: { operations: 500, turns: 12, warmUp: 60, expected: answer.length },
  targets: [{ side: "routed", beside: "unrouted", atMost: 1.1 }],
  sides: async (service, started) => [
    await measured(started, "unrouted", serving(unrouted(service), started), "complete", concurrency),
    await measured(started, "routed", serving(routed(service), started), "complete", concurrency)
  ]
}

const workers: Bench = {
  about:
    "Calls through one worker and two, by the wall time; needs four cores. The CPU time of two is that of their primary alone",
  plan: { operations: 2_000, turns: 8, expected: answer.length },
  targets: [{ side: "two workers", beside: "one worker", atMost: 1 / 1.7, of: "wall" }],
  sides: async (service, started) => [
    await measured(started, "one worker", serving(unrouted(service), started, "--workers", "1"), "complete", 64),
    await measured(started, "two workers", serving(unrouted(service), started, "--workers", "2"), "complete", 64)
  ]
}

const cached = (service: Server) => ({
  ...unrouted(service),
  models: { "deepseek-flash": { targets: [{ provider: "deepseek" }], cache: { timeToLive: "1h" } } }
})

const cacheHit = (load: Load): Bench => ({
  about: load === "complete"
    ? "An answer from the gateway's cache, beside a call that goes past it"
    : "The same for a stream of 66 events",
  plan: { operations: load === "complete" ? 500 : 200, turns: 12, warmUp: 60, expected: answer.length },
  targets: [{ side: "hit", beside: "call", atMost: 0.3 }],
  sides: async (service, started) => [
    await measured(started, "call", serving(cached(service), started), load, concurrency, {
      headers: { "cache-control": "no-store" }
    }),
    await measured(started, "hit", serving(cached(service), started), load, concurrency)
  ]
})

/** Whether a package is there that is none of ours. */
const isInstalled = (name: string): boolean => {
  try {
    return createRequire(import.meta.url).resolve(name) !== ""
  } catch {
    return false
  }
}

const nearest: Bench = {
  about:
    "The nearest of 10,000 embeddings of 1,024 numbers, by comparison with each as in the cache by meaning; beside it, where it is installed, sqlite-vec",
  plan: { operations: 20, turns: 8, expected: 1 },
  targets: [],
  sides: async ({ url }, started) => [
    worker(started, { name: "comparison", module: "nearest", side: "scan" }, url),
    ...(isInstalled("sqlite-vec")
      ? [worker(started, { name: "sqlite-vec", module: "nearest", side: "sqliteVec" }, url)]
      : [])
  ]
}

const ledger: Bench = {
  about:
    "A call through a gateway with its row in a SQLite file, beside one without a ledger in the same process; both have lines and spans, as `ballast serve` has",
  plan: { operations: 500, turns: 12, warmUp: 60, expected: answer.length },
  // A share of 10 % of the whole is 1/0.9 of the rest.
  targets: [{ side: "ledger", beside: "none", atMost: 1.11 }],
  sides: (service, started) =>
    partial(started, service, { none: { seen: true, ledger: false }, ledger: { seen: true, ledger: true } })
}

export const routingBenches: Record<string, Bench> = {
  routes,
  workers,
  "cache-hit": cacheHit("complete"),
  "cache-hit-stream": cacheHit("stream"),
  nearest,
  ledger
}
