import { Registry } from "@ballast/resilience"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import OpenAI from "openai"
import { freePort } from "../../../test/support/freePort.ts"
import { describeRedis, layer as RedisServerLayer, RedisServer } from "../../../test/support/RedisServer.ts"
import { eventually, hello, post } from "./harness.ts"
import { start } from "./program.ts"
import { gateway, provided, service } from "./support/hosts.ts"

const simulate = Effect.fnUntraced(function*(port: number) {
  const program = yield* start(["simulate", "--port", String(port), "--ttft", "20", "--tps", "5000"], {
    BALLAST_LOG_LEVEL: "none"
  })
  yield* program.printed(/on (http:\S+)\. /)
  return program
})

const sdk = (port: number) => new OpenAI({ apiKey: "none", baseURL: `http://127.0.0.1:${port}/v1`, maxRetries: 0 })

const ask = (openai: OpenAI, user?: string) =>
  Effect.promise(() =>
    openai.chat.completions.create({
      model: "deepseek-flash",
      messages: [{ role: "user", content: "Hello!" }],
      max_tokens: 20,
      ...(user === undefined ? undefined : { user })
    }).withResponse()
  )

/** Calls of the SDK, so many in flight, until it is told to stop; what each was answered by, or why it failed. */
const load = Effect.fnUntraced(function*(openai: OpenAI, width: number, by: string) {
  const answers: Array<string> = []
  let going = true
  const call = ask(openai).pipe(
    Effect.map(({ response }) => response.headers.get(by) ?? ""),
    Effect.catchCause((cause) => Effect.succeed(String(cause))),
    Effect.map((answer) => answers.push(answer)),
    Effect.repeat({ while: () => going })
  )
  const fiber = yield* Effect.forkChild(Effect.replicateEffect(call, width, { concurrency: "unbounded" }))
  return {
    answers,
    more: (count: number) => {
      const reached = answers.length + count
      return eventually(Effect.sync(() => answers.length >= reached))
    },
    stop: Effect.andThen(Effect.sync(() => going = false), Fiber.join(fiber))
  }
})

describe("the OpenAI SDK, through a gateway with routes", { timeout: 120_000 }, () => {
  it.live("sees no failure when one of two services is down for a while under 200 in flight, and its share comes back", () =>
    Effect.gen(function*() {
      const ports = yield* Effect.promise(() => Promise.all([freePort(), freePort()]))
      const [a] = yield* Effect.all([simulate(ports[0]), simulate(ports[1])], { concurrency: 2 })
      const account = "accounts: { main: { keys: [ sk-x ] } }"
      const { serve } = yield* gateway(`listen: { port: 0 }
providers:
  a: { type: deepseek, baseUrl: "http://127.0.0.1:${ports[0]}", ${account} }
  b: { type: deepseek, baseUrl: "http://127.0.0.1:${ports[1]}", ${account} }
models:
  deepseek-flash:
    targets: [ { provider: a }, { provider: b } ]
    failover: [ { provider: a }, { provider: b } ]
policies: { circuitBreaker: { openDuration: 1s } }
`)
      const { port } = yield* serve
      const { answers, more, stop } = yield* load(sdk(port), 200, "x-ballast-provider")
      yield* more(400)
      yield* a.signal("SIGKILL")
      yield* a.ended
      // Calls that were with it have gone on to the other one by then.
      yield* more(400)
      const before = answers.length
      yield* more(400)
      assert.deepStrictEqual(new Set(answers.slice(before)), new Set(["b"]))
      yield* simulate(ports[0])
      yield* eventually(Effect.sync(() => answers.slice(-200).filter((answer) => answer === "a").length > 60))
      yield* stop
      assert.deepStrictEqual(answers.filter((answer) => answer !== "a" && answer !== "b"), [])
    }).pipe(Effect.scoped, provided))

  it.live("is divided 95 to 5 within chance, and each user keeps the arm", () =>
    Effect.gen(function*() {
      const url = yield* service(() => 200)
      const { serve } = yield* gateway(`listen: { port: 0 }
providers: { a: { type: openai, baseUrl: "${url}" , accounts: { main: { keys: [ key ] } } } }
models:
  deepseek-flash:
    choice: user
    targets: [ { provider: a, weight: 95, arm: usual }, { provider: a, weight: 5, arm: trial } ]
`)
      const openai = sdk((yield* serve).port)
      const users = Array.from({ length: 1000 }, (_, n) => `user-${n}`)
      const armsOf = (users: ReadonlyArray<string>) =>
        Effect.forEach(
          users,
          (user) => Effect.map(ask(openai, user), ({ response }) => response.headers.get("x-ballast-arm")),
          { concurrency: 20 }
        )
      const arms = yield* armsOf(users)
      assert.deepStrictEqual(yield* armsOf(users.slice(0, 100)), arms.slice(0, 100))
      const trials = arms.filter((arm) => arm === "trial").length
      // The hash of a name is no chance: these thousand users are always the same ones.
      assert.closeTo(trials, 50, 5 * Math.sqrt(1000 * 0.05 * 0.95))
    }).pipe(Effect.scoped, provided))

  it.live("does not see that an account has no money, a key was revoked, or a limit fell to 5", () =>
    Effect.gen(function*() {
      let trouble = ""
      let inFlight = 0
      let most = 0
      const url = yield* service(({ key }) => {
        if (key === "sk-main") most = Math.max(most, ++inFlight)
        if (key !== "sk-main" || trouble === "") return 200
        if (trouble === "balance") return [402, "Insufficient Balance"]
        if (trouble === "revoked") return [401, "Authentication fails"]
        return inFlight > 5 ? [429, "Too many requests: your account's concurrency limit is 5."] : 200
      }, ({ key }) => {
        if (key === "sk-main") inFlight--
      })
      const { serve } = yield* gateway(`listen: { port: 0 }
providers:
  deepseek:
    type: deepseek
    baseUrl: "${url}"
    choice: least-loaded
    accounts: { main: { keys: [ sk-main ] }, second: { keys: [ sk-second ] } }
models: { deepseek-flash: { targets: [ { provider: deepseek } ] } }
policies: { retry: { times: 0 } }
`)
      const { port, upstream: { router } } = yield* serve
      const { answers, more, stop } = yield* load(sdk(port), 50, "x-ballast-provider")
      const main = Effect.map(router.inspect, ({ providers }) => providers[0]!.accounts[0]!)
      yield* more(200)
      trouble = "limit"
      yield* more(200)
      most = 0
      yield* more(200)
      assert.isAtMost(most, 6, "calls at once of an account that has told its limit")
      trouble = "balance"
      yield* eventually(Effect.map(main, ({ resting }) => resting?.status === 402))
      yield* more(100)
      trouble = ""
      yield* router.reset("deepseek")
      yield* more(100)
      trouble = "revoked"
      yield* eventually(Effect.map(main, ({ keys }) => keys[0]?.status === 401))
      yield* more(100)
      yield* stop
      assert.deepStrictEqual(new Set(answers), new Set(["deepseek"]))
    }).pipe(Effect.scoped, provided))
})

describeRedis("gateways with one Redis", () =>
  it.live("keep one rate limit", () =>
    Effect.gen(function*() {
      const { url: redis } = yield* RedisServer
      const url = yield* service(() => 200)
      const yaml = `listen: { port: 0 }
redis: { url: "${redis}" }
providers: { a: { type: openai, baseUrl: "${url}", accounts: { main: { keys: [ key ] } } } }
models: { deepseek-flash: { targets: [ { provider: a } ] } }
policies: { retry: { times: 0 }, rateLimit: { limit: 3, window: 1h } }
`
      const ports = yield* Effect.replicateEffect(
        Effect.flatMap(gateway(yaml), ({ serve }) => Effect.provide(serve, Registry.layer)),
        2
      )
      const statuses: Array<number> = []
      for (const { port } of [...ports, ...ports]) {
        statuses.push((yield* post(`http://127.0.0.1:${port}/v1/chat/completions`, hello)).status)
      }
      assert.deepStrictEqual(statuses, [200, 200, 200, 429])
    }).pipe(Effect.scoped, Effect.provide(RedisServerLayer), provided)))
