/**
 * Where a call went, for the program that started it. Whoever wants to know puts a fresh record around the call; the router writes to it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/**
 * The place that was asked last, and how many were left before. Mutable: it is written to while the call runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface RouteInfo {
  provider: string | undefined
  account: string | undefined
  /** The model as the provider names it. */
  model: string | undefined
  /** The arm of an A/B split, when it has a name. */
  arm: string | undefined
  /** Places that the call left after a failure. */
  failovers: number
  /** Undefined without a cache. */
  cache: Cached | undefined
}

/**
 * What a cache of answers did.
 *
 * @category models
 * @since 0.1.0
 */
export interface Cached {
  readonly state: "hit" | "miss" | "stale" | "bypass"
  /** How old the answer is, in milliseconds. */
  readonly age?: number | undefined
  /** Who gave it, where that is known: the provider, and the model as it names it. */
  readonly from?: { readonly provider: string; readonly model: string } | undefined
  /** The question that was answered, when it was not this very one. */
  readonly near?: Near | undefined
}

/**
 * A question that is as good as the one that was asked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Near {
  /** The cosine of the embeddings of both questions, at most 1. */
  readonly similarity: number
  /** The hash of the answer's key, by which it can be purged. */
  readonly hash: string
  /** Its text: content, for whom that is meant, and never for a header or a log. */
  readonly question: string
}

/**
 * Creates an empty record.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): RouteInfo => ({
  provider: undefined,
  account: undefined,
  model: undefined,
  arm: undefined,
  failovers: 0,
  cache: undefined
})

/**
 * The record of the call at hand. Default none.
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<RouteInfo | undefined> = Context.Reference(
  "@ballast/router/RouteInfo/Current",
  { defaultValue: (): RouteInfo | undefined => undefined }
)
