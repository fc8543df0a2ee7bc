import { ChatAccumulator, ChatError, Native } from "@ballast/chat"
import { Provider, Source } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { numbers } from "../../../../test/support/numbers.ts"
import { apiKey, request } from "../support/client.ts"
import { hasEnd, kinds, mutate } from "./mutations.ts"
import { shapes } from "./shapes.ts"
import { wholes } from "./wholes.ts"

const lines = (text: string) => text.split("\n").map((line) => `data: ${line}\n`).join("")
const framings: ReadonlyArray<(events: ReadonlyArray<object>) => string> = [
  (events) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("") + "data: [DONE]\n\n",
  (events) => events.map((event) => `: ping\r\n\r\ndata: ${JSON.stringify(event)}\r\n\r\n`).join(""),
  (events) => `\uFEFF${events.map((event) => `id: 1\revent: message\rdata:${JSON.stringify(event)}\r\r`).join("")}`,
  (events) => events.map((event) => `data: ${JSON.stringify(event)}\n`).join("") + "data: [DONE]\n",
  (events) => events.map((event) => `${lines(JSON.stringify(event, undefined, 1))}\n`).join(""),
  (events) => events.map((event) => `${JSON.stringify(event)}\n`).join("")
]

const texts = [
  ...shapes.flatMap(({ events }) => framings.map((framing) => framing(events))),
  ...wholes.map(({ json }) => JSON.stringify(json)),
  ...wholes.map(({ json }) => JSON.stringify(json, undefined, 2))
].map((text) => new TextEncoder().encode(text))

interface Named {
  readonly type: string
  readonly [field: string]: unknown
}

const named = (events: ReadonlyArray<Named>) =>
  events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("")

const message = {
  id: "1",
  type: "message",
  role: "assistant",
  model: "deepseek-flash",
  content: [
    { type: "thinking", thinking: "Hm", signature: "s" },
    { type: "text", text: "I look." },
    { type: "tool_use", id: "a", name: "weather", input: { city: "Rome" } }
  ],
  stop_reason: "tool_use",
  usage: { input_tokens: 3, cache_read_input_tokens: 2, output_tokens: 9 }
}
const block = (index: number, content_block: object, ...deltas: ReadonlyArray<object>): ReadonlyArray<Named> => [
  { type: "content_block_start", index, content_block },
  ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
  { type: "content_block_stop", index }
]

/** Answers in Anthropic's Messages. */
const messages = [
  JSON.stringify(message),
  named([
    { type: "message_start", message: { ...message, content: [], stop_reason: null } },
    ...block(0, { type: "thinking", thinking: "" }, { type: "thinking_delta", thinking: "Hm" }),
    ...block(1, { type: "text", text: "" }, { type: "text_delta", text: "I " }, { type: "text_delta", text: "look." }),
    ...block(
      2,
      { type: "tool_use", id: "a", name: "weather", input: {} },
      { type: "input_json_delta", partial_json: "{\"city\":" },
      { type: "input_json_delta", partial_json: "\"Rome\"}" }
    ),
    { type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 9 } },
    { type: "message_stop" }
  ])
].map((text) => new TextEncoder().encode(text))

const native = Native.attach(request, { protocol: "messages", body: { model: "deepseek-flash", messages: [] } })

const piecesOf = (bytes: Uint8Array, random: (below: number) => number): ReadonlyArray<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  for (let at = 0; at < bytes.length;) {
    const size = random(4) === 0 ? 1 + random(8) : 1 + random(2_000)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

const runs = 100_000

describe("100,000 mutated answers", () => {
  it.live("are answers with an end, or typed errors", () =>
    Effect.gen(function*() {
      const random = numbers(1)
      let bytes: Uint8Array = new Uint8Array()
      const client = HttpClient.make((request) =>
        Effect.sync(() => {
          const pieces = Stream.fromIterable(piecesOf(bytes, random))
          const stream = random(8) === 0 ? Stream.rechunk(pieces, 1) : pieces
          const response = HttpClientResponse.fromWeb(request, new Response(null))
          return Object.create(response, { stream: { value: stream } })
        })
      )
      const source = yield* Effect.provideService(
        Source.make({ provider: Provider.deepSeek, apiKey }),
        HttpClient.HttpClient,
        client
      )
      const outcomes: Record<string, number> = {}
      for (let run = 0; run < runs; run++) {
        const isNative = random(5) === 0
        const from = isNative ? messages : texts
        const asked = isNative ? native : request
        bytes = from[random(from.length)] ?? bytes
        for (let changes = 1 + random(3); changes > 0; changes--) {
          bytes = mutate(bytes, kinds[random(kinds.length)] ?? "cut", random(1_000_000))
        }
        const call = random(4) === 0
          ? source.complete(asked)
          : ChatAccumulator.collect(source.stream(asked))
        const exit = yield* Effect.exit(call)
        if (Exit.isSuccess(exit)) {
          const isWhole =
            (isNative ? /"stop_reason"|"content"/.test(new TextDecoder().decode(bytes)) : hasEnd(bytes)) &&
            exit.value !== undefined
          assert.isTrue(isWhole, new TextDecoder().decode(bytes))
          outcomes["answer"] = (outcomes["answer"] ?? 0) + 1
          continue
        }
        const [reason, ...more] = exit.cause.reasons
        assert.isEmpty(more)
        if (reason?._tag !== "Fail" || !ChatError.isChatError(reason.error)) {
          assert.fail(`${String(exit.cause)} of ${new TextDecoder().decode(bytes)}`)
        }
        outcomes[reason.error.reason._tag] = (outcomes[reason.error.reason._tag] ?? 0) + 1
      }
      // Each kind of end is met, so that the changes are neither harmless nor all fatal.
      for (const name of ["answer", "StreamTruncated", "MalformedBody"]) {
        assert.isAbove(outcomes[name] ?? 0, runs / 100, name)
      }
    }), 300_000)
})
