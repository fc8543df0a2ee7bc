/**
 * One line of the log for each call that failed: what failed, why, whose fault it is and what to do about it.
 *
 * The line is `call failed`, at `Warn`, or at `Info` where the caller is at fault, and at `Error` with its cause for a defect. Calls that fail in the
 * same way at the same place are counted: the first three have a line each, then there is one every half minute, of the last of
 * them, with their number as `times`. The line of each request (`Exchange`) is there beside it.
 *
 * Where the caller is at fault, `reason` and `detail` are left out: the service's words may quote the prompt.
 *
 * @since 0.1.0
 */
import type { Fault } from "@ballast/chat/Fault"
import * as Flood from "@ballast/telemetry/Flood"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Exchange } from "./internal/exchange.ts"

/** What an operator does about an error, by its code, where there is more to say than of the fault. */
const byCode: ReadonlyMap<string, string> = new Map([
  ["upstream_authentication_error", "Set a valid key for this account."],
  ["insufficient_balance", "Top up the account, or add one."],
  ["upstream_not_found", "Check the provider's baseUrl and type in the settings."],
  ["rate_limit_exceeded", "Set policies.rateLimit to what the account allows, or add an account."],
  ["concurrency_exceeded", "Add an account or a provider for failover. A low balance lowers this limit: look at it."],
  ["upstream_unreachable", "Check the provider's baseUrl, DNS, the network and the proxy."],
  ["deadline_exceeded", "Raise policies.deadlines if the model needs longer, or add a provider for failover."],
  ["upstream_malformed", "Check that the provider's baseUrl leads to the service itself and not to a proxy's page."],
  ["circuit_open", "It closes by itself when the service is well; the line \"circuit opened\" says why it opened."],
  ["gateway_rate_limit_exceeded", "Raise policies.rateLimit if the account allows more, or add an account."],
  ["gateway_queue_full", "Raise policies.concurrency.queue, or add an account."],
  ["gateway_queue_timeout", "Raise policies.concurrency.maxWait, or add an account."],
  ["gateway_busy", "Raise limits.bodyMemory, or add a gateway."],
  ["internal_error", "This is a defect of the gateway. Report it with its cause."],
  ["stopping", "Nothing: the gateway stops. Raise limits.shutdownTimeout if calls need longer to end."],
  ["client_keys_unavailable", "Bring the database of the client keys back."],
  ["records_unavailable", "Bring the database of the ledger back."],
  [
    "model_not_found",
    "The caller asks for a model that is not there. Add it to models in the settings if it should be."
  ],
  ["invalid_api_key", "The caller needs a key of the settings' clients."],
  ["expired_api_key", "Give the client a new key, or a later clients.*.expires."],
  ["model_not_allowed", "Add the model to clients.*.models if the client should have it."],
  ["address_not_allowed", "Add the address to clients.*.addresses if the client should call from there."],
  ["client_rate_limit_exceeded", "The caller must wait. Raise clients.*.limits if it should have more."],
  ["budget_exceeded", "Raise clients.*.limits.budget, or ask the client what it spends on."],
  ["budgets_unavailable", "Bring the Redis of the settings back, which keeps the budgets."],
  ["price_unknown", "Add the model to prices.list: a client with a budget can't call what has no price."]
])

const byFault: { readonly [F in Fault]: string } = {
  caller: "The caller must change its request; the answer told it what is wrong.",
  policy: "Look at the policy's settings: more calls came than it lets through.",
  provider: "Look at the provider's status page. If it lasts, add a provider for failover.",
  ballast: "Look at the settings and at the lines before this one."
}

/**
 * What to do about an error.
 *
 * @category accessors
 * @since 0.1.0
 */
export const adviceOf = (code: string, fault: Fault): string => byCode.get(code) ?? byFault[fault]

const fieldsOf = (exchange: Exchange, code: string, fault: Fault, times: number) => ({
  times: times === 1 ? undefined : times,
  error: code,
  fault,
  status: exchange.status,
  reason: fault === "caller" ? undefined : exchange.reason,
  do: adviceOf(code, fault),
  detail: fault === "caller" ? undefined : exchange.upstreamDetail ?? exchange.policy,
  client: exchange.client.name,
  model: exchange.model,
  provider: exchange.place?.provider,
  account: exchange.place?.account,
  attempts: exchange.call?.attempts,
  request_id: exchange.id,
  // A line of its own has the trace of its call anyway.
  last_trace_id: times === 1 ? undefined : exchange.traceId
})

const tell = (exchange: Exchange, times: number): Effect.Effect<void> => {
  const { defect, error = "internal_error", fault = "ballast" } = exchange
  const fields = fieldsOf(exchange, error, fault, times)
  if (defect !== undefined) return Effect.logError("call failed", fields, defect)
  return fault === "caller" ? Effect.logInfo("call failed", fields) : Effect.logWarning("call failed", fields)
}

/**
 * Gives the effect that tells of a failed call, or counts it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<(exchange: Exchange) => Effect.Effect<void>, never, Scope.Scope> = Effect.map(
  Flood.make({ tell }),
  (add) => (exchange) => {
    const { error, fault, place } = exchange
    // Providers and accounts are those of the settings.
    return add(`${error} ${fault} ${place?.provider} ${place?.account}`, exchange)
  }
)
