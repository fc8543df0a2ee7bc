/** What an operator asks: whether the gateway is ready, and the admin API. */
import type * as Settings from "@ballast/settings/Settings"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as Scope from "effect/Scope"
import type * as Admin from "../../Admin.ts"
import { Rejection } from "../../Rejection.ts"
import * as Routes from "../../Routes.ts"
import type * as Shutdown from "../../Shutdown.ts"
import * as circuits from "../circuits.ts"
import { addressOf, authorizationOf, type Live } from "./live.ts"
import type { Options } from "./options.ts"
import { json } from "./table.ts"

/** The admin API, loaded at its first request. */
export const makeAdmin = Effect.fnUntraced(function*(
  admin: Admin.Admin,
  live: () => Live,
  { localModels, records }: Options
) {
  const context = yield* Effect.context<Scope.Scope>()
  const app = yield* Effect.promise(() => import("../adminApp.ts")).pipe(
    Effect.flatMap(({ make }) =>
      make(admin, (key) => live().checkAdmin(`Bearer ${key}`), {
        records,
        localModels,
        clients: () => live().clients,
        currency: () => live().currency
      })
    ),
    // Not that of the first request: the handlers would keep it, with its key.
    Effect.updateContext((_: Context.Context<never>) => context),
    Effect.cached
  )
  const handler: Routes.Handler = (exchange, request) =>
    Effect.flatten(app).pipe(
      Effect.provideService(HttpServerRequest, request),
      Effect.mapError(({ reason }) =>
        reason._tag === "RouteNotFound"
          ? Routes.unknownRoute(exchange.path)
          : new Rejection({ case: "MalformedRequest", detail: "The request can not be read." })
      )
    )
  return handler
})

const refusalOf = ({ at, error }: NonNullable<Settings.Status["refusal"]>) => ({
  at,
  problems: error.message.split("\n")
})

/** An open circuit does not make a gateway unready: the others have the same upstream, and all would leave the balancer at once. */
export const makeReady =
  ({ settings, upstream, worker }: Options, live: () => Live, shutdown: Shutdown.Shutdown): Routes.Handler =>
  (_, request) =>
    Effect.gen(function*() {
      const workers = worker?.state()
      const status = shutdown.stopping() || workers !== undefined && workers.stoppingSince !== null
        ? "stopping"
        : workers !== undefined && workers.ready < workers.of
        ? "starting"
        : "ready"
      const isKnown = yield* Effect.isSuccess(
        live().checkKey(authorizationOf(request), addressOf(request, live()))
      )
      const { refusal, revision, since } = yield* settings.status
      return json({
        status,
        ...(workers === undefined ? undefined : { workers: { ready: workers.ready, of: workers.of } }),
        upstream: upstream.kind(),
        circuits: yield* isKnown ? circuits.states : circuits.counts,
        settings: {
          revision,
          since,
          // What is wrong with them is for those who may know their names.
          refused: refusal === undefined ? false : isKnown ? refusalOf(refusal) : true
        }
      }, status === "ready" ? 200 : 503)
    })
