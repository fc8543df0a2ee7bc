import { Logs } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Layer, Logger, Metric, Redacted, Schema } from "effect"
import { TestClock } from "effect/testing"
import { spawn } from "node:child_process"
import { closeSync, openSync } from "node:fs"

const capture = (options?: Logs.Options) => {
  const lines: Array<string> = []
  return { lines, layer: Logs.layer({ ...options, write: (line) => lines.push(line) }) }
}

const only = (lines: ReadonlyArray<string>) => {
  assert.strictEqual(lines.length, 1)
  assert.match(lines[0]!, /^[^\n]+\n$/)
  return JSON.parse(lines[0]!)
}

describe("Logs", () => {
  describe("json", () => {
    it.effect("writes one line with time, level, message and fields", () => {
      const { layer, lines } = capture()
      return Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2026, 10, 22))
        yield* Effect.logInfo("request", { status: 200, path: "/a \"b\"\n", absent: undefined })
        assert.deepStrictEqual(only(lines), {
          time: "2026-11-22T00:00:00.000Z",
          level: "info",
          message: "request",
          status: 200,
          path: "/a \"b\"\n"
        })
      }).pipe(Effect.provide(layer))
    })

    it.effect("has the time of its own, whatever that of the line before", () => {
      const { layer, lines } = capture()
      const times = [
        "1970-01-01T00:00:00.007Z",
        "2026-11-22T23:59:59.999Z",
        "2026-11-22T23:59:59.050Z",
        "2026-11-23T00:00:00.000Z",
        "+010000-01-01T00:00:00.001Z"
      ]
      return Effect.gen(function*() {
        for (const time of times) {
          yield* TestClock.setTime(Date.parse(time))
          yield* Effect.logInfo("tick")
        }
        assert.deepStrictEqual(lines.map((line) => JSON.parse(line).time), times)
      }).pipe(Effect.provide(layer))
    })

    it.effect("carries annotations and the span it is written in", () => {
      const { layer, lines } = capture()
      return Effect.gen(function*() {
        const span = yield* Effect.currentSpan
        yield* Effect.logWarning("careful").pipe(Effect.annotateLogs({ tenant: "a", time: "mine" }))
        const entry = only(lines)
        assert.strictEqual(entry.trace_id, span.traceId)
        assert.strictEqual(entry.span_id, span.spanId)
        assert.strictEqual(entry.tenant, "a")
        assert.strictEqual(entry._time, "mine")
        assert.strictEqual(entry.level, "warn")
      }).pipe(Effect.withSpan("test"), Effect.provide(layer))
    })

    it.effect("carries the cause", () => {
      const { layer, lines } = capture()
      return Effect.gen(function*() {
        yield* Effect.logError("failed", Cause.die(new Error("boom")))
        assert.include(only(lines).cause, "boom")
      }).pipe(Effect.provide(layer))
    })

    it.effect("shows no secret", () => {
      const { layer, lines } = capture()
      return Effect.gen(function*() {
        yield* Effect.logInfo("a", { key: Redacted.make("hidden"), nested: { key: Redacted.make("hidden") } })
        yield* Effect.logInfo("sk-0123456789abcdef", Cause.fail("Bearer sk-0123456789abcdef"))
        assert.notInclude(lines.join(""), "hidden")
        assert.notInclude(lines.join(""), "0123456789")
      }).pipe(Effect.provide(layer))
    })

    const fields = { message: Schema.String, value: Schema.Json, number: Schema.Number }
    it.effect.prop("is one line of JSON whatever the fields hold", fields, ({ message, number, value }) => {
      const { layer, lines } = capture()
      return Effect.gen(function*() {
        yield* Effect.logInfo(message, { value, number, big: 1n })
        assert.strictEqual(only(lines).message, message.replace(/\bsk-[\w-]{4,}/g, "sk-***"))
      }).pipe(Effect.provide(layer))
    })
  })

  describe("pretty", () => {
    it.effect("writes time, level, message, fields", () => {
      const { layer, lines } = capture({ format: "pretty" })
      return Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2026, 10, 22, 1, 2, 3, 4))
        yield* Effect.logInfo("request", { status: 200, text: "a b", path: "/models" })
        const span = yield* Effect.currentSpan
        assert.deepStrictEqual(lines, [
          `01:02:03.004 INFO  request status=200 text="a b" path=/models trace_id=${span.traceId}\n`
        ])
      }).pipe(Effect.withSpan("test"), Effect.provide(layer))
    })
  })

  describe("escapes what a terminal would obey", () => {
    const controls = "\x1b[2J \x07 \x9b31m \x7f \u202e \u2066 \u200f \u061c \u2028"
    const escaped = "\\u001b[2J \\u0007 \\u009b31m \\u007f \\u202e \\u2066 \\u200f \\u061c \\u2028"
    const unsafe = /[^\x20-\x7e\n]/

    it.effect("in pretty lines: message, names, values and causes", () => {
      const { layer, lines } = capture({ format: "pretty" })
      return Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2026, 10, 22))
        const cause = Cause.fail(`${controls}\n00:00:00.000 INFO  forged`)
        yield* Effect.logInfo(
          `${controls}\nforged`,
          { model: controls, [controls]: 1, nested: { text: controls } },
          cause
        )
        const line = lines.join("")
        assert.notMatch(line, unsafe)
        assert.include(line, `INFO  ${escaped}\\u000aforged model="${escaped}" "`)
        assert.include(line, `{"text":"${escaped}"}`)
        for (const part of line.trimEnd().split("\n").slice(1)) assert.match(part, /^ {2}/)
      }).pipe(Effect.provide(layer))
    })

    it.effect("in lines of JSON, which keep their meaning", () => {
      const { layer, lines } = capture()
      return Effect.gen(function*() {
        yield* Effect.logInfo(controls, { [controls]: controls, nested: { text: controls } })
        assert.notMatch(lines.join(""), unsafe)
        const { message, nested, ...fields } = only(lines)
        assert.deepStrictEqual([message, nested, fields[controls]], [controls, { text: controls }, controls])
      }).pipe(Effect.provide(layer))
    })

    it.effect("in a line that is all ASCII", () => {
      const { layer, lines } = capture()
      return Effect.gen(function*() {
        yield* Effect.logInfo("\x7f")
        assert.include(lines.join(""), "\\u007f")
      }).pipe(Effect.provide(layer))
    })

    it.effect("but no letter of any script", () => {
      const { layer, lines } = capture({ format: "pretty" })
      return Effect.gen(function*() {
        yield* Effect.logInfo("压舱物 סלע 🚢", { name: "é" })
        assert.include(lines.join(""), "压舱物 סלע 🚢 name=é")
      }).pipe(Effect.provide(layer))
    })
  })

  describe("settings", () => {
    const read = (env: Record<string, string>) => Logs.level.parse(ConfigProvider.fromEnv({ env }))

    it.effect.each([["debug", "Debug"], ["WARN", "Warn"], ["Info", "Info"], ["none", "None"]] as const)(
      "BALLAST_LOG_LEVEL=%s",
      ([text, level]) => Effect.map(read({ BALLAST_LOG_LEVEL: text }), (actual) => assert.strictEqual(actual, level))
    )

    it.effect("is absent when it is not set", () => Effect.map(read({}), (level) => assert.isUndefined(level)))

    it.effect("names the variable, what is wrong and what would be right", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(read({ BALLAST_LOG_LEVEL: "loud" }))
        assert.include(error.message, "BALLAST_LOG_LEVEL is \"loud\". Expected one of trace, debug, info")
        const format = yield* Effect.flip(
          Logs.format.parse(ConfigProvider.fromEnv({ env: { BALLAST_LOG_FORMAT: "xml" } }))
        )
        assert.include(format.message, "BALLAST_LOG_FORMAT is \"xml\". Expected json or pretty")
      }))

    it.effect("a level hides what is less severe", () => {
      const { layer, lines } = capture({ level: "Warn" })
      return Effect.gen(function*() {
        yield* Effect.logInfo("no")
        yield* Effect.logWarning("yes")
        assert.strictEqual(only(lines).message, "yes")
      }).pipe(Effect.provide(layer))
    })

    it.effect("builds from the environment", () =>
      Effect.gen(function*() {
        const loggers = yield* Effect.service(Logger.CurrentLoggers)
        assert.strictEqual(loggers.size, 1)
      }).pipe(
        Effect.provide(Logs.layerConfig.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} })))))
      ))
  })

  it.effect("counts the lines that its writer drops", () =>
    Effect.gen(function*() {
      let room = 2
      const write = () => room-- > 0
      yield* Effect.repeat(Effect.logInfo("flood"), { times: 4 }).pipe(Effect.provide(Logs.layer({ write })))
      const dropped = (yield* Metric.snapshot).find(({ id }) => id === "ballast_telemetry_dropped_total")
      assert.deepInclude(dropped?.state, { count: 3 })
      assert.deepStrictEqual(dropped?.attributes, { signal: "logs" })
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.live("goes on while its lines are read by no one", () =>
    Effect.gen(function*() {
      const script = `
        import { Logs } from "@ballast/telemetry"
        import { Effect, Metric } from "effect"
        const line = Effect.logInfo("x".repeat(1000))
        const flood = Effect.repeat(Effect.andThen(line, Effect.yieldNow), { times: 9999 })
        await Effect.runPromise(Effect.gen(function*() {
          yield* flood
          const [dropped] = (yield* Metric.snapshot).filter(({ id }) => id === "ballast_telemetry_dropped_total")
          process.stdout.write(String(dropped.state.count), () => process.exit())
        }).pipe(Effect.provide(Logs.layer({ format: "json" }))))`
      const count = yield* Effect.callback<string>((resume) => {
        const child = spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: import.meta.dirname })
        child.stdout.setEncoding("utf8").once("data", (text: string) => resume(Effect.succeed(text)))
        return Effect.sync(() => child.kill("SIGKILL"))
      })
      assert.isAbove(Number(count), 5_000)
      assert.isBelow(Number(count), 10_000)
    }), { timeout: 60_000 })

  it.live("writes its lines alone, however many threads the program has", () =>
    Effect.gen(function*() {
      const script = `
        import { Logs } from "@ballast/telemetry"
        import { Effect } from "effect"
        import { Worker } from "node:worker_threads"
        const workers = Array.from({ length: 12 }, () => new Worker("setInterval(() => {}, 1000)", { eval: true }))
        await Effect.runPromise(Effect.provide(Effect.logInfo("one"), Logs.layer({ format: "json" })))
        await Promise.all(workers.map((worker) => worker.terminate()))`
      const text = yield* Effect.callback<string>((resume) => {
        const child = spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: import.meta.dirname })
        let text = ""
        child.stderr.setEncoding("utf8").on("data", (part: string) => text += part)
        child.once("close", () => resume(Effect.succeed(text)))
        return Effect.sync(() => child.kill("SIGKILL"))
      })
      assert.deepStrictEqual(text.trim().split("\n").map((line): unknown => JSON.parse(line).message), ["one"])
    }), { timeout: 60_000 })

  it.live("counts the lines that can not be written, and goes on", () =>
    Effect.gen(function*() {
      const script = `
        import { Logs } from "@ballast/telemetry"
        import { Effect, Metric } from "effect"
        const turn = Effect.callback((resume) => void setImmediate(() => resume(Effect.void)))
        const dropped = Effect.map(Metric.snapshot, (all) =>
          all.find(({ id }) => id === "ballast_telemetry_dropped_total")?.state.count ?? 0)
        const until = Effect.andThen(turn, Effect.suspend(() => Effect.flatMap(dropped, (count) => count < 3 ? until : Effect.void)))
        const lines = Effect.forEach(["one", "two", "three"], (text) => Effect.andThen(Effect.logWarning(text), turn))
        await Effect.runPromise(Effect.provide(Effect.andThen(lines, until), Logs.layer({ format: "json" })))
        process.stdout.write("three", () => process.exit())`
      const text = yield* Effect.acquireUseRelease(
        Effect.sync(() => openSync("/dev/full", "w")),
        (full) =>
          Effect.callback<string>((resume) => {
            const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
              cwd: import.meta.dirname,
              stdio: ["ignore", "pipe", full]
            })
            let text = ""
            child.stdout?.setEncoding("utf8").on("data", (part: string) => text += part)
            child.once("close", () => resume(Effect.succeed(text)))
            return Effect.sync(() => child.kill("SIGKILL"))
          }),
        (full) => Effect.sync(() => closeSync(full))
      )
      assert.strictEqual(text, "three")
    }), { timeout: 60_000 })

  it.live(
    "writes the lines that wait when the program ends, and those of trouble before it is killed",
    () =>
      Effect.gen(function*() {
        const logged = (end: string) =>
          Effect.callback<string>((resume) => {
            const script = `
            import { Logs } from "@ballast/telemetry"
            import { Effect } from "effect"
            const turn = Effect.callback((resume) => void setImmediate(() => resume(Effect.void)))
            const lines = Effect.forEach(["one", "two", "three"], (text) => Effect.andThen(Effect.logInfo(text), turn))
            const trouble = Effect.andThen(Effect.logWarning("four"), turn)
            await Effect.runPromise(Effect.provide(Effect.andThen(lines, trouble), Logs.layer({ format: "json" })))
            ${end}`
            const child = spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: import.meta.dirname })
            let text = ""
            child.stderr.setEncoding("utf8").on("data", (part: string) => text += part)
            child.once("close", () => resume(Effect.succeed(text)))
            return Effect.sync(() => child.kill("SIGKILL"))
          })
        const messages = (text: string) => text.trim().split("\n").map((line): unknown => JSON.parse(line).message)
        const all = ["one", "two", "three", "four"]
        assert.deepStrictEqual(messages(yield* logged("process.exit()")), all)
        assert.deepStrictEqual(messages(yield* logged("process.kill(process.pid, 'SIGKILL')")), all)
      }),
    { timeout: 60_000 }
  )
})
