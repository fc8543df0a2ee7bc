import { Service } from "@ballast/workflow"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Random, Schema } from "effect"
import { Sse } from "effect/encoding"
import { type ChildProcess, spawn } from "node:child_process"
import * as Path from "node:path"
import { chromium } from "playwright-core"
import { describeWith } from "../../../test/support/program.ts"
import { day } from "../src/city.ts"
import * as Page from "../src/page.ts"
import * as Warnings from "../src/warnings.ts"

const root = Path.resolve(import.meta.dirname, "..")

/** The program with its page, which is ended when the scope closes. */
const start = (seed: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const args = ["src/main.ts", "--serve", "--port", "0", "--pace", "0", "--seed", String(seed)]
      const child: ChildProcess = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] })
      const program = { child, stdout: "" }
      child.stdout?.setEncoding("utf8").on("data", (text: string) => program.stdout += text)
      return program
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Waits until the program's output matches. */
const printed = (program: { readonly child: ChildProcess; readonly stdout: string }, pattern: RegExp) =>
  Effect.callback<string>((resume) => {
    const look = () => {
      const match = pattern.exec(program.stdout)
      if (match !== null) resume(Effect.succeed(match[1] ?? ""))
    }
    program.child.stdout?.on("data", look)
    program.child.once("close", () => resume(Effect.die(new Error(`the program ended: ${program.stdout}`))))
    look()
    return Effect.sync(() => program.child.stdout?.off("data", look))
  })

const isLast = ({ data }: Sse.Event) => data.includes("\"time\":\"20:50\"")

/** The events of a page, up to those of the day's last frame. */
const eventsOf = (page: string) =>
  Effect.promise(async (signal) => {
    const events: Array<Sse.Event> = []
    const parser = Sse.makeParser((event) => event._tag === "Event" && events.push(event))
    const { body } = await fetch(`${page}events`, { signal })
    for await (const text of body!.pipeThrough(new TextDecoderStream())) {
      parser.feed(text)
      if (events.some(isLast)) break
    }
    return events
  })

const decodeWarning = Schema.decodeUnknownSync(Schema.fromJsonString(Warnings.Warning))

describe("city warning", () => {
  it.live("warns of what was planted, in order, and of nothing else, on its page and in its output", () =>
    Effect.gen(function*() {
      const program = yield* start(1)
      const url = yield* printed(program, /The page is at (\S+)\n/)
      const events = yield* eventsOf(url)
      assert.lengthOf(events.filter(({ event }) => event === "frame"), 91)
      const warnings = events.filter(({ event }) => event === "warning").map(({ data }) => decodeWarning(data))

      const { planted } = yield* Random.withSeed(day, 1)
      const [failure, jam] = planted
      assert.deepStrictEqual(
        warnings.map(({ kind, level, place }) => ({ kind, level, place })),
        [
          { kind: "sensor", level: "failed", place: failure?.place ?? "" },
          { kind: "jam", level: "watch", place: jam?.place ?? "" },
          { kind: "jam", level: "alarm", place: jam?.place ?? "" }
        ]
      )
      const calm = warnings.filter(({ at }) => planted.every(({ from, until }) => at < from || at >= until))
      assert.deepStrictEqual(calm, [])

      yield* printed(program, /(2 of 2 planted events found, 0 of 3 warnings false\.)\n/)
      for (const warning of warnings) assert.include(program.stdout, `${Warnings.line(warning)}\n`)
    }))

  it.effect("warns when something begins, gets worse, or comes again", () =>
    Effect.gen(function*() {
      const warnings: Array<string> = []
      const service = Warnings.make((warning) => Effect.sync(() => void warnings.push(Warnings.line(warning))))
      const context: Service.CallContext = {
        runId: "1",
        workflow: "city_warning",
        stepId: "published",
        attempt: 1,
        idempotencyKey: "1",
        report: () => Effect.void
      }
      const frame = (at: number, jam: string) => service.call({ at, jams: [jam], sensors: [] }, context)
      for (const level of ["watch", "watch", "alarm", "none", "watch"]) yield* frame(600 + 10 * warnings.length, level)
      assert.deepStrictEqual(warnings, ["10:00 jam Harbour: watch", "10:10 jam Harbour: alarm"])
      yield* frame(660, "watch")
      assert.deepStrictEqual(warnings.slice(2), ["11:00 jam Harbour: watch"])
      assert.instanceOf(yield* Effect.flip(frame(670, "terrible")), Service.ServiceError)
    }))

  it("counts what was missed and what was false", () => {
    const planted = [{ kind: "jam", place: "Harbour", from: 600, until: 660 }] as const
    const warning = { at: 610, kind: "jam", place: "Harbour", level: "watch" } as const
    const scoreOf = (...warnings: ReadonlyArray<Warnings.Warning>) => {
      const { events: [event], falseWarnings } = Warnings.score(planted, warnings)
      return [event?.warned, falseWarnings]
    }
    assert.deepStrictEqual(scoreOf(warning), [610, 0])
    assert.deepStrictEqual(scoreOf({ ...warning, at: 660 }), [undefined, 1])
    assert.deepStrictEqual(scoreOf({ ...warning, place: "Station" }, { ...warning, kind: "sensor" }), [undefined, 2])
  })
})

const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

const browse = Effect.acquireRelease(
  Effect.promise(() => chromium.launch({ executablePath: "/usr/bin/chromium", args })),
  (browser) => Effect.promise(() => browser.close())
)

describeWith("chromium", "sudo apt-get install chromium")("the page of city warning", () => {
  it.live("shows frames and warnings as they come, and text as text", () =>
    Effect.gen(function*() {
      const served = yield* Page.serve(0)
      const page = yield* Effect.flatMap(browse, (browser) => Effect.promise(() => browser.newPage()))
      const problems: Array<string> = []
      page.on("pageerror", ({ message }) => problems.push(message))
      const place = "Harbour <img src=x onerror=alert(1)>"
      yield* served.warning({ at: 600, kind: "jam", place, level: "watch" })
      yield* Effect.promise(() => page.goto(served.url))
      yield* Effect.promise(() => page.getByText(`10:00 jam ${place}: watch`).waitFor())
      yield* served.frame({ at: 610, counts: Array.from({ length: 16 }, (_, sensor) => sensor) }, [0.25, 0, 0, 0.5])
      yield* Effect.promise(() => page.getByText("University: 50 % full in half an hour").waitFor())
      assert.strictEqual(yield* Effect.promise(() => page.locator("polyline").count()), 16)
      assert.strictEqual(yield* Effect.promise(() => page.locator("img").count()), 0)
      assert.deepStrictEqual(problems, [])
    }).pipe(Effect.provide(NodeServices.layer)))
})
