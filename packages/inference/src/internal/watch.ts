/**
 * Follows the folder of a repository.
 *
 * A change counts when two looks in a row see the same, so that a file that is being copied is not read too early. What is read too early all the
 * same is refused, and tried again when its file has changed.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import * as Repository from "../Repository.ts"
import type { Fleet, Slot } from "./fleet.ts"
import { misplaced } from "./misplaced.ts"
import * as traffic from "./traffic.ts"

type SetWeights = (name: string, weights: Readonly<Record<string, number>>) => Effect.Effect<void>

const shareOf = ({ source }: Slot): number => source.settings.canary / 100

/** Gives a version that has become ready its share of the calls. */
export const adopt = (fleet: Fleet, setWeights: SetWeights, slot: Slot, share: number) =>
  Effect.suspend(() => {
    const versions = [...fleet.models.get(slot.name)?.values() ?? []]
    const serves = versions.some(({ weight }) => weight > 0)
    if (slot.weight > 0 || (serves && share === 0)) return Effect.void
    return setWeights(slot.name, traffic.withShare(versions, slot.version, share))
  })

const newestFirst = (a: Slot, b: Slot): number => Repository.compare(b.version, a.version)

/** Reads the folder and follows it until the scope closes. Gives what reads it again at once. */
export const make = Effect.fnUntraced(function*(
  options: { readonly folder: string; readonly interval: Duration.Input },
  fleet: Fleet,
  setWeights: SetWeights
): Effect.fn.Return<Effect.Effect<void, never, FileSystem.FileSystem>, never, FileSystem.FileSystem | Scope.Scope> {
  const scope = yield* Effect.scope
  const background = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.forkIn(Effect.ignore(effect), scope, { startImmediately: true })

  /** The newest version takes the calls; while it is a canary, the one before it keeps the rest. */
  const begin = Effect.fnUntraced(function*(versions: ReadonlyArray<Slot>) {
    const ready: Array<Slot> = []
    for (const slot of versions) {
      const loaded = yield* Effect.result(fleet.load(slot))
      if (loaded._tag === "Success") ready.push(slot)
      const [newest] = ready
      if (ready.length === 2 || (newest !== undefined && shareOf(newest) === 1)) break
    }
    // Those that found no memory are loaded by a call, when another one is idle.
    const [newest = versions.find(({ refused }) => refused === undefined), before] = ready
    if (before !== undefined) yield* adopt(fleet, setWeights, before, 1)
    if (newest !== undefined) yield* adopt(fleet, setWeights, newest, shareOf(newest))
  })

  /** Loads a version that appeared, unless a newer one serves. */
  const introduce = (slot: Slot) =>
    Effect.suspend(() => {
      const newer = [...fleet.models.get(slot.name)?.values() ?? []].some(
        (it) => it.weight > 0 && Repository.compare(it.version, slot.version) > 0
      )
      if (newer) return Effect.void
      return Effect.andThen(fleet.load(slot), Effect.suspend(() => adopt(fleet, setWeights, slot, shareOf(slot))))
    })

  /** Shares out the calls of a model in the background: what was begun before comes first, so that the newest has the last word. */
  const inTurn = <A, E>(name: string, work: Effect.Effect<A, E>) => {
    const started = Deferred.makeUnsafe<void>()
    const earlier = fleet.starting.get(name)
    fleet.starting.set(name, started)
    const done = Effect.suspend(() => {
      if (fleet.starting.get(name) === started) fleet.starting.delete(name)
      return Deferred.succeed(started, undefined)
    })
    const turn = earlier === undefined ? work : Effect.andThen(Deferred.await(earlier), work)
    return background(Effect.ensuring(turn, done))
  }

  const apply = Effect.fnUntraced(function*(found: ReadonlyArray<Repository.Version>) {
    const fresh = new Map<string, Array<Slot>>()
    const seen = new Set<Slot>()
    for (const source of found) {
      const model = fleet.models.get(source.name)
      const known = model?.get(source.version)
      if (known?.foreign === true) continue
      const changed = known?.source.signature !== source.signature
      const wasRefused = known?.refused !== undefined && known.live === undefined
      const slot = changed ? fleet.know(source, false) : known
      if (slot === undefined) continue
      seen.add(slot)
      if (!changed) continue
      if (known === undefined || wasRefused) fresh.set(slot.name, [slot, ...fresh.get(slot.name) ?? []])
      else if (known.live !== undefined || known.loading !== undefined) yield* background(fleet.load(slot))
    }
    for (const [name, versions] of fresh) {
      const all = [...fleet.models.get(name)?.values() ?? []]
      const starts = all.every((slot) => versions.includes(slot))
      const ordered = versions.sort(newestFirst)
      yield* inTurn(
        name,
        starts ? begin(ordered) : Effect.forEach(ordered.reverse(), (slot) => Effect.ignore(introduce(slot)))
      )
    }
    for (const slot of [...fleet.models.values()].flatMap((versions) => [...versions.values()])) {
      if (slot.foreign || seen.has(slot)) continue
      yield* leave(slot)
    }
  })

  /** Forgets a version whose files are gone. If no other has calls, they go to the newest that is fit, as at the start. */
  const leave = Effect.fnUntraced(function*(slot: Slot) {
    const others = [...fleet.models.get(slot.name)?.values() ?? []].filter((it) => it !== slot).sort(newestFirst)
    yield* background(fleet.forget(slot))
    if (slot.weight > 0 && others.length > 0 && others.every(({ weight }) => weight === 0)) {
      yield* inTurn(slot.name, begin(others.filter(({ stopped }) => !stopped)))
    }
  })

  let isReadable = true
  /** Undefined while the folder can't be read, which removes no model. */
  const scan = Repository.scan(options.folder).pipe(
    Effect.tap(() => Effect.sync(() => isReadable = true)),
    Effect.catch((error) => {
      const known = !isReadable
      isReadable = false
      const told = `the folder of models can't be read, so they stay as they are: ${error.message}`
      return Effect.as(known ? Effect.void : Effect.logWarning(told), undefined)
    })
  )
  const signature = (found: ReadonlyArray<Repository.Version>) =>
    found.map(({ name, signature, version }) => [name, version, signature].join()).join("\n")

  for (const problem of yield* misplaced(options.folder)) yield* Effect.logWarning(problem)
  let applied = (yield* scan) ?? []
  yield* apply(applied)
  let before = signature(applied)
  const look = Effect.gen(function*() {
    yield* Effect.sleep(options.interval)
    const found = yield* scan
    if (found === undefined) return
    const seen = signature(found)
    if (seen === before && seen !== signature(applied)) {
      applied = found
      yield* apply(found)
    }
    before = seen
  })
  yield* Effect.forkScoped(Effect.forever(look))

  return Effect.gen(function*() {
    applied = (yield* scan) ?? applied
    yield* apply(applied)
  })
})
