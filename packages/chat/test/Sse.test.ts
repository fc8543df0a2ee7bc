import { Sse } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Schema, Stream } from "effect"

const encoder = new TextEncoder()

const decode = (pieces: ReadonlyArray<Uint8Array>, options?: Sse.Options) => {
  const decoder = Sse.makeDecoder(options)
  const events: Array<string> = []
  let error: Sse.EventTooLarge | undefined
  for (const piece of pieces) error ??= decoder.feed(piece, (data) => events.push(data))
  return { events, error }
}

const decodeText = (text: string) => decode([encoder.encode(text)]).events

/** Cuts bytes at the given places, in whatever order they come. */
const split = (bytes: Uint8Array, places: ReadonlyArray<number>) => {
  const cuts = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return cuts.slice(1).map((cut, i) => bytes.subarray(cuts[i], cut))
}

const lineEnd = Schema.Literals(["\n", "\r", "\r\n"])
const line = Schema.Union([
  Schema.Literals([
    "",
    "",
    ": keep-alive",
    ":",
    "data",
    "data:",
    "id: 7",
    "event: x",
    "database: no",
    "retry: 1",
    "data:  two"
  ]),
  Schema.String
])
const place = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 })))

describe("Sse", () => {
  describe("events", () => {
    it("end with a blank line, whatever ends the lines", () => {
      for (const end of ["\n", "\r", "\r\n"]) {
        assert.deepStrictEqual(decodeText(["data: a", "", "data:b", "", "", "data: [DONE]", "", ""].join(end)), [
          "a",
          "b",
          "[DONE]"
        ])
      }
    })

    it("join their data lines", () => {
      assert.deepStrictEqual(decodeText("data: a\ndata\ndata:  b\n\n"), ["a\n\n b"])
    })

    it("leave out comments, other fields and what the end cuts off", () => {
      assert.deepStrictEqual(
        decodeText(": keep-alive\n\nevent: x\nid: 1\nretry: 5\ndatabase: no\ndata: a\n\n: keep-alive\n\ndata: cut"),
        ["a"]
      )
    })

    it("drop a byte order mark, and keep characters of several bytes", () => {
      assert.deepStrictEqual(decodeText("\uFEFFdata: 深度求索 🐳\n\n"), ["深度求索 🐳"])
    })

    it("are not confused by what looks like a line end in other alphabets", () => {
      assert.deepStrictEqual(decodeText("data: a\u2028b\u0085c\u000bd\n\n"), ["a\u2028b\u0085c\u000bd"])
    })
  })

  describe("of the standard's corners are read as it says", () => {
    const long = "x".repeat(3000)
    const corners: ReadonlyArray<readonly [name: string, text: string, events: ReadonlyArray<string>]> = [
      ["one byte order mark only", "\uFEFF\uFEFFdata: lost\n\ndata: one\n\n\uFEFFdata: lost\n\n", ["one"]],
      [
        "comments of any length and content, between any line ends",
        `data:1\r:\0\n:\r\ndata:2\n:${long}\rdata:3\n:data:no\r:${long}\r\ndata:4\n\n`,
        ["1\n2\n3\n4"]
      ],
      ["blank lines without data", "\n\n\r\r\nid: 1\n\nevent: x\n\ndata: a\n\n\n\n", ["a"]],
      ["the end before the blank line", "retry: 9\ndata: a\n\nid: 1\ndata: cut", ["a"]],
      ["the end right after the line", "data: a\n\ndata: cut\n", ["a"]],
      ["data without a value", "data:\n\ndata\ndata\n\ndata:a\n\n", ["", "\n", "a"]],
      [
        "names that are nearly data",
        "data:\0\ndata:  b\rData:no\ndata\0:no\ndata:c\r\0data:no\nda-ta:no\rdata_no\ndata:\r\n data:no\ndata:d\n\n",
        ["\0\n b\nc\n\nd"]
      ],
      ["one leading blank only, and no tab", "data:\ta\rdata: \ndata:b \n\n", ["\ta\n\nb "]],
      ["lines without a colon", "data:a\n data\ndata\nother:no\nsome text\n:comment\ndata:b\n\n", ["a\n\nb"]],
      ["colons in values", "data:: a:b\n\n", [": a:b"]],
      ["mixed line ends", "data:a\r\ndata\ndata:b\r\n\rdata:c\r\r\ndata:d\n\r\n", ["a\n\nb", "c", "d"]],
      ["numbers that are none", "retry: 1\nretry: 2x\nretry\nid: \0\ndata: a\n\n", ["a"]],
      ["letters of all sizes", "data: aä語🌊\n\ndata: \ud83c\udf0a\n\n", ["aä語🌊", "🌊"]]
    ]
    it.each(corners)("%s", (_, text, events) => {
      const bytes = encoder.encode(text)
      assert.deepStrictEqual(decode([bytes]).events, events)
      assert.deepStrictEqual(decode(Array.from(bytes, (byte) => Uint8Array.of(byte))).events, events)
    })

    it("bytes that are no UTF-8 are replaced, and cost their own character only", () => {
      const bytes = Uint8Array.from([...encoder.encode("data: a"), 0xff, 0xe4, 0xb8, ...encoder.encode("b\n\n")])
      assert.deepStrictEqual(decode([bytes]).events, ["a\ufffd\ufffdb"])
    })

    it("names are given with their events, and end with them", () => {
      const seen: Array<readonly [string, string | undefined]> = []
      const decoder = Sse.makeDecoder()
      const text =
        "event: x\ndata: a\n\ndata: b\n\nevent: y\n\ndata: c\n\nevent:\ndata: d\n\nevent: 1\nevent: 2\ndata: e\n\n"
      decoder.feed(encoder.encode(text), (data, name) => seen.push([data, name]))
      assert.deepStrictEqual(seen, [["a", "x"], ["b", undefined], ["c", undefined], ["d", undefined], ["e", "2"]])
    })
  })

  describe("splitting", () => {
    it.prop(
      "gives the same events for every split of the bytes",
      { parts: Arbitrary.array(Arbitrary.schema(Schema.Struct({ line, lineEnd }))), places: Arbitrary.array(place) },
      ({ parts, places }) => {
        const bytes = encoder.encode(parts.map(({ line, lineEnd }) => line + lineEnd).join(""))
        const whole = decode([bytes]).events
        assert.deepStrictEqual(decode(split(bytes, places)).events, whole)
        assert.deepStrictEqual(decode(Array.from(bytes, (byte) => Uint8Array.of(byte))).events, whole)
      },
      { arbitrary: { runs: 300 } }
    )

    it.prop(
      "gives back what was sent as data",
      { data: Arbitrary.array(Arbitrary.schema(Schema.String)), places: Arbitrary.array(place) },
      ({ data, places }) => {
        const sent = data.map((text) => JSON.stringify(text))
        const bytes = encoder.encode(sent.map((text) => `: keep-alive\r\n\r\ndata: ${text}\r\n\r\n`).join(""))
        assert.deepStrictEqual(decode(split(bytes, places)).events, sent)
      },
      { arbitrary: { runs: 300 } }
    )
  })

  describe("comments", () => {
    it("are told of, and are no events", () => {
      let comments = 0
      const { events } = decode([encoder.encode(": keep-alive\n\n:\n\ndata: a\n\n")], { onComment: () => comments++ })
      assert.deepStrictEqual([comments, events], [2, ["a"]])
    })
  })

  describe("limit", () => {
    const pieces = (...texts: ReadonlyArray<string>) => texts.map((text) => encoder.encode(text))

    it("lets pass what fits", () => {
      assert.isUndefined(decode(pieces("data: 1234"), { limit: 10 }).error)
    })

    it("counts a line that does not end", () => {
      assert.instanceOf(decode(pieces("data: 1", "2345"), { limit: 10 }).error, Sse.EventTooLarge)
    })

    it("counts an event that does not end", () => {
      assert.instanceOf(
        decode(pieces("data: 123\n", "data: 456\n", "data: 789\n"), { limit: 10 }).error,
        Sse.EventTooLarge
      )
    })

    it("does not add up what has ended", () => {
      const { error, events } = decode(pieces("data: 123\n\n", "data: 456\n\n", "data: 789\n\n"), { limit: 10 })
      assert.deepStrictEqual([error, events.length], [undefined, 3])
    })
  })

  describe("decode", () => {
    it.effect("gives the events of one read as one array", () =>
      Effect.gen(function*() {
        const reads = Stream.make("data: a\n\ndata: b\n\nda", "ta: c\n\n").pipe(
          Stream.rechunk(1),
          Stream.map((s) => encoder.encode(s))
        )
        const arrays: Array<ReadonlyArray<string>> = []
        yield* Stream.runForEachArray(Sse.decode()(reads), (events) => Effect.sync(() => arrays.push(events)))
        assert.deepStrictEqual(arrays, [["a", "b"], ["c"]])
      }))

    it.effect("gives what came before it fails", () =>
      Effect.gen(function*() {
        const reads = Stream.make(encoder.encode("data: a\n\ndata: too long"))
        const seen: Array<string> = []
        const error = yield* Effect.flip(
          Stream.runForEach(Sse.decode({ limit: 5 })(reads), (data) => Effect.sync(() => seen.push(data)))
        )
        assert.deepStrictEqual([seen, error], [["a"], new Sse.EventTooLarge({ limit: 5 })])
      }))
  })
})
