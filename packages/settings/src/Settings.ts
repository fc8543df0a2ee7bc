/**
 * Settings that change while the program runs. A setting is a value over time: what it is now, and its changes. Settings are read
 * from layered sources, put together, decoded by a schema and checked; only then one swap puts them in force, so no reader
 * ever sees a mixture of two revisions. A change with a mistake is refused as a whole and the settings in force stay.
 *
 * Changes are made one after the other. What follows a setting is updated in the order of its making, after the swap and before
 * `refresh` returns. Reading the current value takes no lock. Interrupting `refresh` while it reads leaves everything as it was;
 * from the swap on it can't be interrupted.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import { dual } from "effect/Function"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { decode, refuse } from "./internal/decode.ts"
import { differences } from "./internal/differences.ts"
import * as duration from "./internal/duration.ts"
import { outline } from "./internal/field.ts"
import { differs, read as readFile, type State as FileState } from "./internal/file.ts"
import * as Metrics from "./internal/metrics.ts"
import { open, type SourceStatus } from "./internal/readings.ts"
import { SettingsRefused } from "./SettingsRefused.ts"
import type { Source } from "./Source.ts"

export type { SourceStatus } from "./internal/readings.ts"
export { jsonSchema, markdown, print, template } from "./internal/reference.ts"

const Participants: unique symbol = Symbol.for("@ballast/settings/Settings/Participants")

/** What a participant has prepared: `commit` uses it after the swap, `discard` closes it when the change is refused. */
interface Prepared {
  readonly commit: Effect.Effect<void>
  readonly discard: Effect.Effect<void>
}

/** Something that stands on a setting: it prepares for the next value before the swap, or says why it can't. */
interface Participant<A> {
  readonly prepare: (next: A) => Effect.Effect<Prepared, string>
}

/**
 * A change of a setting.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change<A> {
  readonly before: A
  readonly after: A
  /** The settings that changed, such as `retry.times`. A list counts as one setting. */
  readonly paths: ReadonlyArray<string>
}

/**
 * A value over time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Setting<out A> {
  /** The value in force. */
  readonly current: Effect.Effect<A>
  /** The changes from now on. A reader that falls behind gets several changes as one, and always the last. */
  readonly changes: Stream.Stream<Change<A>>
  /** Adds what follows the setting, in one step with the look at its value: use {@link follow} or {@link scoped}. */
  readonly [Participants]: (join: (current: A) => Participant<A>) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * How settings stand.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  /** 1 at the start, one more with each change. */
  readonly revision: number
  /** Since when this revision is in force, in milliseconds since the epoch. */
  readonly since: number
  readonly sources: ReadonlyArray<SourceStatus>
  /** The last refusal, until a later change is accepted. */
  readonly refusal: { readonly at: number; readonly error: SettingsRefused } | undefined
}

/**
 * Settings read from sources.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settings<out A> extends Setting<A> {
  /** Reads all sources now. Fails with {@link SettingsRefused} if they are wrong; the settings in force stay. */
  readonly refresh: Effect.Effect<void, SettingsRefused>
  readonly status: Effect.Effect<Status>
}

/**
 * Options of settings.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The name in logs and metrics. Default: `settings`. */
  readonly name?: string | undefined
  /** The folder for copies of what config centers hold, from which a start is answered while one is down. Default: no copies. */
  readonly copies?: string | undefined
  /** The longest time until a changed file behind `${file:PATH}` is noticed, above zero. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
}

interface Snapshot<A> {
  readonly revision: number
  readonly since: number
  readonly value: A
}

const showFile = (path: string, state: FileState): string => JSON.stringify([path, state])

/** The pause after a number of failures in a row: 1 second, doubled up to a minute, less up to a fifth by chance. */
const pause = (failures: number) =>
  Effect.flatMap(Random.next, (chance) => Effect.sleep(Math.min(60_000, 1000 * 2 ** failures) * (1 - chance / 5)))

const changesOf = <A>(first: A, values: Stream.Stream<A>): Stream.Stream<Change<A>> =>
  Stream.mapAccum(values, () => first, (before, after) => {
    const paths = differences(before, after)
    return [after, paths.length === 0 ? [] : [{ before, after, paths }]]
  })

/**
 * Reads settings and keeps them up to date until the scope closes. Later sources win over earlier ones.
 *
 * Fails with {@link SettingsRefused} if the settings are wrong at the start. Dies of a `RangeError` when `interval` is out of its bounds. Checks across several settings belong to the schema:
 * `Schema.makeFilter` says what contradicts, and where.
 *
 * **Example** (A limit that an operator changes)
 *
 * ```ts
 * import { Field, FileSource, Settings, ValuesSource } from "@ballast/settings"
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, Schema } from "effect"
 *
 * const AppSettings = Schema.Struct({
 *   rate: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 })).pipe(Field.withDefault(50)),
 *   timeout: Field.duration({ minimum: "1s" }).pipe(Field.withDefault("30s"))
 * })
 *
 * const program = Effect.gen(function*() {
 *   const settings = yield* Settings.make(AppSettings, [
 *     FileSource.make("app.yaml", { optional: true }),
 *     ValuesSource.make({ rate: 100 })
 *   ])
 *   const { rate } = yield* settings.current
 *   return rate
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<A, R = never>(
  schema: Schema.Decoder<A>,
  sources: ReadonlyArray<Source<R>>,
  options: Options = {}
): Effect.fn.Return<Settings<A>, SettingsRefused, R | FileSystem.FileSystem | Scope.Scope> {
  const { copies, name = "settings" } = options
  const interval = duration.interval("Settings.make", options.interval ?? "1 second")
  const metrics = Metrics.make(name)
  const root = outline(schema.ast)
  const context = yield* Effect.context<FileSystem.FileSystem>()
  const readings = yield* open(sources, root, copies, metrics)
  const lock = Semaphore.makeUnsafe(1)
  const published = yield* PubSub.sliding<Snapshot<A>>(1)
  const participants = new Set<Participant<A>>()
  let files: ReadonlyMap<string, FileState> = new Map()
  let snapshot: Snapshot<A> | undefined
  let refusal: Status["refusal"]
  const now = (): Snapshot<A> => {
    if (snapshot === undefined) throw new Error("settings are read before they are made")
    return snapshot
  }

  /** Makes all participants ready, swaps, and tells them. On a failure before the swap, what is ready is thrown away. */
  const replace = Effect.fnUntraced(
    function*(value: A, restore: <B, E>(effect: Effect.Effect<B, E>) => Effect.Effect<B, E>) {
      const prepared = new Map<Participant<A>, Prepared>()
      const prepare = Effect.gen(function*() {
        while (true) {
          // A set's iteration includes members that are added meanwhile.
          for (const participant of participants) {
            if (!prepared.has(participant)) prepared.set(participant, yield* restore(participant.prepare(value)))
          }
          const since = yield* Clock.currentTimeMillis
          const done = yield* Effect.sync(() => {
            if (Array.from(participants).some((participant) => !prepared.has(participant))) return false
            snapshot = { revision: (snapshot?.revision ?? 0) + 1, since, value }
            return true
          })
          if (done) return
        }
      })
      yield* Effect.onError(
        prepare,
        () => Effect.forEach(prepared.values(), ({ discard }) => discard, { discard: true })
      )
      for (const [participant, { commit, discard }] of prepared) {
        yield* participants.has(participant) ? commit : discard
      }
    }
  )

  /** Puts a value in force, unless it is the same. */
  const swap = Effect.fnUntraced(function*(value: A) {
    const before = snapshot
    const paths = before === undefined ? [] : differences(before.value, value)
    if (before !== undefined && paths.length === 0) return
    yield* Effect.uninterruptibleMask((restore) => replace(value, restore))
    const after = now()
    if (before === undefined) return
    yield* PubSub.publish(published, after)
    yield* metrics.changed
    yield* Effect.logInfo("settings changed", { settings: name, revision: after.revision, paths })
  })

  const build = Effect.gen(function*() {
    yield* refuse(readings.problems())
    const { files: used, value } = yield* decode(schema, root, readings.layers())
    files = used
    const next = yield* Effect.fromResult(value)
    yield* swap(next).pipe(
      Effect.catch((reason) =>
        Effect.fail(
          new SettingsRefused({ problems: [{ source: name, line: undefined, column: undefined, path: "", reason }] })
        )
      )
    )
    refusal = undefined
    yield* metrics.revision(snapshot?.revision ?? 0)
    yield* readings.keep
  })

  /** The same refusal again is no news. */
  const noteRefusal = Effect.fnUntraced(function*(error: SettingsRefused) {
    if (refusal?.error.message === error.message) return
    refusal = { at: yield* Clock.currentTimeMillis, error }
    yield* metrics.refused
    if (snapshot === undefined) return
    yield* Effect.logWarning("settings refused, the old ones stay", {
      settings: name,
      revision: snapshot.revision,
      problems: error.message.split("\n")
    })
  })

  const update = (which: Parameters<typeof readings.read>[0]) =>
    readings.read(which).pipe(
      Effect.andThen(build),
      Effect.tapError(noteRefusal),
      lock.withPermit,
      Effect.provideContext(context)
    )

  yield* update(readings.all)

  /** Follows one source: waits for a change or, while it is down, for the next try. */
  const watch = Effect.fnUntraced(function*(reading: (typeof readings.all)[number]) {
    let failures = 0
    while (true) {
      if (reading.status.reason === undefined) {
        failures = 0
        yield* Effect.catch(reading.opened.changed, (error) => readings.lost(reading, error))
        if (reading.status.reason !== undefined) continue
      } else yield* pause(failures++)
      yield* Effect.ignore(update([reading]))
      // A center that tells of changes without end is read once a second.
      if (reading.source.remote) yield* Effect.sleep("1 second")
    }
  })
  yield* Effect.forEach(readings.all, (reading) => Effect.forkScoped(watch(reading)))

  const referenced = yield* differs({
    interval,
    look: Effect.suspend(() =>
      Effect.forEach(files.keys(), (path) => Effect.map(readFile(path), (state) => showFile(path, state)))
    ).pipe(
      Effect.map((states) => states.join())
    ),
    last: () => Array.from(files, ([path, state]) => showFile(path, state)).join()
  })
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(referenced, Effect.ignore(update([])))))

  return {
    current: Effect.sync(() => now().value),
    changes: Stream.unwrap(Effect.gen(function*() {
      const subscription = yield* PubSub.subscribe(published)
      return changesOf(now().value, Stream.map(Stream.fromSubscription(subscription), ({ value }) => value))
    })),
    refresh: update(readings.all),
    status: Effect.sync(() => {
      const { revision, since } = now()
      return { revision, since, sources: readings.status(), refusal }
    }),
    [Participants]: (join) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => {
          const participant = join(now().value)
          participants.add(participant)
          return participant
        }),
        (participant) => Effect.sync(() => participants.delete(participant))
      ))
  }
})

/**
 * A part of a setting, as a setting that changes only when its part does.
 *
 * @category combinators
 * @since 0.1.0
 */
export const select: {
  <A, B>(f: (value: A) => B): (self: Setting<A>) => Setting<B>
  <A, B>(self: Setting<A>, f: (value: A) => B): Setting<B>
} = dual(2, <A, B>(self: Setting<A>, f: (value: A) => B): Setting<B> => ({
  current: Effect.map(self.current, f),
  changes: self.changes.pipe(
    Stream.map(({ after, before }) => {
      const [from, to] = [f(before), f(after)]
      return { before: from, after: to, paths: differences(from, to) }
    }),
    Stream.filter(({ paths }) => paths.length > 0)
  ),
  [Participants]: (join) =>
    self[Participants]((current) => {
      let last = f(current)
      const participant = join(last)
      return {
        prepare: (next) => {
          const part = f(next)
          if (Equal.equals(part, last)) return Effect.succeed({ commit: Effect.void, discard: Effect.void })
          return Effect.map(participant.prepare(part), ({ commit, discard }) => ({
            commit: Effect.suspend(() => {
              last = part
              return commit
            }),
            discard
          }))
        }
      }
    })
}))

const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error && error.message !== "" ? error.message : String(error)
}

/**
 * Updates something in place whenever a setting changes, until the scope closes; the first time at once. A policy keeps its
 * state: a breaker its window, a limiter its tokens, a queue its callers.
 *
 * The first update's failure is the caller's. A later one is logged, since the settings are in force by then.
 *
 * **Example** (A rate limit that follows its setting)
 *
 * ```ts
 * import { RateLimiter } from "@ballast/resilience"
 * import { Settings, ValuesSource } from "@ballast/settings"
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, Schema } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const settings = yield* Settings.make(Schema.Struct({ perSecond: Schema.Int }), [ValuesSource.make({ perSecond: 20 })])
 *   const limiter = yield* RateLimiter.make({ algorithm: "token-bucket", limit: 1, window: "1 second" })
 *   yield* Settings.follow(settings, ({ perSecond }) => limiter.update({ limit: perSecond, window: "1 second" }))
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const follow: {
  <A, E, R>(
    update: (value: A) => Effect.Effect<unknown, E, R>
  ): (self: Setting<A>) => Effect.Effect<void, E, R | Scope.Scope>
  <A, E, R>(
    self: Setting<A>,
    update: (value: A) => Effect.Effect<unknown, E, R>
  ): Effect.Effect<void, E, R | Scope.Scope>
} = dual(
  2,
  Effect.fnUntraced(function*<A, E, R>(self: Setting<A>, update: (value: A) => Effect.Effect<unknown, E, R>) {
    const context = yield* Effect.context<R>()
    const turn = Semaphore.makeUnsafe(1)
    const commit = (next: A) =>
      turn.withPermit(Effect.suspend(() => update(next))).pipe(
        Effect.provideContext(context),
        Effect.catchCause((cause) => Effect.logWarning("settings not followed", { reason: reasonOf(cause) }))
      )
    let first: Effect.Effect<unknown, E, R> = Effect.void
    yield* joined(
      self[Participants]((current) => {
        first = Effect.suspend(() => update(current))
        return { prepare: (next) => Effect.succeed({ commit: commit(next), discard: Effect.void }) }
      }),
      Effect.suspend(() => first),
      turn
    )
  })
)

/**
 * Joins and starts in one turn, so that a change that comes meanwhile waits for the start. What could not start leaves again.
 */
const joined = Effect.fnUntraced(function*<E, R>(
  join: Effect.Effect<void, never, Scope.Scope>,
  start: Effect.Effect<unknown, E, R>,
  turn: Semaphore.Semaphore
) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* Effect.andThen(Scope.provide(join, scope), start).pipe(
    Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
    turn.withPermit
  )
})

/**
 * A resource that is made again when a setting changes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Scoped<out B> {
  /**
   * The newest one. It stays open until the caller's scope closes, even if a newer one is made meanwhile. Where the newest has been closed
   * with the scope that it was made in, it interrupts its caller.
   */
  readonly get: Effect.Effect<B, never, Scope.Scope>
}

/** One making: closed when it is retired and its last user has left. */
interface Made<B> {
  readonly value: B
  readonly scope: Scope.Closeable
  users: number
  retired: boolean
}

const close = (scope: Scope.Closeable) => Scope.close(scope, Exit.void)

/**
 * Makes a resource from a part of a setting, and makes it again only when that part changes. The new one is made before
 * the settings change; if that fails, the change is refused as a whole. The old one is closed when its last user has left.
 * The newest is closed with the caller's scope.
 *
 * **Example** (A connection that follows its URL)
 *
 * ```ts
 * import { Settings, ValuesSource } from "@ballast/settings"
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, Schema } from "effect"
 *
 * const connect = (url: string) => Effect.acquireRelease(Effect.succeed({ url }), () => Effect.logDebug("closed"))
 *
 * const program = Effect.gen(function*() {
 *   const settings = yield* Settings.make(Schema.Struct({ url: Schema.String }), [ValuesSource.make({ url: "db://a" })])
 *   const database = yield* Settings.scoped(settings, ({ url }) => url, connect)
 *   return yield* Effect.scoped(Effect.map(database.get, ({ url }) => url))
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const scoped = Effect.fnUntraced(function*<A, P, B, E, R>(
  setting: Setting<A>,
  part: (value: A) => P,
  make: (part: P) => Effect.Effect<B, E, R>
): Effect.fn.Return<Scoped<B>, E, Exclude<R, Scope.Scope> | Scope.Scope> {
  const owner = yield* Effect.scope
  const context = yield* Effect.context<Exclude<R, Scope.Scope>>()
  const turn = Semaphore.makeUnsafe(1)
  let current: Made<B> | undefined

  const build = (value: P): Effect.Effect<Made<B>, E> =>
    Effect.suspend(() => {
      const scope = Scope.makeUnsafe()
      return make(value).pipe(
        Scope.provide(scope),
        Effect.provideContext(context),
        Effect.map((value): Made<B> => ({ value, scope, users: 0, retired: false })),
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
    })
  /** The old one closes beside the change, which does not wait for it. */
  const commit = (next: Made<B>) =>
    Effect.suspend(() => {
      const old = current
      current = next
      if (old === undefined) return Effect.void
      old.retired = true
      return old.users > 0 ? Effect.void : Effect.forkIn(Effect.uninterruptible(close(old.scope)), owner)
    })
  const leave = (made: Made<B>) =>
    Effect.suspend(() => {
      made.users -= 1
      return made.retired && made.users === 0 ? close(made.scope) : Effect.void
    })

  let first: Effect.Effect<unknown, E> = Effect.void
  yield* Scope.addFinalizer(
    owner,
    Effect.suspend(() => {
      if (current === undefined) return Effect.void
      current.retired = true
      return close(current.scope)
    })
  )
  yield* joined(
    select(setting, part)[Participants]((value) => {
      first = Effect.uninterruptibleMask((restore) => Effect.map(restore(build(value)), (made) => current = made))
      return {
        prepare: (next) =>
          turn.withPermit(build(next)).pipe(
            Effect.map((made) => ({ commit: Effect.asVoid(commit(made)), discard: close(made.scope) })),
            Effect.catchCause((cause) =>
              Effect.fail(`a resource made from the settings could not be made again: ${reasonOf(cause)}`)
            )
          )
      }
    }),
    Effect.suspend(() => first),
    turn
  )
  return {
    get: Effect.acquireRelease(
      Effect.suspend(() => {
        if (current === undefined || current.retired) return Effect.interrupt
        current.users += 1
        return Effect.succeed(current)
      }),
      leave
    ).pipe(Effect.map(({ value }) => value))
  }
})
