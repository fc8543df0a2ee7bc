/**
 * Where answers are kept beyond one process: a store of texts by key, each for a while. Redis is one.
 *
 * A store is never worth a call: what fails or takes longer than a quarter of a second counts as not there, and is logged at `Debug`.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import * as Schema from "effect/Schema"

/**
 * Which answers are meant; what is left out does not matter.
 *
 * @category models
 * @since 0.1.0
 */
export interface Filter {
  /** Whom answers are for; of those for all, who asked first. */
  readonly client?: string | undefined
  readonly model?: string | undefined
  /** The hash of one answer's key. */
  readonly hash?: string | undefined
}

/**
 * The key of an answer.
 *
 * @category models
 * @since 0.1.0
 */
export type Key = { readonly [F in keyof Filter]-?: string }

/**
 * The name of those who share answers. No client is called so.
 *
 * @category constants
 * @since 0.1.0
 */
export const everyone = "*"

/**
 * An answer as it is kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kept {
  readonly text: string
  /** The client who asked for it first. */
  readonly asker: string
}

/**
 * The store did not remove what it was told to: answers may still be there.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotRemoved extends Schema.TaggedError<NotRemoved>()("NotRemoved", { detail: Schema.String }) {
  override get message() {
    return `Answers could not be removed from the store: ${this.detail}`
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export interface AnswerStore {
  readonly get: (key: Key) => Effect.Effect<Kept | undefined>
  readonly set: (key: Key, kept: Kept, lifetime: Duration.Duration) => Effect.Effect<void>
  /** Drops what is meant; gives how many there were. */
  readonly remove: (filter: Filter) => Effect.Effect<number, NotRemoved>
}

/** What is needed of a Redis client. */
type Client = Pick<Redis.Redis["Service"], "send">

const patience = "250 millis"

/** A store's trouble is a miss. */
const orElse = <A, B>(self: Effect.Effect<A, unknown>, otherwise: B): Effect.Effect<A | B> =>
  self.pipe(
    Effect.timeout(patience),
    Effect.catch((error) => Effect.as(Effect.logDebug("the store of answers did not answer", error), otherwise))
  )

/** What a removal waits for one command of Redis; it takes as many as there are thousands of keys. */
const removalPatience = "2 seconds"

/** Names are encoded, so that none has a character that a pattern of Redis reads. */
const part = (name: string | undefined): string => name === undefined ? "*" : Buffer.from(name).toString("base64url")

/** Before the text of an answer. */
const head = (asker: string): string => `${part(asker)}\n`

const readKept = (text: string): Kept | undefined => {
  const end = text.indexOf("\n")
  return end === -1
    ? undefined
    : { asker: Buffer.from(text.slice(0, end), "base64url").toString(), text: text.slice(end + 1) }
}

/**
 * Keeps answers in Redis, under `<prefix>:<client>:<model>:<hash>` with names in base64url; they expire there. Before the text stands who asked
 * for it, so that a removal by client reads the beginning of each answer for all.
 *
 * @category constructors
 * @since 0.1.0
 */
export const redis = (client: Client, prefix = "ballast:answer"): AnswerStore => {
  const keyOf = ({ client, hash, model }: Filter): string => `${prefix}:${part(client)}:${part(model)}:${hash ?? "*"}`
  const within = <A, E>(command: Effect.Effect<A, E>) => Effect.timeout(command, removalPatience)
  const asked = (by: string) => (key: string) =>
    Effect.map(
      within(client.send<string>("GETRANGE", key, "0", String(head(by).length - 1))),
      (text) => text === head(by)
    )
  const scan = Effect.fnUntraced(function*(
    pattern: string,
    isMeant: (key: string) => Effect.Effect<boolean, Redis.RedisError | Cause.TimeoutError> = () => Effect.succeed(true)
  ) {
    let removed = 0
    let cursor = "0"
    do {
      const [next, keys] = yield* within(
        client.send<readonly [string, ReadonlyArray<string>]>("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
      )
      const meant = yield* Effect.filter(keys, isMeant, { concurrency: 100 })
      if (meant.length > 0) removed += Number(yield* within(client.send("UNLINK", ...meant)))
      cursor = next
    } while (cursor !== "0")
    return removed
  })
  return {
    get: (key) =>
      orElse(
        Effect.map(client.send("GET", keyOf(key)), (text) => typeof text === "string" ? readKept(text) : undefined),
        undefined
      ),
    set: (key, { asker, text }, lifetime) => {
      const millis = Math.ceil(Duration.toMillis(lifetime))
      // What never becomes too old has no expiry.
      const expiry = Number.isSafeInteger(millis) ? ["PX", String(millis)] : []
      return orElse(client.send("SET", keyOf(key), head(asker) + text, ...expiry), undefined)
    },
    remove: (filter) =>
      Effect.mapError(
        Effect.timeout(
          Effect.zipWith(
            scan(keyOf(filter)),
            filter.client === undefined
              ? Effect.succeed(0)
              : scan(keyOf({ ...filter, client: everyone }), asked(filter.client)),
            (own, shared) => own + shared
          ),
          "1 minute"
        ),
        (error) => new NotRemoved({ detail: error.message })
      )
  }
}
