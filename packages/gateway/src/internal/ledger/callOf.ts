/** The row of an exchange. */
import * as BigDecimal from "effect/BigDecimal"
import type { Client } from "../../Client.ts"
import type { Exchange } from "../exchange.ts"
import type { Call } from "./call.ts"

const maxLength = 256

/** What a client or a service chose, as a database takes it: Postgres knows no NUL and no half of a pair. */
const text = (value: string | undefined): string =>
  value === undefined ? "" : value.slice(0, maxLength).replaceAll("\u0000", " ").toWellFormed()

const labels = new WeakMap<Client, string>()

/** Of one text for the same labels, whatever their order. */
const labelsOf = (client: Client): string => {
  let found = labels.get(client)
  if (found === undefined) {
    found = JSON.stringify(Object.fromEntries(Object.entries(client.labels).sort(([a], [b]) => a < b ? -1 : 1)))
    labels.set(client, found)
  }
  return found
}

/** A count that a service stated, as a database takes it. */
const whole = (value: number | null | undefined): number | null => {
  const rounded = Math.round(value ?? NaN)
  return Number.isSafeInteger(rounded) && rounded >= 0 ? rounded : null
}

const digits = 12

/** Units of 10^-12; none for what a number can not hold. */
const units = (money: BigDecimal.BigDecimal | undefined): number | null => {
  if (money === undefined) return null
  // Most amounts have few digits, and need no rounding.
  const { scale, value } = money.scale <= digits ? money : BigDecimal.round(money, { scale: digits, mode: "half-even" })
  // What rounding changed is beyond what a number holds exactly.
  const units = Number(value) * 10 ** (digits - scale)
  return Number.isSafeInteger(units) ? units : null
}

/** Undefined for an exchange that is no call of a model. */
export const callOf = (exchange: Exchange, began: number, millis: number): Omit<Call, "id"> | undefined => {
  const { call, client, cost, model, place, usage } = exchange
  if (model === undefined || call === undefined) return undefined
  const parts = cost?.parts
  return {
    request_id: exchange.id,
    trace_id: exchange.traceId,
    at: began,
    client: client.name,
    labels: labelsOf(client),
    route: exchange.route,
    model: text(model),
    provider: text(place?.provider),
    account: text(place?.account),
    provider_model: text(place?.model),
    arm: text(place?.arm),
    stream: exchange.stream === true ? 1 : 0,
    status: exchange.status,
    error: text(exchange.error),
    attempts: call.attempts,
    failovers: place?.failovers ?? 0,
    duration_ms: Math.round(millis),
    ttft_ms: exchange.firstAt === undefined ? null : Math.max(0, exchange.firstAt - began),
    input_tokens: whole(usage?.prompt_tokens),
    cached_tokens: whole(usage?.prompt_cache_hit_tokens ?? usage?.prompt_tokens_details?.cached_tokens),
    output_tokens: whole(usage?.completion_tokens),
    reasoning_tokens: whole(usage?.completion_tokens_details?.reasoning_tokens),
    currency: text(cost?.currency),
    price_revision: text(cost?.revision),
    cost_hit: units(parts?.hit),
    cost_miss: units(parts?.miss),
    cost_output: units(parts?.output),
    cost_reasoning: units(parts?.reasoning),
    cost_call: units(parts?.call),
    cache: place?.cache?.state ?? "",
    saved: units(exchange.saved)
  }
}
