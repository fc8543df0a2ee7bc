/**
 * How one of several places is chosen for a call.
 *
 * A choice puts the candidates into an order: the first takes the call, the others stand by in this order. A candidate of weight 0 is
 * never chosen.
 *
 * | choice | order |
 * |---|---|
 * | `weighted` | at random, each first as often as its share of the weights |
 * | `byKey` | the same key has the same order, as long as the candidates are the same; over many keys the shares follow the weights |
 * | `leastLoaded` | two at random by weight, the less busy one first |
 *
 * `byKey` is weighted rendezvous hashing: a candidate that is added takes over its share of the keys and moves no others, one that leaves
 * gives its keys to the others by their weights. `weighted` is the same formula with a random number in place of the hash.
 *
 * @see {@link https://www.ietf.org/archive/id/draft-ietf-bess-weighted-hrw-00.html} for the formula
 * @see {@link https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf} The power of two choices
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { hasProperty } from "effect/Predicate"
import * as Random from "effect/Random"
import { hash } from "node:crypto"
import * as CallContext from "./CallContext.ts"
import type { Load } from "./Load.ts"

/**
 * A place that a call can go to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Candidate {
  /** Unique among the candidates. */
  readonly name: string
  /** Its share of the calls beside the other weights: zero or more. */
  readonly weight: number
  /** How busy it is; one without is never busy. */
  readonly load?: Load | undefined
}

/**
 * Orders the candidates for one call. Those of weight 0 are left out.
 *
 * @category models
 * @since 0.1.0
 */
export type Choice = <C extends Candidate>(
  candidates: ReadonlyArray<C>,
  request: ChatRequest
) => Effect.Effect<ReadonlyArray<C>>

/**
 * What ties calls together, or nothing for a call that is free.
 *
 * @category models
 * @since 0.1.0
 */
export type Key = (request: ChatRequest, call: CallContext.CallContext) => string | undefined

const contextOf = (fiber: Fiber.Fiber<unknown, unknown>): CallContext.CallContext => fiber.getRef(CallContext.Current)

const meant = <C extends Candidate>(candidates: ReadonlyArray<C>): ReadonlyArray<C> =>
  candidates.every(({ weight }) => weight > 0) ? candidates : candidates.filter(({ weight }) => weight > 0)

/** Orders by `-ln(u) / weight`, where `u` is uniform in (0, 1): the smallest is first. */
const ordered = <C extends Candidate>(candidates: ReadonlyArray<C>, uniform: (name: string) => number): Array<C> =>
  meant(candidates)
    .map((candidate) => ({ candidate, score: -Math.log(uniform(candidate.name)) / candidate.weight }))
    .sort((a, b) => a.score - b.score)
    .map(({ candidate }) => candidate)

/** Forty-eight bits of a hash, as a number in (0, 1). Node gives a text of digits in a fifth of the time that a buffer takes. */
const hashed = (key: string) => (name: string): number =>
  (Number.parseInt(hash("sha256", `${name}\n${key}`, "hex").slice(0, 12), 16) + 0.5) / 2 ** 48

/** `Random.next` may be 0, whose logarithm is infinite. */
const positive = (u: number): number => u === 0 ? Number.MIN_VALUE : u

/**
 * Chooses at random, by weight.
 *
 * @category choices
 * @since 0.1.0
 */
export const weighted: Choice = (candidates) =>
  candidates.length < 2
    ? Effect.succeed(meant(candidates))
    : Effect.map(Random.Random, (random) => ordered(candidates, () => positive(random.nextDoubleUnsafe())))

/**
 * Chooses the same candidate for the same key. A call without a key is placed as `otherwise` says, by default at random.
 *
 * @category choices
 * @since 0.1.0
 */
export const byKey = (key: Key, otherwise: Choice = weighted): Choice => (candidates, request) =>
  candidates.length < 2 ? Effect.succeed(meant(candidates)) : Effect.withFiber((fiber) => {
    const text = key(request, contextOf(fiber))
    return text === undefined
      ? otherwise(candidates, request)
      : Effect.succeed(ordered(candidates, hashed(text)))
  })

/**
 * Chooses the less busy of two that are drawn by weight.
 *
 * @category choices
 * @since 0.1.0
 */
export const leastLoaded: Choice = (candidates, request) =>
  Effect.map(weighted(candidates, request), (order) => {
    const [first, second, ...rest] = order
    if (first === undefined || second === undefined) return order
    return costOf(second) < costOf(first) ? [second, first, ...rest] : order
  })

const costOf = ({ load, weight }: Candidate): number => load === undefined ? 0 : load.cost() / weight

/**
 * The user of a request: `user`, as OpenAI's clients send it, or DeepSeek's `user_id`; without one, the client.
 *
 * @category keys
 * @since 0.1.0
 */
export const user: Key = (request, { client }) => {
  const { user_id } = request
  const named = "user" in request && typeof request.user === "string" ? request.user : user_id
  return named == null || named === "" ? client.name : `${client.name}\n${named}`
}

/**
 * The client that calls.
 *
 * @category keys
 * @since 0.1.0
 */
export const client: Key = (_, { client }) => client.name

/**
 * The value of a header.
 *
 * @category keys
 * @since 0.1.0
 */
export const header = (name: string): Key => {
  const lower = name.toLowerCase()
  return (_, { headers }) => headers[lower]
}

/** Characters of a conversation's beginning that tell it apart from others. */
const prefixLength = 16_384

/**
 * The beginning of a conversation: its messages up to the first of a user, and the tools. A conversation that goes on has the same one, so
 * it returns to the account that has its context cached.
 *
 * **Details**
 *
 * At most 16,384 characters of it count.
 *
 * @category keys
 * @since 0.1.0
 */
export const prefix: Key = (request) => {
  // A request that is only passed on may hold anything in the place of a message.
  const messages: ReadonlyArray<unknown> = request.messages
  const end = messages.findIndex((message) => hasProperty(message, "role") && message.role === "user")
  let text = request.model
  for (const message of messages.slice(0, end === -1 ? 1 : end + 1)) {
    if (text.length >= prefixLength) break
    const content = hasProperty(message, "content") ? message.content : undefined
    text += `\n${typeof content === "string" ? content : JSON.stringify(content)}`
  }
  return text.slice(0, prefixLength)
}
