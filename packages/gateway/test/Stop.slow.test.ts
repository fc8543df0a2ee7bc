import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { Agent, request } from "node:http"
import { eventually } from "./harness.ts"
import { serve } from "./program.ts"

/** Stops one after the other, at most. */
const stops = 30

/** No further stop begins after that time: on a busy machine there are fewer. */
const longest = Duration.minutes(2)

/** Keeps a core busy, for five minutes at most. */
const burner = Effect.acquireRelease(
  Effect.sync((): ChildProcess =>
    spawn(process.execPath, ["-e", "for (const end = Date.now() + 3e5; Date.now() < end;);"], { stdio: "ignore" })
  ),
  (child) => Effect.sync(() => child.kill("SIGKILL"))
)

/** The status of one request, or the error's code. */
const ask = (url: string, agent: Agent) =>
  Effect.callback<string>((resume) => {
    const sent = request(`${url}/v1/models`, { agent }, (response) => {
      response.resume().once("close", () => resume(Effect.succeed(response.complete ? "200" : "cut")))
    })
    sent.once("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(String(error.code))))
    sent.end()
  })

/** Asks again and again, until the answer is another than 200; counts the answers. */
const client = (url: string, keepAlive: boolean, answered: () => void) =>
  Effect.gen(function*() {
    const agent = new Agent({ keepAlive, maxSockets: 1 })
    yield* Effect.addFinalizer(() => Effect.sync(() => agent.destroy()))
    while (true) {
      const outcome = yield* ask(url, agent)
      if (outcome !== "200") return `${outcome}${keepAlive ? " on a kept connection" : ""}`
      answered()
    }
  }).pipe(Effect.scoped)

/** Stops a gateway in the middle of requests; what ended each client. */
const stop = Effect.gen(function*() {
  const { program, url } = yield* serve({ BALLAST_SHUTDOWN_TIMEOUT: "2s", BALLAST_LOG_LEVEL: "warn" })
  let answered = 0
  const clients = yield* Effect.forkChild(
    Effect.all(Array.from({ length: 8 }, (_, i) => client(url, i % 2 === 0, () => answered++)), {
      concurrency: "unbounded"
    })
  )
  yield* eventually(Effect.sync(() => answered > 20))
  yield* program.signal("SIGTERM")
  const ends = yield* Fiber.join(clients)
  assert.strictEqual((yield* program.ended).code, 0)
  return { answered, ends }
}).pipe(Effect.scoped)

describe("ballast serve", () => {
  it.live(
    "loses no request when it is stopped under load, while others keep the cores busy",
    () =>
      Effect.gen(function*() {
        yield* burner
        yield* burner
        let answered = 0
        const lost: Array<string> = []
        const end = (yield* Clock.currentTimeMillis) + Duration.toMillis(longest)
        for (let i = 0; i < stops && (yield* Clock.currentTimeMillis) < end; i++) {
          const round = yield* stop
          answered += round.answered
          // Whoever comes too late is refused at the door.
          lost.push(...round.ends.filter((end) => !end.startsWith("ECONNREFUSED")))
          yield* Effect.logInfo(`stop ${i + 1}: ${answered} requests answered, ${lost.length} lost ${lost.join(", ")}`)
        }
        assert.deepStrictEqual(lost, [])
      }).pipe(Effect.scoped),
    600_000
  )
})
