/**
 * A day of three providers with outages, throttling, a spent balance, a revoked key and changes of the settings, in virtual time and with a
 * seed. The report stands in `day.txt`: a change of the router that moves load or loses calls shows as a difference there.
 *
 *     npx vitest run packages/router/test/simulation -u
 */
import type { ChatRequest } from "@ballast/chat"
import { Registry } from "@ballast/resilience"
import { Router, RouterSettings } from "@ballast/router"
import { expect, it } from "@effect/vitest"
import { Clock, Effect, Random, Schema, Stream } from "effect"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { answered, chunk } from "../support.ts"

const minute = 60_000
const hour = 60 * minute

type Fault =
  | { readonly status: number; readonly message: string }
  | "unreachable"
  /** So many calls at once, others are refused. */
  | { readonly atOnce: number }

interface Trouble {
  /** A host or a key. */
  readonly at: string
  readonly from: number
  readonly to: number
  readonly fault: Fault
}

const between = (at: string, from: number, to: number, fault: Fault): Trouble => ({
  at,
  from: from * hour,
  to: to * hour,
  fault
})

const troubles: ReadonlyArray<Trouble> = [
  between("api.deepseek.com", 2, 2.4, { status: 503, message: "Service unavailable" }),
  between("ark.example", 5, 5.5, "unreachable"),
  between("api.deepseek.com", 9, 12, { atOnce: 1 }),
  between("key-second", 13, 15, { status: 402, message: "Insufficient Balance" }),
  between("key-main", 17, 24, { status: 401, message: "Authentication fails" }),
  between("api.deepseek.com", 20, 20.2, "unreachable"),
  between("ark.example", 20, 20.1, { status: 500, message: "Internal error" })
]

/** Hosts in memory that answer after a while, with what was asked of each. */
const internet = () => {
  const asked: Array<{ readonly at: number; readonly key: string; readonly answered: boolean }> = []
  const running = new Map<string, number>()
  const client = HttpClient.make((request, url) =>
    Effect.gen(function*() {
      const at = yield* Clock.currentTimeMillis
      const key = request.headers["authorization"]?.replace("Bearer ", "") ?? ""
      const fault = troubles.find((one) => (one.at === url.hostname || one.at === key) && at >= one.from && at < one.to)
        ?.fault
      const inFlight = running.get(key) ?? 0
      const refusal = typeof fault === "object" && "atOnce" in fault
        ? inFlight >= fault.atOnce ? { status: 429, message: "Too many requests" } : undefined
        : fault
      if (url.pathname.endsWith("/balance")) {
        return HttpClientResponse.fromWeb(
          request,
          refusal !== undefined
            ? Response.json({}, { status: 402 })
            : Response.json({ is_available: true, balance_infos: [] })
        )
      }
      asked.push({ at, key, answered: refusal === undefined })
      if (refusal === "unreachable") {
        return yield* new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request, cause: new Error("ECONNREFUSED") })
        })
      }
      if (refusal !== undefined) {
        return HttpClientResponse.fromWeb(
          request,
          Response.json({ error: { message: refusal.message } }, { status: refusal.status })
        )
      }
      running.set(key, inFlight + 1)
      const slow = yield* Random.nextBetween(2_000, 60_000)
      yield* Effect.ensuring(
        Effect.sleep(slow),
        Effect.sync(() => running.set(key, (running.get(key) ?? 1) - 1))
      )
      const body = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : "{}"
      const { stream } = JSON.parse(body) as ChatRequest.ChatRequest
      const events = [chunk(key), chunk("", "stop")].map((one) => `data: ${JSON.stringify(one)}\n\n`).join("")
      return HttpClientResponse.fromWeb(
        request,
        stream === true
          ? new Response(`${events}data: [DONE]\n\n`, { headers: { "content-type": "text/event-stream" } })
          : Response.json(answered(key))
      )
    })
  )
  return { asked, client: () => Effect.succeed(client) }
}

const settings = (weights: { readonly deepseek: number; readonly ark: number }, keys = ["key-main"]) =>
  Schema.decodeUnknownSync(RouterSettings.RouterSettings)({
    providers: {
      deepseek: { type: "deepseek", accounts: { main: { keys }, second: { keys: ["key-second"] } } },
      ark: {
        type: "openai",
        baseUrl: "https://ark.example/api/v3",
        accounts: { main: { keys: ["key-ark"] } },
        concurrency: { "ds-flash": 200 }
      },
      local: { type: "vllm", baseUrl: "http://gpu.example/v1", accounts: { main: { keys: ["key-local"] } } }
    },
    models: {
      "deepseek-flash": {
        targets: [
          { provider: "deepseek", weight: weights.deepseek },
          { provider: "ark", model: "ds-flash", weight: weights.ark }
        ],
        failover: [{ provider: "deepseek" }, { provider: "ark", model: "ds-flash" }, {
          provider: "local",
          model: "small"
        }]
      }
    }
  })

const changes: ReadonlyArray<readonly [at: number, RouterSettings.RouterSettings]> = [
  [7 * hour, settings({ deepseek: 50, ark: 50 })],
  [16 * hour, settings({ deepseek: 80, ark: 20 })],
  // The revoked key is replaced.
  [19 * hour, settings({ deepseek: 80, ark: 20 }, ["key-new"])],
  [22 * hour, settings({ deepseek: 100, ark: 0 }, ["key-new"])]
]

const step = 20_000

const places = ["key-main", "key-new", "key-second", "key-ark", "key-local"]

const simulate = Effect.gen(function*() {
  const net = internet()
  const router = yield* Router.make({ settings: settings({ deepseek: 90, ark: 10 }), client: net.client })
  const calls: Array<{ readonly at: number; readonly took: number; readonly failure: string | undefined }> = []
  const call = (n: number) =>
    Effect.gen(function*() {
      const at = yield* Clock.currentTimeMillis
      const request: ChatRequest.ChatRequest = {
        model: "deepseek-flash",
        messages: [{ role: "user", content: `question ${n}` }]
      }
      const failure = yield* (n % 2 === 0
        ? Effect.asVoid(router.complete(request))
        : Stream.runDrain(router.stream(request))).pipe(
          Effect.match({ onSuccess: () => undefined, onFailure: ({ message }) => message })
        )
      calls.push({ at, took: (yield* Clock.currentTimeMillis) - at, failure })
    })
  const due = [...changes]
  for (let at = 0, n = 0; at < 24 * hour; at += step, n++) {
    const [next] = due
    if (next !== undefined && at >= next[0]) {
      yield* router.update(next[1])
      due.shift()
    }
    yield* Effect.forkScoped(call(n), { startImmediately: true })
    yield* TestClock.adjust(step)
  }
  yield* TestClock.adjust("1 hour")

  const lost = calls.filter(({ failure }) => failure !== undefined)
  const row = (name: string, from: number, to: number) => {
    const within = ({ at }: { readonly at: number }) => at >= from && at < to
    const [began, attempts] = [calls.filter(within), net.asked.filter(within)]
    const load = places.map((place) => attempts.filter(({ key }) => key === place).length)
    return [
      name,
      began.length,
      began.filter(({ failure }) => failure !== undefined).length,
      (attempts.length / began.length).toFixed(2),
      (Math.max(...began.map(({ took }) => took)) / 1000).toFixed(1),
      ...load
    ].map((cell) => String(cell).padStart(11)).join("")
  }
  const report = [
    ["hour", "calls", "lost", "attempts", "slowest s", ...places].map((name) => name.padStart(11)).join(""),
    ...Array.from({ length: 24 }, (_, n) => row(String(n), n * hour, (n + 1) * hour)),
    row("day", 0, 24 * hour),
    ""
  ].join("\n")
  return { lost, report }
}).pipe(Random.withSeed("a day"), Effect.provide([Registry.layer, TestClock.layer()]), Effect.scoped)

it("loses no call in a day of trouble, and puts the load where it should be", async () => {
  const { lost, report } = await Effect.runPromise(simulate)
  expect(lost).toEqual([])
  await expect(report).toMatchFileSnapshot("./day.txt")
}, 120_000)
