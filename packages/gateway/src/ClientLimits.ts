/**
 * What each client may ask for: requests and tokens a minute, calls in flight, and money a day and a month.
 *
 * A call that passes a limit is refused with 429, and when to come back. Tokens are taken by an estimate before the call, and corrected by its usage; money is reserved by the
 * most that the call can cost, at the dearest of its targets (`Budgets`). A call of a model without a price is refused for a client with a budget.
 *
 * Limits but money hold for each process: workers divide them, other gateways have their own.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import type * as Pricing from "@ballast/deepseek/Pricing"
import * as PromptSize from "@ballast/deepseek/PromptSize"
import * as RateLimiter from "@ballast/resilience/RateLimiter"
import * as Share from "@ballast/resilience/Share"
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import type * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Budgets from "./Budgets.ts"
import type { Exchange } from "./internal/exchange.ts"
import type { Limits } from "./Limits.ts"
import { Rejection } from "./Rejection.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface ClientLimits {
  /** Lets a call in, or refuses it; what it took is corrected when the scope closes. */
  readonly admit: (exchange: Exchange, request: ChatRequest) => Effect.Effect<void, Rejection, Scope.Scope>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** What holds for clients without limits of their own. */
  readonly others: () => Limits | undefined
  /** The most that a call can cost. */
  readonly bound: (request: ChatRequest, at: number) => Result.Result<Pricing.Cost, Pricing.UnknownPrice>
  readonly budgets: Budgets.Budgets
}

const usedShare = Metric.gauge("ballast_budget_used_ratio", {
  description: "What of a client's budget is spent and reserved, 1 for all"
})

const warnAt = 0.8

const limited = (exchange: Exchange, what: string, retryAfter: Duration.Duration): Rejection =>
  new Rejection({
    case: "ClientLimited",
    detail: `The client ${exchange.client.name} has reached its limit of ${what}. Try again in ${
      Duration.format(Duration.seconds(Math.ceil(Duration.toSeconds(retryAfter))))
    }.`,
    retryAfter
  })

/** An answer of unknown length counts with this many tokens, until its usage is known. */
const assumedAnswer = 1024

interface State {
  readonly limits: Limits
  readonly inFlight: { count: number }
  readonly requests: RateLimiter.RateLimiter | undefined
  readonly tokens: RateLimiter.RateLimiter | undefined
}

const perMinute = (name: string, limit: number | undefined, share: Share.Share) =>
  limit === undefined
    ? Effect.undefined
    : RateLimiter.make({ name, limit: Share.part(limit, share), window: "1 minute", maxWait: 0 })

/**
 * Creates the limits of all clients.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(
  function*({ bound: boundOf, budgets, others }: Options): Effect.fn.Return<ClientLimits> {
    const share = yield* Share.Current
    const states = new Map<string, State>()

    /** A client's state is made anew when its limits change; its calls in flight go on counting. */
    const stateOf = (client: string, limits: Limits): Effect.Effect<State> =>
      Effect.suspend(() => {
        const known = states.get(client)
        if (known !== undefined && Equal.equals(known.limits, limits)) return Effect.succeed(known)
        return Effect.map(
          Effect.all([
            perMinute("client-requests", limits.requestsPerMinute, share),
            perMinute("client-tokens", limits.tokensPerMinute, share)
          ]),
          ([requests, tokens]): State => {
            const made = { limits, inFlight: known?.inFlight ?? { count: 0 }, requests, tokens }
            states.set(client, made)
            return made
          }
        )
      })

    const enter = Effect.fnUntraced(function*(exchange: Exchange, state: State) {
      const { inFlight, limits: { concurrency } } = state
      if (concurrency !== undefined && inFlight.count >= Share.part(concurrency, share)) {
        return yield* limited(exchange, `${concurrency} requests at once`, Duration.seconds(1))
      }
      inFlight.count++
      yield* Effect.addFinalizer(() => Effect.sync(() => void inFlight.count--))
    })

    const take = (exchange: Exchange, limiter: RateLimiter.RateLimiter, weight: number, what: string) =>
      Effect.mapError(
        limiter.reserve(weight),
        ({ retryAfter }) => limited(exchange, what, retryAfter)
      )

    const takeTokens = Effect.fnUntraced(function*(exchange: Exchange, state: State, request: ChatRequest) {
      const { tokens } = state
      const limit = state.limits.tokensPerMinute
      if (tokens === undefined || limit === undefined) return
      const estimate = PromptSize.ofPrompt(request) + Math.min(PromptSize.ofAnswer(request), assumedAnswer)
      const weight = Math.max(1, Math.min(estimate, Share.part(limit, share)))
      const reservation = yield* take(exchange, tokens, weight, `${limit} tokens per minute`)
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const { usage } = exchange
          // A call that failed used nothing; of one that was left, nobody says what it used.
          const used = usage == null
            ? exchange.firstAt === undefined ? 0 : weight
            : usage.prompt_tokens + usage.completion_tokens
          return tokens.settle(reservation, used)
        })
      )
    })

    const spend = Effect.fnUntraced(function*(exchange: Exchange, request: ChatRequest, budget: Limits["budget"]) {
      if (budget === undefined) return
      const { client } = exchange
      const bound = yield* Effect.mapError(
        Effect.fromResult(boundOf(request, exchange.began)),
        ({ message }) =>
          new Rejection({
            case: "PriceUnknown",
            param: "model",
            detail: `${message} The client ${client.name} has a budget, so it can not be called.`
          })
      )
      const amount = (limit: number | undefined) => limit === undefined ? undefined : BigDecimal.fromNumberUnsafe(limit)
      const periods = Budgets.periods({ day: amount(budget.day), month: amount(budget.month) }, exchange.began)
      const reservation = yield* budgets.reserve(client.name, periods, bound.total).pipe(
        Effect.mapError((error) => refused(exchange, error))
      )
      const { period, share: used } = reservation.used
      yield* Metric.update(Metric.withAttributes(usedShare, { client: client.name, period }), used)
      if (used >= (budget.warnAt ?? warnAt)) exchange.budgetWarning = `${period} ${Math.floor(used * 100)}%`
      yield* Effect.addFinalizer((exit) =>
        Effect.suspend(() => reservation.settle(spentBy(exchange, Exit.isSuccess(exit), bound)))
      )
    })

    return {
      admit: Effect.fnUntraced(function*(exchange, request) {
        const { client } = exchange
        const limits = client.limits ?? others()
        if (limits === undefined) return
        const state = yield* stateOf(client.name, limits)
        yield* enter(exchange, state)
        if (state.requests !== undefined) {
          yield* take(exchange, state.requests, 1, `${limits.requestsPerMinute} requests per minute`)
        }
        yield* takeTokens(exchange, state, request)
        yield* spend(exchange, request, limits.budget)
      })
    }
  }
)

const zero = BigDecimal.make(0n, 0)

/** What counts as spent: the cost; the bound where a whole answer tells no usage; the prompt, which is known to be billed, where it broke off. */
const spentBy = ({ cost, error, firstAt, place }: Exchange, isWhole: boolean, bound: Pricing.Cost) => {
  if (cost !== undefined) return cost.total
  if (place?.cache?.state === "hit" || place?.cache?.state === "stale") return zero
  if (isWhole && error === undefined) return bound.total
  return firstAt === undefined ? zero : bound.parts.miss
}

const refused = ({ began, client }: Exchange, error: Budgets.Exceeded | Budgets.BudgetsDown): Rejection =>
  error._tag === "BudgetsDown"
    ? new Rejection({
      case: "BudgetsUnavailable",
      detail: "The gateway can not ask for the client's budget now. Try again later.",
      retryAfter: Duration.seconds(5)
    })
    : new Rejection({
      case: "BudgetExceeded",
      detail: `The budget of the client ${client.name} for this ${error.period} does not suffice for this call: ${
        Math.floor(error.used * 100)
      } % of it are spent or reserved. It renews at ${DateTime.formatIso(DateTime.makeUnsafe(error.ends))}.`,
      retryAfter: Duration.millis(Math.max(1000, error.ends - began))
    })

/**
 * Limits that let everything in.
 *
 * @category constructors
 * @since 0.1.0
 */
export const none: ClientLimits = { admit: () => Effect.void }
