/** The calls of local models: which version one goes to, and what it waits for until that version serves. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { InferenceError } from "../InferenceError.ts"
import * as Fleet from "./fleet.ts"
import type { InferResponse, Service } from "./service.ts"
import { isUsable, newestFirst, reasonOf, stateOf } from "./slots.ts"
import * as traffic from "./traffic.ts"

type Slot = Fleet.Slot

/** In monotonic milliseconds. */
const now = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6

export const unknown = (model: string, version: string | undefined): InferenceError =>
  new InferenceError({
    reason: "UnknownModel",
    model,
    ...(version !== undefined && { version }),
    detail: version === undefined ? "there is no such model" : "there is no such version"
  })

/** The version that a call goes to. */
const pick = (
  { models }: Fleet.Fleet,
  name: string,
  version: string | undefined,
  uniform: () => number
): Slot | InferenceError => {
  const versions = models.get(name)
  if (versions === undefined) return unknown(name, undefined)
  if (version !== undefined) return versions.get(version) ?? unknown(name, version)
  const all = newestFirst(versions)
  const chosen = traffic.choose(all.filter(isUsable), uniform)
  if (chosen !== undefined) return chosen
  const [newest] = all
  const why = newest === undefined ? "" : `; ${newest.version}: ${reasonOf(newest) ?? stateOf(newest)}`
  return new InferenceError({ reason: "NotReady", model: name, detail: `no version of it takes calls${why}` })
}

/** Waits within the queue of a version that does not serve yet. */
const wait = <A>(slot: Slot, effect: Effect.Effect<A, InferenceError>): Effect.Effect<A, InferenceError> =>
  Effect.uninterruptibleMask((restore) => {
    const { queue } = slot.source.settings
    if (slot.waiters >= Math.max(queue, 1)) {
      return Effect.fail(Fleet.errorOf(slot, "Overloaded", `${queue} calls wait already`))
    }
    slot.waiters++
    return Effect.ensuring(restore(effect), Effect.sync(() => void slot.waiters--))
  })

/** Waits until a version is loaded, if a call may load it. */
const awaken = (fleet: Fleet.Fleet, slot: Slot): Effect.Effect<void, InferenceError> =>
  slot.loading === undefined && !isUsable(slot)
    ? Effect.fail(Fleet.errorOf(slot, "NotReady", slot.refused ?? slot.unloaded))
    : wait(
      slot,
      Effect.mapError(
        fleet.load(slot),
        (error) => error.reason === "Refused" ? Fleet.errorOf(slot, "NotReady", error.detail) : error
      )
    )

/** Gives a wait for a version, and what is done with it then, one deadline: that of the version. */
const within = <A>(slot: Slot, effect: Effect.Effect<A, InferenceError>): Effect.Effect<A, InferenceError> =>
  Effect.suspend(() => {
    const { deadline } = slot.source.settings
    const late = () => {
      const detail = `no answer within ${Duration.format(deadline)}, part of which it took to load`
      return Effect.fail(Fleet.errorOf(slot, "DeadlineExceeded", detail))
    }
    return Effect.timeoutOrElse(effect, { duration: deadline, orElse: late })
  })

/** Waits until it makes sense to choose a version again, and does `then`; fails if it does not. */
const settle = <A>(
  fleet: Fleet.Fleet,
  name: string,
  version: string | undefined,
  found: Slot | InferenceError,
  then: Effect.Effect<A, InferenceError>
): Effect.Effect<A, InferenceError> =>
  Effect.suspend(() => {
    if (found instanceof InferenceError) {
      const starting = fleet.starting.get(name)
      const [newest] = newestFirst(fleet.models.get(name) ?? new Map())
      const clear = version !== undefined || starting === undefined || newest === undefined
      return clear
        ? Effect.fail(found)
        : within(newest, Effect.andThen(wait(newest, Deferred.await(starting)), then))
    }
    const loaded = awaken(fleet, found)
    // A call that names no version goes to another one if this one turns out unfit.
    const settled = version === undefined
      ? Effect.catch(loaded, (error) => isUsable(found) ? Effect.fail(error) : Effect.void)
      : loaded
    return within(found, Effect.andThen(settled, then))
  })

/** Counts a call that ended. Wrong inputs say nothing of the version. */
const ended = (slot: Slot, exit: Exit.Exit<unknown, InferenceError>, millis: number): void => {
  const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
  if (error?.reason === "InvalidInput") return
  if (Exit.isSuccess(exit)) slot.recent.add(millis)
  if (Exit.isSuccess(exit) || error !== undefined) slot.calls++
  if (error !== undefined) slot.errors++
  slot.meter.call(Exit.isSuccess(exit) ? "success" : error?.reason ?? "interrupted", millis)
}

/** The calls of a fleet. */
export const make = (fleet: Fleet.Fleet): Pick<Service, "infer" | "metadata"> => {
  const infer: Service["infer"] = (name, version, { id, inputs, outputs }) => {
    const call: Effect.Effect<InferResponse, InferenceError> = Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const slot = pick(fleet, name, version, () => fiber.getRef(Random.Random).nextDoubleUnsafe())
        const live = slot instanceof InferenceError ? undefined : slot.live
        if (slot instanceof InferenceError || live === undefined) {
          return restore(settle(fleet, name, version, slot, call))
        }
        const began = now(fiber)
        live.inFlight++
        slot.lastUsed = began
        const run = restore(live.infer(inputs, outputs)).pipe(
          Effect.onExit((exit) =>
            Effect.sync(() => {
              live.left()
              ended(slot, exit, now(fiber) - began)
            })
          )
        )
        return Effect.map(run, (outputs): InferResponse => ({ model: name, version: slot.version, outputs }))
      })
    )
    return Effect.withSpan(call, "Models.infer", {
      attributes: { "ballast.model": name, ...(id !== undefined && { "ballast.request.id": id }) },
      captureStackTrace: false
    })
  }

  const metadata: Service["metadata"] = (name, version) =>
    Effect.suspend(() => {
      const versions = newestFirst(fleet.models.get(name) ?? new Map()).filter(isUsable)
      const heaviest = versions.reduce<Slot | undefined>((a, b) => a && a.weight >= b.weight ? a : b, undefined)
      const slot = pick(fleet, name, version ?? (heaviest?.weight === 0 ? undefined : heaviest?.version), () => 0)
      const live = slot instanceof InferenceError ? undefined : slot.live
      if (slot instanceof InferenceError || live === undefined) {
        return settle(fleet, name, version, slot, metadata(name, version))
      }
      return Effect.succeed({
        name,
        version: slot.version,
        versions: versions.map(({ version }) => version),
        platform: "onnx_onnxv1" as const,
        inputs: live.inputs,
        outputs: live.outputs
      })
    })

  return { infer, metadata }
}
