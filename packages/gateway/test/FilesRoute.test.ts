import { Gateway, Settings, Upstream } from "@ballast/gateway"
import { Logs } from "@ballast/telemetry"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { createHash } from "node:crypto"
import { request as httpRequest } from "node:http"
import OpenAI, { toFile } from "openai"
import { layer as gateway, post, Running, send } from "./harness.ts"

const accounts = { first: { keys: ["sk-a"] }, second: { keys: ["sk-b"] } }

const settings = {
  providers: {
    elsewhere: { type: "openai", baseUrl: "http://other.invalid", accounts },
    deepseek: { type: "deepseek", accounts, choice: "weighted" }
  },
  models: {
    "*": {
      targets: [{ provider: "deepseek", account: "first" }],
      failover: [{ provider: "deepseek" }, { provider: "elsewhere" }]
    },
    nowhere: { targets: [{ provider: "elsewhere" }] }
  },
  files: { account: "second" }
}

const client = Effect.map(
  Running,
  ({ url }) => new OpenAI({ apiKey: "key-of-alice", baseURL: `${url}/v1`, maxRetries: 0 })
)

const bytes = new Uint8Array(300_000).fill(7)

describe("files by the OpenAI SDK", () => {
  layer(gateway({ clientKeys: ["key-of-alice"], settings }), { excludeTestServices: true })((it) => {
    const upload = Effect.flatMap(
      client,
      (openai) =>
        Effect.promise(async () =>
          openai.files.create({ file: await toFile(bytes, "a.png", { type: "image/png" }), purpose: "user_data" })
        )
    )

    it.effect("are uploaded, found, listed and deleted", () =>
      Effect.gen(function*() {
        const openai = yield* client
        const file = yield* upload
        assert.match(file.id, /^file-api-/)
        assert.deepInclude(file, { bytes: bytes.length, filename: "a.png" })
        const found = yield* Effect.promise(() => openai.files.retrieve(file.id))
        assert.strictEqual(found.id, file.id)
        yield* upload
        const ids = yield* Effect.promise(async () => {
          const seen: Array<string> = []
          for await (const { id } of openai.files.list({ limit: 1, order: "asc" })) seen.push(id)
          return seen
        })
        assert.lengthOf(ids, 2)
        assert.strictEqual(ids[0], file.id)
        const gone = yield* Effect.promise(() => openai.files.delete(file.id))
        assert.isTrue(gone.deleted)
        const error = yield* Effect.promise(() => openai.files.retrieve(file.id).catch((error: unknown) => error))
        assert.instanceOf(error, OpenAI.NotFoundError)
        assert.match(error.message, /No such file/)
      }))

    it.effect("are at one account, where calls go that name them", () =>
      Effect.gen(function*() {
        const { log, url } = yield* Running
        const file = yield* upload
        const headers = { authorization: "Bearer key-of-alice" }
        const part = { type: "file", file: { file_id: file.id } }
        const chat = (model: string, content: unknown) =>
          post(`${url}/v1/chat/completions`, { model, messages: [{ role: "user", content }] }, headers)
        const accountOf = () => log.findLast(({ message }) => message === "request")?.["account"]
        assert.strictEqual((yield* chat("deepseek-flash", "Hi")).status, 200)
        assert.strictEqual(accountOf(), "first")
        assert.strictEqual((yield* chat("deepseek-flash", [part, { type: "text", text: "What is it?" }])).status, 200)
        assert.strictEqual(accountOf(), "second")
        const response = yield* post(`${url}/v1/responses`, {
          model: "deepseek-flash",
          stream: true,
          input: [{ role: "user", content: [{ type: "input_image", file_id: file.id }] }]
        }, headers)
        assert.strictEqual(response.status, 200)
        assert.strictEqual(accountOf(), "second")
        const { json, status } = yield* chat("nowhere", [part])
        assert.strictEqual(status, 400)
        assert.match(json.error.message, /the account second of deepseek, and "nowhere" has no target there/)
      }))

    it.effect("refuse what is no upload", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const authorization = "Bearer key-of-alice"
        const at = `${url}/v1/files`
        const json = yield* post(at, {}, { authorization })
        assert.deepStrictEqual([json.status, json.json.error.code], [415, "unsupported_media_type"])
        const wrongPurpose = yield* Effect.promise(async () => {
          const form = new FormData()
          form.set("purpose", "batch")
          form.set("file", new Blob([bytes]), "a.png")
          return form
        }).pipe(Effect.flatMap((body) => send(at, { method: "POST", headers: { authorization }, body })))
        assert.strictEqual(wrongPurpose.status, 400)
        assert.match(wrongPurpose.json.error.message, /purpose/)
        for (const [query, param] of [["limit=x", "limit"], ["order=up", "order"]]) {
          const { json, status } = yield* send(`${at}?${query}`, { headers: { authorization } })
          assert.deepStrictEqual([status, json.error.param], [400, param])
        }
        const { status } = yield* send(`${at}?limit=1001`, { headers: { authorization } })
        assert.strictEqual(status, 400)
        const unknown = yield* send(at)
        assert.strictEqual(unknown.status, 401)
      }))

    it.effect("refuse what is too large, by its length and by its bytes", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const headers = {
          authorization: "Bearer key-of-alice",
          "content-type": "multipart/form-data; boundary=x"
        }
        const megabyte = new Uint8Array(1024 * 1024)
        const upload = (length: number | undefined) =>
          Effect.callback<number | undefined>((resume) => {
            const outgoing = httpRequest(`${url}/v1/files`, {
              method: "POST",
              headers: length === undefined ? headers : { ...headers, "content-length": length }
            }, (response) => {
              response.resume()
              resume(Effect.succeed(response.statusCode))
            })
            outgoing.on("error", () => {})
            let sent = 0
            const write = () => {
              if (outgoing.destroyed) return
              if (sent++ === 70 || length !== undefined) return void outgoing.flushHeaders()
              if (outgoing.write(megabyte)) setImmediate(write)
              else outgoing.once("drain", write)
            }
            write()
            return Effect.sync(() => outgoing.destroy())
          })
        assert.strictEqual(yield* upload(100 * 1024 * 1024), 413)
        assert.strictEqual(yield* upload(undefined), 413)
      }))
  })
})

describe("an upload through the gateway", () => {
  it.live("arrives whole while it is sent, and is never held", () =>
    Effect.gen(function*() {
      const pieces = 32
      const piece = new Uint8Array(1024 * 1024).fill(1)
      let most = 0
      let sent = 0
      let received = 0
      const hash = createHash("sha256")
      const upstream = HttpClient.make((request) =>
        Effect.promise(async () => {
          const { body } = request
          assert.strictEqual(body._tag, "Stream")
          const { Readable } = await import("node:stream")
          const { Stream } = await import("effect")
          if (body._tag === "Stream") {
            for await (const bytes of Readable.from(Stream.toAsyncIterable(body.stream))) {
              received += bytes.length
              most = Math.max(most, sent - received)
              hash.update(bytes)
            }
          }
          const file = { id: "file-api-1", bytes: received, created_at: 1, filename: "a.png" }
          return HttpClientResponse.fromWeb(request, Response.json(file))
        })
      )
      const values = yield* Settings.makeValues({
        listen: { port: 0 },
        providers: { deepseek: { type: "deepseek", accounts } }
      })
      const made = yield* Upstream.make(values, { client: upstream })
      const address = yield* Gateway.serve({ settings: values, upstream: made })
      const port = address._tag === "UnixPathAddress" ? 0 : address.port
      const expected = createHash("sha256")
      const status = yield* Effect.callback<number | undefined>((resume) => {
        const outgoing = httpRequest({
          port,
          host: "127.0.0.1",
          path: "/v1/files",
          method: "POST",
          headers: { "content-type": "multipart/form-data; boundary=x" }
        }, (response) => {
          response.resume()
          resume(Effect.succeed(response.statusCode))
        })
        const write = () => {
          if (sent === pieces * piece.length) return void outgoing.end()
          sent += piece.length
          expected.update(piece)
          if (outgoing.write(piece)) setImmediate(write)
          else outgoing.once("drain", write)
        }
        write()
        return Effect.sync(() => outgoing.destroy())
      })
      assert.strictEqual(status, 200)
      assert.strictEqual(received, pieces * piece.length)
      assert.strictEqual(hash.digest("hex"), expected.digest("hex"))
      // Sockets hold some of it.
      assert.isBelow(most, 16 * 1024 * 1024)
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.merge(NodeFileSystem.layer, Logs.layer({ level: "Error", write: () => {} })))
    ))
})

describe("the account of files", () => {
  const placeOf = (files: object, providers: object = settings.providers) =>
    Settings.makeValues({ providers, models: {}, files }).pipe(
      Effect.flatMap(({ current }) => current),
      Effect.map(Settings.filesPlace),
      Effect.scoped,
      Effect.provide(NodeFileSystem.layer)
    )

  it.effect("is the first of a provider that keeps files, unless the settings say more", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* placeOf({}), { provider: "deepseek", account: "first" })
      assert.deepStrictEqual(yield* placeOf({ account: "second" }), { provider: "deepseek", account: "second" })
      const { elsewhere } = settings.providers
      assert.isUndefined(yield* placeOf({}, { elsewhere }))
    }))

  it.effect("is one that there is", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<readonly [object, RegExp]> = [
        [
          { provider: "elsewhere" },
          /files\.provider: there is no provider elsewhere that keeps files; known: deepseek/
        ],
        [{ provider: "none" }, /known: deepseek/],
        [{ account: "third" }, /files\.account: there is no account third; known: first, second/]
      ]
      for (const [files, expected] of wrong) {
        assert.match((yield* Effect.flip(placeOf(files))).message, expected)
      }
    }))
})
