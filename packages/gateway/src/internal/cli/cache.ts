/** `ballast cache`: what a cache by meaning would give, and how good its threshold is. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as AdminApi from "../../AdminApi.ts"
import { StartError } from "../../StartError.ts"
import { ask, type Options } from "./adminClient.ts"
import { plain, table } from "./table.ts"

const ageOf = (millis: number): string =>
  millis < 60_000 ? `${Math.round(millis / 1000)} s` : millis < 3_600_000
    ? `${Math.round(millis / 60_000)} min`
    : `${Math.round(millis / 3_600_000)} h`

const differ = (differences: ReadonlyArray<string>): ReadonlyArray<string> =>
  differences.length === 0 ? [] : [`other ${differences.join(", ")}`]

const explains = ask(
  AdminApi.CacheExplanation,
  ({ compared, nearest, threshold }) =>
    `Compared with ${compared} answers; the threshold is ${threshold}.\n${
      nearest.length === 0 ? "" : table(
        ["similarity", "given", "why not", "client", "age", "question"],
        nearest.map(({ age, client, differences, question, served, similarity }) => [
          similarity.toFixed(4),
          served ? "yes" : "no",
          [...!served && similarity < threshold ? ["below the threshold"] : [], ...differ(differences)].join("; "),
          client === "*" ? "all" : plain(client),
          ageOf(age),
          plain(question.slice(0, 100))
        ])
      )
    }`
)

export const explain = (query: typeof AdminApi.ExplainCache.Encoded, options: Options) =>
  explains(options, "POST", "/cache/explain", query)

const evaluates = ask(AdminApi.CacheEvaluation, ({ different, same, threshold, thresholds, wrong }) => {
  const rows = thresholds.map(({ bare, guarded, threshold: at }) => [
    at === threshold ? `${at} *` : String(at),
    ...[bare.falseHits, bare.misses, guarded.falseHits, guarded.misses].map(String)
  ])
  const list = wrong.map(({ a, b, differences, same, similarity }) => [
    same ? "miss" : "false hit",
    similarity.toFixed(4),
    differ(differences).join(""),
    plain(`${a} | ${b}`)
  ])
  return `${same} pairs mean the same, ${different} do not. A false hit gives the answer of another question. * is in force.\n\n${
    table(["threshold", "false hits, bare", "misses, bare", "false hits", "misses"], rows)
  }${list.length === 0 ? "" : `\nWrong at ${threshold}:\n${table(["what", "similarity", "why", "questions"], list)}`}`
})

const readPairs = Schema.decodeUnknownEffect(
  Schema.Array(Schema.fromJsonString(Schema.Struct({ a: Schema.String, b: Schema.String, same: Schema.Boolean })))
)

/** Pairs of a file, one JSON object a line. */
const pairsOf = Effect.fnUntraced(function*(path: string) {
  const text = yield* Effect.flatMap(FileSystem.FileSystem, (files) => files.readFileString(path)).pipe(
    Effect.mapError(() => new StartError({ detail: `${path} can not be read.` }))
  )
  const lines = text.split("\n").filter((line) => line.trim() !== "")
  return yield* Effect.mapError(
    readPairs(lines),
    ({ message }) =>
      new StartError({
        detail:
          `${path} has a line that is no pair such as {"a": "Reset my password", "b": "New password?", "same": true}: ${message}`
      })
  )
})

export const evaluate = Effect.fnUntraced(function*(model: string, file: string | undefined, options: Options) {
  const pairs = file === undefined ? undefined : yield* pairsOf(file)
  yield* evaluates(options, "POST", "/cache/evaluate", { model, pairs })
})
