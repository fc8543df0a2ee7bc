import { assert, describe, layer } from "@effect/vitest"
import { Arbitrary, Effect, Schema } from "effect"
import { shapes } from "../../../deepseek/test/wire/shapes.ts"
import { wholes } from "../../../deepseek/test/wire/wholes.ts"
import { hello, layer as gateway, post, Running } from "../harness.ts"

const chat = "/v1/chat/completions"

/** Fields that no answer needs: beside the choices, and in each of them. */
const unused = ["id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "citations"]
const unusedInChoice = ["logprobs", "matched_stop", "content_filter_results"]

const Change = Schema.Literals(["missing", "null", "odd", "kept", "twice"])
type Change = typeof Change.Type

/** Values of every type, as text: JSON.parse would round some of them. */
const odd = Arbitrary.schema(Schema.Union([
  Schema.Literals(["12345678901234567890", "-0.10", "1e400", "\"\\u0041\"", "[ ]", "{\"a\" :{}}", "true"]),
  Schema.Json
])).pipe(Arbitrary.map((value) => typeof value === "string" && isText(value) ? value : JSON.stringify(value)))

const isText = (value: string): boolean => {
  try {
    JSON.parse(value)
    return true
  } catch {
    return false
  }
}

/** The JSON of an object whose named fields are removed, nulled, retyped or multiplied. */
const varied = (json: object, names: ReadonlyArray<string>, how: ReadonlyArray<Change>, odd: string): string => {
  const fields = new Map(Object.entries(json).map(([name, value]) => [name, textOf(value, how, odd)]))
  const repeated: Array<string> = []
  for (const [i, name] of names.entries()) {
    const change = how[i % how.length]
    if (change === "missing") fields.delete(name)
    else if (change === "null") fields.set(name, "null")
    else if (change === "odd") fields.set(name, odd)
    else if (change === "twice" && fields.has(name)) repeated.push(`"${name}": ${odd}`)
  }
  return `{${[...repeated, ...Array.from(fields, ([name, text]) => `"${name}":${text}`)].join(",")}}`
}

const textOf = (value: unknown, how: ReadonlyArray<Change>, odd: string): string =>
  Array.isArray(value) && value.every((item) => typeof item === "object" && item !== null && "index" in item)
    ? `[${value.map((choice) => varied(choice, unusedInChoice, how, odd)).join(", ")}]`
    : JSON.stringify(value)

const changes = Arbitrary.array(Arbitrary.schema(Change), { minLength: 8, maxLength: 8 })
const place = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })))

let body = ""
const answers = {
  whole: () => new Response(body, { headers: { "content-type": "application/json" } }),
  stream: () => new Response(body, { headers: { "content-type": "text/event-stream" } })
}

describe("an answer with any subset of its unused fields removed, nulled, retyped or multiplied", () => {
  layer(gateway({ answers }), { excludeTestServices: true })((it) => {
    const kept = <A extends { readonly kept?: boolean }>(all: ReadonlyArray<A>) =>
      all.filter((one) => one.kept !== false)
    const pick = <A>(all: ReadonlyArray<A>, place: number): A => all[place % all.length]!

    it.effect.prop(
      "reaches the client byte for byte, whole",
      { how: changes, odd, place },
      ({ how, odd, place }) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          body = varied(pick(kept(wholes), place).json, unused, how, odd)
          const answer = yield* post(url + chat, hello, { "x-simulate": "whole" })
          assert.strictEqual(answer.text, body)
        }),
      { arbitrary: { runs: 200 }, timeout: 60_000 }
    )

    it.effect.prop(
      "reaches the client byte for byte, streamed",
      { how: changes, odd, place },
      ({ how, odd, place }) =>
        Effect.gen(function*() {
          const { url } = yield* Running
          const { events } = pick(kept(shapes), place)
          const sent = events.map((event) => `data: ${varied(event, unused, how, odd)}\n\n`).join("")
          body = `${sent}data: [DONE]\n\n`
          const asking = { ...hello, stream: true, stream_options: { include_usage: true } }
          const answer = yield* post(url + chat, asking, { "x-simulate": "stream" })
          // Whoever asks for usage is told the cost in it.
          assert.strictEqual(answer.text.replaceAll(/"cost":[\d.]+,"cost_currency":"CNY",?/g, ""), body)
        }),
      { arbitrary: { runs: 200 }, timeout: 60_000 }
    )
  })
})
