import { ChatError, Embeddings, Native } from "@ballast/chat"
import { Provider, Source } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import { HttpClient } from "effect/http"
import { numbers } from "../../../../test/support/numbers.ts"
import { apiKey, request } from "../support/client.ts"
import { answering, kinds, mutate } from "./mutations.ts"

const file = { id: "file-api-1", object: "file", bytes: 7, created_at: 1, filename: "a.png", purpose: "user_data" }
const balance = { currency: "CNY", total_balance: "110.00", granted_balance: "10.00", topped_up_balance: "100.00" }

/** Every call that is neither chat, Messages, Responses nor a text completion, with an answer to it. */
const lookups: ReadonlyArray<
  readonly [answer: object, call: (source: Source.Source) => Effect.Effect<unknown, ChatError.ChatError>]
> = [
  [file, ({ files }) => files.upload({ filename: "a.png", content: Stream.make(new Uint8Array([1])) })],
  [file, ({ files }) => files.get("file-api-1")],
  [
    { object: "list", data: [file, file], first_id: "a", last_id: "b", has_more: false },
    ({ files }) => files.page({ limit: 2 })
  ],
  [{ id: "file-api-1", object: "file", deleted: true }, ({ files }) => files.delete("file-api-1")],
  [
    { results: [{ title: "船", url: "https://a.example", snippet: "b", rerank_score: 2.5, authority: -1 }] },
    ({ search }) => search({ query: "ballast" })
  ],
  [{ title: "船", content: "# Ships\n\nBallast." }, ({ fetch }) => fetch({ url: "https://a.example" })],
  [
    {
      object: "list",
      data: [{ id: "deepseek-flash", object: "model", owned_by: "deepseek", context_window: 1_048_576 }]
    },
    ({ models }) => models
  ],
  [{ is_available: true, balance_infos: [balance] }, (source) => source.balance],
  [
    { input_tokens: 35 },
    (source) => source.complete(Native.attach(request, { protocol: "countTokens", body: {}, only: true }))
  ],
  [
    { object: "list", model: "m", data: [{ index: 0, embedding: [0.5, -0.25] }], usage: { prompt_tokens: 1 } },
    (source) => Embeddings.create(source, { model: "m", input: "a" })
  ]
]

const provider = { ...Provider.deepSeek, paths: { ...Provider.deepSeek.paths, embeddings: "/embeddings" } }
const runs = 20_000

describe("20,000 mutated answers of files, search, pages, lists, counts and embeddings", () => {
  it.live("are answers, or typed errors", () =>
    Effect.gen(function*() {
      const random = numbers(5)
      let bytes: Uint8Array = new Uint8Array()
      const source = yield* Effect.provideService(
        Source.make({ provider, apiKey }),
        HttpClient.HttpClient,
        answering(() => bytes, random)
      )
      const outcomes: Record<string, number> = {}
      const count = (name: string) => outcomes[name] = (outcomes[name] ?? 0) + 1
      for (let run = 0; run < runs; run++) {
        const [index, changes] = [random(lookups.length), random(4)]
        const [answer, call] = lookups[index]!
        bytes = new TextEncoder().encode(JSON.stringify(answer))
        for (let change = 0; change < changes; change++) {
          bytes = mutate(bytes, kinds[random(kinds.length)]!, random(1_000_000))
        }
        const exit = yield* Effect.exit(call(source))
        if (Exit.isSuccess(exit)) {
          count(`answer ${index}`)
          continue
        }
        const text = new TextDecoder().decode(bytes)
        assert.isAbove(changes, 0, `${exit.cause} of ${text}`)
        const [reason, ...more] = exit.cause.reasons
        assert.isEmpty(more)
        if (reason?._tag !== "Fail" || !ChatError.isChatError(reason.error)) {
          assert.fail(`${exit.cause} of ${text}`)
        }
        count(reason.error.reason._tag)
      }
      for (const name of ["MalformedBody", ...lookups.map((_, index) => `answer ${index}`)]) {
        assert.isAbove(outcomes[name] ?? 0, runs / 100, name)
      }
    }), 120_000)
})
