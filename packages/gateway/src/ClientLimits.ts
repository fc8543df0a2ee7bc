/**
 * What each client may ask for: requests and tokens a minute, calls in flight, and money a day and a month.
 *
 * A call that passes a limit is refused with 429, and when to come back. Tokens are taken by an estimate before the call, and corrected by its usage; money is reserved by the
 * most that the call can cost, at the dearest of its targets (`Budgets`), when it is made. A call that can't be paid for is answered where a cache has its answer (`internal/paid.ts`). A call of a model without a price is refused for a client with a budget.
 *
 * With Redis, requests and tokens a minute and money hold for all gateways together. Else, and for requests at once always, limits hold for each gateway, whose workers divide them. While a Redis
 * is down, requests and tokens a minute are counted as if there were none.
 *
 * @since 0.1.0
 */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as PromptSize from "@ballast/deepseek/PromptSize"
import * as RateLimiter from "@ballast/resilience/RateLimiter"
import { RateLimiterStore } from "@ballast/resilience/RateLimiterStore"
import * as Share from "@ballast/resilience/Share"
import * as SharedRateLimiter from "@ballast/resilience/SharedRateLimiter"
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Budgets from "./Budgets.ts"
import type { Bound, Costs } from "./Costs.ts"
import type { Exchange } from "./internal/exchange.ts"
import * as usedShares from "./internal/usedShares.ts"
import type { Limits } from "./Limits.ts"
import { Rejection } from "./Rejection.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface ClientLimits {
  /** Lets a call in, or refuses it; what it took is corrected when the scope closes. Its money is reserved apart. */
  readonly admit: (exchange: Exchange, request: ChatRequest) => Effect.Effect<void, Rejection, Scope.Scope>
  /**
   * Reserves the most that a call can cost, or refuses it; what it cost takes its place when the scope closes. Undefined for a client
   * without a budget.
   */
  readonly spend: (exchange: Exchange, request: ChatRequest) => Effect.Effect<void, Rejection, Scope.Scope> | undefined
  /** Both for a run of a local model, which has no tokens. */
  readonly admitRun: (exchange: Exchange, model: string) => Effect.Effect<void, Rejection, Scope.Scope>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** What holds for clients without limits of their own. */
  readonly others: () => Limits | undefined
  /** What calls can cost. */
  readonly costs: Pick<Costs, "bound" | "run">
  readonly budgets: Budgets.Budgets
  /** Where requests and tokens a minute are counted for several gateways. Default: each process counts its own. */
  readonly store?: RateLimiterStore["Service"] | undefined
}

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

/** A limit a minute: in this process, and at the store for all processes where there is one. */
interface PerMinute {
  readonly limit: number
  readonly own: RateLimiter.RateLimiter
  readonly shared: SharedRateLimiter.SharedRateLimiter | undefined
}

interface State {
  readonly limits: Limits
  readonly inFlight: { count: number }
  readonly requests: PerMinute | undefined
  readonly tokens: PerMinute | undefined
}

type Possible = ReturnType<Costs["bound"]>

/** Takes at the store; in this process's part where there is none, or it fails. */
const reserve = (client: string, { limit, own, shared }: PerMinute, weight: number, share: Share.Share) => {
  const here = Effect.suspend(() => own.reserve(Math.min(weight, Share.part(limit, share))))
  return shared === undefined
    ? here
    : Effect.catchTag(shared(client).reserve(Math.min(weight, limit)), "RateLimiterStoreError", () => here)
}

/**
 * Creates the limits of all clients.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(
  function*({ budgets, costs, others, store }: Options): Effect.fn.Return<ClientLimits, never, Scope.Scope> {
    const share = yield* Share.Current
    const scope = yield* Effect.scope
    const show = yield* usedShares.make
    const states = new Map<string, State>()

    const perMinute = Effect.fnUntraced(
      function*(name: string, limit: number | undefined, known: PerMinute | undefined) {
        if (limit === undefined) return undefined
        const minute = { name, window: "1 minute", maxWait: 0 } as const
        const own = yield* RateLimiter.make({ ...minute, limit: Share.part(limit, share) })
        if (known?.shared !== undefined) yield* known.shared.update({ limit })
        const shared = known?.shared ?? (store && (yield* SharedRateLimiter.make({
          ...minute,
          limit,
          onStoreError: "fail"
        }).pipe(Effect.provideService(RateLimiterStore, store), Scope.provide(scope))))
        return { limit, own, shared }
      }
    )

    /** A client's state is made anew when its limits change; its calls in flight go on counting. */
    const stateOf = (client: string, limits: Limits): Effect.Effect<State> =>
      Effect.suspend(() => {
        const known = states.get(client)
        if (known !== undefined && Equal.equals(known.limits, limits)) return Effect.succeed(known)
        return Effect.map(
          Effect.all([
            perMinute("client-requests", limits.requestsPerMinute, known?.requests),
            perMinute("client-tokens", limits.tokensPerMinute, known?.tokens)
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
    }, Effect.uninterruptible)

    const take = (exchange: Exchange, limiter: PerMinute, weight: number, what: string) =>
      Effect.mapError(
        reserve(exchange.client.name, limiter, weight, share),
        ({ retryAfter }) => limited(exchange, what, retryAfter)
      )

    const takeTokens = Effect.fnUntraced(function*(exchange: Exchange, state: State, request: ChatRequest) {
      const { tokens } = state
      const limit = state.limits.tokensPerMinute
      if (tokens === undefined || limit === undefined) return
      const estimate = PromptSize.ofPrompt(request) + Math.min(PromptSize.ofAnswer(request), assumedAnswer)
      yield* Effect.acquireRelease(
        take(exchange, tokens, Math.max(1, estimate), `${limit} tokens per minute`),
        (reservation) =>
          Effect.suspend(() => {
            const { usage } = exchange
            // A call that failed used nothing. One whose client left counts as reserved, since its usage is not known.
            const used = usage == null
              ? exchange.firstAt === undefined ? 0 : reservation.weight
              : usage.prompt_tokens + usage.completion_tokens
            return reservation.settle(used)
          }),
        { interruptible: true }
      )
    })

    const spend = Effect.fnUntraced(function*(
      exchange: Exchange,
      budget: NonNullable<Limits["budget"]>,
      most: (at: number) => Possible
    ) {
      const { began, client, madeAt: at = began } = exchange
      const bound = yield* Effect.mapError(
        Effect.fromResult(most(at)),
        ({ message }) =>
          new Rejection({
            case: "PriceUnknown",
            param: "model",
            detail: `${message} The client ${client.name} has a budget, so it can not be called.`
          })
      )
      const amount = (limit: number | undefined) => limit === undefined ? undefined : BigDecimal.fromNumberUnsafe(limit)
      const periods = Budgets.periods({ day: amount(budget.day), month: amount(budget.month) }, at)
      const tell = ({ period, share }: Budgets.Reservation["used"]): void => {
        const current = periods.find(({ name }) => name === period)
        if (current !== undefined) show(client.name, current, share)
      }
      const reservation = yield* Effect.acquireRelease(
        Effect.mapError(budgets.reserve(client.name, periods, bound.most), (error) => {
          if (error._tag === "Exceeded") tell({ period: error.period, share: error.used })
          return refused(exchange, error)
        }),
        ({ settle }, exit) =>
          Effect.suspend(() =>
            Effect.map(settle(spentBy(exchange, Exit.isSuccess(exit), bound)), (used) => used && tell(used))
          ),
        { interruptible: true }
      )
      const { period, share: used } = reservation.used
      tell(reservation.used)
      if (used >= (budget.warnAt ?? warnAt)) exchange.budgetWarning = `${period} ${Math.floor(used * 100)}%`
    })

    /** `request` is undefined for what has no tokens. */
    const admitBelow = Effect.fnUntraced(function*(
      limits: Limits,
      exchange: Exchange,
      request: ChatRequest | undefined
    ) {
      const state = yield* stateOf(exchange.client.name, limits)
      yield* enter(exchange, state)
      if (state.requests !== undefined) {
        yield* take(exchange, state.requests, 1, `${limits.requestsPerMinute} requests per minute`)
      }
      if (request !== undefined) yield* takeTokens(exchange, state, request)
    })

    const limitsOf = ({ client }: Exchange) => client.limits ?? others()
    const admit = (exchange: Exchange, request?: ChatRequest) => {
      const limits = limitsOf(exchange)
      return limits === undefined ? Effect.void : admitBelow(limits, exchange, request)
    }
    const spendFor = (exchange: Exchange, most: (at: number) => Possible) => {
      const budget = limitsOf(exchange)?.budget
      return budget && spend(exchange, budget, most)
    }

    return {
      admit,
      spend: (exchange, request) => spendFor(exchange, (at) => costs.bound(request, at)),
      admitRun: (exchange, model) =>
        Effect.andThen(admit(exchange), spendFor(exchange, (at) => costs.run(model, at)) ?? Effect.void)
    }
  }
)

const zero = BigDecimal.make(0n, 0)

/**
 * What counts as spent: the cost; the bound where a whole answer tells no usage; where it broke off, the prompt and a token for each item that
 * came, since they are billed.
 */
const spentBy = ({ call, cost, error, items = 0, place }: Exchange, isWhole: boolean, bound: Bound) => {
  if (cost !== undefined) return cost.total
  if (place?.cache?.state === "hit" || place?.cache?.state === "stale") return zero
  if (isWhole && error === undefined) return bound.most
  const isUnderWay = call !== undefined && call.attempts > 0 && call.failure === undefined
  if (items === 0 && !isUnderWay) return zero
  const begun = BigDecimal.sum(bound.prompt, BigDecimal.multiply(bound.token, BigDecimal.fromBigInt(BigInt(items))))
  return BigDecimal.min(begun, bound.most)
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
export const none: ClientLimits = {
  admit: () => Effect.void,
  spend: () => undefined,
  admitRun: () => Effect.void
}
