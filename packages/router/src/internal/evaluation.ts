import * as SameMeaning from "../SameMeaning.ts"

/**
 * Two questions, and whether the answer of one answers the other.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pair {
  readonly a: string
  readonly b: string
  readonly same: boolean
  readonly kind?: string | undefined
}

/**
 * Answers that are given to other questions, and answers that are not given though they could be.
 *
 * @category models
 * @since 0.1.0
 */
export interface Errors {
  readonly falseHits: number
  readonly misses: number
}

/**
 * What thresholds bring on pairs of questions, with the guard of `SameMeaning` and without it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Evaluation {
  /** How many pairs mean the same, and how many do not. */
  readonly same: number
  readonly different: number
  /** That in force. */
  readonly threshold: number
  readonly thresholds: ReadonlyArray<{
    readonly threshold: number
    readonly bare: Errors
    readonly guarded: Errors
  }>
  /** What goes wrong at the threshold in force, with the guard. */
  readonly wrong: ReadonlyArray<
    Pair & { readonly similarity: number; readonly differences: ReadonlyArray<SameMeaning.Difference> }
  >
}

/** A pair with what the cache goes by. */
interface Judged extends Pair {
  readonly similarity: number
  readonly differences: ReadonlyArray<SameMeaning.Difference>
}

export const judge = (pair: Pair, similarity: number): Judged => ({
  ...pair,
  similarity,
  differences: SameMeaning.differences(SameMeaning.of(pair.a), SameMeaning.of(pair.b))
})

/** How often an answer is given to another question, and how often it is not given though it could be. */
export const count = (judged: ReadonlyArray<Judged>, threshold: number, guarded: boolean) => {
  const served = judged.filter(({ differences, similarity }) =>
    similarity >= threshold && !(guarded && differences.length > 0)
  )
  const right = served.filter(({ same }) => same).length
  return { falseHits: served.length - right, misses: judged.filter(({ same }) => same).length - right }
}

/** What is wrong with the guard at a threshold. */
export const wrongAt = (judged: ReadonlyArray<Judged>, threshold: number): ReadonlyArray<Judged> =>
  judged.filter(({ differences, same, similarity }) => same !== (similarity >= threshold && differences.length === 0))

const thresholds = [0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99]

/** The thresholds with what they bring, and what goes wrong at the one in force. */
export const of = (judged: ReadonlyArray<Judged>, threshold: number): Evaluation => ({
  same: judged.filter(({ same }) => same).length,
  different: judged.filter(({ same }) => !same).length,
  threshold,
  thresholds: [...new Set([...thresholds, threshold])].sort((a, b) => a - b).map((threshold) => ({
    threshold,
    bare: count(judged, threshold, false),
    guarded: count(judged, threshold, true)
  })),
  wrong: wrongAt(judged, threshold)
})
