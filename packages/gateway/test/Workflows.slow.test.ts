import { MetricNames } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, type Scope, Tracer } from "effect"
import * as Fs from "node:fs"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { collecting } from "../../../test/support/spans.ts"
import * as harness from "./harness.ts"
import { temporaryFolder } from "./support/databases.ts"

const { eventually, send } = harness

/** A service over HTTP, which a test answers by the path; it keeps the paths, and how many requests were cut off. */
const service = (
  answer: (
    path: string,
    body: string,
    headers: IncomingMessage["headers"]
  ) => { readonly status?: number; readonly location?: string; readonly json?: unknown } | undefined
) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly calls: Array<string>; cut: number; readonly close: () => void }>(
      (resume) => {
        const calls: Array<string> = []
        const bodyOf = async (request: IncomingMessage) => {
          let text = ""
          for await (const part of request.setEncoding("utf8")) text += part
          return text
        }
        const server = createServer((request, response) => {
          const path = request.url ?? ""
          response.once("close", () => response.writableFinished || made.cut++)
          void bodyOf(request).then((body) => {
            calls.push(path)
            const given = answer(path, body, request.headers)
            // What has no answer waits.
            if (given === undefined) return
            if (given.location !== undefined) response.setHeader("location", given.location)
            response.writeHead(given.status ?? 200, { "content-type": "application/json" })
            response.end(JSON.stringify(given.json ?? null))
          })
        })
        const made = {
          url: "",
          calls,
          cut: 0,
          close: () => {
            server.close()
            server.closeAllConnections()
          }
        }
        server.listen(0, "127.0.0.1", () => {
          resume(
            Effect.succeed(Object.assign(made, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }))
          )
        })
      }
    ),
    ({ close }) => Effect.sync(close)
  )

const echo = (path: string, body: string) => ({ json: { path, got: JSON.parse(body) } })

interface Given {
  readonly files: Readonly<Record<string, string>>
  readonly settings?: object
  readonly workflows?: object
  readonly folder?: string
}

/** Runs a test against a gateway that serves the files of a folder. */
const withGateway = <A, E>(
  { files, folder: given, settings, workflows }: Given,
  test: (
    api: ReturnType<typeof apiOf>,
    running: typeof harness.Running.Service,
    folder: string
  ) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.gen(function*() {
    const folder = given ?? (yield* temporaryFolder)
    for (const [name, text] of Object.entries(files)) Fs.writeFileSync(Path.join(folder, name), text)
    return yield* Effect.provide(
      Effect.flatMap(harness.Running, (running) => test(apiOf(running.url), running, folder)),
      harness.layer({
        database: given === undefined ? ":memory:" : Path.join(folder, "ballast.db"),
        settings: { workflows: { files: [folder], ...workflows }, ...settings }
      })
    )
  })

const apiOf = (url: string) => {
  const call = (
    method: string,
    path: string,
    options: { readonly body?: unknown; readonly key?: string; readonly headers?: Record<string, string> } = {}
  ) =>
    send(`${url}${path}`, {
      method,
      headers: {
        ...options.key !== undefined && { authorization: `Bearer ${options.key}` },
        ...options.body !== undefined && { "content-type": "application/json" },
        ...options.headers
      },
      ...options.body !== undefined && { body: JSON.stringify(options.body) }
    })
  type Options = Parameters<typeof call>[2]
  return {
    url,
    get: (path: string, options?: Options) => call("GET", `/v1/workflows${path}`, options),
    post: (path: string, body?: unknown, options?: Options) =>
      call("POST", `/v1/workflows${path}`, { body, ...options }),
    /** Waits until a run has a status. */
    until: (id: string, status: string, options?: Options) =>
      eventually(Effect.map(call("GET", `/v1/workflows/-/runs/${id}`, options), ({ json }) => json.status === status))
  }
}

const async = { headers: { prefer: "respond-async" } }

const flow = (url: string, steps: string, more = "", services = "") =>
  `workflow:
  name: flow
  steps:
${steps.replaceAll(/^/gm, "    ")}
${more.replaceAll(/^/gm, "  ")}
services:
  a: { type: http, url: "${url}/a" }
  b: { type: http, url: "${url}/b" }
  boss: { type: approval, question: "Pay \${input.n}?", who: [ bob ] }
  anyone: { type: approval }
${services.replaceAll(/^/gm, "  ")}
`

const clients = {
  clients: { alice: { keys: ["key-of-alice"] }, bob: { keys: ["key-of-bob"] }, eve: { keys: ["key-of-eve"] } },
  admin: { keys: { root: ["key-of-root"] } }
}

const as = (name: string) => ({ key: `key-of-${name}` })

describe("runs of workflows", () => {
  it.live("write their reports into the folder of the settings", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const reports = Path.join(folder, "made", "reports")
      const page = "page: { type: report, template: \"{{ input.n }}\", save: \"r-${input.n}.html\" }"
      yield* withGateway(
        { files: { "flow.yaml": flow("http://127.0.0.1:1", "- service: page", "", page) }, workflows: { reports } },
        ({ post }) =>
          Effect.gen(function*() {
            const { json } = yield* post("/flow/runs", { n: 6 })
            assert.deepStrictEqual(json.output, { file: Path.join(reports, "r-6.html") })
            assert.include(Fs.readFileSync(json.output.file, "utf8"), "<body>\n6\n</body>")
            Fs.rmSync(reports, { recursive: true })
            Fs.writeFileSync(reports, "a file")
            const failed = yield* post("/flow/runs", { n: 7 })
            assert.match(failed.json.error.reason, /^.*r-7\.html can not be written: /)
          })
      )
    }))

  it.live("give their result to who waits, with what each step did", () =>
    Effect.gen(function*() {
      const { calls, url } = yield* service(echo)
      const text = flow(url, `- service: a\n- { service: b, condition: "\${input.n > 5}" }`)
      yield* withGateway({ files: { "flow.yaml": text } }, ({ get, post }) =>
        Effect.gen(function*() {
          const { json, status } = yield* post("/flow/runs", { n: 6 })
          assert.strictEqual(status, 200)
          assert.deepInclude(json, {
            object: "workflow.run",
            workflow: "flow",
            client: "anonymous",
            status: "succeeded",
            input: { n: 6 },
            output: { path: "/b", got: { path: "/a", got: { n: 6 } } },
            error: null,
            retryOf: null
          })
          assert.deepStrictEqual(
            json.steps.map((
              { attempts, id, service, status }: Record<string, unknown>
            ) => [id, service, status, attempts]),
            [["a", "a", "succeeded", 1], ["b", "b", "succeeded", 1]]
          )
          assert.deepStrictEqual(calls, ["/a", "/b"])
          const skipped = yield* post("/flow/runs", { n: 5 })
          assert.deepInclude(skipped.json, { status: "succeeded", output: null })
          assert.strictEqual(skipped.json.steps[1].status, "skipped")
          const again = yield* get(`/flow/runs/${json.id}`)
          assert.deepStrictEqual(again.json, json)
          assert.deepInclude((yield* get(`/-/runs/${json.id}/steps/a`)).json, {
            id: "a",
            output: { path: "/a", got: { n: 6 } }
          })
          const all = yield* get("")
          assert.deepStrictEqual(all.json.data.map(({ name }: { name: string }) => name), ["flow"])
          assert.match((yield* get("/flow")).json.graph, /^flowchart TD/)
        }))
    }))

  it.live("fail at a redirect, which would make another request of theirs", () =>
    Effect.gen(function*() {
      const { calls, url } = yield* service((path, body) =>
        path === "/moved" ? { status: 302, location: "/new" } : echo(path, body || "null")
      )
      const moved = `moved: { type: http, url: "${url}/moved" }`
      const files = { "flow.yaml": flow(url, "- service: moved", "", moved) }
      yield* withGateway({ files }, ({ post }) =>
        Effect.gen(function*() {
          const { json } = yield* post("/flow/runs", {})
          assert.strictEqual(json.status, "failed")
          assert.match(json.error.reason, /status 302: a redirect to 127\.0\.0\.1:\d+, which is not followed/)
          assert.deepStrictEqual(calls, ["/moved"])
        }))
    }))

  it.live("are started once for a key, and go on when nobody waits", () =>
    Effect.gen(function*() {
      let open = false
      const { calls, url } = yield* service((path, body) => open ? echo(path, body) : undefined)
      yield* withGateway(
        { files: { "flow.yaml": flow(url, "- { service: a, retry: 2, timeout: 100ms }") } },
        ({ post, until }) =>
          Effect.gen(function*() {
            const key = { headers: { "idempotency-key": "order-7", prefer: "respond-async" } }
            const first = yield* post("/flow/runs", { n: 1 }, key)
            assert.strictEqual(first.status, 202)
            assert.strictEqual(first.headers.get("location"), `/v1/workflows/flow/runs/${first.json.id}`)
            assert.strictEqual((yield* post("/flow/runs", { n: 1 }, key)).json.id, first.json.id)
            const other = yield* post("/flow/runs", { n: 2 }, key)
            assert.deepStrictEqual([other.status, other.json.error.code], [422, "idempotency_key_reused"])
            const short = yield* post("/flow/runs", { n: 3 }, { headers: { prefer: "wait=0" } })
            assert.deepStrictEqual([short.status, short.json.status], [202, "running"])
            open = true
            yield* until(first.json.id, "succeeded")
            assert.isAbove(calls.length, 1)
          })
      )
    }))

  it.live("tell their events, those before and those to come, and after the last one seen", () =>
    Effect.gen(function*() {
      const { url } = yield* service(echo)
      yield* withGateway(
        { files: { "flow.yaml": flow(url, "- service: a\n- service: anyone") } },
        ({ get, post }) =>
          Effect.gen(function*() {
            const { json: { id } } = yield* post("/flow/runs", { n: 1 })
            const reading = yield* Effect.forkChild(get(`/flow/runs/${id}/events`))
            yield* post(`/flow/runs/${id}/approvals/anyone`, { approved: true, comment: "fine" })
            const answer = yield* Fiber.join(reading)
            const events = answer.text.split("\n\n").filter((text) => text.startsWith("id:"))
            assert.deepStrictEqual(events.map((text) => text.split("\n").slice(0, 2).join(" ")), [
              "id: 1 event: run.created",
              "id: 2 event: step.started",
              "id: 3 event: step.succeeded",
              "id: 4 event: step.waiting",
              "id: 5 event: step.succeeded",
              "id: 6 event: run.succeeded"
            ])
            const rest = yield* get(`/flow/runs/${id}/events`, { headers: { "last-event-id": "4" } })
            assert.match(
              rest.text,
              /^id: 5\nevent: step\.succeeded\ndata: \{"type":"step\.succeeded".*"comment":"fine".*\n\nid: 6\n/
            )
            const streamed = yield* post("/flow/runs", { n: 1 }, {
              headers: { accept: "text/event-stream", "idempotency-key": "x" }
            })
              .pipe(Effect.timeoutOption("300 millis"))
            assert.isTrue(streamed._tag === "None")
          })
      )
    }))

  it.live("wait for a decision of those who may give it", () =>
    Effect.gen(function*() {
      const { url } = yield* service(echo)
      const files = { "flow.yaml": flow(url, "- service: boss") }
      yield* withGateway({ files, settings: clients }, ({ get, post, until }) =>
        Effect.gen(function*() {
          const { json, status } = yield* post("/flow/runs", { n: 9 }, as("alice"))
          assert.deepStrictEqual([status, json.status, json.steps[0].question], [202, "waiting", "Pay 9?"])
          const approve = (name: string, body: unknown) => post(`/flow/runs/${json.id}/approvals/boss`, body, as(name))
          assert.strictEqual((yield* get(`/flow/runs/${json.id}`, as("eve"))).status, 404)
          assert.strictEqual((yield* approve("eve", { approved: true })).status, 404)
          const own = yield* approve("alice", { approved: true })
          assert.deepStrictEqual([own.status, own.json.error.code], [403, "decision_not_allowed"])
          assert.include(own.json.error.message, "These may: bob")
          assert.strictEqual((yield* approve("bob", { approved: "yes" })).json.error.param, "approved")
          assert.strictEqual((yield* approve("bob", { approved: true, by: "root" })).json.error.param, "by")
          const lists = yield* Effect.forEach(
            ["alice", "bob", "eve", "root"],
            (name) => get("/-/runs?status=waiting", as(name))
          )
          assert.deepStrictEqual(lists.map(({ json }) => json.data.length), [1, 1, 0, 1])
          assert.strictEqual((yield* approve("bob", { approved: false, comment: "too much" })).status, 200)
          const twice = yield* approve("root", { approved: true })
          assert.deepStrictEqual([twice.status, twice.json.error.code], [409, "run_conflict"])
          yield* until(json.id, "succeeded", as("alice"))
          const { json: ended } = yield* get(`/flow/runs/${json.id}`, as("alice"))
          assert.deepStrictEqual(ended.output, { approved: false, by: "bob", comment: "too much" })
        }))
    }))

  it.live("are cancelled in a wait and in a call, and then run finally", () =>
    Effect.gen(function*() {
      const made = yield* service((path, body) => path === "/a" ? undefined : echo(path, body))
      const files = {
        "flow.yaml": flow(made.url, `- service: a`, "finally: [ { service: b } ]"),
        "wait.yaml": flow(made.url, `- service: anyone`, "finally: [ { service: b } ]").replace(
          "name: flow",
          "name: wait"
        )
      }
      yield* withGateway({ files }, ({ post, until }) =>
        Effect.gen(function*() {
          const calling = yield* post("/flow/runs", {}, async)
          yield* eventually(Effect.sync(() => made.calls.length === 1))
          assert.strictEqual((yield* post(`/flow/runs/${calling.json.id}/cancel`)).status, 202)
          yield* until(calling.json.id, "cancelled")
          yield* eventually(Effect.sync(() => made.cut === 1))
          const waiting = yield* post("/wait/runs", {})
          yield* post(`/wait/runs/${waiting.json.id}/cancel`)
          yield* until(waiting.json.id, "cancelled")
          assert.deepStrictEqual(made.calls, ["/a", "/b", "/b"])
          const again = yield* post(`/wait/runs/${waiting.json.id}/cancel`)
          assert.deepStrictEqual([again.status, again.json.error.code], [409, "run_conflict"])
        }))
    }))

  it.live("go on from the step that failed, with what the others gave", () =>
    Effect.gen(function*() {
      let broken = true
      const { calls, url } = yield* service((path, body) =>
        path === "/b" && broken ? { status: 400 } : echo(path, body)
      )
      const text = flow(
        url,
        `- { service: a, forEach: { in: "\${input}" } }\n- service: b`,
        "finally: [ { id: end, service: a } ]"
      )
      yield* withGateway({ files: { "flow.yaml": text } }, ({ post }) =>
        Effect.gen(function*() {
          const { json } = yield* post("/flow/runs", [1, 2])
          assert.deepInclude(json, { status: "failed", error: { step: "b", reason: "it answered with status 400" } })
          broken = false
          calls.length = 0
          const { json: retried } = yield* post(`/flow/runs/${json.id}/retry`)
          assert.deepInclude(retried, { status: "succeeded", retryOf: json.id })
          assert.deepStrictEqual(calls, ["/b", "/a"])
          assert.deepStrictEqual(
            retried.steps.map(({ id, status }: Record<string, unknown>) => `${id} ${status}`).sort(),
            ["a[0] kept", "a[1] kept", "b succeeded", "end succeeded"]
          )
          const not = yield* post(`/flow/runs/${retried.id}/retry`)
          assert.deepStrictEqual([not.status, not.json.error.code], [409, "run_conflict"])
        }))
    }))

  it.live("are listed page by page, with filters", () =>
    Effect.gen(function*() {
      const { url } = yield* service(echo)
      yield* withGateway({ files: { "flow.yaml": flow(url, "- service: a") } }, ({ get, post }) =>
        Effect.gen(function*() {
          for (let n = 0; n < 3; n++) {
            yield* post("/flow/runs", { n })
          }
          const first = yield* get("/flow/runs?limit=2&status=succeeded&since=1h")
          assert.lengthOf(first.json.data, 2)
          const second = yield* get(`/flow/runs?limit=2&cursor=${first.json.next}`)
          assert.deepStrictEqual([second.json.data.length, second.json.next], [1, null])
          assert.lengthOf((yield* get("/flow/runs?status=failed")).json.data, 0)
          const wrong = yield* Effect.forEach(
            ["status=done", "since=soon", "limit=0", "cursor=x", "state=failed"],
            (query) =>
              get(`/flow/runs?${query}`)
          )
          assert.deepStrictEqual(wrong.map(({ json, status }) => `${status} ${json.error.param}`), [
            "400 status",
            "400 since",
            "400 limit",
            "400 cursor",
            "400 state"
          ])
        }))
    }))

  it.live("are refused with a reason", () =>
    Effect.gen(function*() {
      const { url } = yield* service(() => undefined)
      const files = { "flow.yaml": flow(url, "- service: a") }
      yield* withGateway({ files, workflows: { maxRuns: 1, maxInput: "1kB" } }, ({ get, post }) =>
        Effect.gen(function*() {
          const unknown = yield* post("/other/runs", {})
          assert.deepStrictEqual([unknown.status, unknown.json.error.code], [404, "workflow_not_found"])
          assert.include(unknown.json.error.message, "There are: flow")
          assert.strictEqual((yield* get("/flow/runs/none")).json.error.code, "run_not_found")
          const large = yield* post("/flow/runs", "x".repeat(2000))
          assert.deepStrictEqual([large.status, large.json.error.code], [413, "body_too_large"])
          const key = yield* post("/flow/runs", {}, { headers: { "idempotency-key": "two words" } })
          assert.strictEqual(key.json.error.param, "idempotency-key")
          assert.strictEqual((yield* post("/flow/runs", {}, async)).status, 202)
          const full = yield* post("/flow/runs", {}, async)
          assert.deepStrictEqual([full.status, full.json.error.code, full.headers.get("retry-after")], [
            429,
            "too_many_runs",
            "10"
          ])
        }))
    }))

  it.live("ask models on the client's behalf, with a row in the ledger, tokens and cost", () =>
    Effect.gen(function*() {
      const text = flow(
        "http://127.0.0.1:1",
        `- { id: ask, service: model }`,
        "",
        `model: { type: model, model: deepseek-flash, prompt: "Say \${input.n}" }
other: { type: model, model: deepseek-v4-pro }`
      )
      const files = {
        "flow.yaml": text,
        "other.yaml": text.replace("name: flow", "name: other").replace("service: model", "service: other")
      }
      const settings = {
        clients: { alice: { keys: ["key-of-alice"], labels: { team: "books" }, models: ["deepseek-flash"] } }
      }
      yield* withGateway({ files, settings }, ({ post }, { records }) =>
        Effect.gen(function*() {
          const { json } = yield* post("/flow/runs", { n: 1 }, as("alice"))
          assert.strictEqual(json.status, "succeeded", JSON.stringify(json.error))
          assert.isAbove(json.usage.promptTokens, 0)
          assert.deepStrictEqual([json.usage.unpriced, Object.keys(json.usage.cost).length], [0, 1])
          assert.deepStrictEqual(json.steps[0].usage, json.usage)
          const refused = yield* post("/other/runs", {}, as("alice"))
          assert.include(refused.json.error.reason, "may not use the model")
          assert.isDefined(records)
          yield* Effect.orDie(records.ledger.flush)
          const [row, failed] = yield* Effect.orDie(
            records.database.use((sql) => sql`SELECT * FROM ballast_calls ORDER BY at, id`)
          )
          assert.include(row, {
            request_id: json.id,
            client: "alice",
            labels: `{"step":"ask","team":"books","workflow":"flow"}`,
            route: "/v1/workflows",
            model: "deepseek-flash",
            status: 200,
            error: "",
            attempts: 1,
            input_tokens: json.usage.promptTokens
          })
          assert.isUndefined(failed)
        }))
    }))
})

describe("what is seen of runs", () => {
  it.live("is one trace: the request, the run, each attempt, and what it calls", () => {
    const { spans, tracer } = collecting()
    return Effect.gen(function*() {
      const traces: Array<unknown> = []
      let failures = 1
      const { url } = yield* service((path, body, headers) => {
        traces.push(headers["traceparent"])
        return failures-- > 0 ? { status: 503 } : echo(path, body)
      })
      const text = flow(
        url,
        `- { service: a, retry: { times: 1, base: 1ms } }\n- { id: each, service: b, forEach: { in: "\${[1]}" } }`
      )
      yield* withGateway({ files: { "flow.yaml": text } }, ({ post }) =>
        Effect.gen(function*() {
          const traceId = "0af7651916cd43dd8448eb211c80319c"
          const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` }
          const { json } = yield* post("/flow/runs", {}, { headers })
          assert.strictEqual(json.status, "succeeded")
          yield* eventually(
            Effect.sync(() => spans.some(({ name, status }) => name === "workflow flow" && status._tag === "Ended"))
          )
          const parentOf = ({ parent }: Tracer.NativeSpan) => Option.getOrUndefined(parent)?.spanId
          const [request] = spans.filter(({ name }) => name === "POST /v1/workflows/{name}/runs")
          const [run] = spans.filter(({ name }) => name === "workflow flow")
          const steps = spans.filter(({ name }) => name.startsWith("step "))
          assert.isDefined(run)
          assert.strictEqual(parentOf(run), request?.spanId)
          assert.deepInclude(Object.fromEntries(run.attributes), {
            "ballast.workflow.run": json.id,
            "ballast.workflow.status": "succeeded"
          })
          assert.deepStrictEqual(
            steps.map((
              span
            ) => [span.name, parentOf(span), span.traceId, span.attributes.get("ballast.workflow.attempt")]),
            [["step a", run.spanId, traceId, 1], ["step a", run.spanId, traceId, 2], [
              "step each",
              run.spanId,
              traceId,
              1
            ]]
          )
          assert.strictEqual(traces.length, 3)
          for (const trace of traces) assert.include(String(trace), traceId)
          // The engine's own are not among them.
          const known = /^(POST|GET)\b|^workflow |^step /
          assert.deepStrictEqual(spans.filter(({ name }) => !known.test(name)).map(({ name }) => name), [])
        }))
    }).pipe(Effect.provideService(Tracer.Tracer, tracer))
  })

  it.live("is counted by workflow and step", () =>
    Effect.gen(function*() {
      const { url } = yield* service((path, body) => path === "/b" ? { status: 400 } : echo(path, body))
      const name = "counted"
      const files = {
        "flow.yaml": flow(url, `- { id: each, service: a, forEach: { in: "\${[1, 2]}" } }\n- service: b`).replace(
          "name: flow",
          `name: ${name}`
        ),
        "wait.yaml": flow(url, `- service: anyone`).replace("name: flow", "name: waits")
      }
      yield* withGateway({ files }, ({ post, url }) =>
        Effect.gen(function*() {
          yield* post(`/${name}/runs`, {})
          yield* post("/waits/runs", {})
          const page = Effect.map(send(`${url}/metrics`), ({ text }) => text)
          yield* eventually(
            Effect.map(page, (text) => text.includes("ballast_workflow_runs_waiting{workflow=\"waits\"} 1"))
          )
          const text = yield* page
          for (
            const line of [
              `ballast_workflow_runs_started_total{workflow="${name}"} 1`,
              `ballast_workflow_runs_total{workflow="${name}",status="failed"} 1`,
              `ballast_workflow_run_duration_seconds_count{workflow="${name}",status="failed"} 1`,
              `ballast_workflow_step_attempts_total{workflow="${name}",step="each",outcome="succeeded"} 2`,
              `ballast_workflow_step_attempts_total{workflow="${name}",step="b",outcome="failed"} 1`,
              `ballast_workflow_step_duration_seconds_count{workflow="${name}",step="each"} 2`,
              `ballast_workflow_runs_waiting{workflow="${name}"} 0`
            ]
          ) assert.include(text, line)
          for (const [, metric] of text.matchAll(/^# TYPE (ballast_workflow\S+) /gm)) {
            assert.property(MetricNames.table, metric!)
          }
        }))
    }))
})

describe("the policies of services", () => {
  it.live("are in the readiness, and an admin isolates a circuit", () =>
    Effect.gen(function*() {
      const { url } = yield* service(echo)
      const text = `workflow: { name: guarded, steps: [ { service: a } ] }
services: { a: { type: http, url: "${url}", circuitBreaker: true } }
`
      yield* withGateway({ files: { "guarded.yaml": text }, settings: clients }, ({ post, url }) =>
        Effect.gen(function*() {
          yield* post("/guarded/runs", {}, as("alice"))
          const root = { authorization: "Bearer key-of-root" }
          const state = Effect.map(
            send(`${url}/readyz`, { headers: { authorization: "Bearer key-of-alice" } }),
            ({ json }) =>
              json.circuits["workflow/guarded/a"]
          )
          assert.strictEqual(yield* state, "closed")
          const acts = { method: "POST", headers: { ...root, "content-type": "application/json" } }
          const body = JSON.stringify({ do: "isolate", circuit: "workflow/guarded/a" })
          assert.strictEqual((yield* send(`${url}/admin/v1/acts`, { ...acts, body })).status, 200)
          assert.strictEqual(yield* state, "isolated")
          const { json } = yield* post("/guarded/runs", {}, as("alice"))
          assert.match(json.error.reason, /workflow\/guarded\/a/)
        }))
    }))
})

describe("the files of workflows", () => {
  it.live("are followed; a run keeps its definition; what is wrong is refused, and the old ones stay", () =>
    Effect.gen(function*() {
      const { calls, url } = yield* service(echo)
      const text = flow(url, "- service: anyone\n- service: a")
      yield* withGateway(
        { files: { "flow.yaml": text } },
        ({ get, post, until }, { log }, folder) =>
          Effect.gen(function*() {
            const before = yield* post("/flow/runs", {})
            const file = Path.join(folder, "flow.yaml")
            Fs.writeFileSync(file, text.replace("- service: a\n", "- service: b\n"))
            yield* eventually(Effect.map(get("/flow"), ({ json }) => json.steps[1].service === "b"))
            yield* post(`/flow/runs/${before.json.id}/approvals/anyone`, { approved: true })
            yield* until(before.json.id, "succeeded")
            assert.deepStrictEqual(calls, ["/a"])
            Fs.writeFileSync(file, text.replace("service: a\n", "service: nothing\n"))
            const refusal = () => log.find(({ message }) => String(message).startsWith("workflows refused"))
            yield* eventually(Effect.sync(() => refusal() !== undefined))
            assert.match(
              String(refusal()?.["problems"]),
              /flow\.yaml:5:\d+: .*there is no service nothing; known: a, b, boss, anyone/
            )
            assert.strictEqual((yield* get("/flow")).json.steps[1].service, "b")
          })
      )
    }))

  it.live("are followed with the templates and workflows that they name, also through each other", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      Fs.mkdirSync(Path.join(folder, "parts"))
      const part = (name: string, text: string) => Fs.writeFileSync(Path.join(folder, "parts", name), text)
      const inner = (page: string) =>
        `workflow: { name: inner, steps: [ { service: page } ] }\nservices: { page: { type: report, file: ${page} } }\n`
      part("inner.yaml", inner("page.html"))
      part("page.html", "one")
      const text =
        "workflow: { name: outer, steps: [ { service: inner } ] }\nservices: { inner: { type: workflow, workflow: parts/inner.yaml } }\n"
      yield* withGateway(
        { files: { "outer.yaml": text }, folder, workflows: { files: [Path.join(folder, "outer.yaml")] } },
        ({ post }, { log }) =>
          Effect.gen(function*() {
            const gives = (word: string) =>
              eventually(Effect.map(post("/outer/runs", {}), ({ text }) => text.includes(`<body>\\n${word}\\n`)))
            yield* gives("one")
            part("page.html", "another")
            yield* gives("another")
            part("inner.yaml", inner("later.html"))
            const refusal = () => log.find(({ message }) => String(message).startsWith("workflows refused"))
            yield* eventually(Effect.sync(() => refusal() !== undefined))
            assert.match(
              String(refusal()?.["problems"]),
              /inner\.yaml:2:\d+: services\.page\.file: .*there is no such file/
            )
            part("later.html", "later")
            yield* gives("later")
          })
      )
    }))

  it.live("share services, which a file's own go before", () =>
    Effect.gen(function*() {
      const { url } = yield* service(echo)
      const folder = yield* temporaryFolder
      const services = Path.join(folder, "services.yaml")
      Fs.writeFileSync(
        services,
        `services:\n  shared: { type: http, url: "${url}/shared" }\n  a: { type: http, url: "${url}/not" }\n`
      )
      const files = { "flow.yaml": flow(url, `- service: shared\n- { service: a, input: "\${env.WORD}" }`) }
      yield* withGateway({ files, workflows: { services, env: { WORD: "hello" } } }, ({ post }) =>
        Effect.gen(function*() {
          const { json } = yield* post("/flow/runs", {})
          assert.deepStrictEqual(json.output, { path: "/a", got: "hello" }, JSON.stringify(json))
          assert.deepStrictEqual(json.steps[0].output, { path: "/shared", got: {} })
        }))
    }))

  const calling = (name: string, workflow: string, more = "") =>
    `workflow: { name: ${name}, steps: [ { service: sub } ] }\nservices: { sub: { type: workflow, workflow: ${workflow} }${more} }\n`

  it.live("call others by their names, which call files beside them and shared services; a run keeps all of them", () =>
    Effect.gen(function*() {
      const { calls, url } = yield* service(echo)
      const folder = yield* temporaryFolder
      const services = Path.join(folder, "services.yaml")
      Fs.writeFileSync(services, `services: { shared: { type: http, url: "${url}/shared" } }\n`)
      Fs.mkdirSync(Path.join(folder, "below"))
      const inner = Path.join(folder, "below", "inner.yaml")
      Fs.writeFileSync(inner, flow(url, "- service: anyone\n- service: shared"))
      // Of the same name as the one below, which is another.
      const files = { "a.yaml": calling("a", "b"), "inner.yaml": flow(url, "- service: b") }
      const other = Path.join(folder, "below", "b.yaml")
      Fs.writeFileSync(other, calling("b", "inner.yaml"))
      const workflows = { services, files: [folder, other] }
      yield* withGateway({ files, folder, workflows }, ({ post, until }) =>
        Effect.gen(function*() {
          const { json } = yield* post("/a/runs", {})
          assert.strictEqual(json.status, "waiting", JSON.stringify(json))
          Fs.writeFileSync(inner, flow(url, "- service: a"))
          yield* post(`/a/runs/${json.id}/approvals/sub.sub.anyone`, { approved: true })
          yield* until(json.id, "succeeded")
          assert.deepStrictEqual(calls, ["/shared"])
        }))
    }))

  it.live("say which workflow is not known, and that they call each other; a mistake of another is said once", () =>
    Effect.gen(function*() {
      const refusal = (files: Readonly<Record<string, string>>) =>
        Effect.map(
          Effect.flip(Effect.catchDefect(withGateway({ files }, () => Effect.void), Effect.fail)),
          (error) => (error instanceof Error ? error.message : "").replaceAll(/^.*\/(?=\w+\.yaml:)/gm, "").split("\n")
        )
      assert.deepStrictEqual(yield* refusal({ "a.yaml": calling("a", "c"), "b.yaml": calling("b", "a") }), [
        "a.yaml:2:46: services.sub.workflow: no workflow is called c; known: a, b"
      ])
      const cycle = yield* refusal({ "a.yaml": calling("a", "b"), "b.yaml": calling("b", "a.yaml") })
      assert.include(cycle.join(), "workflows run each other: b → b:a.yaml → b")
      const wrong = "workflow: { name: b, steps: [ { service: nothing } ] }\n"
      assert.deepStrictEqual(yield* refusal({ "a.yaml": calling("a", "b"), "b.yaml": wrong }), [
        "b.yaml:1:42: workflow.steps[0].service: there is no service nothing; known: none"
      ])
    }))
})

describe("runs on SQLite", () => {
  it.live("go on with the next start", () =>
    Effect.gen(function*() {
      const { calls, url } = yield* service(echo)
      const folder = yield* temporaryFolder
      const given = { files: { "flow.yaml": flow(url, "- service: a\n- service: anyone\n- service: b") }, folder }
      const id = yield* withGateway(given, ({ post }) =>
        Effect.map(post("/flow/runs", { n: 1 }), ({ json, status }) => {
          assert.deepStrictEqual([status, json.status], [202, "waiting"])
          return String(json.id)
        })).pipe(Effect.scoped)
      yield* withGateway(given, ({ get, post, until }) =>
        Effect.gen(function*() {
          assert.strictEqual((yield* get(`/flow/runs/${id}`)).json.status, "waiting")
          assert.strictEqual((yield* post(`/flow/runs/${id}/approvals/anyone`, { approved: true })).status, 200)
          yield* until(id, "succeeded")
          assert.deepStrictEqual(calls, ["/a", "/b"])
          const { json, text } = yield* get(`/flow/runs/${id}/events`)
          assert.isUndefined(json)
          assert.deepStrictEqual(text.match(/^event: .*$/gm), [
            "event: run.created",
            "event: step.started",
            "event: step.succeeded",
            "event: step.waiting",
            "event: step.succeeded",
            "event: step.started",
            "event: step.succeeded",
            "event: run.succeeded"
          ])
          const waiting = yield* post("/flow/runs", {})
          yield* post(`/flow/runs/${waiting.json.id}/cancel`)
          yield* until(waiting.json.id, "cancelled")
        }))
    }))

  it.live("have their end in the record with the next start, when the database refused it", () =>
    Effect.gen(function*() {
      const { calls, url } = yield* service(echo)
      const folder = yield* temporaryFolder
      const given = { files: { "flow.yaml": flow(url, "- service: a") }, folder }
      const alter = (statement: string) =>
        Effect.sync(() => {
          const database = new DatabaseSync(Path.join(folder, "ballast.db"))
          database.exec(statement)
          database.close()
        })
      const id = yield* withGateway(given, ({ get, post }) =>
        Effect.gen(function*() {
          yield* alter(`CREATE TRIGGER refuse BEFORE UPDATE ON ballast_workflow_runs WHEN NEW.status <> 'running'
            BEGIN SELECT RAISE(ABORT, 'no'); END`)
          const { json } = yield* post("/flow/runs", {}, async)
          const step = Effect.map(get(`/flow/runs/${json.id}/steps/a`), ({ json }) => json.status === "succeeded")
          yield* eventually(step)
          assert.strictEqual((yield* get(`/flow/runs/${json.id}`)).json.status, "running")
          return String(json.id)
        })).pipe(Effect.scoped)
      yield* alter("DROP TRIGGER refuse")
      yield* withGateway(given, ({ get, until }) =>
        Effect.gen(function*() {
          yield* until(id, "succeeded")
          assert.deepStrictEqual((yield* get(`/flow/runs/${id}`)).json.output, { path: "/a", got: {} })
          assert.deepStrictEqual(calls, ["/a"])
        }))
    }))
})
