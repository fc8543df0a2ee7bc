/** The row of a call, as the ledger keeps it and its spool writes it. */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const Count = Schema.NullOr(Schema.Finite)

/**
 * One call. A text that is not known is empty, a number that is not known is null.
 *
 * Money is in units of 10^-12 of the currency: one call costs less than 9,007, so that a number holds it exactly.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Call = Schema.Struct({
  /** Unique; made by the gateway, since several requests may come with the same `x-request-id`. */
  id: Schema.String,
  request_id: Schema.String,
  trace_id: Schema.String,
  /** When the request came, in milliseconds since the epoch. */
  at: Schema.Finite,
  client: Schema.String,
  /** A JSON object, its keys in order. */
  labels: Schema.String,
  /** The route of the gateway, such as `/v1/chat/completions`. */
  route: Schema.String,
  /** The model that the client asked for. */
  model: Schema.String,
  provider: Schema.String,
  account: Schema.String,
  /** The model as the provider names it. */
  provider_model: Schema.String,
  arm: Schema.String,
  stream: Schema.Literals([0, 1]),
  status: Schema.Finite,
  /** The code of the error that was answered. */
  error: Schema.String,
  attempts: Schema.Finite,
  failovers: Schema.Finite,
  duration_ms: Schema.Finite,
  /** Of a stream: until the first token. */
  ttft_ms: Count,
  /** All of the prompt, `cached_tokens` included. */
  input_tokens: Count,
  cached_tokens: Count,
  /** All of the answer, `reasoning_tokens` included. */
  output_tokens: Count,
  reasoning_tokens: Count,
  currency: Schema.String,
  /** The revision of the prices. */
  price_revision: Schema.String,
  cost_hit: Count,
  cost_miss: Count,
  cost_output: Count,
  cost_reasoning: Count,
  cost_call: Count,
  /** What the answer cache did: hit, miss, stale, bypass. */
  cache: Schema.String,
  /** What the call would have cost without the cache. */
  saved: Count
})

/**
 * @category models
 * @since 0.1.0
 */
export type Call = typeof Call.Type

/**
 * What a client said of an answer, as the spool writes it. It goes the way of the rows, so that a database that is down costs none.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Feedback = Schema.Struct({
  request_id: Schema.String,
  name: Schema.String,
  client: Schema.String,
  at: Schema.Finite,
  kind: Schema.Literals(["boolean", "number", "comment"]),
  value: Count,
  comment: Schema.String
})

/**
 * @category models
 * @since 0.1.0
 */
export type Feedback = typeof Feedback.Type

/**
 * What waits for the database.
 *
 * @category models
 * @since 0.1.0
 */
export type Row = Call | Feedback

/** Whether a row is one of a call. */
export const isCall = (row: Row): row is Call => "id" in row

/** Whether a row is what a client said. */
export const isFeedback = (row: Row): row is Feedback => !isCall(row)

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Union([Call, Feedback])))

/** The rows of a file of the spool. A line that a crash cut off is left out. */
export const parseLines = (text: string): ReadonlyArray<Row> =>
  text.split("\n").flatMap((line) => line === "" ? [] : Option.toArray(decode(line)))
