/** Going on over real connections, where deadlines end a source's waits by its claim. */
import { DeepSeek, Undici } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import type * as Http from "node:http"
import { bare, consume, reasonOf, request } from "../support/client.ts"
import { serve } from "../support/loopback.ts"
import { done, last, opening, token } from "../support/wire.ts"

const events = { "content-type": "text/event-stream" }

/** A client on a server that answers the first request with a beginning, then breaks off, and all others by `handle`. */
const on = (handle: Http.RequestListener, options: Partial<DeepSeek.Options> = {}) =>
  Effect.gen(function*() {
    let requests = 0
    const baseUrl = yield* serve((asked, answer) => {
      asked.resume()
      if (++requests > 1) return handle(asked, answer)
      answer.writeHead(200, events)
      answer.write(opening + token("Hel"))
      setImmediate(() => answer.destroy())
    })
    const layer = DeepSeek.layer({ ...bare, resume: { times: 3 }, baseUrl, ...options })
    const context = yield* Layer.build(Layer.provide(layer, Undici.layer()))
    return { deepseek: Context.get(context, DeepSeek.DeepSeek), requests: () => requests }
  })

describe("a stream over HTTP", () => {
  it.live("goes on after its connection was lost", () =>
    Effect.gen(function*() {
      const { deepseek, requests } = yield* on((_, answer) =>
        answer.writeHead(200, events).end(token("lo") + last + done)
      )
      assert.strictEqual((yield* consume(deepseek)).text, "|Hel|lo|")
      assert.strictEqual(requests(), 2)
    }))

  it.live("ends with the total deadline while the rest does not begin", () =>
    Effect.gen(function*() {
      const { deepseek } = yield* on(() => {}, { deadlines: { total: "500 millis" } })
      const reason = yield* reasonOf(Stream.runDrain(deepseek.stream(request)))
      assert.deepInclude(reason, { _tag: "DeadlineExceeded", deadline: "total" })
    }))
})
