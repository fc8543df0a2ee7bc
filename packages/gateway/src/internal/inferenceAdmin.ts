/** The handlers of the admin API for local models. */
import type { InferenceError } from "@ballast/inference/InferenceError"
import type { Models, VersionInfo } from "@ballast/inference/Models"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { AdminApi, CurrentAdmin } from "../AdminApi.ts"
import type * as InferenceApi from "../InferenceApi.ts"
import { Conflict, UnknownName } from "./adminErrors.ts"

export type Service = Models["Service"]

const unknown = (name: string) =>
  new UnknownName({ error: { code: "unknown_name", message: `There is no local model ${name}.` } })

const failed = (error: InferenceError) =>
  error.reason === "UnknownModel"
    ? new UnknownName({ error: { code: "unknown_name", message: error.message } })
    : new Conflict({ error: { code: "conflict", message: error.message } })

const shown = ({ latency, name: _, reason, ...version }: VersionInfo): typeof InferenceApi.Version.Type => ({
  ...version,
  ...(reason !== undefined && { reason }),
  latencySeconds: { p50: latency.p50 / 1000, p95: latency.p95 / 1000 }
})

const grouped = (all: ReadonlyArray<VersionInfo>): ReadonlyArray<typeof InferenceApi.Model.Type> =>
  Array.from(Map.groupBy(all, ({ name }) => name), ([name, versions]) => ({ name, versions: versions.map(shown) }))

const one = (models: Service, name: string) =>
  Effect.flatMap(models.list, (all) => {
    const found = grouped(all.filter((version) => version.name === name))[0]
    return found === undefined ? Effect.fail(unknown(name)) : Effect.succeed(found)
  })

/** Says who did it. */
const done = (what: string, details: object) =>
  Effect.flatMap(CurrentAdmin, (by) => Effect.logInfo(what, { ...details, by }))

/** How long an act is waited for. */
const patience = "1 second"

/** What takes longer goes on in `scope`: the states of the versions say how it ends. */
export const handlers = (models: Service | undefined, scope: Scope.Scope) => {
  const withModels = <A, E>(name: string, run: (models: Service) => Effect.Effect<A, E>) =>
    models === undefined ? Effect.fail(unknown(name)) : run(models)
  const act = (
    name: string,
    what: string,
    details: object,
    run: (models: Service) => Effect.Effect<unknown, InferenceError>
  ) =>
    Effect.andThen(
      done(what, { model: name, ...details }),
      withModels(
        name,
        Effect.fnUntraced(function*(models) {
          const fiber = yield* Effect.forkIn(run(models), scope)
          const ended = yield* Effect.timeoutOption(Fiber.await(fiber), patience)
          if (Option.isSome(ended)) yield* Effect.mapError(ended.value, failed)
          return yield* one(models, name)
        })
      )
    )
  return HttpApiBuilder.group(AdminApi, "inference", (handlers) =>
    handlers.handleAll({
      localModels: () => models === undefined ? Effect.succeed([]) : Effect.map(models.list, grouped),
      localModel: ({ params: { name } }) => withModels(name, (models) => one(models, name)),
      loadVersion: ({ params: { name, version }, payload: { source, ...demands } }) =>
        act(name, "a version of a local model is loaded", { version }, (models) =>
          models.load(name, version, source === undefined ? undefined : { ...demands, folder: source })),
      unloadVersion: ({ params: { name, version } }) =>
        act(name, "a version of a local model is unloaded", { version }, (models) =>
          models.unload(name, version)),
      setTraffic: ({ params: { name }, payload: { weights } }) =>
        act(name, "the traffic of a local model is set", { weights }, (models) =>
          models.setTraffic(name, weights))
    }))
}
