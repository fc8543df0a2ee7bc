import type { ChatChunk, ChatCompletion, ChatModel, ChatRequest } from "@ballast/chat"
import { ChatObject, DeepSeek } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { client } from "./support/simulated.ts"

class Ticket extends Schema.Class<Ticket>("Ticket")({
  category: Schema.Literals(["billing", "bug", "question", "other"]),
  urgency: Schema.Literals(["low", "normal", "high"]),
  summary: Schema.NonEmptyString.annotate({ description: "one sentence" })
}) {}

interface Tree {
  readonly name: string
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Codec<Tree> = Schema.Struct({
  name: Schema.String,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
}).annotate({ identifier: "Tree" })

const Money = Schema.Struct({ amount: Schema.Finite, currency: Schema.Literals(["EUR", "USD", "CNY"]) })
const Address = Schema.Struct({ street: Schema.String, city: Schema.String, zip: Schema.optionalKey(Schema.String) })

/** Thirty schemas of the kinds that programs use. */
const schemas: Record<string, Schema.Codec<unknown, unknown>> = {
  text: Schema.String,
  number: Schema.Finite,
  integer: Schema.Int,
  boolean: Schema.Boolean,
  literal: Schema.Literals(["yes", "no"]),
  "list of texts": Schema.Array(Schema.String),
  "list that is not empty": Schema.NonEmptyArray(Schema.Int),
  "list of objects": Schema.Array(Money),
  "empty object": Schema.Struct({}),
  "flat object": Schema.Struct({ name: Schema.String, age: Schema.Int }),
  class: Ticket,
  nested: Schema.Struct({ user: Schema.Struct({ name: Schema.String, address: Address }), total: Money }),
  "optional key": Schema.Struct({ name: Schema.String, nick: Schema.optionalKey(Schema.String) }),
  "optional value": Schema.Struct({ name: Schema.String, nick: Schema.optional(Schema.String) }),
  nullable: Schema.Struct({ name: Schema.NullOr(Schema.String) }),
  "union of objects": Schema.Union([
    Schema.Struct({ _tag: Schema.tag("Circle"), radius: Schema.Finite }),
    Schema.Struct({ _tag: Schema.tag("Square"), side: Schema.Finite })
  ]),
  "union of scalars": Schema.Struct({ id: Schema.Union([Schema.Int, Schema.String]) }),
  "list of a union": Schema.Array(Schema.Union([
    Schema.Struct({ kind: Schema.Literal("text"), text: Schema.String }),
    Schema.Struct({ kind: Schema.Literal("image"), url: Schema.String })
  ])),
  record: Schema.Record(Schema.String, Schema.Finite),
  "record in an object": Schema.Struct({ scores: Schema.Record(Schema.String, Schema.Int) }),
  recursive: Tree,
  "recursive in an object": Schema.Struct({ root: Tree }),
  "number with bounds": Schema.Struct({ share: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })) }),
  "text with bounds": Schema.Struct({ code: Schema.String.check(Schema.isMinLength(2), Schema.isMaxLength(40)) }),
  "list with bounds": Schema.Struct({ tags: Schema.Array(Schema.String).check(Schema.isMaxLength(10)) }),
  branded: Schema.Struct({ id: Schema.String.pipe(Schema.brand("Id")) }),
  "field of another name": Schema.Struct({ userName: Schema.String }).pipe(
    Schema.encodeKeys({ userName: "user_name" })
  ),
  "number in a text": Schema.Struct({ note: Schema.String, tuple: Schema.Array(Schema.Finite) }),
  deep: Schema.Struct({ a: Schema.Struct({ b: Schema.Struct({ c: Schema.Struct({ d: Schema.Array(Money) }) }) }) }),
  "many fields": Schema.Struct(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`field_${i}`, Schema.String])))
}

const ask = (model: string, more: object = {}): ChatRequest.ChatRequest => ({
  model,
  messages: [{ role: "user", content: "What do you know of the harbour?" }],
  ...more
})
const silent = { thinking: { type: "disabled" } }

interface Said {
  readonly content?: string
  readonly arguments?: string
  readonly finish?: string
}

/** A model that gives one answer after the other, and remembers what it was asked. */
const saying = (...answers: ReadonlyArray<Said>) => {
  const asked: Array<ChatRequest.ChatRequest> = []
  const next = (request: ChatRequest.ChatRequest): ChatCompletion.ChatCompletion => {
    asked.push(request)
    const { arguments: given, content = "", finish = "stop" } = answers[Math.min(asked.length, answers.length) - 1] ??
      {}
    const name = request.tools?.[0]?.function.name ?? ""
    return {
      choices: [{
        message: {
          role: "assistant",
          content,
          ...(given === undefined
            ? undefined
            : { tool_calls: [{ id: "c1", type: "function", function: { name, arguments: given } }] })
        },
        finish_reason: finish
      }],
      usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 }
    }
  }
  const chunk = (content: string): ChatChunk.ChatChunk => ({ choices: [{ index: 0, delta: { content } }] })
  const model: ChatModel.ChatModel<never> = {
    complete: (request) => Effect.sync(() => next(request)),
    stream: (request) =>
      Stream.suspend(() => {
        const { choices: [{ finish_reason, message }], usage } = next(request)
        const pieces = (message.content ?? "").match(/[^]{1,3}/g) ?? []
        const end: ChatChunk.ChatChunk = {
          choices: [{ delta: {}, finish_reason: finish_reason ?? null }],
          usage: usage ?? null
        }
        return Stream.rechunk(Stream.fromIterable([...pieces.map(chunk), end]), 1)
      })
  }
  return { asked, model }
}

const good = JSON.stringify({ category: "bug", urgency: "low", summary: "It leaks." })
const wrong = JSON.stringify({ category: "bug", urgency: "urgent", summary: "It leaks." })
const ticket = (model: ChatModel.ChatModel<never>, more?: object, options?: ChatObject.Options) =>
  ChatObject.complete(model, Ticket, ask("deepseek-flash", more), options)

describe("ChatObject", () => {
  for (const [name, schema] of Object.entries(schemas)) {
    it.effect(`gives a value: ${name}`, () =>
      Effect.gen(function*() {
        for (const model of ["deepseek-flash", "deepseek-v4-pro"]) {
          for (const more of [{}, silent]) {
            const value = yield* DeepSeek.object(schema, ask(model, more), { attempts: 1 })
            assert.isTrue(Schema.is(schema)(value), JSON.stringify(value))
          }
        }
      }).pipe(Effect.provide(client())))
  }

  it.effect("asks by a strict tool where the model can be made to call it, else in JSON mode", () =>
    Effect.gen(function*() {
      const way = (more: object, schema: Schema.Codec<unknown, unknown> = Ticket) => {
        const { asked, model } = saying({ content: "1" })
        return Effect.map(
          Effect.exit(ChatObject.complete(model, schema, ask("deepseek-flash", more), { attempts: 1 })),
          () => asked[0]!.response_format?.type ?? asked[0]!.tool_choice
        )
      }
      const forced = { type: "function", function: { name: "Ticket" } }
      assert.deepStrictEqual<unknown>(yield* way(silent), forced)
      assert.strictEqual(yield* way({}), "json_object")
      assert.strictEqual(
        yield* way({ ...silent, tools: [{ type: "function", function: { name: "t" } }] }),
        "json_object"
      )
      assert.strictEqual(yield* way(silent, schemas["optional key"]), "json_object")
    }))

  it.effect("puts the schema into the system message that is there", () =>
    Effect.gen(function*() {
      const { asked, model } = saying({ content: good })
      yield* ticket(model, {
        messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "It leaks" }]
      })
      assert.strictEqual(asked[0]!.messages.length, 2)
      assert.match(String(asked[0]!.messages[0].content), /^Be brief\.\n\nAnswer with one JSON object .*"urgency"/s)
    }))

  it.effect("reads JSON in a fence", () =>
    Effect.gen(function*() {
      const { model } = saying({ content: `\`\`\`json\n${good}\n\`\`\`` })
      assert.deepStrictEqual((yield* ticket(model)).value, new Ticket(JSON.parse(good)))
    }))

  it.effect("asks again after an empty answer, with the same request", () =>
    Effect.gen(function*() {
      const { asked, model } = saying({}, { content: "  \n" }, { content: good })
      const answer = yield* ticket(model)
      assert.strictEqual(answer.attempts, 3)
      assert.deepStrictEqual(answer.usage, { prompt_tokens: 30, completion_tokens: 15, total_tokens: 45 })
      assert.deepStrictEqual(asked[2], asked[0])
    }))

  it.effect("asks again after a cut one, with twice the room", () =>
    Effect.gen(function*() {
      const cut = { content: good.slice(0, 20), finish: "length" }
      const { asked, model } = saying(cut, cut, { content: good })
      yield* ticket(model, { max_tokens: 100 })
      assert.deepStrictEqual(asked.map(({ max_tokens }) => max_tokens), [100, 200, 400])
      const usual = saying(cut, { content: good })
      yield* ticket(usual.model)
      assert.strictEqual(usual.asked[1]!.max_tokens, 131_072)
    }))

  it.effect("tells the model what does not fit", () =>
    Effect.gen(function*() {
      const { asked, model } = saying({ content: "Sure!" }, { content: wrong }, { content: good })
      yield* ticket(model)
      assert.deepStrictEqual<unknown>(asked[2]!.messages.slice(-4), [
        { role: "assistant", content: "Sure!" },
        { role: "user", content: "The answer is not JSON.\nGive the whole answer again." },
        { role: "assistant", content: wrong },
        {
          role: "user",
          content:
            "The answer does not fit the schema at urgency: Expected \"low\" | \"normal\" | \"high\", got \"urgent\"\n" +
            "Give the whole answer again."
        }
      ])
    }))

  it.effect("tells it as the result of the call, where it was asked by a tool", () =>
    Effect.gen(function*() {
      const { asked, model } = saying({ arguments: wrong }, { arguments: good })
      yield* ticket(model, silent)
      assert.deepInclude(asked[1]!.messages.at(-1), { role: "tool", tool_call_id: "c1" })
    }))

  it.effect("fails with the path that was not met, and what came instead", () =>
    Effect.gen(function*() {
      const lists = Schema.Struct({ rows: Schema.Array(Schema.Struct({ n: Schema.Int })) })
      const { asked, model } = saying({ content: "{\"rows\":[{\"n\":1},{\"n\":\"two\"}]}" })
      const error = yield* Effect.flip(ChatObject.complete(model, lists, ask("deepseek-flash")))
      assert.deepInclude(error, { issue: "mismatch", path: "rows[1].n", actual: "\"two\"", attempts: 3 })
      assert.match(
        error.message,
        /^The model's answer does not fit at rows\[1\]\.n: .*, got "two" \(the last of 3 answers\)$/
      )
      assert.strictEqual(asked.length, 3)
    }))

  it.effect.each(
    [
      ["empty", {}],
      ["cut", { content: "{", finish: "length" }],
      ["noJson", { content: "Sure!" }],
      ["filtered", { finish: "content_filter" }]
    ] as const
  )("fails with %s", ([issue, said]) =>
    Effect.gen(function*() {
      const { asked, model } = saying(said)
      const error = yield* Effect.flip(ticket(model, {}, { attempts: 2 }))
      assert.deepInclude(error, { issue, attempts: issue === "filtered" ? 1 : 2 })
      assert.strictEqual(asked.length, error.attempts)
    }))

  it("refuses attempts that are no count", () => {
    assert.throws(() => Effect.runSync(ticket(saying().model, {}, { attempts: 0 })), /attempts must be a whole number/)
  })

  describe("stream", () => {
    const parts = (model: ChatModel.ChatModel<never>) =>
      Effect.map(Stream.runCollect(ChatObject.stream(model, Ticket, ask("deepseek-flash"))), (all) => ({
        partial: all.flatMap((part) => part._tag === "Partial" ? [part.value] : []),
        whole: all.flatMap((part) => part._tag === "Whole" ? [part] : [])
      }))

    it.effect("gives the value as it comes, and then whole", () =>
      Effect.gen(function*() {
        const { partial, whole } = yield* parts(saying({ content: good }).model)
        assert.deepStrictEqual<unknown>(partial[0], {})
        assert.deepStrictEqual<unknown>(partial.at(-1), JSON.parse(good))
        assert.isTrue(partial.some(({ summary }) => summary !== undefined && summary.length < 9))
        assert.deepStrictEqual(whole.map(({ attempts, value }) => [attempts, value]), [[
          1,
          new Ticket(JSON.parse(good))
        ]])
      }))

    it.effect("begins anew when an answer is asked for again", () =>
      Effect.gen(function*() {
        const { partial, whole } = yield* parts(saying({ content: wrong }, {}, { content: good }).model)
        assert.strictEqual(partial.filter((value) => Object.keys(value).length === 0).length, 2)
        assert.deepInclude(whole[0], {
          attempts: 3,
          usage: { prompt_tokens: 30, completion_tokens: 15, total_tokens: 45 }
        })
      }))

    it.effect("reads tool calls too, on both models", () =>
      Effect.gen(function*() {
        for (const model of ["deepseek-flash", "deepseek-v4-pro"]) {
          for (const more of [{}, silent]) {
            const all = yield* Stream.runCollect(DeepSeek.objectStream(Ticket, ask(model, more)))
            assert.isAtLeast(all.length, 2)
            const last = all.at(-1)
            assert.isTrue(last?._tag === "Whole" && Schema.is(Ticket)(last.value))
          }
        }
      }).pipe(Effect.provide(client())))

    it.effect("is linear in the answer", () =>
      Effect.gen(function*() {
        const rows = JSON.stringify({ rows: Array.from({ length: 3_000 }, (_, n) => ({ n })) })
        const schema = Schema.Struct({ rows: Schema.Array(Schema.Struct({ n: Schema.Int })) })
        const { model } = saying({ content: rows })
        const count = yield* Stream.runCount(ChatObject.stream(model, schema, ask("deepseek-flash")))
        assert.isBelow(count, 1_000)
      }))
  })
})
