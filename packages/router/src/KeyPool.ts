/**
 * The accounts of one provider and their keys, as one model.
 *
 * Keys belong to accounts, since a provider limits and bills accounts. A key that the provider refuses (401, 403) is retired, and the next
 * key of its account takes its place. An account without money (402) rests. The call that found out goes on at once, to the next key or
 * account, so its caller sees nothing of it.
 *
 * | state | left when |
 * |---|---|
 * | key: usable → retired | `probe` succeeds with it, or `update` leaves the key out |
 * | account: usable → resting | `probe` succeeds with one of its keys |
 *
 * An only account never rests, and an only key is never retired: there is nothing to go on to, and the provider knows best when it
 * answers again.
 *
 * A retired key and a resting account are probed in the background, first after `probeBase`, then twice as long each time, up to
 * `probeCap`. Without a `probe` they come back by themselves after that time, and the next call finds out. When nothing is left, calls fail
 * at once, with an error that says which account is out, why and since when. No text, state or event has a key in it: keys are told by their
 * position in the account, from 1.
 *
 * @since 0.1.0
 */
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Layered from "@ballast/resilience/Layered"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Function from "effect/Function"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Choice from "./Choice.ts"
import * as Failover from "./Failover.ts"
import * as Load from "./Load.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Account {
  readonly keys: Arr.NonEmptyReadonlyArray<Redacted.Redacted>
  /** Its share of the calls beside the other weights: a finite number, zero or more. Default 1. */
  readonly weight?: number | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<E, E2> {
  /** The provider, as messages and metrics name it. */
  readonly provider: string
  readonly accounts: Readonly<Record<string, Account>>
  /** Makes the bare model of one key. It lives as long as the scope that it is made in: until the key is taken out. */
  readonly model: (account: string, key: Redacted.Redacted) => Effect.Effect<ChatModel<E>, never, Scope.Scope>
  /** Puts policies around an account, whose keys share them. It lives as long as the account. */
  readonly guard: (
    account: string,
    model: ChatModel<E | ChatError.ClientError>
  ) => Effect.Effect<ChatModel<E2>, never, Scope.Scope>
  /** Whether a key is accepted and its account has money. A failure, or no answer within 10 seconds, counts as no. Default: not asked. */
  readonly probe?: ((account: string, key: Redacted.Redacted) => Effect.Effect<boolean, unknown>) | undefined
  /** How an account is chosen. Default `Choice.weighted`. */
  readonly choice?: Choice.Choice | undefined
  /** Wait before the first probe, above zero. Default 30 seconds. */
  readonly probeBase?: Duration.Input | undefined
  /** The longest wait between two probes, at least `probeBase`. Default 10 minutes. */
  readonly probeCap?: Duration.Input | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { probeBase: "30 seconds", probeCap: "10 minutes" } as const

/** How long a probe is waited for. */
const patience = "10 seconds"

/**
 * Why a key or an account is out, since when, and when it is probed next, in Unix milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Outage {
  readonly reason: "Unauthorized" | "InsufficientBalance"
  readonly status: number
  readonly since: number
  readonly nextProbe: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface AccountState {
  readonly name: string
  readonly weight: number
  readonly inFlight: number
  readonly resting: Outage | undefined
  /** In their order; a retired key has its outage. */
  readonly keys: ReadonlyArray<Outage | undefined>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface KeyPool<E> extends ChatModel<E | ChatError.ClientError> {
  /** The model of some accounts alone. */
  readonly among: (names: ReadonlyArray<string>) => ChatModel<E | ChatError.ClientError>
  readonly inspect: Effect.Effect<ReadonlyArray<AccountState>>
  /** Replaces the accounts. What stays keeps its state; calls under way end with the key that they began with. */
  readonly update: (accounts: Readonly<Record<string, Account>>) => Effect.Effect<void>
  /** Ends all outages now, for an operator who has topped up or mended a key. */
  readonly reset: Effect.Effect<void>
}

/** Where an outage is kept: in a key, or in an account. */
interface Place {
  outage: Outage | undefined
}

interface Key<E> extends Place {
  readonly secret: Redacted.Redacted
  /** From whose errors the pool learns. */
  readonly model: ChatModel<E>
  /** Of the model. Closed once the key was taken out and its last call has ended. */
  readonly scope: Scope.Closeable
  inFlight: number
  takenOut: boolean
}

interface Entry<E, E2> extends Choice.Candidate, Place {
  weight: number
  readonly load: Load.Load
  readonly scope: Scope.Closeable
  readonly model: ChatModel<E2>
  keys: ReadonlyArray<Key<E>>
}

const usable = Metric.gauge("ballast_account_usable", {
  description: "Whether an account can take calls: 1, or 0 when it rests or all of its keys are retired"
})

const keysUsable = Metric.gauge("ballast_account_keys_usable", {
  description: "Keys of an account that the provider has not refused"
})

const isUsable = <E, E2>({ keys, outage }: Entry<E, E2>): boolean =>
  outage === undefined && keys.some((key) => key.outage === undefined)

const isRefused = (error: unknown): boolean =>
  error instanceof ChatError.ClientError && error.reason._tag === "Unauthorized"

const timeOf = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

const secondsUntil = (millis: number, now: number): number => Math.max(0, Math.ceil((millis - now) / 1000))

const describe = <E, E2>({ keys, name, outage: resting }: Entry<E, E2>, now: number): string => {
  if (resting !== undefined) {
    return `${name} has no balance (${resting.status}) since ${timeOf(resting.since)}, next look in ${
      secondsUntil(resting.nextProbe, now)
    } s`
  }
  const refused = keys.flatMap(({ outage }, index) =>
    outage === undefined ? [] : [`key ${index + 1} was refused (${outage.status}) at ${timeOf(outage.since)}`]
  )
  return `${name}: ${refused.length === 0 ? "its weight is 0" : refused.join(", ")}`
}

/**
 * Whether keys and accounts that refuse the calls of this fiber are put out of use. Default `true`; off for calls that ask a simulator for a
 * fault, which says nothing of the account.
 *
 * @category references
 * @since 0.1.0
 */
export const IsLearning: Context.Reference<boolean> = Context.Reference("@ballast/router/KeyPool/IsLearning", {
  defaultValue: () => true
})

/**
 * Makes one model of the accounts.
 *
 * **Details**
 *
 * Dies of a `RangeError` when a weight or a time is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<E, E2>(options: Options<E, E2>) {
  const { choice = Choice.weighted, guard, model, provider } = options
  const isAccepted = (account: string, { secret }: Key<E>): Effect.Effect<boolean> =>
    options.probe === undefined
      ? Effect.succeed(true)
      : Effect.orElseSucceed(Effect.timeout(options.probe(account, secret), patience), () => false)
  const base = Duration.toMillis(options.probeBase ?? defaults.probeBase)
  const cap = Duration.toMillis(options.probeCap ?? defaults.probeCap)
  if (!(base > 0 && cap >= base)) {
    throw new RangeError("KeyPool.make: probeBase must be above zero, and probeCap no shorter")
  }
  const scope = yield* Effect.scope
  const context = yield* Effect.context<never>()
  const clock = yield* Clock.Clock
  let accounts = new Map<string, Entry<E, E2>>()

  /** Shows an account's state as long as its scope lives. A pool that takes the place of this one shows the same accounts. */
  const show = (entry: Entry<E, E2>) => {
    const showing = (gauge: typeof usable, value: () => number) =>
      Effect.acquireRelease(
        Effect.sync(() =>
          Metric.registerUnsafe(Metric.withAttributes(gauge, { provider, account: entry.name }), context, {
            get: () => ({ value: value() }),
            update: Function.constVoid,
            modify: Function.constVoid
          })
        ),
        (registration) => Effect.sync(() => registration.remove())
      )
    return Effect.all([
      showing(usable, () => isUsable(entry) ? 1 : 0),
      showing(keysUsable, () => entry.keys.filter(({ outage }) => outage === undefined).length)
    ]).pipe(Scope.provide(entry.scope))
  }

  /** Puts a key or an account out of use, and probes until it is back. */
  const take = (
    entry: Entry<E, E2>,
    place: Place,
    outage: Pick<Outage, "reason" | "status">,
    words: string,
    again: Effect.Effect<boolean>
  ): Effect.Effect<void> =>
    Effect.gen(function*() {
      if (place.outage !== undefined) return
      const since = yield* Clock.currentTimeMillis
      const begun = { ...outage, since, nextProbe: since + base }
      place.outage = begun
      yield* Effect.logWarning(`${provider}: ${words}`, { provider, account: entry.name, status: outage.status })
      // Not in the trace of the call that found it out: it has ended long before.
      const recovering = recover(entry, place, begun, base, again)
      yield* Effect.forkIn(Effect.updateContext(recovering, (_: Context.Context<never>) => context), scope)
    })

  const recover = (
    entry: Entry<E, E2>,
    place: Place,
    outage: Outage,
    wait: number,
    again: Effect.Effect<boolean>
  ): Effect.Effect<void> =>
    Effect.gen(function*() {
      yield* Effect.sleep(wait)
      // Ended by hand, or replaced by an update; during the probe, too.
      if (place.outage !== outage) return
      const isBack = yield* again
      if (place.outage !== outage) return
      if (isBack) {
        place.outage = undefined
        return yield* Effect.logInfo(`${provider}: account ${entry.name} is back`, { provider, account: entry.name })
      }
      const next = Math.min(2 * wait, cap)
      const now = yield* Clock.currentTimeMillis
      const still = { ...outage, nextProbe: now + next }
      place.outage = still
      return yield* recover(entry, place, still, next, again)
    })

  const retire = (entry: Entry<E, E2>, key: Key<E>, status: number): Effect.Effect<void> =>
    take(
      entry,
      key,
      { reason: "Unauthorized", status },
      `key ${
        entry.keys.indexOf(key) + 1
      } of account ${entry.name} was refused (${status}). Replace it in the settings.`,
      isAccepted(entry.name, key)
    )

  const rest = (entry: Entry<E, E2>, status: number): Effect.Effect<void> =>
    take(
      entry,
      entry,
      { reason: "InsufficientBalance", status },
      `account ${entry.name} has no balance (${status}). Top it up.`,
      // Its keys may be others by then, and each may be one that the provider refuses.
      Effect.suspend(() =>
        Effect.map(Effect.findFirst(entry.keys, (key) => isAccepted(entry.name, key)), Option.isSome)
      )
    )

  /** Counts a key's calls, and learns from their errors. */
  const watch = (entry: Entry<E, E2>, model: ChatModel<E>, keyOf: () => Key<E>): ChatModel<E> => {
    const learn = (error: E) => Effect.flatMap(IsLearning, (isLearning) => isLearning ? note(error) : Effect.void)
    const note = (error: E): Effect.Effect<void> => {
      if (!(error instanceof ChatError.ClientError)) return Effect.void
      switch (error.reason._tag) {
        case "Unauthorized":
          return accounts.size > 1 || entry.keys.length > 1
            ? retire(entry, keyOf(), error.reason.status)
            : Effect.void
        case "InsufficientBalance":
          return accounts.size > 1 ? rest(entry, error.reason.status) : Effect.void
        default:
          return Effect.void
      }
    }
    // A fiber may be interrupted between any two steps: what takes a call off stands before it is counted.
    const counting = () => {
      let isCounted = false
      const enter = <A>(call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
        Effect.suspend(() => {
          isCounted = true
          keyOf().inFlight++
          return Effect.tapError(call, learn)
        })
      const leave = (): Effect.Effect<void> | undefined => {
        const key = keyOf()
        if (isCounted) key.inFlight--
        return key.takenOut ? closeUnused(key) : undefined
      }
      return { enter, leave }
    }
    return {
      complete: (request) =>
        Effect.suspend(() => {
          const { enter, leave } = counting()
          return Effect.onExitPrimitive(enter(model.complete(request)), leave)
        }),
      stream: (request) =>
        Layered.stream((scope) => {
          const { enter, leave } = counting()
          return Effect.andThen(
            Scope.addFinalizer(scope, Effect.suspend(() => leave() ?? Effect.void)),
            Effect.map(
              enter(Channel.toPullScoped(Stream.toChannel(model.stream(request)), scope)),
              (pull) => learning(pull, learn)
            )
          )
        })
    }
  }

  /** The usable keys of an account as one model: the next one when the first is refused. */
  const switching = (entry: () => Entry<E, E2>): ChatModel<E | ChatError.ClientError> =>
    Failover.make<E, ChatError.ClientError>(
      () => Effect.sync(() => entry().keys.filter(({ outage }) => outage === undefined).map(({ model }) => model)),
      { when: isRefused, limit: Number.MAX_SAFE_INTEGER, empty: () => out([entry()]) }
    )

  const closeUnused = (key: Key<E>): Effect.Effect<void> =>
    key.inFlight === 0 ? Scope.close(key.scope, Exit.void) : Effect.void

  const out = (entries: ReadonlyArray<Entry<E, E2>>): ChatError.ClientError => {
    const now = clock.currentTimeMillisUnsafe()
    const outages = entries.flatMap(({ keys, outage }) => [outage, ...keys.map(({ outage }) => outage)])
      .filter((outage) => outage !== undefined)
    const resting = outages.find(({ reason }) => reason === "InsufficientBalance")
    const next = Math.min(...outages.map(({ nextProbe }) => nextProbe))
    const fields = {
      status: (resting ?? outages[0])?.status ?? 503,
      detail: `No account of ${provider} can take a call: ${
        entries.map((entry) => describe(entry, now)).join("; ") || "it has no account"
      }.`,
      stated: true,
      ...(Number.isFinite(next) ? { retryAfter: Duration.millis(Math.max(0, next - now)) } : undefined)
    }
    return new ChatError.ClientError({
      reason: resting === undefined ? new ChatError.Unauthorized(fields) : new ChatError.InsufficientBalance(fields)
    })
  }

  /** The accounts that a filter lets through, as one model: the next one when one can't take the call. */
  const among = (isMeant: (name: string) => boolean): ChatModel<E2 | ChatError.ClientError> => {
    const meant = () => [...accounts.values()].filter(({ name }) => isMeant(name))
    return Failover.make<E2, ChatError.ClientError>(
      (request) => Effect.map(choice(meant().filter(isUsable), request), (order) => order.map(({ model }) => model)),
      { limit: Number.MAX_SAFE_INTEGER, empty: () => out(meant()) }
    )
  }

  const makeKey = Effect.fnUntraced(function*(entry: Entry<E, E2>, secret: Redacted.Redacted) {
    const own = yield* Scope.fork(scope)
    const made = yield* Scope.provide(model(entry.name, secret), own)
    const key: Key<E> = {
      secret,
      model: watch(entry, made, () => key),
      scope: own,
      inFlight: 0,
      takenOut: false,
      outage: undefined
    }
    return key
  })

  const makeEntry = Effect.fnUntraced(function*(name: string) {
    const own = yield* Scope.fork(scope)
    const load = Load.make()
    // The account's model asks for its keys when it is called, and not before.
    const guarded = yield* Scope.provide(guard(name, switching(() => entry)), own)
    const entry: Entry<E, E2> = {
      name,
      weight: 1,
      load,
      scope: own,
      model: load.watch(guarded),
      keys: [],
      outage: undefined
    }
    yield* show(entry)
    return entry
  })

  const update = Effect.fnUntraced(function*(given: Readonly<Record<string, Account>>) {
    const before = accounts
    const after = new Map<string, Entry<E, E2>>()
    const left = new Set([...before.values()].flatMap(({ keys }) => keys))
    for (const [name, { keys, weight = 1 }] of Object.entries(given)) {
      if (!(Number.isFinite(weight) && weight >= 0)) {
        throw new RangeError(`KeyPool: the weight of ${name} must be a finite number of zero or more, got ${weight}`)
      }
      const entry = before.get(name) ?? (yield* makeEntry(name))
      const kept = yield* Effect.forEach(keys, (secret) => {
        const same = entry.keys.find((key) => Redacted.value(key.secret) === Redacted.value(secret))
        return same === undefined ? makeKey(entry, secret) : Effect.succeed(same)
      })
      for (const key of kept) left.delete(key)
      // Other keys may be another wallet.
      const outage = kept.some((key) => entry.keys.includes(key)) ? entry.outage : undefined
      after.set(name, Object.assign(entry, { weight, keys: kept, outage }))
    }
    accounts = after
    for (const entry of before.values()) {
      if (after.has(entry.name)) continue
      yield* Scope.close(entry.scope, Exit.void)
    }
    for (const key of left) {
      key.outage = undefined
      key.takenOut = true
      yield* closeUnused(key)
    }
  })

  yield* update(options.accounts)
  const pool: KeyPool<E2> = {
    ...among(() => true),
    among: (names) => among((name) => names.includes(name)),
    inspect: Effect.sync(() =>
      Array.from(accounts.values(), ({ keys, load, name, outage: resting, weight }) => ({
        name,
        weight,
        inFlight: load.inFlight(),
        resting,
        keys: keys.map(({ outage }) => outage)
      }))
    ),
    update,
    reset: Effect.sync(() => {
      for (const entry of accounts.values()) {
        entry.outage = undefined
        for (const key of entry.keys) key.outage = undefined
      }
    })
  }
  return pool
})

/** Not made where the stream is opened: it would keep what opens it. */
const learning = <A, E>(
  pull: Pull.Pull<readonly [A, ...Array<A>], E>,
  learn: (error: E) => Effect.Effect<void>
): Pull.Pull<readonly [A, ...Array<A>], E> => {
  const failed = (cause: Cause.Cause<E | Cause.Done>): Pull.Pull<readonly [A, ...Array<A>], E> => {
    const end = Pull.doneExitFromCause(cause)
    const error = Exit.isSuccess(end) ? Option.none() : Cause.findErrorOption(end.cause)
    const ended = Effect.failCause(cause)
    return Option.isSome(error) ? Effect.andThen(learn(error.value), ended) : ended
  }
  let next: Pull.Pull<readonly [A, ...Array<A>], E> = Effect.map(Effect.catchCause(pull, failed), (chunks) => {
    next = Layered.around(pull, { failed })
    return chunks
  })
  return Layered.switching(() => next)
}
