import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { Agent, request as httpRequest } from "node:http"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { type Answer, eventually, hello, post, send } from "./harness.ts"
import { start } from "./program.ts"

const chat = "/v1/chat/completions"
// On a connection of its own: one that is kept open is lost with its worker.
const fresh = { connection: "close" }
const key = { ...fresh, authorization: "Bearer admin-of-alice" }

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(Path.join(tmpdir(), "ballast-workers-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const settings = (weight: number) => `
providers:
  near: { type: simulator, accounts: { main: { keys: [sk-near] } }, concurrency: { deepseek-flash: 7 } }
  far: { type: simulator, accounts: { main: { keys: [sk-far] } } }
models:
  deepseek-flash: { targets: [ { provider: near, weight: ${weight} }, { provider: far, weight: 0 } ] }
policies: { retry: { times: 0 }, rateLimit: { limit: 100000, window: 1s, maxWait: 1s } }
simulator: { latency: 0ms, timeToFirstToken: 5ms, tokensPerSecond: 100000 }
limits: { shutdownTimeout: 6s }
admin: { keys: { alice: [admin-of-alice] } }
listen: { port: 0, workers: 2 }
`

const serve = Effect.gen(function*() {
  const file = Path.join(yield* folder, "ballast.yaml")
  writeFileSync(file, settings(1))
  const program = yield* start(["serve", "--config", file], { BALLAST_DATABASE: `${file}.db` })
  const [, url = ""] = yield* program.printed(/listens on (\S+)[^]*workers: +2\n[^]*curl .*\n/)
  const lines = () => program.stderr.split("\n").filter((line) => /^\{.*\}$/.test(line)).map((line) => JSON.parse(line))
  return { file, program, url, lines }
})

/** A call on a connection of its own: the status, or the error of the connection. */
const call = (url: string) =>
  Effect.callback<number | string>((resume) => {
    const agent = new Agent({ keepAlive: false })
    const headers = { "content-type": "application/json" }
    const request = httpRequest(url + chat, { method: "POST", agent, headers }, (response) => {
      response.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(String(error.code))))
      response.on("end", () => resume(Effect.succeed(response.statusCode!))).resume()
    })
    request.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(String(error.code))))
    request.end(JSON.stringify(hello))
  })

/** Calls again and again from several clients until it is told to stop; what each call ended with. */
const load = Effect.fnUntraced(function*(url: string) {
  const results: Array<number | string> = []
  let going = true
  const client = Effect.suspend(() => call(url)).pipe(
    Effect.tap((result) => Effect.sync(() => results.push(result))),
    Effect.repeat({ while: () => going })
  )
  const fiber = yield* Effect.forkChild(Effect.replicateEffect(client, 8, { concurrency: "unbounded" }))
  return { results, stop: Effect.andThen(Effect.sync(() => going = false), Fiber.join(fiber)) }
})

const isReady = (url: string) => Effect.map(send(`${url}/readyz`, { headers: fresh }), ({ status }) => status === 200)

const workersOf = (lines: ReadonlyArray<Record<string, unknown>>) => new Set(lines.map(({ worker }) => worker))

const admin = (url: string, what: string, order?: object): Effect.Effect<Answer> =>
  order === undefined ? send(`${url}/admin/v1/${what}`, { headers: key }) : post(`${url}/admin/v1/${what}`, order, key)

const pidsOf = (url: string) =>
  Effect.map(
    admin(url, "status"),
    ({ json }): ReadonlyArray<number> => json.workers.map(({ pid }: { readonly pid: number }) => pid)
  )

const isGone = (pid: number): boolean => {
  try {
    return !process.kill(pid, 0)
  } catch {
    return true
  }
}

describe("ballast serve --workers 2", () => {
  it.live("serves in both, with one page of metrics and one admin", () =>
    Effect.gen(function*() {
      const { file, lines, program, url } = yield* serve
      const calls = 40
      yield* Effect.replicateEffect(call(url), calls, { concurrency: 8 })
      assert.deepStrictEqual(workersOf(lines().filter(({ path }) => path === chat)), new Set([1, 2]))

      const { text } = yield* send(`${url}/metrics`)
      assert.include(text, `ballast_requests_total{route="${chat}",fault="none"} ${calls}\n`)
      assert.match(
        text,
        new RegExp(`http_request_duration_seconds_count\\{(?=[^}]*route="${chat}")[^}]*\\} ${calls}\\n`)
      )
      for (const worker of [1, 2]) {
        assert.match(text, new RegExp(`v8js_memory_heap_used_bytes\\{worker="${worker}"\\} \\d`))
      }
      assert.strictEqual(text.match(/^# TYPE ballast_requests_total /gm)?.length, 1)
      // Four and three: a limit is divided, and shown as one.
      assert.include(text, "ballast_adaptive_limit{name=\"near/main/deepseek-flash\"} 7\n")
      const routes = yield* admin(url, "routes")
      assert.deepInclude(routes.json[0].targets[0].limits[0], { name: "near/main/deepseek-flash", limit: 7 })

      const drained = yield* admin(url, "acts", { do: "degrade", model: "deepseek-flash", to: { text: "Later." } })
      assert.deepStrictEqual([drained.status, drained.json.id, drained.json.by], [200, "1", "alice"])
      const texts = yield* Effect.replicateEffect(post(url + chat, hello, fresh), 8)
      assert.deepStrictEqual(
        texts.map(({ json }) => json.choices[0].message.content),
        texts.map(() => "Later.")
      )
      assert.strictEqual((yield* admin(url, "acts")).json.length, 1)
      const unknown = yield* admin(url, "acts", { do: "drain", model: "gpt", target: "near" })
      assert.deepStrictEqual([unknown.status, unknown.json.error.code], [404, "unknown_name"])
      const undone = yield* send(`${url}/admin/v1/acts/1`, { method: "DELETE", headers: key })
      assert.strictEqual(undone.json.ended.because, "undone")

      // What is kept is shared, although no database is named.
      const made = yield* admin(url, "clients", { name: "bob" })
      assert.strictEqual(made.status, 200)
      assert.deepStrictEqual(
        (yield* Effect.replicateEffect(admin(url, "clients"), 4)).map(({ json }) => json.length),
        [1, 1, 1, 1]
      )

      const revisions = (revision: number) =>
        eventually(Effect.map(admin(url, "status"), ({ json }) =>
          json.workers.every((worker: { readonly revision: number }) =>
            worker.revision === revision
          )))
      writeFileSync(file, settings(2))
      yield* revisions(2)
      writeFileSync(file, settings(3))
      yield* program.signal("SIGHUP")
      yield* revisions(3)
      writeFileSync(file, "models: 3")
      const refused = yield* admin(url, "acts", { do: "reload" })
      assert.deepStrictEqual([refused.status, refused.json.error.code], [409, "settings_refused"])

      const { port } = new URL(url)
      const second = yield* start(["serve", "--workers", "2", "--port", port], { BALLAST_DATABASE: `${file}.db` })
      const { code, stderr } = yield* second.ended
      assert.strictEqual(code, 1)
      assert.include(stderr, `ballast: Port ${port} on 127.0.0.1 is in use.`)
    }).pipe(Effect.scoped), 120_000)

  it.live(
    "replaces a worker that is killed, which takes its own calls along only, and keeps acts and sums; none stays without the primary",
    () =>
      Effect.gen(function*() {
        const { file, lines, program, url } = yield* serve
        yield* admin(url, "acts", { do: "weight", model: "deepseek-flash", target: "far", weight: 2, for: "1h" })
        const { results, stop } = yield* load(url)
        yield* eventually(Effect.sync(() => results.length > 50))
        const [victim = 0, other] = yield* pidsOf(url)
        const page = yield* send(`${url}/metrics`, { headers: fresh })
        // Those that run keep the old settings; a new one can not start with these.
        writeFileSync(file, "models: 3")
        process.kill(victim, "SIGKILL")
        const replaced = () => lines().filter(({ message }) => message === "a worker ended, and is replaced")
        yield* eventually(Effect.sync(() => replaced().length > 1))
        const { json, status } = yield* send(`${url}/readyz`, { headers: fresh })
        assert.deepStrictEqual([status, json.status, json.workers], [503, "starting", { ready: 1, of: 2 }])
        writeFileSync(file, settings(1))
        yield* eventually(isReady(url))
        const begun = results.length
        yield* eventually(Effect.sync(() => results.length > begun + 50))
        yield* stop
        const lost = results.filter((result) => result !== 200)
        // Eight clients, of whose calls about half were with the other worker.
        assert.isTrue(lost.length <= 8 && lost.every((result) => result === "ECONNRESET"), lost.join())
        assert.strictEqual((yield* pidsOf(url))[1], other)
        assert.deepInclude(replaced()[0], { worker: 1, how: "SIGKILL", wait: "0 ms" })
        assert.deepInclude(replaced()[1], { worker: 1, how: "code 1", wait: "1000 ms" })
        const { json: [route] } = yield* admin(url, "routes")
        assert.strictEqual(route.targets[1].weight, 2)
        const [{ id, ended }] = (yield* admin(url, "acts")).json
        assert.deepStrictEqual([id, ended], ["1", null])
        yield* post(`${url}/admin/v1/acts`, { do: "drain", model: "deepseek-flash", target: "near" }, key)
        assert.deepStrictEqual((yield* admin(url, "acts")).json.map(({ id }: { readonly id: string }) => id), [
          "1",
          "2"
        ])
        const countOf = ({ text }: Answer) =>
          Number(new RegExp(`^ballast_requests_total\\{route="${chat}",fault="none"\\} (\\d+)$`, "m").exec(text)?.[1])
        assert.isAtLeast(countOf(yield* send(`${url}/metrics`, { headers: fresh })), countOf(page))
        // Without their primary, workers end.
        const pids = yield* pidsOf(url)
        yield* program.signal("SIGKILL")
        yield* eventually(Effect.sync(() => pids.every(isGone)))
      }).pipe(Effect.scoped),
    120_000
  )

  it.live("loses no request when it is stopped under load", () =>
    Effect.gen(function*() {
      const { lines, program, url } = yield* serve
      const { results, stop } = yield* load(url)
      yield* eventually(Effect.sync(() => results.length > 100))
      yield* program.signal("SIGTERM")
      const { code } = yield* program.ended
      yield* stop
      assert.strictEqual(code, 0)
      // Whoever comes after the port is closed is refused, and may try elsewhere; none is cut off.
      const others = results.filter((result) => result !== 200)
      assert.deepStrictEqual(others.filter((result) => result !== "ECONNREFUSED"), [])
      const answered = lines().filter(({ path }) => path === chat)
      assert.deepStrictEqual(workersOf(answered), new Set([1, 2]))
      assert.strictEqual(answered.length, results.length - others.length)
    }).pipe(Effect.scoped), 120_000)
})
