import { Admin } from "@ballast/gateway"
import { Registry } from "@ballast/resilience"
import { Router, RouterSettings } from "@ballast/router"
import { Settings, type Source } from "@ballast/settings"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"

const targets = [{ provider: "near" }, { provider: "far" }]

const first = {
  providers: { near: { type: "vllm", concurrency: { flash: 5 } }, far: { type: "sglang" } },
  models: { flash: { targets }, pro: { targets } }
}

/** A router that follows settings which a test replaces, and what steers it. */
const make = Effect.fnUntraced(function*() {
  let text: object = first
  const source: Source.Source = {
    name: "test.yaml",
    remote: false,
    open: () =>
      Effect.succeed({
        read: Effect.sync(() => [{ _tag: "Document" as const, name: "test.yaml", text: JSON.stringify(text) }]),
        changed: Effect.never
      })
  }
  const settings = yield* Settings.make(RouterSettings.RouterSettings, [source])
  const router = yield* Router.make({
    settings: yield* settings.current,
    client: () => Effect.succeed(HttpClient.make(() => Effect.never))
  })
  yield* Settings.follow(settings, (next) => router.update(next))
  const admin = yield* Admin.make({ settings, routing: (settings) => settings, router })
  return {
    admin,
    replace: (next: object) => Effect.andThen(Effect.sync(() => text = next), Effect.orDie(settings.refresh)),
    spoil: Effect.sync(() => text = { ...first, providers: 3 }),
    weights: Effect.map(
      router.inspect,
      ({ routes }) =>
        Object.fromEntries(routes.map(({ model, targets }) => [model, targets.map(({ weight }) => weight)]))
    ),
    circuit: Effect.flatMap(Registry.Current, (registry) =>
      Effect.flatMap(
        registry.find("circuitBreaker", "near/default/flash"),
        (breaker) => breaker?.inspect ?? Effect.die("there is none")
      )).pipe(Effect.map(({ _tag }) => _tag)),
    ends: Effect.map(admin.acts, (acts) => acts.map(({ ended }) => ended?.because))
  }
})

const drain = { do: "drain", model: "flash", target: "near" } as const

describe("Admin", () => {
  it.effect("ends an act in its time, and not a later one on the same", () =>
    Effect.gen(function*() {
      const { admin, ends, weights } = yield* make()
      yield* admin.act({ ...drain, for: Duration.minutes(10) }, "alice")
      yield* TestClock.adjust("9 minutes")
      assert.deepStrictEqual((yield* weights)["flash"], [0, 1])
      yield* admin.act({ do: "weight", model: "flash", target: "near", weight: 7 }, "bob")
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual((yield* weights)["flash"], [7, 1])
      yield* admin.act({ ...drain, for: Duration.minutes(10) }, "alice")
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual((yield* weights)["flash"], [1, 1])
      assert.deepStrictEqual(yield* ends, ["replaced", "replaced", "time"])
    }).pipe(Effect.provide([NodeFileSystem.layer, Registry.layer])))

  it.effect("keeps acts through a change of the settings, unless they were to end with it or what they stand on is gone", () =>
    Effect.gen(function*() {
      const { admin, circuit, ends, replace, weights } = yield* make()
      yield* admin.act(drain, "alice")
      yield* admin.act({ ...drain, target: "far", until: "settings" }, "alice")
      yield* admin.act({ ...drain, model: "pro" }, "alice")
      yield* admin.act({ do: "isolate", circuit: "near/default/flash" }, "alice")
      assert.strictEqual(yield* circuit, "Isolated")
      // Another limit makes the provider anew.
      yield* replace({
        providers: { ...first.providers, near: { type: "vllm", concurrency: { flash: 6 } } },
        models: { flash: first.models.flash }
      })
      assert.strictEqual(yield* circuit, "Isolated")
      assert.deepStrictEqual(yield* weights, { flash: [0, 1] })
      assert.deepStrictEqual(yield* ends, [undefined, "settings", "gone", undefined])
      yield* admin.undo("4", "bob")
      assert.strictEqual(yield* circuit, "Closed")
    }).pipe(Effect.provide([NodeFileSystem.layer, Registry.layer])))

  it.effect("reads the settings again, and tells why they are refused", () =>
    Effect.gen(function*() {
      const { admin, spoil } = yield* make()
      const reloaded = yield* admin.act({ do: "reload" }, "alice")
      assert.deepInclude(reloaded.ended, { because: "done" })
      yield* spoil
      const { message } = yield* Effect.flip(admin.act({ do: "reload" }, "alice"))
      assert.match(message, /^test\.yaml:1:14: providers: found <redacted>, expected a map/)
      assert.strictEqual((yield* admin.status).settings.refusal?.problems[0], message.split("\n")[0])
    }).pipe(Effect.provide([NodeFileSystem.layer, Registry.layer])))

  it.effect("forgets all but the last hundred acts that have ended", () =>
    Effect.gen(function*() {
      const { admin } = yield* make()
      const kept = yield* admin.act(drain, "alice")
      for (let n = 0; n < 105; n++) yield* admin.act({ do: "recover", provider: "near" }, "alice")
      const acts = yield* admin.acts
      assert.strictEqual(acts.length, 101)
      assert.strictEqual(acts[0]?.id, kept.id)
    }).pipe(Effect.provide([NodeFileSystem.layer, Registry.layer])))

  it.effect("takes over the acts of another process, for as long as they have left", () =>
    Effect.gen(function*() {
      const first = yield* make()
      yield* first.admin.act({ ...drain, for: Duration.minutes(10) }, "alice")
      yield* first.admin.act({ do: "reload" }, "alice")
      yield* first.admin.act({ do: "drain", model: "pro", target: "near" }, "bob")
      yield* TestClock.adjust("9 minutes")
      const second = yield* Effect.provide(make(), Registry.layer)
      yield* second.admin.restore(yield* first.admin.acts)
      assert.deepStrictEqual(yield* second.admin.acts, yield* first.admin.acts)
      assert.deepStrictEqual(yield* second.weights, { flash: [0, 1], pro: [0, 1] })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* second.weights, { flash: [1, 1], pro: [0, 1] })
      yield* second.admin.undo("3", "alice")
      assert.deepStrictEqual(yield* second.weights, { flash: [1, 1], pro: [1, 1] })
    }).pipe(Effect.provide([NodeFileSystem.layer, Registry.layer])))
})
