import { EnvironmentSource, Field, FileSource, Settings, type Source, ValuesSource } from "@ballast/settings"
import { assert, describe, it } from "@effect/vitest"
import {
  ConfigProvider,
  Data,
  Duration,
  Effect,
  Exit,
  Fiber,
  Logger,
  Metric,
  Queue,
  Redacted,
  Ref,
  Schema,
  Scope,
  Stream
} from "effect"
import { App, files, folderWith, until } from "./support/fixtures.ts"

/** A source that a test sets. */
const settable = (initial: object) => {
  let values = initial
  const source: Source.Source = {
    name: "test",
    remote: false,
    open: () =>
      Effect.succeed({
        // Reading takes a while, in which others run.
        read: Effect.andThen(
          Effect.yieldNow,
          Effect.sync(() => [{ _tag: "Document" as const, name: "test", text: JSON.stringify(values) }])
        ),
        changed: Effect.never
      })
  }
  return { source, set: (next: object) => Effect.sync(() => void (values = next)) }
}

class Refused extends Data.TaggedError("Refused") {
  override get message() {
    return "connection refused"
  }
}

const Pair = Schema.Struct({ a: Schema.Int, b: Schema.Int, name: Schema.String.pipe(Field.withDefault("x")) })

describe("Settings", () => {
  it.effect("merges maps, replaces lists, and lets later sources win", () =>
    Effect.gen(function*() {
      const { at } = yield* folderWith({
        "app.yaml": "listen: { port: 1, host: a }\nmodels: [a, b]\nretry:\n  times: 1\n",
        "app.prod.yaml": "listen: { port: 2 }\nmodels: [c]\nretry:\nkey: ${env:KEY}\n"
      })
      const settings = yield* Settings.make(App, [
        FileSource.make(at("app.yaml")),
        FileSource.profile(at("app.yaml"), "prod"),
        FileSource.profile(at("app.yaml"), "absent"),
        EnvironmentSource.make({ prefix: "APP", names: { PORT: "listen.port" } }),
        ValuesSource.make({ format: "pretty", body: undefined })
      ])
      const value = yield* settings.current
      assert.deepStrictEqual(value.listen, { port: 3, host: "env" })
      assert.deepStrictEqual(value.models, ["c"])
      assert.deepStrictEqual(value.limits, { flash: { rate: 0.5 } })
      assert.strictEqual(value.retry.times, 1)
      assert.strictEqual(Duration.toMillis(value.retry.wait), 200)
      assert.strictEqual(value.format, "pretty")
      assert.strictEqual(value.body, 16n * 1024n * 1024n)
      assert.strictEqual(value.key && Redacted.value(value.key), "k:1")
    }).pipe(
      Effect.provideService(
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({
          env: {
            PORT: "3",
            APP_LISTEN_PORT: "9",
            APP_LISTEN_HOST: "env",
            APP_LIMITS: `{"flash":{"rate":0.5}}`,
            APP_FORMAT: "",
            KEY: "k:1"
          }
        })
      ),
      Effect.provide(files)
    ))

  it.effect("puts in the environment and files, once", () =>
    Effect.gen(function*() {
      const { at } = yield* folderWith({
        "app.json": JSON.stringify({
          listen: { port: "${env:ABSENT:8080}", host: "${env:HOST_OF_APP}.local:${env:ABSENT:}$${env:X}" },
          key: "${file:secret}"
        }),
        secret: "${env:HOST_OF_APP}\n"
      })
      const settings = yield* Settings.make(App, [FileSource.make(at("app.json"))])
      const { key, listen } = yield* settings.current
      assert.deepStrictEqual(listen, { port: 8080, host: "h.local:${env:X}" })
      assert.strictEqual(key && Redacted.value(key), "${env:HOST_OF_APP}")
    }).pipe(
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env: { HOST_OF_APP: "h" } })),
      Effect.provide(files)
    ))

  it.effect("tells what changed, and counts revisions", () =>
    Effect.gen(function*() {
      const { set, source } = settable({ a: 1, b: 1 })
      const settings = yield* Settings.make(Pair, [source])
      const seen = yield* Queue.unbounded<Settings.Change<typeof Pair.Type>>()
      yield* Effect.forkScoped(Stream.runForEach(settings.changes, (change) => Queue.offer(seen, change)), {
        startImmediately: true
      })
      yield* set({ a: 2, b: 1 })
      yield* settings.refresh
      const change = yield* Queue.take(seen)
      assert.deepStrictEqual(change.paths, ["a"])
      assert.deepStrictEqual([change.before.a, change.after.a], [1, 2])
      yield* settings.refresh
      const status = yield* settings.status
      assert.strictEqual(status.revision, 2)
      assert.isUndefined(status.refusal)
      assert.strictEqual(Queue.sizeUnsafe(seen), 0)
    }).pipe(Effect.provide(files)))

  it.effect("refuses a wrong change as a whole and keeps the settings in force", () =>
    Effect.gen(function*() {
      const { set, source } = settable({ a: 1, b: 1 })
      const settings = yield* Settings.make(Pair, [source])
      yield* set({ a: 2, b: "x" })
      const error = yield* Effect.flip(settings.refresh)
      assert.strictEqual(error.message, `test:1:12: b: found "x", expected a whole number`)
      assert.strictEqual((yield* settings.current).a, 1)
      const { refusal, revision } = yield* settings.status
      assert.strictEqual(revision, 1)
      assert.strictEqual(refusal?.error, error)
      yield* set({ a: 1, b: 1 })
      yield* settings.refresh
      assert.isUndefined((yield* settings.status).refusal)
    }).pipe(Effect.provide(files)))

  it.effect("never shows a mixture: 50 changes under 200 readers", () =>
    Effect.gen(function*() {
      const { set, source } = settable({ a: 0, b: 0 })
      const settings = yield* Settings.make(Pair, [source])
      const made = yield* Settings.scoped(settings, ({ a, b }) => ({ a, b }), Effect.succeed)
      const stop = yield* Ref.make(false)
      let reads = 0
      const reader = Effect.gen(function*() {
        while (!(yield* Ref.get(stop))) {
          const { a, b } = yield* settings.current
          const used = yield* Effect.scoped(made.get)
          if (a !== b || used.a !== used.b) return yield* Effect.die(`${a} with ${b}, ${used.a} with ${used.b}`)
          reads += 1
          yield* Effect.yieldNow
        }
      })
      const readers = yield* Effect.forEach(Array.from({ length: 200 }), () => Effect.forkChild(reader))
      for (let i = 1; i <= 50; i++) {
        yield* set({ a: i, b: i })
        yield* settings.refresh
        assert.strictEqual((yield* settings.current).a, i)
      }
      yield* Ref.set(stop, true)
      yield* Effect.forEach(readers, Fiber.join)
      assert.isAbove(reads, 1000)
      assert.strictEqual((yield* settings.status).revision, 51)
    }).pipe(Effect.provide(files)))

  describe("follow", () => {
    it.effect("updates at once and with every change, before the refresh ends", () =>
      Effect.gen(function*() {
        const { set, source } = settable({ a: 1, b: 1 })
        const settings = yield* Settings.make(Pair, [source])
        const seen: Array<number> = []
        const part = Settings.select(settings, ({ a }) => a)
        const scope = yield* Scope.make()
        yield* Settings.follow(part, (a) => Effect.sync(() => seen.push(a))).pipe(Scope.provide(scope))
        assert.deepStrictEqual(seen, [1])
        for (const [a, b] of [[2, 1], [2, 2], [3, 2]]) {
          yield* set({ a, b })
          yield* settings.refresh
        }
        assert.deepStrictEqual(seen, [1, 2, 3])
        yield* Scope.close(scope, Exit.void)
        yield* set({ a: 4, b: 2 })
        yield* settings.refresh
        assert.deepStrictEqual(seen, [1, 2, 3])
      }).pipe(Effect.provide(files)))

    it.effect("goes on after an update that failed; the first failure is the caller's", () =>
      Effect.gen(function*() {
        const { set, source } = settable({ a: 1, b: 1 })
        const settings = yield* Settings.make(Pair, [source])
        const seen: Array<number> = []
        const update = ({ a }: { readonly a: number }) => a === 2 ? Effect.fail("two") : Effect.sync(() => seen.push(a))
        yield* Settings.follow(settings, update)
        yield* Settings.follow(settings, ({ a }) => Effect.sync(() => seen.push(10 * a)))
        for (const a of [2, 3]) {
          yield* set({ a, b: 1 })
          yield* settings.refresh
        }
        assert.deepStrictEqual(seen, [1, 10, 20, 3, 30])
        yield* set({ a: 2, b: 1 })
        yield* settings.refresh
        assert.strictEqual(yield* Effect.flip(Settings.follow(settings, update)), "two")
      }).pipe(Effect.provide(files)))
  })

  describe("scoped", () => {
    const connections = () => {
      const log: Array<string> = []
      const connect = (name: string) =>
        Effect.acquireRelease(
          Effect.suspend(() => {
            if (name === "down") return Effect.fail(new Refused())
            log.push(`open ${name}`)
            return Effect.succeed(name)
          }),
          () => Effect.sync(() => log.push(`close ${name}`))
        )
      return { log, connect }
    }

    it.effect("makes anew only when its part changes, and closes the old when its last user has left", () =>
      Effect.gen(function*() {
        const { set, source } = settable({ a: 1, b: 1, name: "one" })
        const settings = yield* Settings.make(Pair, [source])
        const { connect, log } = connections()
        const owner = yield* Scope.make()
        const made = yield* Settings.scoped(settings, ({ name }) => name, connect).pipe(Scope.provide(owner))
        const user = yield* Scope.make()
        assert.strictEqual(yield* Scope.provide(made.get, user), "one")
        yield* set({ a: 2, b: 1, name: "one" })
        yield* settings.refresh
        assert.deepStrictEqual(log, ["open one"])
        yield* set({ a: 2, b: 1, name: "two" })
        yield* settings.refresh
        assert.deepStrictEqual(log, ["open one", "open two"])
        assert.strictEqual(yield* Effect.scoped(made.get), "two")
        yield* Scope.close(user, Exit.void)
        assert.deepStrictEqual(log, ["open one", "open two", "close one"])
        yield* set({ a: 2, b: 1, name: "three" })
        yield* settings.refresh
        yield* Effect.yieldNow
        assert.deepStrictEqual(log.slice(3), ["open three", "close two"])
        yield* Scope.close(owner, Exit.void)
        assert.deepStrictEqual(log.slice(5), ["close three"])
        assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(Effect.scoped(made.get))))
      }).pipe(Effect.provide(files)))

    it.effect("refuses the change as a whole if the new one can't be made, and throws away what was ready", () =>
      Effect.gen(function*() {
        const { set, source } = settable({ a: 1, b: 1, name: "one" })
        const settings = yield* Settings.make(Pair, [source])
        const { connect, log } = connections()
        const other = connections()
        yield* Settings.scoped(settings, ({ a }) => `${a}`, other.connect)
        const made = yield* Settings.scoped(settings, ({ name }) => name, connect)
        yield* set({ a: 2, b: 1, name: "down" })
        const error = yield* Effect.flip(settings.refresh)
        assert.strictEqual(
          error.message,
          "settings: a resource made from the settings could not be made again: connection refused"
        )
        assert.deepStrictEqual(other.log, ["open 1", "open 2", "close 2"])
        assert.deepStrictEqual(log, ["open one"])
        assert.strictEqual(yield* Effect.scoped(made.get), "one")
        assert.strictEqual((yield* settings.current).a, 1)
      }).pipe(Effect.provide(files)))

    it.effect("may follow the same settings inside", () =>
      Effect.gen(function*() {
        const { set, source } = settable({ a: 1, b: 1, name: "one" })
        const settings = yield* Settings.make(Pair, [source])
        const seen: Array<string> = []
        yield* Settings.scoped(settings, ({ name }) =>
          name, (name) =>
          Settings.follow(settings, ({ a }) => Effect.sync(() => seen.push(`${name} ${a}`))))
        yield* set({ a: 2, b: 1, name: "two" })
        yield* settings.refresh
        yield* Effect.yieldNow
        yield* set({ a: 3, b: 1, name: "two" })
        yield* settings.refresh
        assert.deepStrictEqual(seen.at(-1), "two 3")
        assert.include(seen, "two 2")
        assert.notInclude(seen, "one 3")
      }).pipe(Effect.provide(files)))
  })

  it.effect("counts changes and refusals, and warns once of the same refusal", () =>
    Effect.gen(function*() {
      const { set, source } = settable({ a: 1, b: 1 })
      const warnings: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => {
        if (logLevel === "Warn") warnings.push(message)
      })
      yield* Effect.gen(function*() {
        const settings = yield* Settings.make(Pair, [source], { name: "counted" })
        yield* set({ a: 2, b: 1 })
        yield* settings.refresh
        yield* set({ a: "x", b: 1 })
        yield* Effect.flip(settings.refresh)
        yield* Effect.flip(settings.refresh)
      }).pipe(Effect.provide(Logger.layer([logger])))
      const states = (yield* Metric.snapshot).filter(({ attributes, id }) =>
        id.startsWith("ballast_settings_") && attributes?.name === "counted"
      )
      assert.deepStrictEqual(
        states.map(({ id, state }) => [id, "count" in state ? state.count : "value" in state ? state.value : undefined])
          .sort(),
        [
          ["ballast_settings_changes_total", 1],
          ["ballast_settings_refusals_total", 1],
          ["ballast_settings_revision", 2],
          ["ballast_settings_source_up", 1]
        ]
      )
      assert.strictEqual(warnings.length, 1)
    }).pipe(Effect.provide(files)))

  it.effect("is not left half changed by an interrupted refresh", () =>
    Effect.gen(function*() {
      const { set, source } = settable({ a: 1, b: 1, name: "one" })
      const settings = yield* Settings.make(Pair, [source])
      yield* Settings.scoped(settings, ({ name }) =>
        name, (name) =>
        name === "slow" ? Effect.never : Effect.succeed(name))
      yield* set({ a: 2, b: 1, name: "slow" })
      const fiber = yield* Effect.forkChild(settings.refresh, { startImmediately: true })
      yield* until(Effect.succeed(true))
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* settings.current).a, 1)
      yield* set({ a: 3, b: 1, name: "fast" })
      yield* settings.refresh
      assert.strictEqual((yield* settings.current).a, 3)
    }).pipe(Effect.provide(files)))
})
