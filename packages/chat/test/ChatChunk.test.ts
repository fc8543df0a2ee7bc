import { ChatChunk, WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"

type Read = ReturnType<typeof ChatChunk.reader>

/** What is read, and the text that is kept. */
const seen = (read: Read, text: string) => {
  const chunk = read(text)
  return chunk instanceof WireText.Unreadable ? [chunk.detail, chunk.json] : [chunk, WireText.of(chunk)]
}

const head = "{\"id\":\"a\",\"choices\":[{\"index\":0,"
const tail = ",\"finish_reason\":null}],\"usage\":null}"

/** Ways to write a chunk around what stands for its text; some are no chunk, and some say the same twice. */
const shapes: ReadonlyArray<(raw: string) => string> = [
  (raw) => `${head}"delta":{"content":"${raw}"}${tail}`,
  (raw) => `${head}"delta":{"role":"assistant","content":"${raw}"}${tail}`,
  (raw) => `${head}"delta":{"content": "${raw}"}${tail}`,
  (raw) => `${head}"delta":{"reasoning_content":"${raw}","content":null}${tail}`,
  (raw) => `${head}"delta":{"reasoning":"${raw}"}${tail}`,
  (raw) => `${head}"delta":{"content": "a"},"meta":{"content":"${raw}"}${tail}`,
  (raw) => `${head}"delta":{"content":"${raw}","content":"b"}${tail}`,
  (raw) => `${head}"delta":{"content":"a","x\\"content":"${raw}"}${tail}`,
  (raw) => `${head}"delta":{"content":"${raw}","tool_calls":[{"index":0,"id":"b","function":{"name":"f"}}]}${tail}`,
  (raw) => `{"choices":[{"message":{"content":"${raw}"}}]}`,
  (raw) => `${head}"delta":{"content":"${raw}"},"finish_reason":"stop"}]}`,
  (raw) => `{"error":"${raw}"}`,
  (raw) => `${head}"delta":{"content":"${raw}"}}]`
]

const written = Schema.Literals([
  "",
  " a",
  "a text that is longer than twelve characters",
  "one that is so long that it is not copied in pieces, whatever it takes",
  "\\n",
  "\\\"",
  "\\u00e4",
  "\"",
  "\",\"role\":\"x",
  "\"},\"delta\":{\"content\":\"",
  "\\",
  "\n",
  "\u2028",
  "船"
])
const text = Arbitrary.schema(Schema.Struct({
  shape: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: shapes.length - 1 })),
  raw: Schema.Union([written, Schema.String])
}))
const run = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 })))

const isCalling = (text: string) => text.includes("tool_calls")

describe("ChatChunk", () => {
  describe("reader", () => {
    it.prop(
      "reads a chunk the same whatever came before it",
      {
        texts: Arbitrary.array(text, { maxLength: 12 }),
        times: Arbitrary.array(run, { minLength: 12, maxLength: 12 })
      },
      ({ texts, times }) => {
        const read = ChatChunk.reader()
        for (const [i, { raw, shape }] of texts.entries()) {
          for (let time = 0; time < (times[i] ?? 1); time++) {
            const written = shapes[shape]?.(time === 0 ? raw : `${raw}${time}`) ?? ""
            const expected = seen(ChatChunk.reader(), written)
            // What is told of a call depends on the calls before it.
            if (isCalling(written)) read(written)
            else assert.deepStrictEqual(seen(read, written), expected, written)
          }
        }
      },
      { arbitrary: { runs: 2000 } }
    )

    it.each(shapes)("takes no field of the same name for what a chunk says: shape %#", (shape) => {
      const read = ChatChunk.reader()
      for (const raw of ["a", "b", "a", "c"]) {
        const written = shape(raw)
        if (!isCalling(written)) assert.deepStrictEqual(seen(read, written), seen(ChatChunk.reader(), written))
      }
    })

    it("gives each chunk an object of its own", () => {
      const read = ChatChunk.reader()
      const [first, second, third] = ["a", "b", "c"].map((raw) => read(shapes[0]?.(raw) ?? "") as ChatChunk.ChatChunk)
      assert.notStrictEqual(second, third)
      assert.notStrictEqual(second?.choices[0], third?.choices[0])
      assert.deepStrictEqual([first, second, third].map((chunk) => chunk?.choices[0]?.delta.content), ["a", "b", "c"])
    })

    it("writes arguments that are values with all their digits", () => {
      const named = "{\"name\":\"f\",\"arguments\": {\"id\":1234567890123456789}}"
      const chunk = ChatChunk.reader()(
        `${head}"delta":{"tool_calls":[{"index":0,"id":"b","function":${named}}]}${tail}`
      )
      assert.include(JSON.stringify(chunk), JSON.stringify("{\"id\":1234567890123456789}"))
    })
  })
})
