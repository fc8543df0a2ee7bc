/** What telemetry goes to fails, and calls are answered as ever: a collector that hangs or refuses, a log that no one reads. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"
import { freePort } from "../../../test/support/freePort.ts"
import { eventually, hello, post, send } from "./harness.ts"

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url))

/** Starts a gateway whose standard error is not read, and waits until it answers. */
const unread = Effect.fnUntraced(function*(env: Record<string, string>): Effect.fn.Return<string, never, Scope.Scope> {
  const port = yield* Effect.promise(freePort)
  const { PATH } = process.env
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [main, "serve"], {
        env: { PATH, PORT: String(port), NODE_NO_WARNINGS: "1", ...env },
        stdio: ["ignore", "ignore", "pipe"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  child.stderr.pause()
  const url = `http://127.0.0.1:${port}`
  yield* eventually(Effect.promise(() => fetch(`${url}/healthz`).then(({ ok }) => ok, () => false)))
  return url
})

/** A collector that never answers, or always with a status. */
const collector = (status: number | undefined): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<ReturnType<typeof createServer>>((resume) => {
        const server = createServer((request, response) => {
          request.resume().on("end", () => status !== undefined && response.writeHead(status).end())
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.closeAllConnections()
          server.close()
        })
    ),
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  )

const metric = (url: string, name: string) =>
  Effect.map(send(`${url}/metrics`), ({ text }) => {
    const line = text.split("\n").find((line) => line.startsWith(name))
    return Number(line?.split(" ").at(-1) ?? 0)
  })

const dropped = (url: string, signal: string) => metric(url, `ballast_telemetry_dropped_total{signal="${signal}"}`)

const mebibyte = 1_048_576

/** Calls until a condition holds, and asks that each call is answered, and that memory stays within bounds. */
const answersUntil = (
  url: string,
  call: Effect.Effect<{ readonly status: number }>,
  condition: Effect.Effect<boolean>
) =>
  Effect.gen(function*() {
    const lane = Effect.forever(Effect.map(call, ({ status }) => assert.isBelow(status, 500)))
    yield* Effect.raceFirst(
      Effect.all(Array.from({ length: 8 }, () => lane), { concurrency: "unbounded", discard: true }),
      eventually(Effect.andThen(Effect.sleep("100 millis"), condition))
    )
    for (let i = 0; i < 20; i++) assert.strictEqual((yield* chat(url)).status, 200)
    assert.isBelow(yield* metric(url, "process_resident_memory_bytes"), 600 * mebibyte)
  })

const chat = (url: string) => post(`${url}/v1/chat/completions`, hello)

describe("calls are answered", () => {
  it.live("while no one reads the log: lines are dropped and counted", () =>
    Effect.gen(function*() {
      const url = yield* unread({})
      // A long line each.
      const missing = send(`${url}/${"x".repeat(250)}`, { headers: { "x-trace-id": "t".repeat(128) } })
      yield* answersUntil(url, missing, Effect.map(dropped(url, "logs"), (count) => count > 0))
    }).pipe(Effect.scoped), { timeout: 120_000 })

  it.live.each([["hangs", undefined], ["answers 500", 500]] as const)(
    "while the collector %s: spans are dropped and counted",
    ([, status]) =>
      Effect.gen(function*() {
        const endpoint = yield* collector(status)
        const url = yield* unread({
          OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${endpoint}/v1/traces`,
          OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "10",
          BALLAST_LOG_LEVEL: "none"
        })
        yield* answersUntil(url, chat(url), Effect.map(dropped(url, "traces"), (count) => count > 0))
      }).pipe(Effect.scoped),
    { timeout: 120_000 }
  )
})
