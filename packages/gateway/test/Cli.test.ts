import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, request as httpRequest } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { eventually, hello, post, send } from "./harness.ts"
import { run, serve, shell, start } from "./program.ts"

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))

const curlOf = (text: string) => /^ +(curl .*)$/m.exec(text)![1]!

/** One line for a person, and nothing of the program's inside. */
const assertOneLine = (stderr: string, pattern: RegExp) => {
  assert.match(stderr, pattern)
  assert.match(stderr, /^ballast: [^\n]+\n$/)
}

/** A connection that is kept open, to ask for one path after the other. */
const connection = (url: string) =>
  Effect.callback<{ readonly ask: (path: string) => Effect.Effect<string>; readonly received: () => string }, string>(
    (resume) => {
      const { hostname, port } = new URL(url)
      let received = ""
      const socket = connect(Number(port), hostname)
      socket.setEncoding("utf8").on("data", (text: string) => received += text)
      socket.once("error", (error: NodeJS.ErrnoException) => resume(Effect.fail(String(error.code))))
      const ask = (path: string) =>
        Effect.callback<string>((resume) => {
          received = ""
          socket.once("data", (text: string) => resume(Effect.succeed(text)))
          socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
        })
      socket.once("connect", () => resume(Effect.succeed({ ask, received: () => received })))
    }
  )

const chat = "/v1/chat/completions"

/** A port that another program listens on, until the scope closes. */
const takenPort = Effect.gen(function*() {
  const other = createServer()
  yield* Effect.addFinalizer(() => Effect.sync(() => other.close()))
  return yield* Effect.callback<number>((resume) => {
    other.listen(0, "127.0.0.1", () => resume(Effect.succeed((other.address() as AddressInfo).port)))
  })
})

const freePort = Effect.scoped(takenPort)

const requestOf = (body: string, ...headers: ReadonlyArray<string>) =>
  [
    `POST ${chat} HTTP/1.1`,
    "host: localhost",
    "content-type: application/json",
    `content-length: ${body.length}`,
    ...headers,
    "",
    body
  ].join("\r\n")

/** A connection that chats are posted on without waiting for the answers. */
const pipeline = (url: string) =>
  Effect.gen(function*() {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
    let received = ""
    socket.setEncoding("utf8").on("data", (text: string) => received += text)
    return {
      post: (stream: boolean, fault: string) =>
        Effect.sync(() => {
          socket.write(requestOf(JSON.stringify({ ...hello, stream }), `x-simulate: ${fault}`))
        }),
      /** All that came back, once the server has closed the connection. */
      received: Effect.callback<string>((resume) => {
        socket.once("close", () => resume(Effect.succeed(received)))
      })
    }
  })

/** One request on a connection of its own: when it is sent, and the status line or the error that came back. */
const asking = (url: string, path: string) => {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  const sent = new Promise<void>((resolve) => {
    socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`, () => resolve())
  })
  const answered = new Promise<string>((resolve) => {
    let received = ""
    socket.setEncoding("utf8").on("data", (text: string) => received += text)
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(String(error.code)))
    socket.on("close", () => resolve(received.split("\r\n", 1)[0]!))
  })
  return { sent, answered }
}

/** Posts a chat that offers to go on in another protocol, as `curl --http2` does. */
const offering = (url: string, headers: Record<string, string>) =>
  Effect.callback<string>((resume) => {
    let received = ""
    const request = httpRequest(url + chat, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        connection: "Upgrade, HTTP2-Settings",
        upgrade: "h2c",
        "http2-settings": "AAMAAABkAAQCAAAAAAIAAAAA",
        ...headers
      }
    }, (response) => {
      response.setEncoding("utf8").on("data", (text: string) => received += text)
      response.on("close", () => resume(Effect.succeed(`${response.statusCode} ${received}`)))
    })
    request.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(String(error.code))))
    request.end(JSON.stringify(hello))
  })

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "ballast-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

describe("ballast", { timeout: 60_000 }, () => {
  describe("serve", () => {
    it.live("says where it listens, what answers, and how to try it", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
        assert.include(program.stdout, "SIMULATOR")
        const pasted = yield* shell(curlOf(program.stdout))
        assert.strictEqual(pasted.code, 0, pasted.stderr)
        assert.isNotEmpty(JSON.parse(pasted.stdout).choices[0].message.content)
        yield* program.signal("SIGINT")
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live("serves the network with client keys, and shows none of them", () =>
      Effect.gen(function*() {
        const { program } = yield* serve({ HOST: "0.0.0.0", BALLAST_CLIENT_KEYS: "key-of-alice" })
        const curl = curlOf(program.stdout)
        assert.notInclude(program.stdout + program.stderr, "key-of-alice")
        assert.include((yield* shell(curl)).stdout, "invalid_api_key")
        const answer = yield* shell(curl.replace("YOUR_CLIENT_KEY", "key-of-alice"))
        assert.include(answer.stdout, "chat.completion")
      }).pipe(Effect.scoped))

    it.live("talks to the service that the environment names", () =>
      Effect.gen(function*() {
        const simulator = yield* start(["simulate", "--port", "0", "--latency", "0", "--ttft", "0", "--tps", "100000"])
        const [, base] = yield* simulator.printed(/on (http:\S+)\. /)
        const { program, url } = yield* serve({ DEEPSEEK_API_KEY: "sk-0123456789", DEEPSEEK_BASE_URL: base! })
        assert.include(program.stdout, `DeepSeek at ${base}`)
        const answer = yield* post(url + chat, hello)
        assert.deepStrictEqual([answer.status, answer.headers.get("x-ballast-upstream")], [200, "deepseek"])
        // A service other than a simulator never sees its clients' headers.
        assert.strictEqual((yield* post(url + chat, hello, { "x-simulate": "status=402" })).status, 200)
        assert.notInclude(program.stdout + program.stderr, "0123456789")
      }).pipe(Effect.scoped))

    it.live("lets a simulator behind it break on demand, with --forward-simulate", () =>
      Effect.gen(function*() {
        const simulator = yield* start(["simulate", "--port", "0", "--reply", "Aye."])
        const [, base] = yield* simulator.printed(/on (http:\S+)\. /)
        const program = yield* start(["serve", "--port", "0", "--forward-simulate"], {
          DEEPSEEK_API_KEY: "sk-any",
          DEEPSEEK_BASE_URL: base!
        })
        const [, url] = yield* program.printed(/listens on (\S+) /)
        assert.strictEqual((yield* post(url + chat, hello, { "x-simulate": "status=402" })).status, 402)
        assert.strictEqual((yield* post(url + chat, hello)).json.choices[0].message.content, "Aye.")
        yield* eventually(Effect.sync(() => simulator.stderr.includes("\"x_simulate\":\"status=402\"")))
      }).pipe(Effect.scoped))

    it.live("shows faults one after the other without opening a circuit", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        // Fifteen attempts fail within the window of the circuit breaker, and the next ones succeed.
        const faults = Array.from({ length: 15 }, (_, i) => `status=503, times=1, id=${i}`)
        const answers = yield* Effect.forEach(
          faults,
          (fault) => post(url + chat, hello, { "x-simulate": fault }),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
      }).pipe(Effect.scoped))

    it.live("logs one line of JSON per request on standard error", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        yield* post(url + chat, hello)
        yield* eventually(Effect.sync(() => program.stderr.includes("\n")))
        const line = JSON.parse(program.stderr)
        assert.strictEqual(line.path, chat)
        assert.notInclude(program.stdout, "\"time\"")
      }).pipe(Effect.scoped))

    it.live("goes on when nobody reads its log any more", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        const running = yield* Effect.forkChild(
          post(url + chat, { ...hello, stream: true }, { "x-simulate": "tps=60, tokens=60" })
        )
        yield* eventually(
          Effect.map(send(`${url}/metrics`), ({ text }) => /^http_server_active_requests 2$/m.test(text))
        )
        program.child.stdout!.destroy()
        program.child.stderr!.destroy()
        for (let i = 0; i < 3; i++) assert.strictEqual((yield* send(`${url}/v1/models`)).status, 200)
        assert.match((yield* Fiber.join(running)).text, /data: \[DONE\]\n\n$/)
        yield* program.signal("SIGTERM")
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live.each([["serve", "/healthz"], ["simulate", "/models"]] as const)(
      "goes on when nobody reads how it starts: %s",
      ([command, path]) =>
        Effect.gen(function*() {
          const port = yield* freePort
          const program = yield* start([command, "--port", String(port)], { BALLAST_LOG_LEVEL: "warn" })
          program.child.stdout!.destroy()
          const answered = Effect.promise(() =>
            fetch(`http://127.0.0.1:${port}${path}`).then((response) => response.text().then(() => true), () => false)
          )
          yield* Effect.raceFirst(eventually(answered), program.ended)
          assert.isTrue(yield* answered)
          yield* program.signal("SIGTERM")
          assert.deepInclude(yield* program.ended, { code: 0, stderr: "" })
        }).pipe(Effect.scoped)
    )

    it.live.each(["0.0.0.0", "::", "192.168.77.77"])(
      "refuses to serve the network without client keys: %s",
      (host) =>
        Effect.gen(function*() {
          const { code, stderr, stdout } = yield* run(["serve"], { HOST: host, PORT: "0" })
          assert.strictEqual(code, 1)
          assert.strictEqual(stdout, "")
          assertOneLine(stderr, /BALLAST_CLIENT_KEYS/)
        }).pipe(Effect.scoped)
    )

    it.live("follows its file, rereads it on SIGHUP, and says what has to wait for a restart", () =>
      Effect.gen(function*() {
        const file = `${yield* folder}/ballast.yaml`
        writeFileSync(file, "clients: { alice: { keys: [ first ] } }\nlog: { format: json }\n")
        const program = yield* start(["serve", "--config", file, "--port", "0"])
        const [, url] = yield* program.printed(/listens on (\S+) /)
        const ask = (key: string) => post(url + chat, hello, { authorization: `Bearer ${key}` })
        assert.strictEqual((yield* ask("first")).status, 200)
        writeFileSync(
          file,
          "clients: { alice: { keys: [ second ] } }\nlisten: { host: 127.0.0.2 }\ntelemetry: { serviceName: b }\n"
        )
        yield* program.signal("SIGHUP")
        yield* eventually(Effect.map(ask("second"), ({ status }) => status === 200))
        assert.strictEqual((yield* ask("first")).status, 401)
        yield* eventually(Effect.sync(() => program.stderr.includes("\"restart needed\"")))
        assert.include(program.stderr, "[\"listen.host\",\"telemetry\"]")
        writeFileSync(file, "clients: { alice: { keys: [ third ] } }\nlisten: { prot: 1 }\n")
        yield* eventually(Effect.sync(() => program.stderr.includes("settings refused")))
        const ready = yield* send(`${url}/readyz`, { headers: { authorization: "Bearer second" } })
        assert.deepInclude(ready.json.settings, { revision: 2 })
        assert.deepStrictEqual(
          ready.json.settings.refused.problems,
          [`${file}:2:11: listen.prot: unknown key; did you mean port?`]
        )
        assert.isTrue((yield* send(`${url}/readyz`)).json.settings.refused)
      }).pipe(Effect.scoped))

    it.live("sends telemetry where the settings say, unless a variable says otherwise", () =>
      Effect.gen(function*() {
        const collector = Effect.gen(function*() {
          const seen: Array<string> = []
          const server = createServer((request, response) => {
            const { authorization, host } = request.headers
            request.resume().on("end", () => {
              seen.push(`${request.url} ${authorization}`)
              response.end(host)
            })
          })
          yield* Effect.acquireRelease(
            Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
            () => Effect.sync(() => server.close().closeAllConnections())
          )
          return { seen, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
        })
        const [named, other] = yield* Effect.all([collector, collector])
        const file = `${yield* folder}/ballast.yaml`
        writeFileSync(
          file,
          `telemetry: { endpoint: "${named.url}", headers: { authorization: "\${env:TOKEN}" }, metricsExporter: none }\n`
        )
        const served = Effect.fnUntraced(function*(env: Record<string, string>) {
          const program = yield* start(["serve", "--config", file, "--port", "0"], { TOKEN: "Basic a=, b", ...env })
          const [, url] = yield* program.printed(/listens on (\S+) /)
          assert.strictEqual((yield* post(url + chat, hello)).status, 200)
          yield* program.signal("SIGTERM")
          yield* program.ended
        })
        yield* served({})
        assert.deepStrictEqual(new Set(named.seen), new Set(["/v1/traces Basic a=, b", "/v1/logs Basic a=, b"]))
        const before = named.seen.length
        yield* served({ OTEL_EXPORTER_OTLP_ENDPOINT: other.url, OTEL_EXPORTER_OTLP_HEADERS: "authorization=other" })
        assert.strictEqual(named.seen.length, before)
        assert.deepStrictEqual(new Set(other.seen), new Set(["/v1/traces other", "/v1/logs other"]))
      }).pipe(Effect.scoped))

    it.live("says so when the port is in use", () =>
      Effect.gen(function*() {
        const port = yield* takenPort
        const { code, stderr } = yield* run(["serve", "--port", String(port)])
        assert.strictEqual(code, 1)
        assertOneLine(stderr, new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is in use`))
      }).pipe(Effect.scoped))

    it.live.each(
      [
        [{ PORT: "abc" }, /PORT is "abc"\. Expected a whole number from 0 to 65535/],
        [{ BALLAST_LOG_LEVEL: "loud" }, /BALLAST_LOG_LEVEL is "loud"\. Expected one of trace, debug/],
        [{ DEEPSEEK_BASE_URL: "nowhere" }, /DEEPSEEK_BASE_URL is "nowhere"\. Expected an http or https URL/],
        [
          { HOST: "no-such-host.invalid", BALLAST_CLIENT_KEYS: "k" },
          /no-such-host\.invalid is not an address of this machine/
        ],
        [{ OTEL_EXPORTER_OTLP_ENDPOINT: "nowhere" }, /OTEL_EXPORTER_OTLP_ENDPOINT/]
      ] as const
    )("names the wrong setting: %j", ([env, pattern]) =>
      Effect.gen(function*() {
        const { code, stderr } = yield* run(["serve"], { PORT: "0", ...env })
        assert.strictEqual(code, 1)
        assertOneLine(stderr, pattern)
      }).pipe(Effect.scoped))
  })

  describe("stops", () => {
    const slow = { "x-simulate": "tps=60, tokens=60" }

    it.live("at SIGTERM under load, and loses no accepted request", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        const begun = (count: number) =>
          eventually(Effect.map(send(`${url}/metrics`), ({ text }) =>
            Number(/^http_server_active_requests (\d+)$/m.exec(text)?.[1] ?? 0) > count))
        const ask = (stream: boolean) =>
          post(url + chat, { ...hello, stream }, slow)
        const accepted = yield* Effect.forkChild(
          Effect.all(Array.from({ length: 24 }, (_, i) => ask(i % 2 === 0)), { concurrency: "unbounded" })
        )
        yield* begun(24)
        yield* program.signal("SIGTERM")
        const answers = yield* Fiber.join(accepted)
        for (const { json, status, text } of answers) {
          assert.strictEqual(status, 200)
          if (json === undefined) assert.match(text, /data: \[DONE\]\n\n$/)
          else assert.isNotEmpty(json.choices[0].message.content)
        }
        const { code, stderr } = yield* program.ended
        assert.strictEqual(code, 0)
        assert.notInclude(stderr, "cut off")
      }).pipe(Effect.scoped))

    it.live("at SIGTERM without losing what comes on connections that are open", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        const results: Array<string> = []
        const loop = Effect.gen(function*() {
          while (true) {
            const outcome = yield* Effect.promise(() =>
              fetch(`${url}/v1/models`).then(async (response) => {
                await response.text()
                return String(response.status)
              }, (error) => String(error.cause?.code ?? error))
            )
            results.push(outcome)
            if (outcome !== "200") return outcome
          }
        })
        const clients = yield* Effect.forkChild(
          Effect.all(Array.from({ length: 8 }, () => loop), { concurrency: "unbounded" })
        )
        yield* eventually(Effect.sync(() => results.length > 50))
        yield* program.signal("SIGTERM")
        // Whoever comes too late is refused at the door; nobody who was let in is sent away.
        assert.deepStrictEqual(new Set(yield* Fiber.join(clients)), new Set(["ECONNREFUSED"]))
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live("at SIGTERM without losing what offers to upgrade its connection", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        const accepted = yield* Effect.forkChild(offering(url, { "x-simulate": "latency=2s" }))
        yield* eventually(
          Effect.map(send(`${url}/metrics`), ({ text }) => /^http_server_active_requests 2$/m.test(text))
        )
        yield* program.signal("SIGTERM")
        assert.match(yield* Fiber.join(accepted), /^200 .*chat\.completion/)
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live("at SIGTERM without losing what waits behind another request on its connection", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        const { post, received } = yield* pipeline(url)
        yield* post(false, "latency=1s")
        yield* post(true, slow["x-simulate"])
        yield* post(false, "latency=2s")
        yield* eventually(
          Effect.map(send(`${url}/metrics`), ({ text }) => /^http_server_active_requests 4$/m.test(text))
        )
        yield* program.signal("SIGTERM")
        yield* eventually(Effect.sync(() => program.stderr.includes("stopping")))
        yield* post(false, "latency=2s")
        const answers = (yield* received).split("HTTP/1.1 ").slice(1)
        assert.deepStrictEqual(answers.map((answer) => answer.slice(0, 3)), ["200", "200", "200", "200"])
        assert.deepStrictEqual(answers.map((answer) => /^connection: close/im.test(answer)), [
          false,
          false,
          false,
          true
        ])
        assert.match(answers[1]!, /data: \[DONE\]/)
        const { code, stderr } = yield* program.ended
        assert.strictEqual(code, 0)
        assert.notInclude(stderr, "client_closed_request")
      }).pipe(Effect.scoped))

    it.live("unready at once, and closed once no more connections come", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        const open = yield* connection(url)
        assert.include(yield* open.ask("/readyz"), "200 OK")
        const running = yield* Effect.forkChild(post(url + chat, { ...hello, stream: true }, slow))
        yield* eventually(
          Effect.map(send(`${url}/metrics`), ({ text }) => /^http_server_active_requests 2$/m.test(text))
        )
        yield* program.signal("SIGTERM")
        yield* eventually(Effect.sync(() => program.stderr.includes("stopping")))
        const late = yield* connection(url)
        for (const client of [open, late]) {
          assert.include(yield* client.ask("/readyz"), "503 Service Unavailable")
          assert.include(client.received(), "\"status\":\"stopping\"")
        }
        const refused = Effect.scoped(Effect.match(connection(url), {
          onSuccess: () => false,
          onFailure: (code) => code === "ECONNREFUSED"
        }))
        // Looks less often than the gateway waits for, so that it sees an end of new connections.
        yield* eventually(Effect.andThen(Effect.sleep("400 millis"), refused))
        assert.include((yield* open.ask("/readyz")).toLowerCase(), "connection: close")
        assert.strictEqual((yield* Fiber.join(running)).status, 200)
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live("without losing what waits in the accept queue", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        yield* program.signal("SIGSTOP")
        const clients = Array.from({ length: 40 }, () => asking(url, "/v1/models"))
        yield* Effect.all(clients.map(({ sent }) => Effect.promise(() => sent)), { concurrency: "unbounded" })
        yield* program.signal("SIGTERM")
        yield* program.signal("SIGCONT")
        const statuses = yield* Effect.promise(() => Promise.all(clients.map(({ answered }) => answered)))
        assert.deepStrictEqual(statuses, clients.map(() => "HTTP/1.1 200 OK"))
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live("within BALLAST_SHUTDOWN_TIMEOUT, and says so to whoever still waits", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve({ BALLAST_SHUTDOWN_TIMEOUT: "100ms" })
        const ask = (id: string, stream: boolean, fault: string) =>
          post(url + chat, { ...hello, stream }, { "x-request-id": id, "x-simulate": fault })
        const begun = yield* Effect.promise(() =>
          fetch(url + chat, {
            method: "POST",
            headers: { "content-type": "application/json", "x-request-id": "begun", "x-simulate": "stall=3" },
            body: JSON.stringify({ ...hello, stream: true })
          })
        )
        assert.strictEqual(begun.status, 200)
        const asked = yield* Effect.forkChild(
          Effect.all([ask("whole", false, "latency=1h"), ask("late", true, "ttft=1h")], { concurrency: "unbounded" })
        )
        yield* eventually(
          Effect.map(send(`${url}/metrics`), ({ text }) => /^http_server_active_requests 4$/m.test(text))
        )
        yield* program.signal("SIGTERM")
        const events = (yield* Effect.promise(() => begun.text())).trimEnd().split("\n\n")
        assert.strictEqual(JSON.parse(events.at(-1)!.slice(6)).error.code, "stopping")
        const [whole, late] = yield* Fiber.join(asked)
        for (const answer of [whole, late]) {
          assert.deepStrictEqual([answer.status, answer.json.error.code], [503, "stopping"])
          assert.strictEqual(answer.headers.get("retry-after"), "1")
          assert.strictEqual(answer.headers.get("x-ballast-upstream"), "simulator")
        }
        assert.strictEqual(whole.headers.get("x-request-id"), "whole")
        const { code, stderr } = yield* program.ended
        assert.strictEqual(code, 0)
        assert.include(stderr, "cut off")
        const lines = stderr.trimEnd().split("\n").map((line) => JSON.parse(line))
        for (const [id, status] of [["whole", 503], ["late", 503], ["begun", 200]] as const) {
          const line = lines.find((line) => line.request_id === id)
          assert.deepStrictEqual([line.status, line.error, line.level], [status, "stopping", "warn"])
        }
      }).pipe(Effect.scoped))

    it.live.each(
      [
        ["waits", `content-length: 1000000\r\n\r\n{`, ""],
        ["waits in a chunk", `transfer-encoding: chunked\r\n\r\n1\r\n{\r\n`, ""],
        ["sends on", `content-length: 16000000\r\n\r\n{`, " ".repeat(10_000)]
      ] as const
    )(
      "within BALLAST_SHUTDOWN_TIMEOUT, and says so to whoever has not sent its request: %s",
      ([, begin, more]) =>
        Effect.gen(function*() {
          const { program, url } = yield* serve({ BALLAST_SHUTDOWN_TIMEOUT: "100ms" })
          const { hostname, port } = new URL(url)
          const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
          yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
          let received = ""
          socket.setEncoding("utf8").on("data", (text: string) => received += text)
          socket.on("error", (error) => received += String(error))
          const end = yield* Effect.forkChild(Effect.callback<void>((resume) => {
            socket.once("end", () => resume(Effect.void)).once("close", () => resume(Effect.void))
          }))
          socket.write(`POST ${chat} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${begin}`)
          const sending = yield* Effect.sync(() => socket.write(more)).pipe(
            Effect.andThen(Effect.sleep("5 millis")),
            Effect.forever,
            Effect.forkChild
          )
          yield* eventually(
            Effect.map(send(`${url}/metrics`), ({ text }) => /^http_server_active_requests 2$/m.test(text))
          )
          yield* program.signal("SIGTERM")
          yield* Fiber.join(end)
          // Who is in the middle of sending notices a moment later, and is not reset before.
          yield* Effect.sleep("100 millis")
          yield* Fiber.interrupt(sending)
          socket.destroy()
          assert.match(received, /^HTTP\/1.1 503 [^]*^connection: close[^]*"code":"stopping"[^\n]*\}\}$/im)
          const { code, stderr } = yield* program.ended
          assert.strictEqual(code, 0)
          assert.include(stderr, "\"error\":\"stopping\"")
        }).pipe(Effect.scoped)
    )

    it.live("within BALLAST_SHUTDOWN_TIMEOUT, whether a client reads or not", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve({ BALLAST_SHUTDOWN_TIMEOUT: "100ms" })
        const { hostname, port } = new URL(url)
        const body = JSON.stringify({ ...hello, stream: true })
        const socket = connect(Number(port), hostname)
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
        yield* Effect.callback<void>((resume) => {
          socket.once("readable", () => resume(Effect.void))
          socket.write(requestOf(body, "x-request-id: deaf", "x-simulate: tokens=200000, tps=1000000"))
        })
        yield* Effect.sleep("1 second")
        yield* program.signal("SIGTERM")
        const { code, stderr } = yield* program.ended
        assert.strictEqual(code, 0)
        const line = stderr.split("\n").find((line) => line.includes("\"deaf\""))
        assert.deepInclude(JSON.parse(line!), { status: 200, error: "stopping" })
      }).pipe(Effect.scoped))

    it.live("at once at the second signal", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve({ BALLAST_SHUTDOWN_TIMEOUT: "1h" })
        const response = yield* Effect.promise(() =>
          fetch(url + chat, {
            method: "POST",
            headers: { "content-type": "application/json", "x-simulate": "stall=2" },
            body: JSON.stringify({ ...hello, stream: true })
          })
        )
        yield* program.signal("SIGTERM")
        yield* eventually(Effect.sync(() => program.stderr.includes("stopping")))
        yield* program.signal("SIGTERM")
        assert.strictEqual((yield* program.ended).code, 143)
        yield* Effect.promise(() => response.text().catch(() => ""))
      }).pipe(Effect.scoped))
  })

  describe("settings", () => {
    it.live("init writes a file that check accepts, and overwrites none", () =>
      Effect.gen(function*() {
        const file = `${yield* folder}/ballast.yaml`
        const written = yield* run(["init", "--config", file])
        assert.deepStrictEqual([written.code, written.stderr], [0, ""])
        const checked = yield* run(["check", "--config", file], { DEEPSEEK_API_KEY: "sk-secret", PORT: "9000" })
        assert.deepStrictEqual([checked.code, checked.stderr], [0, ""])
        assert.match(
          checked.stdout,
          /^# In force, from \S+ballast\.yaml, environment:\nlisten:\n {2}host: 127\.0\.0\.1\n {2}port: 9000\n/
        )
        assert.include(checked.stdout, "apiKey: <redacted>")
        const again = yield* run(["init", "--config", file])
        assert.strictEqual(again.code, 1)
        assertOneLine(again.stderr, /exists already, and is left as it is/)
      }).pipe(Effect.scoped))

    it.live("check says what is wrong and where", () =>
      Effect.gen(function*() {
        const file = `${yield* folder}/ballast.yaml`
        writeFileSync(file, "listen: { port: lots }\n")
        const { code, stderr, stdout } = yield* run(["check", "--config", file])
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.strictEqual(
          stderr,
          `ballast: ${file}:1:17: listen.port: found "lots", expected a whole number from 0 to 65535\n`
        )
        const missing = yield* run(["check", "--config", file, "--profile", "prod"])
        assert.match(missing.stderr, /ballast\.prod\.yaml: the file does not exist\n$/)
      }).pipe(Effect.scoped))

    it.live("schema prints a JSON Schema of the file", () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* run(["schema"])
        assert.strictEqual(code, 0)
        const { properties } = JSON.parse(stdout)
        assert.deepInclude(properties.listen.properties.port.anyOf[0], { type: "integer", minimum: 0, maximum: 65_535 })
      }).pipe(Effect.scoped))
  })

  describe("chat", () => {
    it.live("writes the answer to a pipe, and the thoughts beside it", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(["chat", "Why does a ship carry ballast?"])
        assert.strictEqual(code, 0)
        assert.isNotEmpty(stdout.trim())
        assert.include(stderr, "simulator")
        assert.isAbove(stderr.trim().split("\n").length, 1)
        assert.notInclude(stdout + stderr, "\x1b")
        const silent = yield* run(["chat", "--hide-thinking", "Why does a ship carry ballast?"])
        assert.strictEqual(silent.stdout, stdout)
        assert.strictEqual(silent.stderr.trim().split("\n").length, 1)
      }).pipe(Effect.scoped))

    it.live.each(
      [
        [["chat"], "Why does a ship carry ballast?\n"],
        [["chat", "Why", "does a ship"], "carry ballast?"],
        [["chat", "Why does a ship carry ballast?"], ""]
      ] as const
    )("takes its prompt from arguments, from a pipe, or from both: %j", ([args, input]) =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run([...args, "--no-thinking"], {}, input)
        assert.strictEqual(code, 0, stderr)
        assert.match(stdout, /ship|ballast/i)
      }).pipe(Effect.scoped))

    it.live("says what to do when there is no prompt", () =>
      Effect.gen(function*() {
        for (const input of [undefined, " \n"]) {
          const { code, stderr, stdout } = yield* run(["chat"], {}, input)
          assert.deepStrictEqual([code, stdout], [1, ""])
          assertOneLine(stderr, /nothing to ask/)
        }
      }).pipe(Effect.scoped))

    it.live("asks through a gateway, without thoughts, in a role", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        const { code, stderr, stdout } = yield* run([
          "chat",
          "--no-thinking",
          "-s",
          "Be brief.",
          "--base-url",
          url,
          "Hello"
        ])
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.isNotEmpty(stdout.trim())
      }).pipe(Effect.scoped))

    it.live("says in one line why there is no answer", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        const { code, stderr, stdout } = yield* run(["chat", "-m", "gpt-4", "--base-url", url, "Hello"])
        assert.strictEqual(code, 1)
        assert.strictEqual(stdout.trim(), "")
        assertOneLine(stderr, /does not know this model|gpt-4/)
      }).pipe(Effect.scoped))

    it.live("ends quietly when its reader has seen enough", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        const program = yield* start(["chat", "--hide-thinking", "--base-url", url, "Hello"])
        program.child.stdout!.destroy()
        const { code, stderr } = yield* program.ended
        assert.deepStrictEqual([code, stderr], [0, ""])
      }).pipe(Effect.scoped))
  })

  describe("arguments", () => {
    it.live.each(
      [
        [
          ["serve", "--port", "abc"],
          "--port is \"abc\". Expected a whole number from 0 to 65535, for example --port 8787."
        ],
        [["serve", "--port", "1", "--port", "2"], "--port is given 2 times."],
        [["serve", "--prot", "1"], "ballast serve has no flag --prot. Did you mean --port?"],
        [["serve", "now"], "ballast serve takes no \"now\"."],
        [["srve"], "ballast has no command \"srve\". Did you mean serve?"],
        [["simulate", "--tps", "0"], "--tps is \"0\". Expected a number above 0, for example --tps 30."],
        [["chat", "--thinking=maybe", "x"], "--thinking is \"maybe\". Expected \"true\""]
      ] as const
    )("that are wrong are one line, like a wrong setting: %j", ([args, text]) =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(args)
        assert.deepStrictEqual([code, stdout], [1, ""])
        assertOneLine(stderr, /See ballast( [a-z]+)? --help\./)
        assert.include(stderr, text)
      }).pipe(Effect.scoped))
  })

  describe("help", () => {
    it.live.each(["help", "help serve", "version"])("as a command: %s", (line) =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(line.split(" "))
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.include(stdout, { help: "SUBCOMMANDS", "help serve": "BALLAST_CLIENT_KEYS" }[line] ?? version)
      }).pipe(Effect.scoped))

    it.live.each(["serve", "simulate", "chat"])(
      "%s: with examples and environment",
      (command) =>
        Effect.gen(function*() {
          const { code, stdout } = yield* run([command, "--help"])
          assert.strictEqual(code, 0)
          assert.include(stdout, "EXAMPLES")
          assert.include(stdout, "Environment:")
        }).pipe(Effect.scoped)
    )

    it.live("the version of the package", () =>
      Effect.gen(function*() {
        const { stdout } = yield* run(["--version"])
        assert.include(stdout, version)
      }).pipe(Effect.scoped))
  })
})
