/** What several workers of one gateway tell of themselves, as one: in the form in which they sent it. */
import type * as AdminApi from "../AdminApi.ts"

type Route = typeof AdminApi.Route.Encoded
type Account = typeof AdminApi.Account.Encoded
type Act = typeof AdminApi.Act.Encoded
type Policies = Pick<Account, "circuits" | "limits">
type Target = Route["targets"][number]

/** The worst first. */
const severity = ["isolated", "open", "half-open", "disabled", "closed"] as const

const sum = <A>(all: ReadonlyArray<A>, of: (one: A) => number): number => all.reduce((total, one) => total + of(one), 0)

/** Groups of what has the same key, in the order in which the keys come first. */
const grouped = <A>(lists: ReadonlyArray<ReadonlyArray<A>>, keyOf: (one: A) => string) => {
  const groups = new Map<string, [A, ...Array<A>]>()
  for (const one of lists.flat()) {
    const group = groups.get(keyOf(one))
    if (group === undefined) groups.set(keyOf(one), [one])
    else group.push(one)
  }
  return Array.from(groups.values())
}

const named = ({ name }: { readonly name: string }) => name

/** A circuit is as bad as in the worker where it is worst; limits add up. */
const policies = (all: ReadonlyArray<Policies>): Policies => ({
  circuits: grouped(all.map(({ circuits }) => circuits), named).map((circuits) => ({
    name: circuits[0].name,
    state: severity.find((state) => circuits.some((circuit) => circuit.state === state)) ?? circuits[0].state
  })),
  limits: grouped(all.map(({ limits }) => limits), named).map((limits) => ({
    name: limits[0].name,
    limit: sum(limits, ({ limit }) => limit),
    running: sum(limits, ({ running }) => running),
    queued: sum(limits, ({ queued }) => queued)
  }))
})

/** The mean of those that have had a call. */
const latency = (targets: ReadonlyArray<Target>): number => {
  const measured = targets.filter(({ latency }) => latency > 0)
  return measured.length === 0 ? 0 : sum(measured, ({ latency }) => latency) / measured.length
}

export const routes = (all: ReadonlyArray<ReadonlyArray<Route>>): ReadonlyArray<Route> =>
  grouped(all, ({ model }) => model).map((routes) => {
    const [{ mirror, ...first }] = routes
    return {
      ...first,
      targets: grouped(routes.map(({ targets }) => targets), named).map((targets) => ({
        ...targets[0],
        inFlight: sum(targets, ({ inFlight }) => inFlight),
        latency: latency(targets),
        ...policies(targets)
      })),
      mirror: mirror && { ...mirror, inFlight: sum(routes, ({ mirror }) => mirror?.inFlight ?? 0) }
    }
  })

/** An account rests, and a key is retired, as soon as one worker has found it so. */
export const accounts = (all: ReadonlyArray<ReadonlyArray<Account>>): ReadonlyArray<Account> =>
  grouped(all, ({ account, provider }) => JSON.stringify([provider, account])).map((accounts) => {
    const [first] = accounts
    return {
      ...first,
      inFlight: sum(accounts, ({ inFlight }) => inFlight),
      resting: accounts.find(({ resting }) => resting !== null)?.resting ?? null,
      keys: first.keys.map((key, index) => ({
        ...key,
        retired: accounts.find(({ keys }) => keys[index] && keys[index].retired !== null)?.keys[index]?.retired ?? null
      })),
      balance: accounts.find(({ balance }) => balance !== null)?.balance ?? null,
      ...policies(accounts)
    }
  })

/** An act is in force as long as it is in one worker. */
export const acts = (all: ReadonlyArray<ReadonlyArray<Act>>): ReadonlyArray<Act> =>
  grouped(all, ({ id }) => id).map((acts) => acts.find(({ ended }) => ended === null) ?? acts[0])

type Done = typeof AdminApi.Done.Encoded

/** Each worker has answers of its own in memory; those of the store count where they were dropped. */
export const done = (all: ReadonlyArray<Done>): Done | undefined => {
  const [first] = all
  if (first?.dropped == null) return first
  const count = (of: keyof NonNullable<Done["dropped"]>) => sum(all, ({ dropped }) => dropped?.[of] ?? 0)
  const store = first.dropped.store === null ? null : count("store")
  return { ...first, dropped: { exact: count("exact"), semantic: count("semantic"), store } }
}

type Explanation = typeof AdminApi.CacheExplanation.Encoded

/** Each worker has answers of its own. */
export const explanations = (all: ReadonlyArray<Explanation>, limit: number): Explanation => ({
  threshold: all[0]?.threshold ?? 1,
  compared: sum(all, ({ compared }) => compared),
  nearest: all.flatMap(({ nearest }) => nearest).sort((a, b) => b.similarity - a.similarity).slice(0, limit)
})
