/** What routes cost, and what a second process brings. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Bench, Started } from "./bench.ts"
import { concurrency } from "./measure.ts"
import { type Server, startServer } from "./process.ts"
import { measured } from "./serverSide.ts"
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
  plan: { operations: 500, turns: 12, expected: answer.length },
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

export const routingBenches: Record<string, Bench> = { routes, workers }
