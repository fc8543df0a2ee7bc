/** Search and fetch: results and pages are made up. */
import * as Result from "effect/Result"
import * as Draw from "./draw.ts"
import * as Refusal from "./refusal.ts"
import { type Arrival, data, refuse, type Reply } from "./reply.ts"
import * as Serde from "./serde.ts"
import type { Settings } from "./settings.ts"
import * as Text from "./text.ts"
import * as Validate from "./validate.ts"

const lengthOf = (text: string): number => Array.from(text).length

const problem = (text: string) => Result.fail(Refusal.invalid(text))

interface Search {
  readonly query: string
  readonly count: number
  readonly needContent: boolean
}

const decodeSearch: Serde.Decoder<Search & { readonly question: string | undefined }> = (input, path) =>
  Result.gen(function*() {
    const from = yield* Serde.fields("SearchRequest")(input, path)
    const query = yield* Serde.required(from, "query", Serde.string, path)
    const count = (yield* Serde.optional(from, "count", Serde.integer, path)) ?? 10
    const question = yield* Serde.optional(from, "ori_question", Serde.string, path)
    yield* Serde.optional(from, "localization", Serde.string, path)
    const needContent = (yield* Serde.optional(from, "need_content", Serde.boolean, path)) ?? false
    return { query, count, question, needContent }
  })

const decodeFetch: Serde.Decoder<string> = (input, path) =>
  Result.flatMap(
    Serde.fields("FetchRequest")(input, path),
    (from) => Serde.required(from, "url", Serde.string, path)
  )

const check = (name: string, text: string | undefined): Result.Result<void, Refusal.Refusal> => {
  if (text === undefined) return Result.void
  const length = lengthOf(text)
  return length >= 1 && length <= 128 ? Result.void : problem(`Invalid ${name} value, its valid length is [1, 128]`)
}

/** What a search is for, without its operators. */
const subjectOf = (query: string): string => query.replace(/(?:^|\s)-?(?:site|lang|after|before):\S+/g, " ").trim()

const resultOf = (search: Search, index: number, draw: Draw.Draw) => {
  const about = Text.subject(subjectOf(search.query))
  const site = /(?:^|\s)site:(\S+)/.exec(search.query)?.[1] ?? `${draw.text(8, "abcdefghijklmnopqrstuvwxyz")}.example`
  return {
    title: Text.sentence(about, draw),
    url: `https://${site}/${index + 1}`,
    snippet: Text.sentence(about, draw),
    summary: Text.sentence(about, draw),
    content: search.needContent ? Text.answer(about, draw) : "",
    rerank_score: Number((3 - index * 3 / search.count).toFixed(3)),
    authority: draw.int(-1, 4),
    date: `2026-10-${String(draw.int(1, 30)).padStart(2, "0")}`,
    site_name: site,
    site_icon: `https://${site}/favicon.ico`
  }
}

const searched = ({ seed }: Settings, { request }: Arrival) =>
  Result.gen(function*() {
    const { question, ...search } = yield* Validate.body(new TextDecoder().decode(request.body), decodeSearch)
    yield* check("query", search.query)
    yield* check("ori_question", question)
    if (search.count < 1 || search.count > 50) return yield* problem("Invalid count value, the valid range is [1, 50]")
    const draw = Draw.make(seed, "search", search.query, search.count)
    return { results: Array.from({ length: search.count }, (_, index) => resultOf(search, index, draw)) }
  })

const fetched = ({ seed }: Settings, { request }: Arrival) =>
  Result.gen(function*() {
    const address = yield* Validate.body(new TextDecoder().decode(request.body), decodeFetch)
    const url = URL.parse(address)
    if (url === null || !/^https?:$/.test(url.protocol)) {
      return yield* problem("Invalid url value, expected an absolute http(s) URL")
    }
    if (address.length > 8_192) return yield* problem("Invalid url value, its valid length is at most 8192")
    if (url.username + url.password !== "") return yield* problem("Invalid url value, it must not have credentials")
    const draw = Draw.make(seed, "fetch", url.href)
    const about = Text.subject(url.pathname.replace(/[^\p{L}\p{N}]+/gu, " ").trim() || url.hostname)
    const title = Text.sentence(about, draw)
    return { title, content: `# ${title}\n\n${Text.answer(about, draw)}` }
  })

export const make = (settings: Settings) => {
  const answer =
    (run: (settings: Settings, arrival: Arrival) => Result.Result<unknown, Refusal.Refusal>) =>
    (arrival: Arrival): Reply =>
      Result.match(run(settings, arrival), {
        onFailure: (refusal) => refuse(refusal, arrival),
        onSuccess: (value) => data(value, arrival.fault, settings.keepAlive)
      })
  return { search: answer(searched), fetch: answer(fetched) }
}
