import { Undici } from "@ballast/deepseek"
import { assert, describe, it, vi } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Latch, Layer, Queue, Stream } from "effect"
import { HttpClient } from "effect/http"
import { execFile } from "node:child_process"
import Dns from "node:dns"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Zlib from "node:zlib"
import * as Certificate from "../support/certificate.ts"
import { bare, on, reasonOf, request } from "../support/client.ts"
import { serve } from "../support/loopback.ts"
import { completion, done, last, token } from "../support/wire.ts"

const client = (options: Undici.Options = {}, env: Record<string, string> = {}) =>
  Layer.build(Undici.layer(options)).pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env })),
    Effect.map((context) => Context.get(context, HttpClient.HttpClient))
  )

/** A server of raw bytes, for as long as the scope; `handle` is given each connection. */
const listen = (server: Net.Server | Http.Server | Https.Server, host = "127.0.0.1") =>
  Effect.acquireRelease(
    Effect.callback<number, Error>((resume) => {
      server.once("error", (error) => resume(Effect.fail(error)))
      server.listen(0, host, () => resume(Effect.succeed((server.address() as Net.AddressInfo).port)))
    }),
    () =>
      Effect.sync(() => {
        if (server instanceof Http.Server || server instanceof Https.Server) server.closeAllConnections()
        server.close()
      })
  )

type Encoder = Zlib.Gzip | Zlib.Deflate | Zlib.BrotliCompress | Zlib.ZstdCompress

const encoders: Readonly<Record<string, () => Encoder>> = {
  gzip: Zlib.createGzip,
  deflate: Zlib.createDeflate,
  br: Zlib.createBrotliCompress,
  zstd: Zlib.createZstdCompress
}
const whole = JSON.stringify(completion({ content: "Hello sea" }))
const encoded: ReadonlyArray<readonly [coding: string, body: Buffer]> = [
  ["gzip", Zlib.gzipSync(whole)],
  ["x-gzip", Zlib.gzipSync(whole)],
  ["deflate", Zlib.deflateSync(whole)],
  ["deflate", Zlib.deflateRawSync(whole)],
  ["BR", Zlib.brotliCompressSync(whole)],
  ["zstd", Zlib.zstdCompressSync(whole)],
  ["gzip, br", Zlib.brotliCompressSync(Zlib.gzipSync(whole))],
  ["identity", Buffer.from(whole)],
  ["utf-8", Buffer.from(whole)]
]

describe("a compressed answer", () => {
  it.live.each(encoded)("is read whole, in pieces of any size: %s", ([coding, body]) =>
    Effect.gen(function*() {
      for (const size of [1, 7, body.length]) {
        const url = yield* serve((_, response) => {
          response.writeHead(200, { "content-type": "application/json", "content-encoding": coding })
          for (let i = 0; i < body.length; i += size) response.write(body.subarray(i, i + size))
          response.end()
        })
        const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: url })
        assert.strictEqual((yield* deepseek.complete(request)).choices[0].message.content, "Hello sea")
      }
    }))

  it.live.each(Object.entries(encoders))("is streamed as it comes: %s", ([coding, make]) =>
    Effect.gen(function*() {
      const turns = yield* Queue.unbounded<() => void>()
      const url = yield* serve((_, response) => {
        const encoder = make()
        response.writeHead(200, { "content-type": "text/event-stream", "content-encoding": coding })
        encoder.pipe(response)
        const pieces = [token("Hello"), token(" sea"), last, done]
        const next = () => {
          const piece = pieces.shift()
          if (piece === undefined) return encoder.end()
          encoder.write(piece)
          encoder.flush()
          Queue.offerUnsafe(turns, next)
        }
        next()
      })
      const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: url })
      const texts: Array<string> = []
      // Each event is sent only when the one before it has been read.
      yield* Stream.runForEach(deepseek.stream(request), (chunk) =>
        Effect.flatMap(Queue.take(turns), (next) =>
          Effect.sync(() => {
            texts.push(chunk.choices[0]?.delta.content ?? "")
            next()
            if (texts.length === 2) {
              Effect.runFork(Effect.flatMap(Queue.take(turns), (next) =>
                Effect.sync(next)))
            }
          })))
      assert.strictEqual(texts.join(""), "Hello sea")
    }))

  it.live("that is no such coding is a lost connection, and an empty one is empty", () =>
    Effect.gen(function*() {
      const url = yield* serve((request, response) => {
        response.writeHead(200, { "content-encoding": "gzip" })
        response.end(request.url === "/empty" ? "" : "no gzip")
      })
      const http = yield* client()
      assert.strictEqual(yield* (yield* http.get(`${url}/empty`)).text, "")
      const error = yield* Effect.flip(Effect.flatMap(http.get(url), ({ text }) => text))
      assert.deepInclude(Object(error.cause), { code: "Z_DATA_ERROR" })
    }))

  it.live("waits on its socket for a slow reader", () =>
    Effect.gen(function*() {
      const size = 32 * 1024 * 1024
      // Stored, not compressed: as large on the wire.
      const body = Zlib.gzipSync(Buffer.alloc(size), { level: 0 })
      let drained = false
      const url = yield* serve((_, response) => {
        response.writeHead(200, { "content-encoding": "gzip" }).write(body, () => drained = true)
        response.end()
      })
      let early: boolean | undefined
      let read = 0
      yield* Stream.runForEach((yield* (yield* client()).get(url)).stream, (bytes) =>
        Effect.promise(async () => {
          read += bytes.byteLength
          if (early !== undefined) return
          for (let turn = 0; turn < 500; turn++) await new Promise((resolve) => setImmediate(resolve))
          early = drained
        }))
      assert.deepStrictEqual([read, early], [size, false])
    }))

  it.live("that breaks off is given as far as it came, and fails then", () =>
    Effect.gen(function*() {
      const url = yield* serve((_, response) => {
        response.writeHead(200, { "content-encoding": "gzip" })
        const encoder = Zlib.createGzip()
        encoder.on("data", (bytes: Buffer) => response.write(bytes))
        encoder.write("Hello")
        encoder.flush(() => setImmediate(() => response.destroy()))
      })
      const http = yield* client()
      const seen: Array<string> = []
      const error = yield* Effect.flip(
        Stream.runForEach(
          Stream.decodeText((yield* http.get(url)).stream),
          (text) => Effect.sync(() => seen.push(text))
        )
      )
      assert.deepStrictEqual([error.reason._tag, seen.join("")], ["DecodeError", "Hello"])
      const whole = yield* Effect.flip(Effect.flatMap(http.get(url), ({ text }) => text))
      assert.deepInclude(Object(whole.cause), { code: "UND_ERR_SOCKET" })
    }))

  it.live("lets its connection go when the reader leaves", () =>
    Effect.gen(function*() {
      const gone = yield* Latch.make()
      const url = yield* serve((_, response) => {
        response.on("close", () => Latch.openUnsafe(gone))
        response.writeHead(200, { "content-encoding": "gzip" })
        const encoder = Zlib.createGzip()
        encoder.on("data", (bytes: Buffer) => response.write(bytes))
        encoder.write("Hello")
        encoder.flush()
      })
      yield* Stream.runHead((yield* (yield* client()).get(url)).stream)
      yield* gone.await
    }))

  it.live("that decodes to a huge one is read to the limit, and no faster than asked", () =>
    Effect.gen(function*() {
      const size = 64 * 1024 * 1024
      const bomb = Zlib.gzipSync(Buffer.alloc(size))
      const url = yield* serve((_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(bomb))
      const http = yield* client({ maxBodySize: 1024 * 1024 })
      const error = yield* Effect.flip(Effect.flatMap(http.get(url), ({ text }) => text))
      assert.deepInclude(Object(error.cause), { code: "BODY_TOO_LARGE" })
      let largest = 0
      let read = 0
      yield* Stream.runForEachArray((yield* http.get(url)).stream, (pieces) =>
        Effect.promise(async () => {
          const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
          largest = Math.max(largest, bytes)
          // The decoder has time to run ahead, at first.
          for (let turn = read === 0 ? 500 : 1; turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve))
          read += bytes
        }))
      assert.strictEqual(read, size)
      assert.isAtMost(largest, 256 * 1024)
    }))
})

describe("a large answer", () => {
  it.live("is text as it was written, wherever a character is cut", () =>
    Effect.gen(function*() {
      // Three bytes a character, at each of three offsets: whatever lies at a piece's end, one of them is cut there.
      const contents = ["", "x", "xx"].map((start) => start + "压".repeat(800_000))
      let calls = 0
      const baseUrl = yield* serve((_, response) => {
        response.writeHead(200, { "content-type": "application/json" })
        response.write(JSON.stringify(completion({ content: contents[calls++] ?? "" })))
        response.end()
      })
      const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl })
      for (const content of contents) {
        const { choices: [{ message }] } = yield* deepseek.complete(request)
        assert.isTrue(message.content === content)
      }
    }))
})

describe("the way there", () => {
  it.live("ends a flood of informational responses", () =>
    Effect.gen(function*() {
      const port = yield* listen(Net.createServer((socket) => {
        socket.on("error", () => {})
        const flood = () => {
          while (!socket.destroyed && socket.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")) {
            /* until it is full */
          }
        }
        socket.on("drain", flood)
        socket.once("data", flood)
      }))
      const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: `http://127.0.0.1:${port}` })
      assert.deepInclude(yield* reasonOf(deepseek.complete(request)), {
        _tag: "ConnectionLost",
        detail: `TOO_MANY_INFORMATIONAL at 127.0.0.1:${port}`
      })
    }))

  it.live("takes a few informational responses", () =>
    Effect.gen(function*() {
      const url = yield* serve((_, response) => {
        for (let i = 0; i < 3; i++) response.writeEarlyHints({ link: "</a>; rel=preload" })
        response.end("ok")
      })
      assert.strictEqual(yield* (yield* (yield* client()).get(url)).text, "ok")
    }))

  it.live("is named by host where it fails, without the rest of the URL", () =>
    Effect.gen(function*() {
      const url = yield* Effect.scoped(serve(() => {}))
      const port = new URL(url).port
      const deepseek = yield* on(Undici.layer(), { ...bare, baseUrl: `${url}/secret` })
      assert.deepInclude(yield* reasonOf(deepseek.complete(request)), {
        _tag: "ConnectFailed",
        detail: `ECONNREFUSED at 127.0.0.1:${port}`
      })
    }))

  it.live("may be one of IPv6", (context) =>
    Effect.gen(function*() {
      const server = Http.createServer((_, response) => response.end("six"))
      const port = yield* Effect.orElseSucceed(listen(server, "::1"), () => undefined)
      if (port === undefined) return context.skip()
      const http = yield* client()
      assert.strictEqual(yield* (yield* http.get(`http://[::1]:${port}`)).text, "six")
    }))
})

describe("a proxy", () => {
  const proxy = Effect.gen(function*() {
    const seen: Array<readonly [string, string | undefined]> = []
    const target = yield* serve((_, response) => response.end("through"))
    const server = Http.createServer((message, response) => {
      seen.push([message.url ?? "", message.headers["proxy-authorization"]])
      response.writeHead(message.url?.includes("refused") === true ? 407 : 200).end("through")
    })
    server.on("connect", (message, socket) => {
      seen.push([message.url ?? "", message.headers["proxy-authorization"]])
      socket.on("error", () => {})
      if (message.url?.startsWith("refused") === true) return socket.end("HTTP/1.1 407 no\r\n\r\n")
      socket.end("HTTP/1.1 200 OK\r\n\r\n")
    })
    return { seen, target, url: `http://127.0.0.1:${yield* listen(server)}` }
  })

  it.live("is taken from the environment, with its user", () =>
    Effect.gen(function*() {
      const { seen, url } = yield* proxy
      const named = url.replace("//", "//user:pass@")
      for (
        const env of [{ HTTP_PROXY: named }, { http_proxy: named, HTTP_PROXY: "" }, { HTTP_PROXY: named.slice(7) }]
      ) {
        assert.strictEqual(yield* (yield* (yield* client({}, env)).get("http://service.invalid/")).text, "through")
      }
      assert.deepStrictEqual(seen[0], ["http://service.invalid/", `Basic ${btoa("user:pass")}`])
      assert.lengthOf(seen, 3)
    }))

  it.live("is left out for hosts of NO_PROXY, and where the options say so", () =>
    Effect.gen(function*() {
      const { seen, target, url } = yield* proxy
      const get = (options: Undici.Options, env: Record<string, string>) =>
        Effect.flatMap(client(options, { HTTP_PROXY: url, ...env }), (http) =>
          Effect.flatMap(http.get(target), ({ text }) => text))
      for (const hosts of ["other.test,127.0.0.1", "10.0.0.0/8 127.0.0.0/8", "*"]) {
        assert.strictEqual(yield* get({}, { NO_PROXY: hosts }), "through")
      }
      assert.strictEqual(yield* get({ proxy: false }, {}), "through")
      assert.lengthOf(seen, 0)
      yield* get({}, {})
      yield* get({}, { NO_PROXY: "10.0.0.0/8,127.0.0.0/33,[fe80::]/10" })
      assert.lengthOf(seen, 2)
    }))

  it.live("that refuses is said to, without its password", () =>
    Effect.gen(function*() {
      const { url } = yield* proxy
      const named = url.replace("//", "//user:hush@")
      const http = yield* client({}, { HTTP_PROXY: named, HTTPS_PROXY: named })
      for (
        const [baseUrl, detail] of [
          ["http://refused.invalid", "PROXY_AUTHENTICATION_REQUIRED at refused.invalid"],
          ["https://refused.invalid", "the proxy answered 407 at refused.invalid"]
        ] as const
      ) {
        const deepseek = yield* on(Layer.succeed(HttpClient.HttpClient, http), { ...bare, baseUrl })
        assert.deepInclude(yield* reasonOf(deepseek.complete(request)), { _tag: "ConnectFailed", detail })
      }
    }))

  it.live("that can't be reached is named by its address", () =>
    Effect.gen(function*() {
      const url = yield* Effect.scoped(serve(() => {}))
      const http = yield* client({}, { HTTPS_PROXY: url })
      const deepseek = yield* on(Layer.succeed(HttpClient.HttpClient, http), {
        ...bare,
        baseUrl: "https://service.invalid"
      })
      assert.deepInclude(yield* reasonOf(deepseek.complete(request)), {
        _tag: "ConnectFailed",
        detail: `ECONNREFUSED at service.invalid (${new URL(url).host})`
      })
    }))

  it.live("that is none is told by the name of its variable", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(client({}, { HTTPS_PROXY: "socks5://user:hush@proxy:3128" }))
      const defect = exit._tag === "Failure" && exit.cause.reasons[0]?._tag === "Die"
        ? exit.cause.reasons[0].defect
        : undefined
      assert.strictEqual(String(defect), "RangeError: Undici.layer: HTTPS_PROXY must be an http or https URL")
    }))
})

describe("a name", () => {
  /** Answers what a name stands for, as the system's resolver does, for as long as the scope. */
  const resolving = (addresses: () => ReadonlyArray<string>) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const lookup = (_: string, { all }: Dns.LookupOptions, done: (...answer: ReadonlyArray<unknown>) => void) => {
          const found = addresses().map((address) => ({ address, family: Net.isIP(address) }))
          process.nextTick(() => all === true ? done(null, found) : done(null, found[0]?.address, found[0]?.family))
        }
        // Node looks the function up when it connects; its overloads are none of this one's.
        return vi.spyOn(Dns, "lookup").mockImplementation(lookup as never)
      }),
      (spy) => Effect.sync(() => spy.mockRestore())
    )

  const named = (name: string) => Http.createServer({ keepAliveTimeout: 1 }, (_, response) => response.end(name))

  it.live("that changes is followed by the next connection", () =>
    Effect.gen(function*() {
      const port = yield* listen(named("old"))
      const next = named("new")
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void next.listen(port, "127.0.0.2", () => resume(Effect.void))),
        () => Effect.sync(() => next.close())
      )
      let address = "127.0.0.1"
      yield* resolving(() => [address])
      const http = yield* client({ keepAliveTimeout: 1 })
      const ask = Effect.flatMap(http.get(`http://service.test:${port}/`), ({ text }) => text)
      assert.strictEqual(yield* ask, "old")
      address = "127.0.0.2"
      while ((yield* ask) !== "new") yield* Effect.sleep("5 millis")
    }))

  it.live("of both families is tried on both", () =>
    Effect.gen(function*() {
      const port = yield* listen(named("four"))
      const http = yield* client()
      for (const addresses of [["::1", "127.0.0.1"], ["127.0.0.1", "::1"]]) {
        const name = yield* Effect.scoped(Effect.andThen(
          resolving(() => addresses),
          Effect.flatMap(
            http.get(`http://${addresses.length}-${addresses[0]?.length}.test:${port}/`),
            ({ text }) => text
          )
        ))
        assert.strictEqual(name, "four")
      }
    }))
})

describe("a certificate", () => {
  const program = `
    import * as Undici from "@ballast/deepseek/Undici"
    import * as Effect from "effect/Effect"
    import * as HttpClient from "effect/http/HttpClient"
    const get = Effect.flatMap(HttpClient.HttpClient, (http) => Effect.flatMap(http.get(process.argv[1]), ({ text }) => text))
    const run = Effect.catch(get, (error) => Effect.succeed(error.cause?.code))
    console.log(await Effect.runPromise(Effect.provide(run, Undici.layer())))
  `

  it.live("of one's own authority is taken with NODE_EXTRA_CA_CERTS, and not without", () =>
    Effect.gen(function*() {
      const { authority, certificate, key } = Certificate.make()
      const port = yield* listen(Https.createServer({ cert: certificate, key }, (_, response) => response.end("safe")))
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "ballast-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      )
      const file = join(folder, "authority.pem")
      writeFileSync(file, authority)
      const run = (env: Record<string, string>) =>
        Effect.callback<string>((resume) => {
          const child = execFile(
            process.execPath,
            ["--input-type=module", "-e", program, `https://localhost:${port}`],
            { cwd: import.meta.dirname, env: { PATH: process.env["PATH"], ...env } },
            (error, stdout, stderr) => resume(Effect.succeed(error === null ? stdout.trim() : stderr))
          )
          return Effect.sync(() => child.kill())
        })
      assert.strictEqual(yield* run({ NODE_EXTRA_CA_CERTS: file }), "safe")
      assert.strictEqual(yield* run({}), "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
    }), 30_000)
})
