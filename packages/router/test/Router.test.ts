import type { ChatRequest } from "@ballast/chat"
import { Registry } from "@ballast/resilience"
import { CallContext, RouteInfo, Router, RouterSettings, type Steering } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Metric, Redacted, Schema, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import * as lanePolicies from "../src/internal/lanePolicies.ts"
import { answered, bothWays, request } from "./support.ts"

const refusal = (status: number, message: string) => ({ status, body: { error: { message } } })

interface Asked {
  readonly host: string
  readonly key: string
  readonly model: string
}

/** Hosts in memory: each answers with its name and the key that it was asked with, unless `broken` has something for host or key. */
const internet = () => {
  const broken = new Map<string, { readonly status: number; readonly body: unknown }>()
  const asked: Array<Asked> = []
  const client = HttpClient.make((request, url) =>
    Effect.sync(() => {
      const key = request.headers["authorization"]?.replace("Bearer ", "") ?? ""
      const text = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : "{}"
      if (url.pathname.endsWith("/balance")) {
        const cny = { currency: "CNY", total_balance: "12.50", granted_balance: "0.00", topped_up_balance: "12.50" }
        const body = { is_available: !broken.has(key), balance_infos: [cny, { ...cny, currency: "no currency" }] }
        return HttpClientResponse.fromWeb(request, Response.json(body))
      }
      const { model, stream } = JSON.parse(text) as ChatRequest.ChatRequest
      asked.push({ host: url.hostname, key, model })
      const fault = broken.get(url.hostname) ?? broken.get(key)
      const answer = answered(`${url.hostname} ${key}`)
      const chunk = { id: "c", choices: [{ delta: answer.choices[0].message, finish_reason: "stop" }] }
      return HttpClientResponse.fromWeb(
        request,
        fault !== undefined
          ? Response.json(fault.body, { status: fault.status })
          : stream === true
          ? new Response(`data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`, {
            headers: { "content-type": "text/event-stream" }
          })
          : Response.json(answer)
      )
    })
  )
  return { asked, broken, client: () => Effect.succeed(client) }
}

const decode = Schema.decodeUnknownSync(RouterSettings.RouterSettings)

const settings = decode({
  providers: {
    deepseek: { type: "deepseek", accounts: { main: { keys: ["sk-main"] } } },
    ark: { type: "openai", baseUrl: "https://ark.example/api/v3", accounts: { main: { keys: ["ark-key"] } } }
  },
  models: {
    "deepseek-flash": {
      targets: [{ provider: "deepseek" }],
      failover: [{ provider: "ark", model: "ds-flash-endpoint" }]
    },
    "*": { targets: [{ provider: "deepseek" }] }
  }
})

const makeRouter = (net: ReturnType<typeof internet>, given = settings) =>
  Router.make({ settings: given, client: net.client })

const texts = (router: Router.Router, asked = request) =>
  Effect.map(
    bothWays(router, asked),
    (results) => results.map((result) => result._tag === "Success" ? result.success : result.failure._tag)
  )

const main = "api.deepseek.com sk-main"
const ark = "ark.example ark-key"

describe("Router", () => {
  it.effect("opens a connection as it starts, where a provider says so", () =>
    Effect.gen(function*() {
      for (const warmUp of [false, true]) {
        const paths: Array<string> = []
        const client = HttpClient.make((request, url) =>
          Effect.sync(() => {
            paths.push(`${request.method} ${url.pathname} ${request.headers["authorization"]}`)
            return HttpClientResponse.fromWeb(request, Response.json({}, { status: 503 }))
          })
        )
        const deepseek = { type: "deepseek", warmUp, accounts: { main: { keys: ["sk-main"] } } }
        const given = decode({ providers: { deepseek }, models: { "*": { targets: [{ provider: "deepseek" }] } } })
        yield* Router.make({ settings: given, client: () => Effect.succeed(client) })
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(paths, warmUp ? ["GET /models Bearer sk-main"] : [])
      }
    }))

  it.effect("shows the words of a server that wants no key", () =>
    Effect.gen(function*() {
      const { asked, broken, client } = internet()
      const words = "reasoning_effort: unknown variant `ultra`, expected one of `none`, `low`"
      broken.set("local.example", refusal(400, words))
      const given = decode({
        providers: { local: { type: "openai", baseUrl: "https://local.example/v1" } },
        models: { "*": { targets: [{ provider: "local" }] } }
      })
      const { complete } = yield* Router.make({ settings: given, client })
      assert.include(String(yield* Effect.flip(complete(request))), words)
      assert.lengthOf(asked, 1)
    }))

  it.effect("tells the balance that was read, as long as the account is there", () =>
    Effect.gen(function*() {
      const router = yield* Router.make({ settings, ...internet() })
      const told = Effect.map(Metric.snapshot, (all) =>
        all.filter(({ id }) =>
          id === "ballast_account_balance"
        ).map(({ attributes, state }) => ({
          attributes,
          state
        })))
      assert.deepStrictEqual(yield* told, [])
      const source = yield* router.lookup("deepseek")
      yield* source!.balance
      assert.deepStrictEqual(yield* told, [{
        attributes: { provider: "deepseek", account: "main", currency: "CNY" },
        state: { value: 12.5 }
      }])
      const { deepseek } = settings.providers
      const others = { other: { keys: [Redacted.make("sk-other")], weight: 1 } }
      yield* router.update({
        ...settings,
        providers: { ...settings.providers, deepseek: { ...deepseek!, accounts: others } }
      })
      assert.deepStrictEqual(yield* told, [])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("shows the state of what is there, and of nothing else", () =>
    Effect.gen(function*() {
      const router = yield* Router.make({ settings, ...internet() })
      yield* router.complete(request)
      const shown = Effect.map(Metric.snapshot, (all) =>
        new Set(all.flatMap(({ attributes = {}, id, type }) =>
          type === "Gauge" ? [`${id} ${attributes["provider"] ?? attributes["name"]?.split("/", 1)[0]}`] : []
        )))
      const of = (provider: string) => [
        `ballast_account_keys_usable ${provider}`,
        `ballast_account_usable ${provider}`,
        `ballast_adaptive_limit ${provider}`,
        `ballast_circuit_breaker_state ${provider}`
      ]
      const ofDeepseek = Effect.map(shown, (all) =>
        [...all].filter((one) =>
          one.endsWith(" deepseek")
        ).toSorted())
      assert.deepStrictEqual(yield* ofDeepseek, of("deepseek"))

      // Made again, the new one before the old.
      const { ark, deepseek } = settings.providers
      const { "*": toArk } = decode({
        providers: { ark: { type: "openai", baseUrl: "https://ark.example" } },
        models: { "*": { targets: [{ provider: "ark" }] } }
      }).models
      const moved = { ...deepseek!, baseUrl: "https://elsewhere.example" }
      yield* router.update({ ...settings, providers: { ark: ark!, deepseek: moved } })
      assert.deepStrictEqual(yield* ofDeepseek, of("deepseek"))

      yield* router.update({ ...settings, providers: { ark: ark! }, models: { "*": toArk! } })
      assert.deepStrictEqual(yield* ofDeepseek, [])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("sends each model to its targets, under the target's name, and others to *", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(net)
      assert.deepStrictEqual(yield* texts(router), [main, main])
      assert.deepStrictEqual(yield* texts(router, { ...request, model: "another" }), [main, main])
      assert.deepStrictEqual(net.asked.map(({ model }) => model), [
        "deepseek-flash",
        "deepseek-flash",
        "another",
        "another"
      ])
      assert.deepStrictEqual(yield* router.names, ["deepseek-flash"])
    }))

  it.effect("goes on to the failover target at once, and tells where the call went", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(net)
      net.broken.set("api.deepseek.com", refusal(503, "busy"))
      const info = RouteInfo.make()
      const answer = yield* Effect.provideService(texts(router), RouteInfo.Current, info)
      assert.deepStrictEqual(answer, [ark, ark])
      assert.deepStrictEqual(info, {
        provider: "ark",
        account: "main",
        model: "ds-flash-endpoint",
        arm: undefined,
        failovers: 2,
        cache: undefined
      })
      assert.deepStrictEqual(net.asked.map(({ model }) => model).slice(0, 2), ["deepseek-flash", "ds-flash-endpoint"])
    }))

  it.effect("asks no place twice before it waits, whatever the list says", () =>
    Effect.gen(function*() {
      const net = internet()
      const given = decode({
        providers: {
          deepseek: { type: "deepseek", accounts: { a: { keys: ["sk-a"] }, b: { keys: ["sk-b"] } } },
          ark: { type: "openai", baseUrl: "https://ark.example/api/v3", accounts: { main: { keys: ["ark-key"] } } }
        },
        models: {
          all: {
            targets: [{ provider: "deepseek" }],
            failover: [{ provider: "deepseek", account: "a" }, { provider: "ark" }]
          },
          one: {
            targets: [{ provider: "deepseek", account: "a" }],
            failover: [{ provider: "deepseek" }, { provider: "ark" }, { provider: "ark", model: "one" }]
          },
          "*": { targets: [{ provider: "ark" }], failover: [{ provider: "ark", model: "x" }] },
          night: {
            targets: [{ provider: "ark" }],
            failover: [{ provider: "deepseek", account: "a", when: "request.stream" }, {
              provider: "deepseek",
              account: "b"
            }]
          }
        }
      })
      const router = yield* Router.make({ settings: given, policies: { retry: false }, client: net.client })
      for (const host of ["api.deepseek.com", "ark.example"]) net.broken.set(host, refusal(503, "busy"))
      const asked = (model: string) =>
        Effect.map(Effect.exit(router.complete({ ...request, model })), () =>
          net.asked.splice(0).map(({ key, model }) => `${key} ${model}`).sort())
      assert.deepStrictEqual(yield* asked("all"), ["ark-key all", "sk-a all", "sk-b all"])
      assert.deepStrictEqual(yield* asked("one"), ["ark-key one", "sk-a one", "sk-b one"])
      assert.deepStrictEqual(yield* asked("x"), ["ark-key x"])
      assert.deepStrictEqual(yield* asked("y"), ["ark-key x", "ark-key y"])
      assert.deepStrictEqual(yield* asked("night"), ["ark-key night", "sk-b night"])
      yield* Effect.exit(Stream.runDrain(router.stream({ ...request, model: "night", stream: true })))
      assert.deepStrictEqual(
        net.asked.map(({ key }) =>
          key
        ),
        ["ark-key", "sk-a", "sk-b"]
      )
    }))

  it.effect("goes on to the other targets after those of failover, unless they are drained", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(
        net,
        decode({
          ...Schema.encodeSync(RouterSettings.RouterSettings)(settings),
          models: {
            "deepseek-flash": {
              targets: [{ provider: "deepseek", weight: 1e-9 }, { provider: "ark", arm: "trial" }],
              failover: [{ provider: "ark" }]
            }
          }
        })
      )
      net.broken.set("ark.example", refusal(503, "busy"))
      assert.deepStrictEqual(yield* texts(router), [main, main])
      yield* router.weigh("deepseek-flash", { deepseek: 0 })
      const fiber = yield* Effect.forkChild(texts(router), { startImmediately: true })
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["ServerError", "ServerError"])
    }))

  it.effect("guards a model that a target names before its first answer, in new settings, too", () =>
    Effect.gen(function*() {
      const net = internet()
      const named = (model: string) =>
        decode({
          ...Schema.encodeSync(RouterSettings.RouterSettings)(settings),
          models: { "deepseek-flash": { targets: [{ provider: "ark", model }] } }
        })
      const router = yield* makeRouter(net, named("first"))
      const registry = yield* Registry.Current
      const circuits = Effect.map(
        registry.list({ owner: "ark/main", kind: "circuitBreaker" }),
        (all) => all.map(({ name }) => name)
      )
      assert.deepStrictEqual(yield* circuits, ["ark/main/first"])
      yield* router.update(named("second"))
      assert.deepStrictEqual(yield* circuits, ["ark/main/first", "ark/main/second"])
      net.broken.set("ark.example", refusal(503, "busy"))
      const failing = yield* Effect.forkChild(
        Effect.replicateEffect(Effect.exit(router.complete(request)), 10, { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 minutes")
      yield* Fiber.join(failing)
      assert.strictEqual(
        (yield* (yield* registry.find("circuitBreaker", "ark/main/second"))!.inspect)._tag !== "Closed",
        true
      )
    }).pipe(Effect.provide(Registry.layer)))

  it.effect("tells where a call went, not where its copy went", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(
        net,
        decode({
          ...Schema.encodeSync(RouterSettings.RouterSettings)(settings),
          models: {
            "deepseek-flash": { targets: [{ provider: "deepseek" }], mirror: { provider: "ark", model: "m", share: 1 } }
          }
        })
      )
      const info = RouteInfo.make()
      yield* Effect.provideService(router.complete(request), RouteInfo.Current, info)
      while (net.asked.length < 2) yield* Effect.yieldNow
      assert.deepInclude(info, { provider: "deepseek", model: "deepseek-flash" })
    }))

  it.effect("waits and tries all places again when each has failed", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(net)
      for (const host of ["api.deepseek.com", "ark.example"]) net.broken.set(host, refusal(503, "busy"))
      const fiber = yield* Effect.forkChild(texts(router), { startImmediately: true })
      yield* TestClock.adjust("1 millis")
      net.broken.clear()
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [main, main])
      assert.deepStrictEqual(net.asked.slice(0, 3).map(({ host }) => host), [
        "api.deepseek.com",
        "ark.example",
        "api.deepseek.com"
      ])
    }))

  it.effect("takes accounts out whose money is used up, and back when it is there again", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(
        net,
        decode({
          providers: {
            deepseek: {
              type: "deepseek",
              choice: "weighted",
              accounts: { a: { keys: ["sk-a"] }, b: { keys: ["sk-b"] } }
            }
          },
          models: { "*": { targets: [{ provider: "deepseek" }] } }
        })
      )
      net.broken.set("sk-a", refusal(402, "Insufficient Balance"))
      for (let call = 0; call < 5; call++) {
        const asked = { ...request, messages: [{ role: "user", content: `${call}` }] } as const
        assert.deepStrictEqual(yield* texts(router, asked), ["api.deepseek.com sk-b", "api.deepseek.com sk-b"])
      }
      const { providers: [provider] } = yield* router.inspect
      assert.deepStrictEqual(provider?.accounts.map(({ resting }) => resting?.reason), [
        "InsufficientBalance",
        undefined
      ])
      assert.notInclude(JSON.stringify(yield* router.inspect), "sk-")
      net.broken.clear()
      yield* TestClock.adjust("30 seconds")
      const { providers: [after] } = yield* router.inspect
      assert.deepStrictEqual(after?.accounts.map(({ resting }) => resting), [undefined, undefined])
    }))

  it.effect("chooses by condition, and says so when no target takes a request", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(
        net,
        decode({
          ...Schema.encodeSync(RouterSettings.RouterSettings)(settings),
          models: {
            "deepseek-flash": { targets: [{ provider: "ark", when: "client.name == 'alice'" }] }
          }
        })
      )
      const alice = { client: { name: "alice", labels: {} }, headers: {} }
      assert.deepStrictEqual(yield* Effect.provideService(texts(router), CallContext.Current, alice), [ark, ark])
      const error = yield* Effect.flip(router.complete(request))
      assert.include(error.message, "No target of \"deepseek-flash\" takes this request")
      const unknown = yield* Effect.flip(router.complete({ ...request, model: "gpt" }))
      assert.include(unknown.message, "There is no model \"gpt\" here. There is deepseek-flash.")
      const unnamed = yield* Effect.flip(router.complete({ ...request, model: undefined as never }))
      assert.include(unnamed.message, "There is no model \"undefined\" here.")
    }))

  it.effect("follows new settings, and keeps the state of what stays", () =>
    Effect.gen(function*() {
      const net = internet()
      const withKeys = (keys: ReadonlyArray<string>) =>
        decode({
          ...Schema.encodeSync(RouterSettings.RouterSettings)(settings),
          providers: { deepseek: { type: "deepseek", accounts: { main: { keys } } } },
          models: { "*": { targets: [{ provider: "deepseek" }] } }
        })
      const router = yield* makeRouter(net, withKeys(["sk-main", "sk-old"]))
      net.broken.set("sk-main", refusal(401, "wrong key"))
      const old = "api.deepseek.com sk-old"
      assert.deepStrictEqual(yield* texts(router), [old, old])
      const states = Effect.map(
        router.inspect,
        ({ providers }) =>
          providers.flatMap(({ accounts }) => accounts.flatMap(({ keys }) => keys.map((key) => key?.status)))
      )
      assert.deepStrictEqual(yield* states, [401, undefined])

      // A key that stays and another one: the retired one stays retired, and the new one serves.
      yield* router.update(withKeys(["sk-main", "sk-new"]))
      assert.deepStrictEqual(yield* texts(router), ["api.deepseek.com sk-new", "api.deepseek.com sk-new"])
      assert.deepStrictEqual(yield* states, [401, undefined])
      yield* router.reset("deepseek")
      assert.deepStrictEqual(yield* states, [undefined, undefined])
    }))

  it.effect("takes weights by hand", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(
        net,
        decode({
          ...Schema.encodeSync(RouterSettings.RouterSettings)(settings),
          models: {
            "deepseek-flash": {
              targets: [{ provider: "deepseek", arm: "a" }, { provider: "ark", arm: "b", weight: 0 }]
            }
          }
        })
      )
      yield* router.weigh("deepseek-flash", { a: 0, b: 1 })
      assert.deepStrictEqual(yield* texts(router), [ark, ark])
      assert.strictEqual(
        (yield* Effect.flip(router.weigh("deepseek-flash", { c: 1 }))).message,
        "There is no target c of deepseek-flash, only a, b."
      )
      assert.strictEqual(
        (yield* Effect.flip(router.weigh("gpt", { a: 1 }))).message,
        "There is no model gpt, only deepseek-flash."
      )
    }))
})

const both = decode({
  ...Schema.encodeSync(RouterSettings.RouterSettings)(settings),
  models: {
    flash: { targets: [{ provider: "deepseek", arm: "a" }, { provider: "ark", arm: "b", weight: 0 }] },
    pro: { targets: [{ provider: "ark", model: "pro-endpoint" }] },
    "*": { targets: [{ provider: "deepseek" }] }
  }
})
const flash = { ...request, model: "flash" }

describe("Router, steered by hand", () => {
  it.effect("keeps a weight through a change of the settings, until it is given back", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(net, both)
      yield* router.weigh("flash", { a: 0, b: 1 })
      yield* router.update(decode(Schema.encodeSync(RouterSettings.RouterSettings)(both)))
      assert.deepStrictEqual(yield* texts(router, flash), [ark, ark])
      yield* router.weigh("flash", { a: undefined, b: undefined })
      assert.deepStrictEqual(yield* texts(router, flash), [main, main])
      yield* router.update(both)
      assert.deepStrictEqual(yield* texts(router, flash), [main, main])
    }))

  it.effect("lets another model's route answer, degraded itself or not, and tells that model", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(net, both)
      yield* router.degrade("flash", { model: "pro" })
      yield* router.degrade("pro", { model: "flash" })
      yield* router.update(decode(Schema.encodeSync(RouterSettings.RouterSettings)(both)))
      assert.deepStrictEqual(yield* texts(router, flash), [ark, ark])
      assert.deepStrictEqual(net.asked.map(({ model }) => model), ["pro-endpoint", "pro-endpoint"])
      assert.deepStrictEqual((yield* router.inspect).routes[0]?.degraded, { model: "pro" })
      yield* router.degrade("flash", undefined)
      assert.deepStrictEqual(yield* texts(router, flash), [main, main])
    }))

  it.effect("lets a fixed text answer as the model that was asked for, whole and as a stream", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* makeRouter(net, both)
      yield* router.degrade("flash", { text: "Back at noon." })
      const info = RouteInfo.make()
      assert.deepStrictEqual(yield* Effect.provideService(texts(router, flash), RouteInfo.Current, info), [
        "Back at noon.",
        "Back at noon."
      ])
      const { choices: [{ finish_reason }], model, usage } = yield* router.complete(flash)
      assert.deepStrictEqual([finish_reason, model, usage?.total_tokens], ["stop", "flash", 0])
      assert.deepStrictEqual([info.provider, info.arm, net.asked.length], ["ballast", "degraded", 0])
    }))

  it.effect("refuses what is not there, and says what is", () =>
    Effect.gen(function*() {
      const router = yield* makeRouter(internet(), both)
      const message = (effect: Effect.Effect<void, Steering.CannotSteer>) =>
        Effect.map(Effect.flip(effect), ({ message }) => message)
      assert.strictEqual(
        yield* message(router.degrade("gpt", { text: "" })),
        "There is no model gpt, only flash, pro, *."
      )
      assert.strictEqual(
        yield* message(router.degrade("flash", { model: "*" })),
        "There is no model *, only flash, pro."
      )
      assert.strictEqual(
        yield* message(router.degrade("flash", { model: "flash" })),
        "flash can not stand in for itself."
      )
    }))
})

describe("Router, policies of a model", () => {
  const pro = { ...request, model: "pro" }
  const usual: RouterSettings.Policies = { retry: false, circuitBreaker: { minimumCalls: 100 } }
  const own = (policies: RouterSettings.ModelPolicies): RouterSettings.Policies => ({
    ...usual,
    models: { pro: policies }
  })
  const breaker = (name: string) =>
    Effect.flatMap(Registry.Current, (registry) => registry.find("circuitBreaker", name))
  const stateOf = Effect.fnUntraced(function*(name: string) {
    const handle = yield* breaker(name)
    return handle && (yield* handle.inspect)._tag
  })

  /** How often a call asks a host, while all hosts fail. */
  const failing = Effect.fnUntraced(function*(
    net: ReturnType<typeof internet>,
    router: Router.Router,
    asked: ChatRequest.ChatRequest
  ) {
    for (const host of ["api.deepseek.com", "ark.example"]) net.broken.set(host, refusal(503, "busy"))
    const before = net.asked.length
    const fiber = yield* Effect.forkChild(Effect.exit(router.complete(asked)), { startImmediately: true })
    yield* TestClock.adjust("10 millis")
    yield* Fiber.join(fiber)
    return net.asked.length - before
  })
  const flashAsked = { ...request, model: "deepseek-flash" }
  const flashLane = "deepseek/main/deepseek-flash"
  const proLane = "ark/main/pro-endpoint"

  it.effect("hold for its route and its lanes alone", () =>
    Effect.gen(function*() {
      const net = internet()
      const policies = own({ retry: { times: 1, base: "1 millis" }, circuitBreaker: { minimumCalls: 2 } })
      const router = yield* Router.make({ settings: both, policies, client: net.client })
      const tried = (asked: ChatRequest.ChatRequest) => failing(net, router, asked)
      assert.deepStrictEqual(yield* Effect.all([tried(flashAsked), tried(flashAsked), tried(pro)]), [1, 1, 2])
      yield* tried(pro)
      assert.deepStrictEqual([yield* stateOf(proLane), yield* stateOf(flashLane)], ["Open", "Closed"])
    }).pipe(Effect.provide(Registry.layer)))

  it.effect("change in place, and keep counts and what was set by hand elsewhere", () =>
    Effect.gen(function*() {
      const net = internet()
      const router = yield* Router.make({
        settings: both,
        policies: own({ circuitBreaker: { minimumCalls: 100 } }),
        client: net.client
      })
      const before = yield* breaker(proLane)
      const other = yield* breaker(flashLane)
      yield* failing(net, router, pro)
      yield* failing(net, router, pro)
      yield* other!.update({ minimumCalls: 1 })
      // The total deadline is the route's, the others the lane's.
      const deadlines = { total: "1 minute", attempt: "30 seconds", idle: "5 seconds" } as const
      yield* router.update(both, own({ circuitBreaker: { minimumCalls: 3 }, deadlines }))
      assert.strictEqual(yield* breaker(proLane), before)
      const deadline = yield* Effect.flatMap(Registry.Current, ({ find }) => find("attemptDeadline", proLane))
      assert.deepInclude(yield* deadline!.inspect, {
        whole: Duration.seconds(30),
        firstItem: Duration.seconds(30),
        idle: Duration.seconds(5)
      })
      yield* failing(net, router, pro)
      assert.strictEqual(yield* stateOf(proLane), "Open")
      yield* failing(net, router, flashAsked)
      assert.strictEqual(yield* stateOf(flashLane), "Open")
      // What is switched on makes the provider's lanes anew, and no other provider's.
      yield* router.update(both, own({ rateLimit: { limit: 5, window: "1 second" } }))
      assert.notStrictEqual(yield* breaker(proLane), before)
      assert.strictEqual(yield* breaker(flashLane), other)
    }).pipe(Effect.provide(Registry.layer)))

  it("are those of the route that names a lane, and of * where no route does", () => {
    const { models } = decode({
      providers: {},
      models: {
        a: { targets: [{ provider: "p", model: "m" }, { provider: "p", account: "x", model: "n" }] },
        b: { targets: [{ provider: "p" }], failover: [{ provider: "p", model: "m" }] },
        "*": { targets: [{ provider: "p" }] }
      }
    })
    const lanes = lanePolicies.make(models, {
      rateLimit: { limit: 1, window: 1 },
      models: {
        a: { rateLimit: { limit: 2, window: 1 }, deadlines: { total: 1, idle: 2 } },
        b: { retry: false, deadlines: { total: 1 } },
        "*": { rateLimit: { limit: 3, window: 1 } }
      }
    })
    const limitOf = (account: string, model: string | undefined) => {
      const { rateLimit } = lanes.of("p", account, model)
      return rateLimit ? rateLimit.limit : rateLimit
    }
    assert.deepStrictEqual(
      [limitOf("x", "m"), limitOf("x", "n"), limitOf("y", "n"), limitOf("x", "b"), limitOf("x", "else")],
      [2, 2, 3, 1, 3]
    )
    assert.strictEqual(limitOf("x", undefined), 3)
    assert.deepStrictEqual(lanes.of("p", "x", "m").deadlines, { idle: 2 })
  })
})

describe("RouterSettings", () => {
  it("finds two routes with different policies of one lane, and no others", () => {
    const given = decode({
      providers: { p: { type: "ollama" } },
      models: {
        a: { targets: [{ provider: "p", model: "m" }] },
        b: { targets: [{ provider: "p", model: "m" }] },
        m: { targets: [{ provider: "p", account: "x" }] }
      }
    })
    const found = (a: RouterSettings.ModelPolicies, b: RouterSettings.ModelPolicies, m: RouterSettings.ModelPolicies) =>
      RouterSettings.contradictions({ ...given, models: { ...given.models } }, { models: { a, b, m } })
        .filter(({ path }) => path.at(-1) === "policies").map(({ message, path }) => `${path.join(".")}: ${message}`)
    const breaker = (minimumCalls: number) => ({ circuitBreaker: { minimumCalls } })
    assert.deepStrictEqual(found(breaker(1), breaker(1), { retry: false }), [])
    const message =
      "a leads to m of p, too, with another breaker, rate limit, concurrency or deadline; give both the same, or one none"
    assert.deepStrictEqual(found(breaker(1), breaker(2), breaker(3)), [
      `models.b.policies: ${message}`,
      `models.m.policies: ${message}`
    ])
    assert.throws(
      () => lanePolicies.make(given.models, { models: { a: breaker(1), b: breaker(2) } }),
      RangeError,
      `Router: b: ${message}`
    )
  })

  it("finds contradictions and says where", () => {
    const found = RouterSettings.contradictions(decode({
      providers: {
        deepseek: { type: "deepseek" },
        host: { type: "openai", accounts: { main: { keys: ["k"] } } },
        local: { type: "ollama" }
      },
      models: {
        a: { targets: [{ provider: "depseek" }, { provider: "host", account: "second" }] },
        b: { targets: [{ provider: "local" }, { provider: "local" }], failover: [{ provider: "nowhere" }] }
      }
    }))
    assert.deepStrictEqual(found.map(({ message, path }) => `${path.join(".")}: ${message}`), [
      "providers.deepseek: it needs accounts with at least one key",
      "providers.host: a provider of type openai needs a baseUrl",
      "models.a.targets.0.provider: there is no provider depseek; known: deepseek, host, local",
      "models.a.targets.1.account: host has no account second; known: main",
      "models.b.failover.0.provider: there is no provider nowhere; known: deepseek, host, local",
      "models.b.targets: two targets are called local; give one another arm"
    ])
  })

  it("finds caches without embeddings that can be compared", () => {
    const cached = (model: string) => ({ targets: [{ provider: "local" }], cache: { semantic: { model } } })
    const found = RouterSettings.contradictions(decode({
      providers: { deepseek: { type: "deepseek", accounts: { main: { keys: ["k"] } } }, local: { type: "ollama" } },
      models: {
        none: { targets: [{ provider: "deepseek" }] },
        two: { targets: [{ provider: "local", model: "x" }], failover: [{ provider: "local" }] },
        vectors: { targets: [{ provider: "local" }], failover: [{ provider: "local", model: "vectors" }] },
        a: cached("nothing"),
        b: cached("none"),
        c: cached("two"),
        d: cached("vectors")
      }
    }))
    assert.deepStrictEqual(found.map(({ message, path }) => `${path.join(".")}: ${message}`), [
      "models.a.cache.semantic.model: there is no model nothing; known: none, two, vectors, a, b, c, d",
      "models.b.cache.semantic.model: none leads to deepseek, which has no embeddings",
      "models.c.cache.semantic.model: two leads to several models (x, two), whose embeddings can not be compared"
    ])
  })

  it("hides keys", () => {
    const keys = settings.providers["deepseek"]?.accounts["main"]?.keys ?? []
    assert.isTrue(keys.every(Redacted.isRedacted))
    assert.notInclude(JSON.stringify(settings), "sk-main")
  })
})
