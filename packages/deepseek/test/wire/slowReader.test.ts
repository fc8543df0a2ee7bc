/** A reader that stops reading: the socket is paused, so that what waits in the process is bounded. */
import { DeepSeek, Undici } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Stream } from "effect"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import type * as Http from "node:http"
import type { Socket } from "node:net"
import { apiKey, request } from "../support/client.ts"
import { serve } from "../support/loopback.ts"
import { done, last, token } from "../support/wire.ts"

const connected = "undici:client:connected"

/** The sockets that undici opens. */
const sockets = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const all: Array<Socket> = []
      const listener = (message: unknown) => all.push(Object(message).socket)
      subscribe(connected, listener)
      return { all, listener }
    }),
    ({ listener }) => Effect.sync(() => unsubscribe(connected, listener))
  ),
  ({ all }) => all
)

const text = "x".repeat(16_000)
const events = 2000

/** Writes 32 MB of events as fast as they are taken. */
const writeAll = (answer: Http.ServerResponse) => {
  let written = 0
  const more = () => {
    while (written++ < events) if (!answer.write(token(text))) return void answer.once("drain", more)
    answer.end(last + done)
  }
  answer.writeHead(200, { "content-type": "text/event-stream" })
  more()
}

const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), until(condition)))

describe("a reader that stops", () => {
  it.live("holds no more than the buffer and one read, and gets the rest when it goes on", () =>
    Effect.gen(function*() {
      const opened = yield* sockets
      let answering: Http.ServerResponse | undefined
      const baseUrl = yield* serve((_, answer) => writeAll(answering = answer))
      const layer = Layer.provide(DeepSeek.layer({ apiKey, baseUrl }), Undici.layer())
      const deepseek = Context.get(yield* Layer.build(layer), DeepSeek.DeepSeek)
      const goOn = yield* Deferred.make<void>()
      let received = 0
      const reading = yield* Effect.forkChild(Stream.runForEachArray(deepseek.stream(request), (chunks) => {
        for (const { choices } of chunks) received += choices[0]?.delta.content?.length ?? 0
        return Deferred.await(goOn)
      }))
      yield* until(() => received > 0 && answering!.writableNeedDrain)
      const held = opened[0]!.bytesRead - received
      assert.isAtMost(held, 256 * 1024)
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(reading)
      assert.strictEqual(received, events * text.length)
    }))
})
