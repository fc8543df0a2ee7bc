import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Schedule } from "effect"
import { Agent, request } from "node:http"
import { Simulator, SimulatorServer } from "../src/index.ts"
import { eventsOf, hello, instant } from "./support.ts"

const serving = Effect.provide(SimulatorServer.layer({ ...instant, port: 0 }))

const inspect = Effect.flatMap(Simulator.Simulator, ({ inspect }) => inspect)

/** Waits until the server has noticed, which takes a turn or two of the event loop. */
const settled = inspect.pipe(Effect.repeat({
  until: ({ inFlight }) => inFlight === 0,
  schedule: Schedule.spaced("5 millis")
}))

const init = (body: unknown, simulate?: string): RequestInit => ({
  method: "POST",
  headers: {
    authorization: "Bearer sk-test",
    "content-type": "application/json",
    ...(simulate !== undefined && { "x-simulate": simulate })
  },
  body: typeof body === "string" ? body : JSON.stringify(body)
})

const chat = (body: unknown, simulate?: string, more?: RequestInit) =>
  Effect.flatMap(
    SimulatorServer.url,
    (url) => Effect.promise(() => fetch(`${url}/chat/completions`, { ...init(body, simulate), ...more }))
  )

const text = (response: Response) => Effect.tryPromise(() => response.text())

describe("SimulatorServer", () => {
  it.live("listens on loopback and says where", () =>
    Effect.gen(function*() {
      assert.match(yield* SimulatorServer.url, /^http:\/\/127\.0\.0\.1:\d+$/)
    }).pipe(serving))

  it.live("answers like the engine", () =>
    Effect.gen(function*() {
      const response = yield* chat(hello)
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("content-type"), "application/json")
      assert.match(response.headers.get("x-ds-trace-id") ?? "", /^[0-9a-f]{32}$/)
      assert.include(yield* text(response), "\"object\":\"chat.completion\"")
    }).pipe(serving))

  it.live("streams events", () =>
    Effect.gen(function*() {
      const response = yield* chat({ ...hello, stream: true })
      assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/)
      assert.strictEqual(eventsOf(yield* text(response)).at(-1), "[DONE]")
    }).pipe(serving))

  it.live("sends plain-text refusals without a content type", () =>
    Effect.gen(function*() {
      const url = yield* SimulatorServer.url
      const response = yield* Effect.promise(() => fetch(`${url}/models`))
      assert.strictEqual(response.status, 401)
      assert.isNull(response.headers.get("content-type"))
      assert.strictEqual(yield* text(response), "Authentication Fails (governor)")
    }).pipe(serving))

  it.live("keeps a connection for the next request", () =>
    Effect.gen(function*() {
      const url = yield* SimulatorServer.url
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      const port = Effect.callback<number | undefined>((resume) => {
        const sent = request(`${url}/models`, { agent, headers: { authorization: "Bearer sk-test" } }, (response) => {
          const { localPort } = response.socket
          response.resume().on("end", () => resume(Effect.succeed(localPort)))
        })
        sent.end()
      })
      const first = yield* port
      yield* Effect.yieldNow
      assert.strictEqual(yield* port, first)
      agent.destroy()
    }).pipe(serving))

  it.live("destroys the socket within a stream, after the events before", () =>
    Effect.gen(function*() {
      const response = yield* chat({ ...hello, stream: true }, "cut=3")
      const decoder = new TextDecoder()
      let received = ""
      const broken = yield* Effect.flip(Effect.tryPromise(async () => {
        for await (const bytes of response.body ?? []) received += decoder.decode(bytes)
      }))
      assert.isDefined(broken)
      assert.strictEqual(eventsOf(received).length, 3)
      yield* settled
    }).pipe(serving))

  it.live("destroys the socket before the status line", () =>
    Effect.gen(function*() {
      const url = yield* SimulatorServer.url
      yield* Effect.flip(Effect.tryPromise(() => fetch(`${url}/chat/completions`, init(hello, "cut=0"))))
      yield* settled
    }).pipe(serving))

  it.live("gives the place of a client that goes away to others", () =>
    Effect.gen(function*() {
      const url = yield* SimulatorServer.url
      const reading = new AbortController()
      yield* chat({ ...hello, stream: true }, "stall=2", { signal: reading.signal })
      assert.strictEqual((yield* inspect).inFlight, 1)
      reading.abort()
      yield* settled

      const waiting = new AbortController()
      const refused = fetch(`${url}/chat/completions`, { ...init(hello, "latency=1h"), signal: waiting.signal })
        .then(() => "answered", () => "aborted")
      yield* inspect.pipe(
        Effect.repeat({ until: ({ inFlight }) => inFlight === 1, schedule: Schedule.spaced("5 millis") })
      )
      waiting.abort()
      assert.strictEqual(yield* Effect.promise(() => refused), "aborted")
      yield* settled
    }).pipe(serving))

  it.live("answers with every kind of status and header", () =>
    Effect.gen(function*() {
      const moved = yield* chat(hello, "status=307, location=/models, retry-after=Thu%2C 26 Nov 2026 10:00:00 GMT", {
        redirect: "manual"
      })
      assert.strictEqual(moved.status, 307)
      assert.strictEqual(moved.headers.get("location"), "/models")
      assert.strictEqual(moved.headers.get("retry-after"), "Thu, 26 Nov 2026 10:00:00 GMT")
      assert.include(yield* text(moved), "openresty")
      for (const status of [204, 205, 304]) {
        const empty = yield* chat(hello, `status=${status}, body=oops`)
        assert.strictEqual(empty.status, status)
        assert.strictEqual(yield* text(empty), "")
      }
      assert.strictEqual(yield* text(yield* chat(hello, "body=oops")), "oops")
    }).pipe(serving))

  it.live("refuses a header that cannot be sent", () =>
    Effect.gen(function*() {
      for (const simulate of ["retry-after=a%0d%0ab", "location=%E2%80%A6"]) {
        const response = yield* chat(hello, simulate)
        assert.strictEqual(response.status, 400)
        assert.match(response.headers.get("x-ds-trace-id") ?? "", /^[0-9a-f]{32}$/)
        assert.include(yield* text(response), "must be printable ASCII")
      }
    }).pipe(serving))

  it.live("refuses a body of more than 48 MiB", () =>
    Effect.gen(function*() {
      const response = yield* chat("x".repeat(48 * 1024 * 1024 + 1))
      assert.strictEqual(response.status, 413)
      assert.include(yield* text(response), "openresty")
    }).pipe(serving))

  it.live("logs a line for each request, when told to", () => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ message }) => lines.push(message))
    return Effect.gen(function*() {
      yield* Effect.flatMap(chat(hello), text)
      yield* Effect.flatMap(chat(hello, "status=503"), text)
      yield* Effect.exit(Effect.flatMap(chat({ ...hello, stream: true }, "cut=2"), text))
      yield* Effect.repeat(Effect.void, { until: () => lines.length === 3, schedule: Schedule.spaced("5 millis") })
      const fields = Array.from(lines, (line) => Object(Array.isArray(line) ? line[1] : undefined))
      assert.deepInclude(fields[0], { method: "POST", path: "/chat/completions", status: 200, stream: false })
      assert.isAbove(fields[0].output_tokens, 0)
      assert.deepInclude(fields[1], { status: 503, x_simulate: "status=503" })
      assert.deepInclude(fields[2], { status: 200, stream: true, cut_off: true })
    }).pipe(Effect.provide(
      Layer.provide(SimulatorServer.layer({ ...instant, port: 0, log: true }), Logger.layer([logger]))
    ))
  })

  it.live("stops with running answers", () =>
    Effect.gen(function*() {
      const response = yield* chat({ ...hello, stream: true }, "stall=1").pipe(serving)
      yield* Effect.flip(text(response))
    }))
})
