/**
 * Web search, without a model: results for a query, ranked.
 *
 * The query takes the operators `site:`, `-site:`, `"a phrase"`, `-word`, `lang:`, `after:` and `before:`. A search that finds something is
 * billed; one that fails or finds nothing is free. An account may make a few searches a second; past that the service answers
 * `RateLimited`, which is retried.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { nullable } from "./internal/nullable.ts"
import { isLonger } from "./internal/unfit.ts"

/**
 * What to search for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  /** 1 to 128 characters. */
  readonly query: string
  /** How many results at most, from 1 to 50. Default 10. */
  readonly count?: number | null
  /** The question that the query was made from, which helps to rank; 1 to 128 characters. Default none. */
  readonly ori_question?: string | null
  /** The IP address of whom it is for: results from there come first. Default none. */
  readonly localization?: string | null
  /** Whether results have the text of their page. Default `false`. */
  readonly need_content?: boolean | null
}

/**
 * One result. `rerank_score`, from 0 to 3, says how well it fits; `authority`, from −1 to 4, how much its site is worth; `content` is filled
 * on demand only.
 *
 * @category models
 * @since 0.1.0
 */
export const Result = Schema.Struct({
  title: nullable(Schema.String),
  url: Schema.String,
  snippet: nullable(Schema.String),
  summary: nullable(Schema.String),
  content: nullable(Schema.String),
  rerank_score: nullable(Schema.Finite),
  authority: nullable(Schema.Finite),
  date: nullable(Schema.String),
  site_name: nullable(Schema.String),
  site_icon: nullable(Schema.String)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Result = typeof Result.Type

/**
 * @category models
 * @since 0.1.0
 */
export const Results = Schema.Struct({ results: Schema.Array(Result) })

/**
 * @category models
 * @since 0.1.0
 */
export type Results = typeof Results.Type

/**
 * The service's limits.
 *
 * @category constants
 * @since 0.1.0
 */
export const limits = { characters: 128, count: 50 } as const

/**
 * What of a request the service would refuse, by the field; undefined when nothing.
 *
 * @category checks
 * @since 0.1.0
 */
export const problem = ({ count, ori_question, query }: Request): string | undefined => {
  for (const [name, text] of Object.entries({ query, ori_question })) {
    if (text != null && (text === "" || isLonger(text, limits.characters))) {
      return `\`${name}\` must have 1 to ${limits.characters} characters, got ${text.length}`
    }
  }
  return count == null || Number.isInteger(count) && count >= 1 && count <= limits.count
    ? undefined
    : `\`count\` must be a whole number from 1 to ${limits.count}, got ${count}`
}
