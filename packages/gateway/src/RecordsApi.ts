/**
 * The part of the admin API that is about what the gateway keeps: clients and their keys, what was used, and comparisons.
 *
 * @since 0.1.0
 */
import * as Field from "@ballast/settings/Field"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as Schema from "effect/Schema"
import * as Calls from "./Calls.ts"
import { parseTime } from "./ClientKeys.ts"
import * as Comparison from "./Comparison.ts"
import { isNetwork } from "./internal/addresses.ts"
import { Conflict, StoreDown, UnknownName, WrongRequest } from "./internal/adminErrors.ts"
import { expectedWhen, isWhen } from "./internal/when.ts"
import * as Limits from "./Limits.ts"
import * as UsageReport from "./UsageReport.ts"

const Time = Schema.Int.annotate({ description: "Milliseconds since the epoch" })

const Name = Schema.String.check(Schema.makeFilter((text) => /^[\w.-]{1,64}$/.test(text), {
  expected: "a name of 1 to 64 letters, digits, _, . and -"
}))

const text = (maximum: number) => Schema.NonEmptyString.check(Schema.isMaxLength(maximum))

const Network = Schema.String.check(
  Schema.makeFilter(isNetwork, { expected: "an address or a network such as 10.0.0.0/8 or 2001:db8::/32" })
)

const Moment = Schema.String.check(Schema.makeFilter((text) => parseTime(text) !== undefined, {
  expected: "a day or a moment such as 2027-01-31 or 2027-01-31T12:00:00Z"
}))

const Labels = Schema.Record(Name, Schema.String.check(Schema.isMaxLength(256)))

/**
 * A client, as it is asked for.
 *
 * @category schemas
 * @since 0.1.0
 */
export const NewClient = Schema.Struct({
  name: Name,
  owner: Schema.optionalKey(text(256)).annotate({ description: "Whom to ask about it" }),
  labels: Schema.optionalKey(Labels).annotate({ description: "What routes and reports may ask for, such as a team" }),
  models: Schema.optionalKey(Schema.Array(text(256)).check(Schema.isNonEmpty())).annotate({
    description: "Models that it may ask for; deepseek-* stands for all that begin so. Default: all"
  }),
  addresses: Schema.optionalKey(Schema.Array(Network).check(Schema.isNonEmpty())).annotate({
    description: "Addresses and networks that it may call from. Default: anywhere"
  }),
  expires: Schema.optionalKey(Moment).annotate({ description: "When it may no longer call. Default: never" }),
  limits: Schema.optionalKey(Limits.Limits).annotate({
    description: "What it may ask for and spend. Default: that of clientLimits"
  })
})

/**
 * A client. `origin` says whether it stands in the settings or was made while the gateway ran.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Client = Schema.Struct({
  name: Schema.String,
  origin: Schema.Literals(["settings", "database"]),
  owner: Schema.NullOr(Schema.String),
  labels: Schema.Record(Schema.String, Schema.String),
  models: Schema.NullOr(Schema.Array(Schema.String)),
  addresses: Schema.NullOr(Schema.Array(Schema.String)),
  expiresAt: Schema.NullOr(Time),
  limits: Schema.NullOr(Limits.Limits),
  currency: Schema.String.annotate({ description: "Of its budget: that of the prices" }),
  createdAt: Schema.NullOr(Time),
  createdBy: Schema.NullOr(Schema.String),
  revokedAt: Schema.NullOr(Time),
  keys: Schema.Array(Schema.Struct({
    id: Schema.String.annotate({ description: "The beginning of its hash" }),
    createdAt: Schema.NullOr(Time),
    createdBy: Schema.NullOr(Schema.String),
    expiresAt: Schema.NullOr(Time)
  }))
})

/**
 * A client with its new key.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Made = Schema.Struct({
  client: Client,
  key: Schema.String.annotate({ description: "The key. Nothing shows it again" })
})

/**
 * How many answers were dropped from the caches.
 *
 * @category schemas
 * @since 0.1.0
 */
export const DroppedAnswers = Schema.Struct({
  exact: Schema.Int.annotate({ description: "In the gateway's memory, to the very question" }),
  semantic: Schema.Int.annotate({ description: "In the gateway's memory, to questions that mean the same" }),
  store: Schema.NullOr(Schema.Int).annotate({ description: "In Redis, for all gateways; null without one" })
})

/**
 * What was deleted of a client.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Forgotten = Schema.Struct({
  client: Schema.String,
  calls: Schema.Int,
  sums: Schema.Int,
  feedback: Schema.Int,
  answers: DroppedAnswers,
  spent: Schema.Int.annotate({
    description: "Days of this month whose cost is kept, for its budgets, until the month is over"
  })
})

const params = { name: Schema.String }

/**
 * Clients and their keys.
 *
 * @category api
 * @since 0.1.0
 */
export const clients = HttpApiGroup.make("clients", { topLevel: true }).add(
  HttpApiEndpoint.get("clients", "/clients", { success: Schema.Array(Client), error: StoreDown }),
  HttpApiEndpoint.post("createClient", "/clients", {
    payload: NewClient,
    success: Made,
    error: [Conflict, WrongRequest, StoreDown]
  }),
  HttpApiEndpoint.post("rotateKey", "/clients/:name/rotate", {
    params,
    payload: Schema.Struct({
      overlap: Schema.optionalKey(Field.duration({ maximum: "90d" })).annotate({
        description: "How long the keys that there are work on. Default: 24h"
      })
    }),
    success: Made,
    error: [UnknownName, StoreDown]
  }),
  HttpApiEndpoint.patch("changeClient", "/clients/:name", {
    params,
    payload: Schema.Struct({
      limits: Limits.Changes.annotate({
        description: "What is left out stays, null ends a limit. Without any, those of clientLimits hold"
      })
    }),
    success: Client,
    error: [UnknownName, StoreDown]
  }),
  HttpApiEndpoint.delete("revokeClient", "/clients/:name", {
    params,
    success: Client,
    error: [UnknownName, StoreDown]
  }),
  HttpApiEndpoint.delete("forgetClient", "/clients/:name/records", { params, success: Forgotten, error: StoreDown })
)

const When = Schema.String.check(Schema.makeFilter(isWhen, { expected: expectedWhen }))

const By = Schema.String.check(Schema.makeFilter(
  (text) => text === "" || text.split(",").every(UsageReport.isBy),
  { expected: `a list of ${UsageReport.dimensions.join(", ")} or label.NAME, separated by commas` }
))

const range = {
  since: Schema.optionalKey(When).annotate({ description: `Its beginning: ${expectedWhen}. Default: 7d` }),
  until: Schema.optionalKey(When).annotate({ description: "Its end, which does not belong to it. Default: now" })
}

const narrow = Schema.optionalKey(Schema.String)

/**
 * What was used, its rows, and comparisons of arms.
 *
 * @category api
 * @since 0.1.0
 */
export const ledger = HttpApiGroup.make("ledger", { topLevel: true }).add(
  HttpApiEndpoint.get("usage", "/usage", {
    query: {
      by: Schema.optionalKey(By).annotate({ description: "What it is kept apart by. Default: client" }),
      ...range,
      client: narrow,
      model: narrow,
      provider: narrow,
      arm: narrow
    },
    success: UsageReport.Report,
    error: [WrongRequest, StoreDown]
  }),
  HttpApiEndpoint.get("calls", "/calls", {
    query: {
      ...range,
      client: narrow,
      model: narrow,
      request: narrow,
      limit: Schema.optionalKey(
        Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: 10_000 }))
      ).annotate({ description: "Rows of a page. Default: 1000" }),
      after: Schema.optionalKey(
        Schema.String.check(Schema.makeFilter(Calls.isCursor, { expected: "the next of the page before" }))
      )
    },
    success: Calls.Page,
    error: [WrongRequest, StoreDown]
  }),
  HttpApiEndpoint.get("compare", "/compare", {
    query: { a: Schema.NonEmptyString, b: Schema.NonEmptyString, ...range, model: narrow },
    success: Comparison.Comparison,
    error: [WrongRequest, StoreDown]
  })
)
