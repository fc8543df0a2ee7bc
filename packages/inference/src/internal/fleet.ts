/**
 * The versions of all models: which are known, which are loaded, and the memory that they may take together.
 *
 * A version is loaded once at a time, however many callers wait for it. What replaces a version is loaded beside it, and the old one leaves after
 * its last call. When memory is short, the version that was used least recently and has no calls leaves; its next call loads it again.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { InferenceError, type Reason } from "../InferenceError.ts"
import type * as Repository from "../Repository.ts"
import * as Deployment from "./deployment.ts"
import * as metrics from "./metrics.ts"
import * as Recent from "./recent.ts"

/** A version. */
export interface Slot {
  readonly name: string
  readonly version: string
  /** Its files, as they were seen last. */
  source: Repository.Version
  /** Whether it came from elsewhere than the repository's folder, which then doesn't say when it goes. */
  readonly foreign: boolean
  live: Deployment.Deployment | undefined
  loading: Deferred.Deferred<void, InferenceError> | undefined
  /** Deployments that wait for their last calls. */
  leaving: number
  /** Calls that wait for it to load. */
  waiters: number
  weight: number
  /** Why its files were refused. */
  refused: string | undefined
  /** Why it isn't loaded. */
  unloaded: string
  /** Whether an operator took it out of service: no call loads it. */
  stopped: boolean
  readonly meter: metrics.Meter
  calls: number
  errors: number
  /** Milliseconds of its calls that were answered. */
  readonly recent: Recent.Recent
  /** In monotonic milliseconds. */
  lastUsed: number
}

export interface Fleet {
  readonly models: ReadonlyMap<string, ReadonlyMap<string, Slot>>
  /** Models some of whose versions are about to load: complete when it is clear which of them are fit. */
  readonly starting: Map<string, Deferred.Deferred<void>>
  /** Makes a version known, or its new files. */
  readonly know: (source: Repository.Version, foreign: boolean) => Slot
  /** Forgets a version; its calls end. */
  readonly forget: (slot: Slot) => Effect.Effect<void>
  /** Loads the files of a version, beside those that are loaded. Goes on when the caller leaves. */
  readonly load: (slot: Slot) => Effect.Effect<void, InferenceError>
  /** Takes a version out, after its last call. */
  readonly retire: (slot: Slot, why: string) => Effect.Effect<void>
}

export const errorOf = (slot: Pick<Slot, "name" | "version">, reason: Reason, detail: string): InferenceError =>
  new InferenceError({ reason, model: slot.name, version: slot.version, detail })

const neverLoaded = "it was not needed yet; the next call loads it"

export const make = Effect.fnUntraced(function*(maxBytes: number): Effect.fn.Return<Fleet, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const context = yield* Effect.context()
  const models = new Map<string, Map<string, Slot>>()
  /** Bytes of what is loaded or about to be. */
  let used = 0

  const count = (bytes: number): void => {
    used += bytes
    metrics.loaded(used, context)
  }

  const slots = () => [...models.values()].flatMap((versions) => [...versions.values()])

  const know: Fleet["know"] = (source, foreign) => {
    const { name, version } = source
    const versions = models.get(name) ?? new Map<string, Slot>()
    models.set(name, versions)
    const known = versions.get(version)
    if (known !== undefined) {
      known.source = source
      known.refused = undefined
      return known
    }
    const slot: Slot = {
      name,
      version,
      source,
      foreign,
      live: undefined,
      loading: undefined,
      leaving: 0,
      waiters: 0,
      weight: 0,
      refused: undefined,
      unloaded: neverLoaded,
      stopped: false,
      meter: metrics.make(name, version, context),
      calls: 0,
      errors: 0,
      recent: Recent.make(),
      lastUsed: 0
    }
    versions.set(version, slot)
    return slot
  }

  /** Lets a deployment leave in the background; gives the fiber that waits for its calls. */
  const drain = (slot: Slot, deployment: Deployment.Deployment) =>
    Effect.suspend(() => {
      slot.leaving++
      const left = Effect.sync(() => {
        slot.leaving--
        count(-Deployment.bytesOf(deployment.source))
      })
      return Effect.forkIn(Effect.uninterruptible(Effect.andThen(deployment.leave, left)), scope)
    })

  const retire: Fleet["retire"] = (slot, why) =>
    Effect.suspend(() => {
      const { live } = slot
      slot.unloaded = why
      slot.live = undefined
      if (live === undefined) return Effect.void
      return drain(slot, live).pipe(
        Effect.tap(() => Effect.logInfo(`${slot.name} ${slot.version} leaves: ${why}`)),
        Effect.flatMap(Fiber.await)
      )
    })

  /** Makes room, if it can be made. */
  const reserve = Effect.fnUntraced(function*(slot: Slot) {
    const bytes = Deployment.bytesOf(slot.source)
    if (bytes > maxBytes) {
      return yield* errorOf(slot, "NotReady", `it needs ${bytes} bytes; all models may take ${maxBytes} together`)
    }
    while (used + bytes > maxBytes) {
      const idle = slots().filter((it) => it !== slot && it.live?.inFlight === 0 && it.loading === undefined)
      const [oldest] = idle.sort((a, b) => a.lastUsed - b.lastUsed)
      if (oldest === undefined) {
        const detail = `it needs ${bytes} bytes, ${used} of ${maxBytes} are taken, and no loaded model is idle`
        return yield* errorOf(slot, "NotReady", detail)
      }
      yield* retire(oldest, "its memory was needed, and it was used least recently; the next call loads it")
    }
    count(bytes)
    return bytes
  })

  const start = Effect.fnUntraced(function*(slot: Slot) {
    const { source } = slot
    const refuse = (detail: string) => {
      slot.refused = detail
      return errorOf(slot, "Refused", detail)
    }
    if (source.problem !== undefined) return yield* refuse(source.problem)
    const bytes = yield* reserve(slot)
    const loaded = yield* Effect.result(Scope.provide(Deployment.make(source), scope)).pipe(
      Effect.onInterrupt(() => Effect.sync(() => count(-bytes)))
    )
    if (loaded._tag === "Failure") {
      count(-bytes)
      if (loaded.failure.text !== "") yield* Effect.logDebug(loaded.failure.text)
      return yield* refuse(loaded.failure.detail)
    }
    const old = slot.live
    slot.lastUsed = Number(yield* Clock.monotonicTimeNanos) / 1e6
    slot.live = loaded.success
    slot.refused = undefined
    slot.stopped = false
    const golden = source.settings.golden.length
    yield* Effect.logInfo(
      `${slot.name} ${slot.version} is ready: ${
        golden === 0 ? "not verified" : `verified on ${golden} golden input${golden === 1 ? "" : "s"}`
      }`
    )
    if (old !== undefined) yield* drain(slot, old)
  })

  const load: Fleet["load"] = (slot) =>
    Effect.suspend(() => {
      if (slot.loading !== undefined) return Deferred.await(slot.loading)
      const loading = Deferred.makeUnsafe<void, InferenceError>()
      slot.loading = loading
      // What has changed meanwhile is loaded, too.
      const latest: Effect.Effect<void, InferenceError> = Effect.suspend(() => {
        const { source } = slot
        return Effect.flatMap(Effect.exit(start(slot)), (exit) => slot.source === source ? exit : latest)
      })
      const run = Effect.onExit(latest, (exit) => {
        slot.loading = undefined
        const told = Exit.isFailure(exit)
          ? Effect.logWarning(`${slot.name} ${slot.version} is not loaded`, exit.cause)
          : Effect.void
        return Effect.andThen(told, Deferred.done(loading, exit))
      })
      return Effect.andThen(Effect.forkIn(run, scope), Deferred.await(loading))
    })

  const forget: Fleet["forget"] = (slot) =>
    Effect.suspend(() => {
      models.get(slot.name)?.delete(slot.version)
      if (models.get(slot.name)?.size === 0) models.delete(slot.name)
      return retire(slot, "its files are gone")
    })

  return { models, starting: new Map(), know, forget, load, retire }
})
