import type { ChatCompletion, ChatModel, ChatRequest } from "@ballast/chat"
import { ChatTools, DeepSeek } from "@ballast/deepseek"
import { Simulator } from "@ballast/simulator"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Schema, Stream, Tracer } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { client } from "./support/simulated.ts"

class Closed extends Schema.TaggedError<Closed>()("Closed", { port: Schema.String }) {}

const parameters = Schema.Struct({ port: Schema.String })
const Tide = Tool.make("tide", { parameters, success: Schema.Struct({ metres: Schema.Finite }) })
const Berth = Tool.make("berth", { parameters, success: Schema.String, failure: Closed, failureMode: "return" })
const Pilot = Tool.make("pilot", { parameters, success: Schema.String, failure: Closed })
const Tools = Toolkit.make(Tide, Berth, Pilot)

const handlers = Tools.toLayer({
  tide: ({ port }) => Effect.succeed({ metres: port.length }),
  berth: ({ port }) => Effect.fail(new Closed({ port })),
  pilot: ({ port }) => Effect.fail(new Closed({ port }))
})

const request: ChatRequest.ChatRequest = {
  model: "deepseek-flash",
  messages: [{ role: "user", content: "Ask for the tide in Hamburg" }]
}

type Call = readonly [name: string, given: string]

/** A model that makes these calls round by round, and then says aye. */
const calling = (...rounds: ReadonlyArray<ReadonlyArray<Call>>) => {
  const asked: Array<ChatRequest.ChatRequest> = []
  const model: ChatModel.ChatModel<never> = {
    complete: (request) =>
      Effect.sync((): ChatCompletion.ChatCompletion => {
        asked.push(request)
        const calls = rounds[asked.length - 1] ?? []
        const tool_calls = calls.map(([name, given], index) => ({
          id: `c${index}`,
          type: "function" as const,
          function: { name, arguments: given }
        }))
        const message = calls.length === 0 ? { content: "Aye." } : { content: "", reasoning_content: "Hm.", tool_calls }
        return {
          choices: [{ message: { role: "assistant", ...message }, finish_reason: "stop" }],
          usage: { prompt_tokens: 2, completion_tokens: 1 }
        }
      }),
    stream: () => Stream.empty
  }
  const run = (options?: ChatTools.Options) =>
    Effect.flatMap(Tools, (toolkit) => ChatTools.complete(model, request, toolkit, options))
  return { asked, run }
}

const good: Call = ["tide", "{\"port\":\"Hamburg\"}"]

describe("ChatTools", () => {
  it.effect("hands calls to their handlers until the model answers in text", () =>
    Effect.gen(function*() {
      const { asked, run } = calling([good, ["tide", "{\"port\":\"Kiel\"}"]])
      const answer = yield* run()
      assert.deepStrictEqual([answer.rounds, answer.usage], [2, { prompt_tokens: 4, completion_tokens: 2 }])
      assert.deepStrictEqual<unknown>(answer.messages.slice(2), [
        { role: "tool", tool_call_id: "c0", content: "{\"metres\":7}" },
        { role: "tool", tool_call_id: "c1", content: "{\"metres\":4}" },
        { role: "assistant", content: "Aye." }
      ])
      assert.deepInclude(asked[1]!.messages[1], { role: "assistant", reasoning_content: "Hm." })
      assert.deepStrictEqual<unknown>(asked[0]!.tools?.[0]?.function, {
        name: "tide",
        parameters: {
          type: "object",
          properties: { port: { type: "string" } },
          required: ["port"],
          additionalProperties: true
        }
      })
    }).pipe(Effect.provide(handlers)))

  it.effect("gives failures that a tool returns to the model, and fails with the others", () =>
    Effect.gen(function*() {
      const { messages } = yield* calling([["berth", "{\"port\":\"Kiel\"}"]]).run()
      assert.deepInclude(messages[2], { content: "{\"_tag\":\"Closed\",\"port\":\"Kiel\"}" })
      const error = yield* Effect.flip(calling([["pilot", "{\"port\":\"Kiel\"}"]]).run())
      assert.instanceOf(error, Closed)
    }).pipe(Effect.provide(handlers)))

  it.effect.each(
    [
      ["unknownTool", ["lock", "{}"], "There is no tool of this name, only tide, berth, pilot."],
      ["noJson", ["tide", "{\"port\":"], "The arguments are not JSON."],
      ["mismatch", ["tide", "{\"port\":3}"], "The arguments do not fit: Expected string\n  at [\"port\"]"],
      ["mismatch", ["berth", "{}"], "The arguments do not fit: Missing key\n  at [\"port\"]"]
    ] as const
  )("tells the model of a wrong call, boundedly: %s", ([issue, wrong, text]) =>
    Effect.gen(function*() {
      const { asked, run } = calling([wrong], [wrong, good])
      yield* run({ mistakes: 2 })
      assert.deepInclude(asked[1]!.messages.at(-1), { role: "tool", tool_call_id: "c0", content: text })
      const never = calling(...Array.from({ length: 10 }, () => [good, wrong]))
      const error = yield* Effect.flip(never.run({ mistakes: 2 }))
      assert.deepInclude(error, { _tag: "WrongToolCall", issue, tool: wrong[0], detail: text, arguments: wrong[1] })
      assert.strictEqual(never.asked.length, 3)
    }).pipe(Effect.provide(handlers)))

  it.effect("counts mistakes in a row only", () =>
    Effect.gen(function*() {
      const wrong: Call = ["tide", "x"]
      assert.strictEqual((yield* calling([wrong], [good], [wrong], [good]).run({ mistakes: 1 })).rounds, 5)
    }).pipe(Effect.provide(handlers)))

  it.effect("ends after so many rounds", () =>
    Effect.gen(function*() {
      const { asked, run } = calling(...Array.from({ length: 10 }, () => [good]))
      const error = yield* Effect.flip(run({ rounds: 3 }))
      assert.strictEqual(error.message, "The model still calls tools after 3 rounds")
      assert.strictEqual(asked.length, 3)
    }).pipe(Effect.provide(handlers)))

  it.effect("forces a call in the first round alone", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const forced: ChatModel.ChatModel<never> = {
        complete: (request) =>
          Effect.sync((): ChatCompletion.ChatCompletion => {
            seen.push(request.tool_choice)
            const tool_calls = [{ id: "c", type: "function" as const, function: { name: good[0], arguments: good[1] } }]
            return {
              choices: [{ message: { role: "assistant", ...(seen.length === 1 ? { tool_calls } : { content: "x" }) } }]
            }
          }),
        stream: () => Stream.empty
      }
      yield* ChatTools.complete(forced, { ...request, tool_choice: "required" }, yield* Tools)
      assert.deepStrictEqual(seen, ["required", undefined])
    }).pipe(Effect.provide(handlers)))

  it.effect("runs the handlers of a round at the same time, and interrupts them", () =>
    Effect.gen(function*() {
      const both = yield* Deferred.make<void>()
      let running = 0
      let interrupted = 0
      const wait = Effect.gen(function*() {
        if (++running === 2) yield* Deferred.succeed(both, undefined)
        return yield* Effect.never
      }).pipe(Effect.onInterrupt(() => Effect.sync(() => interrupted++)))
      const layer = Tools.toLayer({ tide: () => wait, berth: () => wait, pilot: () => wait })
      const fiber = yield* Effect.forkChild(Effect.provide(calling([good, good]).run(), layer))
      yield* Deferred.await(both)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(interrupted, 2)
    }))

  it.effect("has a span for each handler, without what it was given", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({ span: (options) => (spans.push(new Tracer.NativeSpan(options)), spans.at(-1)!) })
      yield* Effect.provideService(calling([good]).run(), Tracer.Tracer, tracer)
      const span = spans.find(({ name }) => name === "execute_tool tide")
      assert.deepStrictEqual(span && [...span.attributes.keys()], [
        "gen_ai.operation.name",
        "gen_ai.tool.name",
        "gen_ai.tool.call.id"
      ])
    }).pipe(Effect.provide(handlers)))

  it("refuses options out of their bounds", () => {
    const model = calling()
    for (const options of [{ rounds: 0 }, { mistakes: -1 }]) {
      assert.throws(() => Effect.runSync(Effect.provide(model.run(options), handlers)), /must be a whole number/)
    }
  })

  for (const model of ["deepseek-flash", "deepseek-v4-pro"]) {
    it.effect(`passes 20 rounds of thinking and tools through the strict replay check: ${model}`, () =>
      Effect.gen(function*() {
        const service = yield* DeepSeek.DeepSeek
        const toolkit = yield* Tools
        const { messages, rounds } = yield* ChatTools.complete(service, { ...request, model }, toolkit)
        assert.strictEqual(rounds, 20)
        const turns = messages.filter((message) => message.role === "assistant")
        assert.isTrue(
          turns.every(({ reasoning_content }) => typeof reasoning_content === "string" && reasoning_content !== "")
        )
        const events = yield* Stream.runCollect(
          ChatTools.stream(service, { ...request, model, messages: [...messages, ...request.messages] }, toolkit)
        )
        assert.strictEqual(events.filter(({ _tag }) => _tag === "Call").length, 1)
        const last = events.at(-1)
        assert.isTrue(last?._tag === "Answer" && last.rounds === 2)
        assert.deepStrictEqual((yield* (yield* Simulator.Simulator).inspect).statuses, { 200: 22 })
      }).pipe(Effect.provide([
        handlers,
        client({
          replayCheck: "documented",
          plan: [{ nth: [1, 19], fault: { calls: 1 } }]
        })
      ])))
  }

  it.effect("puts arguments right that are no JSON, over the service", () =>
    Effect.gen(function*() {
      const { messages, rounds } = yield* ChatTools.complete(yield* DeepSeek.DeepSeek, request, yield* Tools)
      assert.strictEqual(rounds, 3)
      assert.deepInclude(messages[2], { content: "The arguments are not JSON." })
    }).pipe(Effect.provide([
      handlers,
      client({ plan: [{ nth: 1, fault: { brokenArguments: true } }, { nth: 2, fault: { calls: 1 } }] })
    ])))
})
