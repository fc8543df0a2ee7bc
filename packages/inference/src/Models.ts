/**
 * Local ONNX models as a service: versions that come and go while calls run.
 *
 * A model has versions; each is in one state. Calls without a version are spread over the versions by their weights.
 *
 * ```text
 *            load                 verified             weight 0, or unload           last call ended
 * unloaded ────────▶ loading ─────────────▶ ready ──────────────────────▶ draining ────────────────▶ unloaded
 *                       └── failed: does not load, or answers its golden inputs wrongly
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { InferenceError } from "./InferenceError.ts"
import * as Calls from "./internal/calls.ts"
import * as Fleet from "./internal/fleet.ts"
import type { Service, VersionSource } from "./internal/service.ts"
import { infoOf, newestFirst, totalOf } from "./internal/slots.ts"
import * as Watch from "./internal/watch.ts"
import * as Repository from "./Repository.ts"

export type {
  InferRequest,
  InferResponse,
  Metadata,
  Service,
  State,
  VersionInfo,
  VersionSource
} from "./internal/service.ts"

/**
 * Local models. Its methods fail with an `InferenceError`, whose `reason` says what happened.
 *
 * @category services
 * @since 0.1.0
 */
export class Models extends Context.Service<Models, Service>()("@ballast/inference/Models") {}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The folder of the repository (see `Repository`), which is watched. Default: none; versions come by `load` alone. */
  readonly folder?: string | undefined
  /** How often the folder is looked at. Default 2 seconds. */
  readonly interval?: Duration.Input | undefined
  /** Bytes that all loaded versions may take together: bytes of their files, times their sessions. Default 2 GiB. */
  readonly maxBytes?: number | undefined
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { interval: "2 seconds", maxBytes: 2 ** 31 } as const

/** What a source asks for beside the files. */
const demanding = Effect.fnUntraced(function*(
  name: string,
  version: string,
  { folder, golden = [], sha256 }: VersionSource
) {
  const read = yield* Repository.version({ name, version, folder, sha256 })
  return {
    ...read,
    settings: { ...read.settings, golden: [...read.settings.golden, ...golden] },
    signature: JSON.stringify([read.signature, golden])
  }
})

/**
 * Creates the service. Versions load in the background; a call of one that loads waits for it.
 *
 * When a version newer than those that serve appears in the folder, it is loaded and verified, and takes its share of the calls (`canary` in its
 * `model.yaml`). At the start the newest version that can be used takes the calls, and shares them with the one before it while it is a canary.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<Service, never, FileSystem.FileSystem | Scope.Scope> {
  const scope = yield* Effect.scope
  const files = yield* FileSystem.FileSystem
  const fleet = yield* Fleet.make(options.maxBytes ?? defaults.maxBytes)

  const setWeights = (name: string, weights: Readonly<Record<string, number>>) =>
    Effect.suspend(() => {
      const versions = [...fleet.models.get(name)?.values() ?? []]
      const leaving = versions.filter(({ version, weight }) => weight > 0 && !(Number(weights[version] ?? 0) > 0))
      for (const slot of versions) slot.weight = weights[slot.version] ?? 0
      const told = Object.entries(weights).map(([version, weight]) => `${version}: ${weight}`).join(", ")
      const retire = (slot: Fleet.Slot) =>
        Effect.forkIn(fleet.retire(slot, "other versions took its calls; a call that names it loads it"), scope, {
          startImmediately: true
        })
      return Effect.andThen(
        Effect.forEach(leaving, retire, { discard: true }),
        Effect.logInfo(`${name} spreads its calls over its versions by weight: ${told}`)
      )
    })

  const look = options.folder === undefined
    ? Effect.void
    : yield* Watch.make(
      { folder: options.folder, interval: options.interval ?? defaults.interval },
      fleet,
      setWeights
    )

  const find = (name: string, version: string): Effect.Effect<Fleet.Slot, InferenceError> =>
    Effect.suspend(() => {
      const slot = fleet.models.get(name)?.get(version)
      if (slot !== undefined) return Effect.succeed(slot)
      return Effect.fail(Calls.unknown(name, fleet.models.has(name) ? version : undefined))
    })

  const load: Service["load"] = Effect.fnUntraced(function*(name, version, source) {
    for (const part of [name, version]) {
      if (Repository.isName(part)) continue
      return yield* new InferenceError({
        reason: "UnknownModel",
        model: name,
        detail: `${JSON.stringify(part)} can't be a name: letters, digits, dots, dashes and underscores, at most 128`
      })
    }
    if (source === undefined) yield* Effect.provideService(look, FileSystem.FileSystem, files)
    else {
      const read = demanding(name, version, source)
      fleet.know(yield* Effect.provideService(read, FileSystem.FileSystem, files), true)
    }
    const slot = yield* find(name, version)
    if (slot.live?.source.signature !== slot.source.signature || slot.loading !== undefined) yield* fleet.load(slot)
    yield* Watch.adopt(fleet, setWeights, slot, 0)
    return infoOf(slot, totalOf(fleet.models.get(name) ?? new Map()))
  })

  const unload: Service["unload"] = Effect.fnUntraced(function*(name, version) {
    const slot = yield* find(name, version)
    slot.stopped = true
    slot.weight = 0
    if (slot.loading !== undefined) yield* Effect.exit(Deferred.await(slot.loading))
    slot.stopped = true
    slot.refused = undefined
    yield* fleet.retire(slot, "an operator unloaded it")
  })

  const setTraffic: Service["setTraffic"] = Effect.fnUntraced(function*(name, weights) {
    const entries = Object.entries(weights)
    const invalid = (detail: string) =>
      new InferenceError({ reason: "InvalidInput", model: name, where: "weights", detail })
    if (!entries.every(([, weight]) => Number.isFinite(weight) && weight >= 0)) {
      return yield* invalid("a weight is a finite number from 0")
    }
    const positive = entries.filter(([, weight]) => weight > 0)
    if (positive.length === 0) return yield* invalid("at least one version needs a weight above 0")
    const slots = yield* Effect.forEach(entries, ([version]) => find(name, version))
    for (const slot of slots) if (slot.live === undefined && Number(weights[slot.version]) > 0) yield* fleet.load(slot)
    yield* setWeights(name, weights)
  })

  return {
    ...Calls.make(fleet),
    list: Effect.sync(() =>
      [...fleet.models.entries()].sort(([a], [b]) => Repository.compare(a, b)).flatMap(([, versions]) =>
        newestFirst(versions).map((slot) => infoOf(slot, totalOf(versions)))
      )
    ),
    load,
    unload,
    setTraffic
  }
})

/**
 * Provides the service.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Models, never, FileSystem.FileSystem> =>
  Layer.effect(Models, make(options))
