import { AnswerMemory } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Net from "node:net"
import { eventually, hello, layer, Running } from "./harness.ts"

const large = JSON.stringify({
  choices: [{ index: 0, message: { role: "assistant", content: "x".repeat(16 * 1024 * 1024) }, finish_reason: "stop" }]
})

/** So long that it is sent in pieces, and wherever one ends, half a character would be left in one of the two. */
const wide = (shift: number) =>
  JSON.stringify({
    choices: [{
      index: 0,
      message: { role: "assistant", content: "x".repeat(shift) + "🎈".repeat(1024 * 1024) },
      finish_reason: "stop"
    }]
  })

const memory = AnswerMemory.make(Number.MAX_SAFE_INTEGER)
const kept = Effect.map(memory.inspect, ({ kept }) => kept)

/** Asks for an answer and does not read it before the socket is resumed. */
const ask = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const body = JSON.stringify(hello)
      const socket = Net.connect(Number(new URL(url).port), "127.0.0.1").on("error", () => {})
      const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}`
      socket.pause().write(`${head}\r\ncontent-type: application/json\r\nx-simulate: large\r\n\r\n${body}`)
      return socket
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

describe("a large answer", () => {
  it.live.each([0, 1])("arrives as it was, shifted by %i", (shift) =>
    Effect.gen(function*() {
      const { url } = yield* Running
      const text = yield* Effect.promise(() =>
        fetch(`${url}/v1/chat/completions`, {
          method: "POST",
          body: JSON.stringify(hello),
          headers: { "content-type": "application/json", "x-simulate": "wide" }
        }).then((response) => response.text())
      )
      assert.isTrue(text === wide(shift))
    }).pipe(Effect.provide(layer({ answers: { wide: () => new Response(wide(shift)) } }))))

  it.live("counts until its client has taken it, or has left", () =>
    Effect.gen(function*() {
      const { url } = yield* Running
      const [reader, leaver] = [yield* ask(url), yield* ask(url)]
      yield* eventually(Effect.map(kept, (bytes) => bytes === 2 * large.length))
      reader.resume()
      yield* eventually(Effect.map(kept, (bytes) => bytes === large.length))
      leaver.destroy()
      yield* eventually(Effect.map(kept, (bytes) => bytes === 0))
      assert.strictEqual((yield* memory.inspect).reading, 0)
    }).pipe(
      Effect.provide(layer({ answers: { large: () => new Response(large) } })),
      Effect.provideService(AnswerMemory.Current, memory)
    ))
})
