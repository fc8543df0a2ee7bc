/** `ballast cache`: what a cache by meaning would give, and how good its threshold is. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as AdminApi from "../../AdminApi.ts"
import { StartError } from "../../StartError.ts"
import { whyNot } from "../whyNot.ts"
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

const readPair = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Struct({ a: Schema.String, b: Schema.String, same: Schema.Boolean }))
)

/** As many as the gateway compares at once. */
const maxPairs = 500

/** Pairs of a file, one JSON object a line. */
const pairsOf = Effect.fnUntraced(function*(path: string) {
  const text = yield* Effect.flatMap(FileSystem.FileSystem, (files) => files.readFileString(path)).pipe(
    Effect.mapError((error) => new StartError({ detail: `${path} can not be read: ${whyNot(error)}.` }))
  )
  const lines = text.split("\n").map((line, i) => [line, i + 1] as const).filter(([line]) => line.trim() !== "")
  if (lines.length === 0 || lines.length > maxPairs) {
    return yield* new StartError({ detail: `${path} has ${lines.length} lines. Expected 1 to ${maxPairs} pairs.` })
  }
  return yield* Effect.forEach(lines, ([line, number]) =>
    Effect.mapError(readPair(line), () =>
      new StartError({
        detail: `${path}:${number} is no pair such as {"a": "Reset my password", "b": "New password?", "same": true}.`
      })))
})

export const evaluate = Effect.fnUntraced(function*(model: string, file: string | undefined, options: Options) {
  const pairs = file === undefined ? undefined : yield* pairsOf(file)
  yield* evaluates(options, "POST", "/cache/evaluate", { model, pairs })
})
