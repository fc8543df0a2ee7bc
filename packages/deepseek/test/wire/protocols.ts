/** Answers of Responses and of text completions, changed as broken networks and services change them. */
import { ChatError, type ChatRequest, Completions, ResponsesChat } from "@ballast/chat"
import { Provider, Source } from "@ballast/deepseek"
import { assert } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import { HttpClient } from "effect/http"
import { numbers } from "../../../../test/support/numbers.ts"
import { apiKey } from "../support/client.ts"
import { answering, kinds, mutate } from "./mutations.ts"

const model = "deepseek-flash"
const usage = { input_tokens: 9, input_tokens_details: { cached_tokens: 1 }, output_tokens: 5, total_tokens: 14 }
const message = { type: "message", id: "m", role: "assistant", content: [{ type: "output_text", text: "Hello 船" }] }
const call = { type: "function_call", id: "f", call_id: "c", name: "weather", arguments: "{\"city\":\"Paris\"}" }
const patch = { type: "custom_tool_call", id: "p", call_id: "d", name: "apply_patch", input: "*** \"x\"\n" }
const reasoning = { type: "reasoning", id: "r", summary: [], content: [{ type: "reasoning_text", text: "Hmm" }] }
const response = { id: "resp_1", object: "response", created_at: 1, model, status: "in_progress", output: [] }
const whole = { ...response, status: "completed", output: [reasoning, message, call, patch], usage }

const said: ReadonlyArray<{ readonly type: string; readonly [field: string]: unknown }> = [
  { type: "response.created", response },
  { type: "response.in_progress", response },
  { type: "response.output_item.added", output_index: 0, item: { ...reasoning, content: [] } },
  { type: "response.reasoning_text.delta", item_id: "r", output_index: 0, content_index: 0, delta: "Hmm" },
  { type: "response.output_item.done", output_index: 0, item: reasoning },
  { type: "response.output_item.added", output_index: 1, item: { ...message, content: [] } },
  { type: "response.output_text.delta", item_id: "m", output_index: 1, content_index: 0, delta: "Hello " },
  { type: "response.output_text.delta", item_id: "m", output_index: 1, content_index: 0, delta: "船" },
  { type: "response.output_item.added", output_index: 2, item: { ...call, arguments: "" } },
  { type: "response.function_call_arguments.delta", item_id: "f", output_index: 2, delta: call.arguments },
  { type: "response.output_item.added", output_index: 3, item: { ...patch, input: "" } },
  { type: "response.custom_tool_call_input.delta", item_id: "p", output_index: 3, delta: patch.input },
  { type: "response.output_item.done", output_index: 3, item: patch },
  { type: "response.completed", response: whole }
] as const

const choice = (text: string, finish_reason: string | null) => ({
  id: "cmpl",
  object: "text_completion",
  created: 1,
  model,
  choices: [{ index: 0, text, finish_reason, logprobs: { tokens: [text], token_logprobs: [-0.1] } }],
  ...(finish_reason === null ? undefined : { usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 } })
})

const encode = (text: string) => new TextEncoder().encode(text)

const named = said.map((event, sequence_number) =>
  `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number })}\n\n`
)

interface Shape {
  readonly request: ChatRequest.ChatRequest
  readonly bytes: ReadonlyArray<Uint8Array>
}

const shapes: ReadonlyArray<Shape> = [
  {
    request: ResponsesChat.attach({ model, input: "Hi" }),
    bytes: [encode(named.join("")), encode(JSON.stringify(whole)), encode(JSON.stringify(whole, undefined, 1))]
  },
  {
    request: Completions.attach({ model, prompt: "a" }),
    bytes: [
      encode(
        [choice("b", null), choice("c", null), choice("", "stop")].map((one) => `data: ${JSON.stringify(one)}\n\n`)
          .join("") + "data: [DONE]\n\n"
      ),
      encode(JSON.stringify(choice("bc", "stop")))
    ]
  }
]

/** Runs calls on changed answers, and tells how they ended. A defect, or an end without a finish reason, fails. */
export const run = Effect.fnUntraced(function*(runs: number, seed: number) {
  const random = numbers(seed)
  let bytes: Uint8Array = new Uint8Array()
  const source = yield* Effect.provideService(
    Source.make({ provider: Provider.deepSeek, apiKey }),
    HttpClient.HttpClient,
    answering(() => bytes, random)
  )
  const outcomes: Record<string, number> = {}
  const count = (name: string) => outcomes[name] = (outcomes[name] ?? 0) + 1
  for (let index = 0; index < runs; index++) {
    const { bytes: all, request } = shapes[random(shapes.length)]!
    bytes = all[random(all.length)]!
    for (let changes = random(4); changes > 0; changes--) {
      bytes = mutate(bytes, kinds[random(kinds.length)]!, random(1_000_000))
    }
    const writer = ResponsesChat.writer({ model })
    // What is read is also written on, as a gateway does.
    const write = Stream.runForEach(source.stream(request), (chunk) => Effect.sync(() => void writer.chunk(chunk)))
    const call: Effect.Effect<unknown, ChatError.ChatError> = random(3) === 0
      ? source.complete(request)
      : Effect.andThen(write, Effect.sync(writer.end))
    const exit = yield* Effect.exit(call)
    if (Exit.isSuccess(exit)) {
      count("answer")
      continue
    }
    const [reason, ...more] = exit.cause.reasons
    assert.isEmpty(more)
    if (reason?._tag !== "Fail" || !ChatError.isChatError(reason.error)) {
      assert.fail(`${String(exit.cause)} of ${new TextDecoder().decode(bytes)}`)
    }
    count(reason.error.reason._tag)
  }
  for (const name of ["answer", "StreamTruncated", "MalformedBody"]) {
    assert.isAbove(outcomes[name] ?? 0, runs / 100, name)
  }
})
