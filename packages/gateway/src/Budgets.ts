/**
 * Money that clients may spend in a day and a month (UTC).
 *
 * A call reserves the most that it can cost before it is made, and is settled by what it did cost; so however many run at once, what is spent and reserved together never
 * passes the limit. A reservation that is not settled, because its process was killed, expires after an hour.
 *
 * A period begins with what the ledger says was spent in it. In memory it holds for this process, in Redis for all; there one decision is one round
 * trip, and a Redis that has lost its data begins again with what the ledger says. A Redis that is down refuses calls of clients with a budget: to let them pass would break the promise.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"

/**
 * A period of a client's budget.
 *
 * @category models
 * @since 0.1.0
 */
export interface Period {
  readonly name: "day" | "month"
  /** `2026-11-29` or `2026-11`. */
  readonly key: string
  readonly limit: BigDecimal.BigDecimal
  /** When the next one begins, in milliseconds since 1970. */
  readonly ends: number
}

/**
 * The budget of a period does not suffice.
 *
 * @category errors
 * @since 0.1.0
 */
export class Exceeded extends Schema.TaggedError<Exceeded>()("Exceeded", {
  period: Schema.Literals(["day", "month"]),
  ends: Schema.Finite,
  /** What is spent and reserved, as a share of the limit. */
  used: Schema.Finite
}) {}

/**
 * The budgets can not be asked now.
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetsDown extends Schema.TaggedError<BudgetsDown>()("BudgetsDown", { detail: Schema.String }) {}

/**
 * What a call has reserved.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reservation {
  /** The largest share of a period's limit that is spent and reserved now, and whose. */
  readonly used: { readonly period: Period["name"]; readonly share: number }
  /** Puts what the call cost in its place. The first time counts. Gives what is used then, where that is known. */
  readonly settle: (cost: BigDecimal.BigDecimal) => Effect.Effect<Reservation["used"] | undefined>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Budgets {
  /** Reserves in all periods, or in none. */
  readonly reserve: (
    client: string,
    periods: ReadonlyArray<Period>,
    amount: BigDecimal.BigDecimal
  ) => Effect.Effect<Reservation, Exceeded | BudgetsDown>
}

const two = (n: number): string => String(n).padStart(2, "0")

/**
 * The periods of a moment, with their limits.
 *
 * @category accessors
 * @since 0.1.0
 */
export const periods = (
  { day, month }: {
    readonly day?: BigDecimal.BigDecimal | undefined
    readonly month?: BigDecimal.BigDecimal | undefined
  },
  millis: number
): ReadonlyArray<Period> => {
  const { day: number, month: ordinal, year } = DateTime.toPartsUtc(DateTime.makeUnsafe(millis))
  const monthKey = `${year}-${two(ordinal)}`
  return [
    ...day === undefined ? [] : [{
      name: "day" as const,
      key: `${monthKey}-${two(number)}`,
      limit: day,
      ends: Date.UTC(year, ordinal - 1, number + 1)
    }],
    ...month === undefined
      ? []
      : [{ name: "month" as const, key: monthKey, limit: month, ends: Date.UTC(year, ordinal) }]
  ]
}

/** Whole billionths: sums of them are exact up to nine million of a currency. Rounded up, so that nothing is lost. */
const units = (amount: BigDecimal.BigDecimal): number =>
  Number(BigDecimal.scale(BigDecimal.round(amount, { scale: 9, mode: "ceil" }), 9).value)

const lifetime = 3_600_000

/** The largest share that is taken of a period's limit. */
const largest = (periods: ReadonlyArray<Period>, taken: (index: number) => number): Reservation["used"] => {
  let used: Reservation["used"] = { period: "day", share: 0 }
  for (const [index, { limit, name }] of periods.entries()) {
    const share = taken(index) / units(limit)
    if (share >= used.share) used = { period: name, share }
  }
  return used
}

/**
 * What was spent in a period before this process began: of a client, in a span of time.
 *
 * @category models
 * @since 0.1.0
 */
export type Spent = (client: string, period: Period) => Effect.Effect<BigDecimal.BigDecimal>

interface State {
  spent: number
  /** By id: how much, and until when. In the order of their ends. */
  readonly reserved: Map<string, { readonly amount: number; readonly until: number }>
}

const reservedOf = ({ reserved }: State, now: number): number => {
  let sum = 0
  for (const [id, { amount, until }] of reserved) {
    if (until <= now) reserved.delete(id)
    else sum += amount
  }
  return sum
}

/**
 * Keeps budgets in this process.
 *
 * @category constructors
 * @since 0.1.0
 */
export const memory = (spent: Spent): Budgets => {
  const states = new Map<string, { readonly state: Effect.Effect<State>; readonly until: number }>()
  /** Periods that are over, and whose calls have ended, are dropped when there are many. */
  const dropOld = (now: number): void => {
    for (const [key, { until }] of states) if (until <= now) states.delete(key)
  }
  const stateOf = (client: string, period: Period): Effect.Effect<State> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const key = `${client}\n${period.key}`
      const known = states.get(key)
      if (known !== undefined) return known.state
      if (states.size >= 1_000) dropOld(now)
      return Effect.flatMap(
        Effect.cached(
          Effect.map(spent(client, period), (spent): State => ({ spent: units(spent), reserved: new Map() }))
        ),
        (made) => {
          const first = states.get(key) ?? { state: made, until: period.ends + lifetime }
          states.set(key, first)
          return first.state
        }
      )
    })
  return {
    reserve: Effect.fnUntraced(function*(client, periods, amount) {
      const states = yield* Effect.forEach(periods, (period) => stateOf(client, period))
      const now = yield* Clock.currentTimeMillis
      const wanted = units(amount)
      // From here on in one synchronous step.
      let used: Reservation["used"] = { period: "day", share: 0 }
      for (const [index, period] of periods.entries()) {
        const state = states[index]
        if (state === undefined) continue
        const taken = state.spent + reservedOf(state, now)
        const limit = units(period.limit)
        if (taken + wanted > limit) {
          return yield* new Exceeded({ period: period.name, ends: period.ends, used: taken / limit })
        }
        if ((taken + wanted) / limit >= used.share) used = { period: period.name, share: (taken + wanted) / limit }
      }
      const id = randomUUID()
      let isSettled = false
      for (const { reserved } of states) reserved.set(id, { amount: wanted, until: now + lifetime })
      return {
        used,
        settle: (cost) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (isSettled) return undefined
            isSettled = true
            // A call that outlasts its reservation has cost something all the same.
            for (const state of states) {
              state.reserved.delete(id)
              state.spent += units(cost)
            }
            const taken = states.map((state) => state.spent + reservedOf(state, now))
            return largest(periods, (index) => taken[index] ?? 0)
          })
      }
    })
  }
}

/**
 * A period is a hash with what is spent (`s`) and each reservation (`r:<id>` = `<amount>:<until>`). Expired reservations are dropped by the next decision. Where a period is not there and the
 * caller does not say what was spent (-1), nothing is done, and the caller has to ask.
 */
const reserveScript = Redis.script(
  (keys: ReadonlyArray<string>, args: ReadonlyArray<string | number>) => [...keys, ...args],
  {
    numberOfKeys: (keys) => keys.length,
    lua: `
local now, id, amount, until_ = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4]
local worst, at = 0, 0
for i, key in ipairs(KEYS) do
  if ARGV[5 + (i - 1) * 3 + 2] == '-1' and redis.call('HEXISTS', key, 's') == 0 then return {2, i, '0'} end
end
for i, key in ipairs(KEYS) do
  local taken = tonumber(redis.call('HGET', key, 's') or ARGV[5 + (i - 1) * 3 + 2])
  if redis.call('HSETNX', key, 's', ARGV[5 + (i - 1) * 3 + 2]) == 1 then redis.call('PEXPIRE', key, ARGV[5 + (i - 1) * 3 + 1]) end
  local all = redis.call('HGETALL', key)
  for f = 1, #all, 2 do
    if string.sub(all[f], 1, 2) == 'r:' then
      local sum, till = string.match(all[f + 1], '^(%d+):(%d+)$')
      if tonumber(till) <= now then redis.call('HDEL', key, all[f]) else taken = taken + tonumber(sum) end
    end
  end
  local limit = tonumber(ARGV[5 + (i - 1) * 3])
  if taken + amount > limit then return {0, i, tostring(taken / limit)} end
  if (taken + amount) / limit >= worst then worst, at = (taken + amount) / limit, i end
end
for _, key in ipairs(KEYS) do redis.call('HSET', key, 'r:' .. id, ARGV[3] .. ':' .. until_) end
return {1, at, tostring(worst)}
`
  }
).withReturnType<readonly [number, number, string]>()

/**
 * The first try counts the cost also where the reservation has expired. A further one counts it only where the reservation is still there:
 * an earlier one may have been carried out without an answer.
 */
const settleScript = Redis.script(
  (keys: ReadonlyArray<string>, id: string, cost: number, isFirst: boolean) => [...keys, id, cost, isFirst ? 1 : 0],
  {
    numberOfKeys: (keys) => keys.length,
    lua: `
local taken = {}
for i, key in ipairs(KEYS) do
  local counts = redis.call('HDEL', key, 'r:' .. ARGV[1]) == 1 or ARGV[3] == '1'
  if counts and redis.call('EXISTS', key) == 1 then redis.call('HINCRBY', key, 's', ARGV[2]) end
  local sum = 0
  for _, value in ipairs(redis.call('HVALS', key)) do sum = sum + tonumber(string.match(value, '^%d+')) end
  taken[i] = tostring(sum)
end
return taken
`
  }
).withReturnType<ReadonlyArray<string>>()

/** How long Redis is waited for, and after how long a settlement that failed is tried again. */
const patience = "2 seconds"

/**
 * Keeps budgets in Redis, for all processes, under `<prefix>:{<client>}:<period>`. What can't be settled while Redis is down is tried again
 * until it is back, or the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const redis = Effect.fnUntraced(function*(
  client: Redis.Redis["Service"],
  spent: Spent,
  prefix = "ballast:budget"
): Effect.fn.Return<Budgets, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const reserve = client.eval(reserveScript)
  const settleIn = client.eval(settleScript)
  const settle = (name: string, keys: ReadonlyArray<string>, id: string, cost: number) => {
    const attempt = (isFirst: boolean) => Effect.timeout(settleIn(keys, id, cost, isFirst), patience)
    const again = Effect.retry(Effect.delay(attempt(false), patience), Schedule.forever)
    return Effect.catch(
      attempt(true),
      ({ message: reason }) =>
        Effect.logWarning("a budget could not be settled, and is tried again", { client: name, reason }).pipe(
          Effect.andThen(Effect.forkIn(again, scope)),
          Effect.as(undefined)
        )
    )
  }
  const known = new Set<string>()
  return {
    reserve: Effect.fnUntraced(function*(name, periods, amount) {
      const keys = periods.map(({ key }) => `${prefix}:{${name}}:${key}`)
      const now = yield* Clock.currentTimeMillis
      const id = randomUUID()
      const decide = Effect.gen(function*() {
        // Where a period begins is asked once in each process; the first that says it counts.
        const begun = yield* Effect.forEach(
          periods,
          (period, index) => known.has(keys[index] ?? "") ? Effect.succeed(-1) : Effect.map(spent(name, period), units)
        )
        const args = periods.flatMap(({ ends, limit }, index) => [
          units(limit),
          Math.max(1, ends - now) + 2 * lifetime,
          begun[index] ?? 0
        ])
        return yield* reserve(keys, [now, id, units(amount), now + lifetime, ...args]).pipe(
          Effect.timeout(patience),
          Effect.mapError(({ message }) => new BudgetsDown({ detail: message }))
        )
      })
      const first = yield* decide
      // A Redis that has lost its data begins again with what the ledger says.
      if (first[0] === 2) keys.forEach((key) => known.delete(key))
      const [granted, index, share] = first[0] === 2 ? yield* decide : first
      if (known.size > 10_000) known.clear()
      for (const key of keys) known.add(key)
      let isSettled = false
      const period = periods[index - 1]
      const used = Number(share)
      if (granted !== 1) {
        return yield* new Exceeded({ period: period?.name ?? "day", ends: period?.ends ?? now, used })
      }
      return {
        used: { period: period?.name ?? "day", share: used },
        settle: (cost) =>
          Effect.suspend(() => {
            if (isSettled) return Effect.undefined
            isSettled = true
            return Effect.map(
              settle(name, keys, id, units(cost)),
              (taken) => taken && largest(periods, (index) => Number(taken[index] ?? 0))
            )
          })
      }
    })
  }
})
