/**
 * What an operator sees and steers over HTTP, as a schema: the server, its OpenAPI document, and `ballast admin` are made from it.
 *
 * | route | what for |
 * |---|---|
 * | `GET /admin/v1/status` | the settings: revision, sources, last refusal |
 * | `GET /admin/v1/routes` | models and their targets: weights, load, circuits, limits |
 * | `GET /admin/v1/accounts` | accounts: limits, balance, what rests and which keys are retired; never a key |
 * | `GET /admin/v1/acts` | what was done, and what is in force |
 * | `POST /admin/v1/acts` | does something |
 * | `DELETE /admin/v1/acts/{id}` | undoes it |
 * | `GET /admin/v1/clients` | clients and when their keys end; never a key |
 * | `POST /admin/v1/clients` | makes a client and shows its key, once |
 * | `POST /admin/v1/clients/{name}/rotate` | a new key; the others work on for a while |
 * | `PATCH /admin/v1/clients/{name}` | changes the limits of a client |
 * | `DELETE /admin/v1/clients/{name}` | revokes all keys of a client |
 * | `DELETE /admin/v1/clients/{name}/records` | deletes what the ledger knows of it, and its answers from the caches |
 * | `GET /admin/v1/usage` | what was used and what it cost, by client, model and more |
 * | `GET /admin/v1/calls` | the rows of the ledger, page by page |
 * | `GET /admin/v1/compare` | two arms beside each other |
 * | `GET /admin/v1/inference/models`, `…/{name}` | local models and their versions |
 * | `PUT`, `DELETE /admin/v1/inference/models/{name}/versions/{version}` | loads and unloads a version |
 * | `PUT /admin/v1/inference/models/{name}/traffic` | shares calls out among versions |
 * | `GET /admin/openapi.json`, `GET /admin` | this API as a document and as a page; they need no key |
 *
 * Times are milliseconds since the epoch. Errors have OpenAI's shape, as everywhere in the gateway.
 *
 * @since 0.1.0
 */
import * as Field from "@ballast/settings/Field"
import * as Context from "effect/Context"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import * as InferenceApi from "./InferenceApi.ts"
import { Refused, StoreDown, UnknownName, WrongKey, WrongRequest } from "./internal/adminErrors.ts"
import * as RecordsApi from "./RecordsApi.ts"
import { DroppedAnswers } from "./RecordsApi.ts"

export { Conflict, Refused, StoreDown, UnknownName, WrongKey, WrongRequest } from "./internal/adminErrors.ts"

const Time = Schema.Int.annotate({ description: "Milliseconds since the epoch" })

const Circuit = Schema.Struct({
  name: Schema.String,
  state: Schema.Literals(["closed", "half-open", "open", "isolated", "disabled"])
})

const Limit = Schema.Struct({
  name: Schema.String,
  limit: Schema.Finite,
  running: Schema.Finite,
  queued: Schema.Finite
})

const Degradation = Schema.Union([
  Schema.Struct({ model: Schema.NonEmptyString }),
  Schema.Struct({ text: Schema.String })
]).annotate({ description: "Another model, or a fixed text" })

const Target = Schema.Struct({
  name: Schema.String,
  provider: Schema.String,
  account: Schema.NullOr(Schema.String),
  model: Schema.NullOr(Schema.String),
  weight: Schema.Finite,
  inFlight: Schema.Finite,
  latency: Schema.Finite.annotate({ description: "Mean time until an answer or a first chunk, in milliseconds" }),
  circuits: Schema.Array(Circuit),
  limits: Schema.Array(Limit)
})

/**
 * The state of a model's route.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Route = Schema.Struct({
  model: Schema.String,
  degraded: Schema.NullOr(Degradation),
  targets: Schema.Array(Target),
  failover: Schema.Array(Schema.String),
  mirror: Schema.NullOr(Schema.Struct({ to: Schema.String, share: Schema.Finite, inFlight: Schema.Finite }))
})

const Outage = Schema.Struct({
  reason: Schema.String,
  status: Schema.Int,
  since: Time,
  nextProbe: Time
})

/**
 * The state of an account. Keys are told by their position, from 1.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Account = Schema.Struct({
  provider: Schema.String,
  account: Schema.String,
  url: Schema.String,
  weight: Schema.Finite,
  inFlight: Schema.Finite,
  resting: Schema.NullOr(Outage),
  keys: Schema.Array(Schema.Struct({ position: Schema.Int, retired: Schema.NullOr(Outage) })),
  balance: Schema.NullOr(Schema.Array(Schema.Struct({ currency: Schema.String, total: Schema.String }))).annotate({
    description: "Null when the provider does not tell it"
  }),
  circuits: Schema.Array(Circuit),
  limits: Schema.Array(Limit)
})

/**
 * How the settings stand.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Status = Schema.Struct({
  version: Schema.String,
  settings: Schema.Struct({
    revision: Schema.Int,
    since: Time,
    sources: Schema.Array(Schema.Struct({
      name: Schema.String,
      state: Schema.Literals(["read", "copy", "down"]),
      since: Time,
      reason: Schema.NullOr(Schema.String)
    })),
    refusal: Schema.NullOr(Schema.Struct({ at: Time, problems: Schema.Array(Schema.String) }))
  }),
  actsInForce: Schema.Int,
  workers: Schema.Array(Schema.Struct({
    worker: Schema.Int,
    pid: Schema.NullOr(Schema.Int),
    state: Schema.Literals(["starting", "ready", "silent"]),
    since: Time,
    restarts: Schema.Int,
    revision: Schema.NullOr(Schema.Int)
  })).annotate({ description: "The processes that serve, where there are several; `silent` did not answer" })
})

const lasting = {
  for: Schema.optionalKey(Field.duration({ minimum: "1s", maximum: "30d" })).annotate({
    description: "How long it holds, such as 10m. Default: until it is undone"
  }),
  until: Schema.optionalKey(Schema.Literals(["undone", "settings"])).annotate({
    description: "`settings`: until the next change of the settings"
  })
}

const model = Schema.NonEmptyString.annotate({ description: "A model of the settings" })
const target = Schema.NonEmptyString.annotate({ description: "The name of one of its targets" })
const circuit = Schema.NonEmptyString.annotate({
  description: "The name of a circuit breaker, such as deepseek/main/flash"
})

/**
 * What can be done.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Order = Schema.Union([
  Schema.Struct({ do: Schema.Literal("drain"), model, target, ...lasting }).annotate({
    description: "Gives a target no new calls"
  }),
  Schema.Struct({
    do: Schema.Literal("weight"),
    model,
    target,
    weight: Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)),
    ...lasting
  }).annotate({ description: "Sets a target's weight" }),
  Schema.Struct({ do: Schema.Literal("isolate"), circuit, ...lasting }).annotate({
    description: "Keeps a circuit open"
  }),
  Schema.Struct({ do: Schema.Literal("degrade"), model, to: Degradation, ...lasting }).annotate({
    description: "Lets another model or a fixed text answer"
  }),
  Schema.Struct({ do: Schema.Literal("close"), circuit }).annotate({
    description: "Closes a circuit and forgets its failures; ends its isolation"
  }),
  Schema.Struct({ do: Schema.Literal("recover"), provider: Schema.NonEmptyString }).annotate({
    description: "Ends the outages of a provider's accounts and keys"
  }),
  Schema.Struct({
    do: Schema.Literal("purge"),
    client: Schema.optionalKey(Schema.NonEmptyString).annotate({ description: "Only answers to this client" }),
    model: Schema.optionalKey(Schema.NonEmptyString).annotate({ description: "Only answers of this model" }),
    hash: Schema.optionalKey(Schema.String.check(Schema.makeFilter((text) => /^[\w-]{43}$/.test(text), {
      expected: "a hash of 43 characters, as x-ballast-cache-question says it"
    }))).annotate({
      description: "Only the answer to the question with this hash, as `x-ballast-cache-question` says it"
    }),
    olderThan: Schema.optionalKey(Field.duration()).annotate({
      description: "Only answers kept in memory for longer than this, such as 1h"
    })
  }).annotate({ description: "Drops answers from the caches" }),
  Schema.Struct({ do: Schema.Literal("reload") }).annotate({ description: "Reads the settings again" })
])

/**
 * @category models
 * @since 0.1.0
 */
export type Order = typeof Order.Type

/**
 * An order as it is sent.
 *
 * @category models
 * @since 0.1.0
 */
export type SentOrder = typeof Order.Encoded

/**
 * What was done, by whom, and whether it is in force.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Act = Schema.Struct({
  id: Schema.String,
  order: Order,
  by: Schema.String,
  at: Time,
  until: Schema.NullOr(Schema.Union([Time, Schema.Literals(["undone", "settings"])])).annotate({
    description: "Null for what is done at once"
  }),
  ended: Schema.NullOr(Schema.Struct({
    at: Time,
    because: Schema.Literals(["done", "undone", "time", "settings", "replaced", "gone"]),
    by: Schema.NullOr(Schema.String)
  })).annotate({ description: "Null while it is in force" })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Act = typeof Act.Type

/**
 * What was done just now.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Done = Schema.Struct({
  ...Act.fields,
  dropped: Schema.NullOr(DroppedAnswers).annotate({ description: "Null unless it is a `purge`" })
})

/**
 * @category models
 * @since 0.1.0
 */
export type Done = typeof Done.Type

const Text = Schema.String.check(Schema.isBetweenLength(1, 8_000))
const semantic = { model: model.annotate({ description: "A model whose cache compares meanings" }) }

/**
 * A question whose answers are looked for.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ExplainCache = Schema.Struct({
  ...semantic,
  question: Text,
  client: Schema.optionalKey(Schema.NonEmptyString).annotate({ description: "Only answers that this client may get" }),
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100 }))).annotate({
    description: "Default: 10"
  })
})

/**
 * Answers of questions that are near to one, of all processes of the gateway.
 *
 * @category schemas
 * @since 0.1.0
 */
export const CacheExplanation = Schema.Struct({
  threshold: Schema.Finite,
  compared: Schema.Int.annotate({ description: "Answers that it was compared with" }),
  nearest: Schema.Array(Schema.Struct({
    question: Schema.String,
    client: Schema.String.annotate({ description: "Whom its answer was for; `*` for all" }),
    hash: Schema.String.annotate({ description: "What an act `purge` takes" }),
    age: Schema.Finite.annotate({ description: "In milliseconds" }),
    similarity: Schema.Finite,
    differences: Schema.Array(Schema.Literals(["numbers", "quotes", "names", "negations", "opposites", "words"])),
    served: Schema.Boolean.annotate({
      description: "Whether its answer would be given to a request that is the same but for the question"
    })
  }))
})

const CachePair = Schema.Struct({
  a: Text,
  b: Text,
  same: Schema.Boolean.annotate({ description: "Whether the answer of one answers the other" }),
  kind: Schema.optional(Schema.String)
})

/**
 * Pairs of questions to try thresholds out on.
 *
 * @category schemas
 * @since 0.1.0
 */
export const EvaluateCache = Schema.Struct({
  ...semantic,
  pairs: Schema.optionalKey(Schema.Array(CachePair).check(Schema.isBetweenLength(1, 500))).annotate({
    description: "Default: 56 in English and Chinese"
  })
})

const CacheErrors = Schema.Struct({ falseHits: Schema.Int, misses: Schema.Int })

/**
 * What thresholds bring on pairs of questions.
 *
 * @category schemas
 * @since 0.1.0
 */
export const CacheEvaluation = Schema.Struct({
  same: Schema.Int,
  different: Schema.Int,
  threshold: Schema.Finite.annotate({ description: "That in force" }),
  thresholds: Schema.Array(Schema.Struct({
    threshold: Schema.Finite,
    bare: CacheErrors.annotate({ description: "By the similarity alone" }),
    guarded: CacheErrors.annotate({ description: "With the guard, as it is" })
  })),
  wrong: Schema.Array(Schema.Struct({
    ...CachePair.fields,
    similarity: Schema.Finite,
    differences: Schema.Array(Schema.String)
  })).annotate({ description: "What goes wrong at the threshold in force" })
})

/**
 * The name of the admin key that a request was sent with.
 *
 * @category services
 * @since 0.1.0
 */
export class CurrentAdmin extends Context.Service<CurrentAdmin, string>()("@ballast/gateway/AdminApi/CurrentAdmin") {}

/** In lower case: the page asks for a user and a password where the scheme is `Bearer`. */
const bearer = HttpApiSecurity.http({ scheme: "bearer" })

/**
 * Lets only those through who send an admin key.
 *
 * @category middleware
 * @since 0.1.0
 */
export class AdminKey extends HttpApiMiddleware.Service<AdminKey, { provides: CurrentAdmin }>()(
  "@ballast/gateway/AdminApi/AdminKey",
  { security: { bearer }, error: WrongKey }
) {}

/**
 * Says what is wrong with a request.
 *
 * @category middleware
 * @since 0.1.0
 */
export class Worded extends HttpApiMiddleware.Service<Worded>()("@ballast/gateway/AdminApi/Worded", {
  error: WrongRequest
}) {}

/** A misspelt field would be left out: a client without the limit that was meant for it. */
const exact = { onExcessProperty: "error" } as const

/**
 * The API.
 *
 * @category api
 * @since 0.1.0
 */
export class AdminApi extends HttpApi.make("ballast-admin").add(
  HttpApiGroup.make("admin", { topLevel: true }).add(
    HttpApiEndpoint.get("status", "/status", { success: Status }),
    HttpApiEndpoint.get("routes", "/routes", { success: Schema.Array(Route) }),
    HttpApiEndpoint.get("accounts", "/accounts", { success: Schema.Array(Account) }),
    HttpApiEndpoint.get("acts", "/acts", { success: Schema.Array(Act) }),
    HttpApiEndpoint.post("act", "/acts", { payload: Order, success: Done, error: [UnknownName, Refused, StoreDown] }),
    HttpApiEndpoint.post("explainCache", "/cache/explain", {
      payload: ExplainCache,
      success: CacheExplanation,
      error: [UnknownName, StoreDown]
    }),
    HttpApiEndpoint.post("evaluateCache", "/cache/evaluate", {
      payload: EvaluateCache,
      success: CacheEvaluation,
      error: [UnknownName, StoreDown]
    }),
    HttpApiEndpoint.delete("undo", "/acts/:id", {
      params: { id: Schema.String },
      success: Act,
      error: UnknownName
    })
  ).middleware(AdminKey).middleware(Worded).prefix("/admin/v1")
).add(
  RecordsApi.clients.middleware(AdminKey).middleware(Worded).prefix("/admin/v1")
).add(
  RecordsApi.ledger.middleware(AdminKey).middleware(Worded).prefix("/admin/v1")
).add(
  InferenceApi.models.middleware(AdminKey).middleware(Worded).prefix("/admin/v1")
).annotateMerge(OpenApi.annotations({
  title: "Ballast admin API",
  description: "What an operator of a Ballast gateway sees and steers.",
  version: "1"
})).annotate(HttpApi.PayloadParseOptions, exact).annotate(HttpApi.QueryParseOptions, exact) {}
