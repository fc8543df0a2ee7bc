/** The ten scenarios. */
import {
  Cache,
  CircuitBreaker,
  ConcurrencyLimit,
  Deadline,
  Fallback,
  Hedge,
  Keyed,
  LoadShed,
  Policy,
  RateLimiter,
  Retry,
  RetryBudget
} from "@ballast/resilience"
import { Effect } from "effect"
import type * as Clients from "./Clients.ts"
import { quantile, success } from "./report.ts"
import type * as Service from "./Service.ts"

export interface Composition {
  readonly name: string
  readonly guard: Effect.Effect<Clients.Guard>
}

/** What the results show, in the order of the compositions. */
export interface Finding {
  readonly says: string
  readonly holds: (results: ReadonlyArray<Clients.Result>) => boolean
}

export interface Scenario {
  readonly name: string
  readonly about: string
  readonly load: Clients.Load
  readonly service: Service.Options
  readonly compositions: ReadonlyArray<Composition>
  readonly findings: ReadonlyArray<Finding>
}

type Tagged = { readonly _tag: string }

const composition = <E extends Tagged>(name: string, policy: Effect.Effect<Policy.Policy<E>>): Composition => ({
  name,
  guard: Effect.map(policy, (policy) => (call) => policy(call))
})

const nothing = composition("none", Effect.succeed(Policy.identity))

const retrying = { times: 3, base: "200 millis", cap: "2 seconds" } as const

const breaking = { window: "5 seconds", openDuration: "2 seconds" } as const

/** A retry whose every attempt after the first is paid from a budget. */
const budgeted = Effect.map(
  RetryBudget.make({ share: 0.1, floor: 0.5 }),
  (budget) => Retry.make({ ...retrying, budget })
)

const steady = { seconds: 30, clients: 4, rate: () => 80 } satisfies Clients.Load

const healthy: Service.Conditions = { work: [[0.5, 20], [0.95, 40], [1, 120]] }

/** Conditions that hold for a while, and else health. */
const during = (from: number, to: number, trouble: Service.Conditions) => (second: number) =>
  second >= from && second < to ? trouble : healthy

const requests = (result: Clients.Result | undefined) => result?.seen.requests ?? NaN
const rate = (result: Clients.Result | undefined) => result === undefined ? NaN : success(result)
const within = (result: Clients.Result | undefined, q: number) => result === undefined ? NaN : quantile(result, q)

/** The same result for only those calls that a predicate accepts. */
const only = (result: Clients.Result | undefined, of: (call: Clients.Call) => boolean) =>
  result === undefined ? undefined : { ...result, calls: result.calls.filter(of) }

const since = (second: number) => (call: Clients.Call) => call.at >= second * 1_000

export const scenarios: ReadonlyArray<Scenario> = [
  {
    name: "Outage",
    about: "From the 10th second to the 20th, every request fails within 5 ms.",
    load: steady,
    service: { workers: 16, conditions: during(10, 20, { work: [[1, 5]], failing: 1 }) },
    compositions: [
      nothing,
      composition("retry", Effect.sync(() => Retry.make(retrying))),
      composition(
        "common: retry, breaker",
        Policy.common({ total: "5 seconds", retry: retrying, circuitBreaker: breaking, attempt: "1 second" })
      )
    ],
    findings: [
      {
        says: "Retries alone nearly double the load, and save few calls: the outage lasts longer than they do.",
        holds: ([none, retry]) => requests(retry) > 1.7 * requests(none) && rate(retry) < rate(none) + 0.1
      },
      {
        says: "With a breaker, the service gets fewer requests than without any policy.",
        holds: ([none, , common]) => requests(common) < requests(none)
      }
    ]
  },
  {
    name: "Brownout",
    about: "From the 10th second to the 20th, three requests of ten fail.",
    load: steady,
    service: { workers: 16, conditions: during(10, 20, { ...healthy, failing: 0.3 }) },
    compositions: [
      nothing,
      composition("retry", Effect.sync(() => Retry.make(retrying))),
      composition(
        "common: retry, breaker",
        Policy.common({ total: "5 seconds", retry: retrying, circuitBreaker: breaking, attempt: "1 second" })
      )
    ],
    findings: [
      {
        says: "Retries mend almost every call, for twelve requests more in a hundred.",
        holds: ([none, retry]) => rate(retry) > 0.995 && requests(retry) < 1.125 * requests(none)
      },
      {
        says: "The breaker opens at half and stays out of the way.",
        holds: ([, retry, common]) => rate(common) > 0.98 && requests(common) === requests(retry)
      }
    ]
  },
  {
    name: "Slow service",
    about:
      "From the 10th second to the 20th, a request takes two to four seconds in place of 20 ms. Callers wait for it.",
    load: { ...steady, rate: () => 40 },
    service: { workers: 200, conditions: during(10, 20, { work: [[0, 2_000], [1, 4_000]] }) },
    compositions: [
      nothing,
      composition("attempt deadline", Effect.sync(() => Deadline.attempt("500 millis"))),
      {
        name: "deadline, breaker, fallback",
        guard: Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.make(breaking)
          const fallback = yield* Fallback.make({}, Fallback.value("old answer"))
          const policy = Policy.compose(breaker, Deadline.attempt("500 millis"))
          return (call) => fallback(policy(call))
        })
      }
    ],
    findings: [
      {
        says: "Without a deadline every call succeeds and the slowest take four seconds, so callers pile up.",
        holds: ([none]) => rate(none) === 1 && within(none, 0.99) > 3_500
      },
      {
        says: "A deadline bounds the wait; a breaker and a fallback answer at once, with fewer requests.",
        holds: ([none, deadline, all]) =>
          within(deadline, 0.99) <= 500 && rate(all) === 1 && within(all, 0.99) <= 500 && requests(all) < requests(none)
      }
    ]
  },
  {
    name: "Overload",
    about:
      "From the 10th second to the 15th, twice as many calls come as the service can serve. It queues them all; callers wait for one second.",
    load: { ...steady, rate: (second) => second >= 10 && second < 15 ? 200 : 60 },
    service: { workers: 4, conditions: () => ({ work: [[0, 20], [1, 60]] }) },
    compositions: [
      composition("deadline", Effect.sync(() => Deadline.total("1 second"))),
      composition(
        "deadline, concurrency limit",
        Effect.map(
          ConcurrencyLimit.make({ limit: 2, queue: 4, maxWait: "300 millis" }),
          (limit) => Policy.compose(Deadline.total("1 second"), limit)
        )
      ),
      composition(
        "deadline, load shedding",
        Effect.map(
          LoadShed.make({ limit: 2, target: "50 millis", interval: "200 millis" }),
          (shed) => Policy.compose(Deadline.total("1 second"), shed)
        )
      )
    ],
    findings: [
      {
        says:
          "With a deadline alone the service works off what nobody waits for any more, and does so long after the peak.",
        holds: ([deadline, limit]) => rate(only(deadline, since(15))) < rate(only(limit, since(15)))
      },
      {
        says: "Limits keep the service at what it can do: from two seconds after the peak on, every call is answered.",
        holds: ([, limit, shed]) => rate(only(limit, since(17))) === 1 && rate(only(shed, since(17))) === 1
      }
    ]
  },
  {
    name: "Retry storm",
    about:
      "For three seconds everything fails. The service can serve a third more than what comes; callers wait for one second for each attempt.",
    load: { ...steady, rate: () => 75 },
    service: {
      workers: 4,
      conditions: (second) => ({ work: [[0, 20], [1, 60]], failing: second >= 8 && second < 11 ? 1 : 0 })
    },
    compositions: [
      composition(
        "retry",
        Effect.sync(() => Policy.compose(Retry.make({ ...retrying, times: 5 }), Deadline.attempt("1 second")))
      ),
      composition(
        "retry with budget",
        Effect.map(budgeted, (retry) => Policy.compose(retry, Deadline.attempt("1 second")))
      ),
      composition(
        "budget and breaker",
        Effect.gen(function*() {
          const breaker = yield* CircuitBreaker.make(breaking)
          return Policy.compose(yield* budgeted, breaker, Deadline.attempt("1 second"))
        })
      )
    ],
    findings: [
      {
        says: "Retries keep the service down long after its fault is gone: each timeout brings more of what caused it.",
        holds: ([retry]) => rate(only(retry, since(15))) < 0.5
      },
      {
        says: "A budget bounds what retries add, so the storm does not come up.",
        holds: ([, budget, both]) => rate(only(budget, since(15))) > 0.99 && rate(only(both, since(15))) > 0.99
      }
    ]
  },
  {
    name: "Rate-limited upstream",
    about:
      "The service accepts 60 requests in each second and answers the others with when to come back. From the 10th second to the 13th, 100 calls come in each.",
    load: { ...steady, rate: (second) => second >= 10 && second < 13 ? 100 : 40 },
    service: { workers: 32, perSecond: 60, conditions: () => healthy },
    compositions: [
      nothing,
      composition("retry after the hint", Effect.sync(() => Retry.make(retrying))),
      composition(
        "rate limiter",
        RateLimiter.make({ limit: 14, window: "1 second", burst: 1, maxWait: "10 seconds" })
      )
    ],
    findings: [
      {
        says: "Retries come back together at the start of the next second, and many are turned away again.",
        holds: ([none, retry]) => rate(retry) > rate(none) && requests(retry) > 1.1 * requests(none)
      },
      {
        says: "A limiter spreads the calls, so the service turns none away.",
        holds: ([, , limiter]) => rate(limiter) > 0.99 && requests(limiter) === limiter?.calls.length
      }
    ]
  },
  {
    name: "Long tail",
    about:
      "Ninety-seven requests of a hundred take up to 40 ms, the others one to two seconds. From the 20th second to the 25th, every one takes 100 to 200 ms.",
    load: steady,
    service: {
      workers: 200,
      conditions: (second) =>
        second >= 20 && second < 25
          ? { work: [[0, 100], [1, 200]] }
          : { work: [[0.9, 20], [0.97, 40], [0.97, 1_000], [1, 2_000]] }
    },
    compositions: [
      nothing,
      composition("hedge", Hedge.make({ delay: "60 millis" })),
      composition(
        "deadline, retry",
        Effect.sync(() => Policy.compose(Retry.make({ times: 3, base: 1 }), Deadline.attempt("60 millis")))
      )
    ],
    findings: [
      {
        says: "A hedge cuts what all but the slowest percent take to an eighth, for six requests more in a hundred.",
        holds: ([none, hedge]) =>
          within(hedge, 0.99) < within(none, 0.99) / 8 && requests(hedge) < 1.065 * requests(none)
      },
      {
        says:
          "When all of the service is slow, the hedge's budget bounds what it adds; a deadline with retries only makes it worse.",
        holds: ([none, hedge, retry]) =>
          requests(hedge) < 1.1 * requests(none) && requests(retry) > 1.4 * requests(none) && rate(retry) < rate(hedge)
      }
    ]
  },
  {
    name: "One bad key",
    about: "One key of eight fails from the 5th second on.",
    load: { ...steady, request: (random) => ({ key: `shard ${Math.floor(random * 8)}`, priority: "normal" }) },
    service: {
      workers: 32,
      conditions: (second, { key }) => second >= 5 && key === "shard 3" ? { work: [[1, 5]], failing: 1 } : healthy
    },
    compositions: [
      nothing,
      composition("one breaker", CircuitBreaker.make({ ...breaking, failureRate: 0.1 })),
      {
        name: "a breaker for each key",
        guard: Effect.map(
          Keyed.make({ make: () => CircuitBreaker.make({ ...breaking, minimumCalls: 5, failureRate: 0.5 }) }),
          (breakers): Clients.Guard => (call, { key }) => breakers(key)(call)
        )
      }
    ],
    findings: [
      {
        says: "One breaker for all keys turns the good ones away with the bad one.",
        holds: ([none, one]) => rate(one) < rate(none) - 0.2
      },
      {
        says: "A breaker for each key spares the service most of what fails, and costs no other key a call.",
        holds: ([none, , each]) => rate(each) > rate(none) - 0.01 && requests(each) < 0.93 * requests(none)
      }
    ]
  },
  {
    name: "Cache stampede",
    about:
      "Ten popular answers, each of which takes the service up to half a second to work out; it does four at a time.",
    load: {
      ...steady,
      clients: 1,
      request: (random) => ({ key: `page ${Math.floor(random * 10)}`, priority: "normal" })
    },
    service: { workers: 4, queue: 100, conditions: () => ({ work: [[0, 300], [1, 500]] }) },
    compositions: [
      composition("deadline", Effect.sync(() => Deadline.total("2 seconds"))),
      {
        name: "deadline, cache",
        guard: Effect.map(
          Cache.make<string, Tagged>({ timeToLive: "3 seconds" }),
          (cache): Clients.Guard => (call, { key }) => Deadline.total("2 seconds")(cache.through(call, key))
        )
      },
      {
        name: "deadline, cache that serves stale",
        guard: Effect.map(
          Cache.make<string, Tagged>({ timeToLive: "3 seconds", staleWhileRevalidate: "10 seconds" }),
          (cache): Clients.Guard => (call, { key }) => Deadline.total("2 seconds")(cache.through(call, key))
        )
      }
    ],
    findings: [
      {
        says: "A cache asks once for each key and time to live, however many miss at the same moment.",
        holds: ([none, cache]) => rate(none) < 0.3 && rate(cache) > 0.99 && requests(cache) <= 10 * (1 + 30 / 3)
      },
      {
        says:
          "Serving stale while it refreshes takes the waits away, but for those in the first two seconds, when nothing is kept yet.",
        holds: ([, cache, stale]) =>
          within(only(stale, since(2)), 1) === 0 && within(only(cache, since(2)), 0.95) > 200 && within(stale, 0.99) > 0
      }
    ]
  },
  {
    name: "Priorities",
    about:
      "From the 5th second to the 20th, nearly twice as many calls come as the service can serve; one of five is critical.",
    load: {
      ...steady,
      rate: (second) => second >= 5 && second < 20 ? 180 : 60,
      request: (random) => ({ key: "key", priority: random < 0.2 ? "critical" : random < 0.6 ? "normal" : "low" })
    },
    service: { workers: 4, conditions: () => ({ work: [[0, 20], [1, 60]] }) },
    compositions: [
      composition("rate limiter", RateLimiter.make({ limit: 24, window: "1 second", burst: 2, maxWait: "250 millis" })),
      composition(
        "concurrency limit",
        ConcurrencyLimit.make({ limit: 1, queue: 8, maxWait: "500 millis" })
      ),
      composition(
        "load shedding",
        LoadShed.make({ limit: 1, queue: 8, target: "50 millis", interval: "200 millis" })
      )
    ],
    findings: [
      {
        says:
          "A queue that knows no priorities, as that of a rate limiter, turns critical calls away like others; a concurrency limit answers all of them, and load shedding nearly all.",
        holds: ([limiter, limit, shed]) => {
          const critical = (call: Clients.Call) => call.request.priority === "critical"
          return rate(only(limiter, critical)) < 0.8 && rate(only(limit, critical)) === 1 &&
            rate(only(shed, critical)) > 0.99
        }
      }
    ]
  }
]
