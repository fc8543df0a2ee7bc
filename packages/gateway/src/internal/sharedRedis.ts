import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Redis } from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"

/** A connection to the Redis of the settings, which is made again by itself. A Redis that is down does not stop a start. */
export const connect = (url: Redacted.Redacted): Effect.Effect<Redis["Service"], never, Scope.Scope> =>
  Effect.flatMap(
    Effect.promise(() => import("@effect/platform-node/NodeRedis")),
    (NodeRedis) =>
      Effect.map(
        Effect.orDie(Layer.build(NodeRedis.layer({ url: Redacted.value(url) }))),
        (context) => Context.get(context, Redis)
      )
  )
