import { ChatError } from "@ballast/chat"
import { type DeepSeek, Files, Undici } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { apiKey, bare, on, reasonOf, scripted } from "./support/client.ts"
import { serve } from "./support/loopback.ts"
import { failure } from "./support/wire.ts"

const simulator = Simulator.layerHttpClient({ latency: 0 })

const client = Effect.map(on(simulator), ({ files }) => files)

const bytes = (length: number) => new Uint8Array(length).fill(7)

const image: Files.Upload = {
  filename: "a \"b\"\r\n图.png",
  content: Stream.make(bytes(3), bytes(4)),
  contentType: "image/png"
}

class Unreadable extends Schema.TaggedError<Unreadable>()("Unreadable", {}) {}

describe("Files", () => {
  it.effect("are uploaded, read, listed and deleted", () =>
    Effect.gen(function*() {
      const files = yield* client
      const seen: Array<number> = []
      const onProgress = (bytes: number) => Effect.sync(() => void seen.push(bytes))
      const file = yield* files.upload({ ...image, size: 7, expiresAfter: "1 hour", onProgress })
      assert.deepInclude(file, { bytes: 7, filename: image.filename, purpose: "user_data" })
      assert.strictEqual(file.expires_at! - file.created_at, 3600)
      assert.deepStrictEqual(seen, [3, 7])
      assert.deepStrictEqual(yield* files.get(file.id), file)
      assert.deepStrictEqual(yield* Stream.runCollect(files.list()), [file])
      assert.isTrue((yield* files.delete(file.id)).deleted)
      assert.deepInclude(yield* reasonOf(files.get(file.id)), { class: "ClientError", _tag: "NotFound" })
      const { message } = yield* Effect.flip(files.get(file.id))
      assert.include(message, `The service has nothing there: No such file: ${file.id}`)
    }))

  it.effect("are listed page by page, as far as they are taken", () =>
    Effect.gen(function*() {
      const files = yield* client
      const ids: Array<string> = []
      for (let index = 0; index < 5; index++) ids.push((yield* files.upload(image)).id)
      const idsOf = (query: Files.Query) =>
        Effect.map(Stream.runCollect(files.list(query)), (all) => all.map(({ id }) => id))
      assert.deepStrictEqual(yield* idsOf({ limit: 2, order: "asc" }), ids)
      assert.deepStrictEqual(yield* idsOf({ limit: 2 }), ids.toReversed())
      assert.deepStrictEqual(yield* idsOf({ order: "asc", after: ids[2]! }), ids.slice(3))
    }))

  it.effect("end their list where a service has no next page to name", () =>
    Effect.gen(function*() {
      const page = { data: [{ id: "a", bytes: 1, created_at: 1, filename: "a" }], has_more: true, last_id: "a" }
      const { files } = yield* scripted({ body: [JSON.stringify(page)] })
      assert.lengthOf(yield* Stream.runCollect(files.list({ after: "a" })), 1)
    }))

  it.effect("are refused before they are sent, with the field", () =>
    Effect.gen(function*() {
      const { files } = yield* on(simulator)
      const refusals: ReadonlyArray<readonly [Partial<Files.Upload>, RegExp]> = [
        [{ filename: "" }, /^`filename` must have 1 to 512 characters, got 0/],
        [{ filename: "a".repeat(513) }, /got 513$/],
        [{ size: Files.limits.size + 1 }, /^`file` must have 1 to 67108864 bytes/],
        [{ size: 8 }, /has 7 bytes, not the 8/],
        [{ size: 6 }, /more than the 6 bytes/],
        [{ content: Stream.empty }, /empty/],
        [{ expiresAfter: "31 days" }, /^`expires_after`/]
      ]
      for (const [change, expected] of refusals) {
        const reason = yield* reasonOf(files.upload({ ...image, ...change }))
        assert.deepInclude(reason, { class: "ClientError", _tag: "InvalidRequest", status: 400 })
        assert.match(reason.detail, expected)
      }
      assert.match((yield* reasonOf(files.page({ limit: 1001 }))).detail, /^`limit`/)
      const tooLarge = Stream.forever(Stream.succeed(bytes(1024 * 1024)))
      assert.match((yield* reasonOf(files.upload({ ...image, content: tooLarge }))).detail, /at most 67108864 bytes/)
    }))

  it.effect("fail as their content fails", () =>
    Effect.gen(function*() {
      const files = yield* client
      const content = Stream.concat(Stream.make(bytes(3)), Stream.fail(new Unreadable()))
      assert.instanceOf(yield* Effect.flip(files.upload({ ...image, content })), Unreadable)
    }))

  it.effect("tell what the service says, and are sent once", () =>
    Effect.gen(function*() {
      const { files } = yield* on(
        Simulator.layerHttpClient({ latency: 0 }),
        { apiKey, deadlines: false, retry: { times: 3 } } satisfies DeepSeek.Options
      )
      assert.isNotEmpty((yield* files.upload(image)).id)
      const { files: busy } = yield* scripted(failure(503, { message: "busy" }))
      assert.deepInclude(yield* reasonOf(busy.upload(image)), { class: "ServerError", _tag: "Overloaded" })
    }))

  it.live("go over the wire piece by piece", () =>
    Effect.gen(function*() {
      const arrived: Array<string> = []
      let headers: Record<string, unknown> = {}
      let taken = 0
      const gate = Promise.withResolvers<void>()
      const url = yield* serve((request, response) => {
        headers = request.headers
        request.setEncoding("latin1")
        request.on("data", (text: string) => {
          arrived.push(text)
          if (text.includes("first")) gate.resolve()
        })
        request.on("end", () => response.end(JSON.stringify({ id: "f", bytes: 11, created_at: 1, filename: "a" })))
      })
      const { files } = yield* on(Undici.layer({ proxy: false }), { ...bare, baseUrl: url })
      const encoder = new TextEncoder()
      // The second piece is read only after the first one has arrived.
      const content = Stream.concat(
        Stream.succeed(encoder.encode("first")),
        Stream.fromEffect(Effect.promise(() => gate.promise.then(() => encoder.encode("second"))))
      )
      const file = yield* files.upload({
        filename: "a.png",
        content,
        size: 11,
        onProgress: (bytes) => Effect.sync(() => taken = bytes)
      })
      assert.strictEqual(file.id, "f")
      assert.strictEqual(taken, 11)
      const body = arrived.join("")
      assert.strictEqual(Number(headers["content-length"]), body.length)
      assert.match(body, /filename="a\.png"\r\ncontent-type: application\/octet-stream\r\n\r\nfirstsecond\r\n--/)
    }))

  it.live("stop to read their content, and break off, when they are interrupted", () =>
    Effect.gen(function*() {
      const closed = Promise.withResolvers<void>()
      const begun = Promise.withResolvers<void>()
      const url = yield* serve((request) => {
        request.once("data", () => begun.resolve())
        request.resume().on("close", () => closed.resolve())
      })
      const { files } = yield* on(Undici.layer({ proxy: false }), { ...bare, baseUrl: url })
      let released = false
      const content = Stream.concat(Stream.make(bytes(1024)), Stream.never).pipe(
        Stream.ensuring(Effect.sync(() => released = true))
      )
      const fiber = yield* Effect.forkChild(files.upload({ ...image, content }))
      yield* Effect.promise(() => begun.promise)
      yield* Fiber.interrupt(fiber)
      yield* Effect.promise(() => closed.promise)
      assert.isTrue(released)
    }))

  it.live("are answered before they have ended", () =>
    Effect.gen(function*() {
      const url = yield* serve((_, response) => {
        response.writeHead(401, { "content-type": "application/json", connection: "close" })
        response.end(JSON.stringify({ error: { message: "Authentication Fails" } }))
      })
      const { files } = yield* on(Undici.layer({ proxy: false }), { ...bare, baseUrl: url })
      const content = Stream.take(Stream.tick("1 millis"), 2_000).pipe(Stream.map(() => bytes(1024)))
      const error = yield* Effect.flip(files.upload({ ...image, content }))
      assert.isTrue(ChatError.isChatError(error))
    }))
})

describe("Search and Fetch", () => {
  it.effect("give results and pages", () =>
    Effect.gen(function*() {
      const deepseek = yield* on(simulator)
      const { results } = yield* deepseek.search({ query: "ballast of ships", count: 2, need_content: true })
      assert.lengthOf(results, 2)
      assert.isNotEmpty(results[0]!.content)
      assert.match((yield* deepseek.fetch({ url: results[0]!.url })).content, /^# /)
    }))

  it.effect("refuse what the service would refuse", () =>
    Effect.gen(function*() {
      const { fetch, search } = yield* scripted({ body: [JSON.stringify({})] })
      const details = [
        search({ query: "" }),
        search({ query: "船".repeat(129) }),
        search({ query: "a", ori_question: "a".repeat(129) }),
        search({ query: "a", count: 51 }),
        fetch({ url: "/a" }),
        fetch({ url: "ftp://a.example" }),
        fetch({ url: "https://u:secret@a.example" }),
        fetch({ url: `https://a.example/${"a".repeat(8192)}` })
      ]
      const fields = ["query", "query", "ori_question", "count", "url", "url", "url", "url"]
      for (const [index, call] of details.entries()) {
        const reason = yield* reasonOf<unknown, { readonly _tag: string }>(call)
        assert.deepInclude(reason, { class: "ClientError", _tag: "InvalidRequest" })
        assert.isTrue(reason.detail.startsWith(`\`${fields[index]}\``), reason.detail)
        assert.notInclude(reason.detail, "secret")
      }
      // 128 characters, each of two code units.
      assert.deepInclude(yield* reasonOf(search({ query: "𝒂".repeat(128) })), { _tag: "MalformedBody" })
    }))
})
