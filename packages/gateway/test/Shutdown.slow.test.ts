import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { request as httpRequest } from "node:http"
import { connect } from "node:net"
import { eventually, hello, post, send } from "./harness.ts"
import { serve } from "./program.ts"

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

describe("ballast serve stops", () => {
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
