/**
 * Which policies hold for a lane: the calls of one account to one model there.
 *
 * They are those of the route whose targets name the lane's model. A route that says nothing of lanes takes what another says. `*`
 * without a model of its own speaks for the names that no other route leads to.
 */
import * as Lane from "@ballast/deepseek/Lane"
import type * as Deadline from "@ballast/resilience/Deadline"
import * as Equal from "effect/Equal"

/**
 * The policies of a model: `retry`, `retryBudget`, `resume` and `deadlines.total` of its route, the others of the lanes that its targets name.
 *
 * @category options
 * @since 0.1.0
 */
export interface ModelPolicies extends Lane.Policies {
  /** How calls wait for a place; how many there are is the provider's to say. */
  readonly concurrency?: Omit<Lane.ConcurrencyOptions, "limit"> | false | undefined
}

/**
 * The policies of every route and target; what is left out is as for a single client of DeepSeek.
 *
 * @category options
 * @since 0.1.0
 */
export interface Policies extends ModelPolicies {
  /**
   * Policies of single models, each in place of the one above; deadlines one by one. A lane has those of the route whose targets name
   * its model; `*` speaks for names that no other route leads to.
   */
  readonly models?: Readonly<Record<string, ModelPolicies>> | undefined
}

interface Place {
  readonly provider: string
  readonly account?: string | undefined
  readonly model?: string | undefined
}

/** Where the calls of each model may go. */
type Models = Readonly<
  Record<string, {
    readonly targets: ReadonlyArray<Place>
    readonly failover: ReadonlyArray<Place>
    readonly mirror?: Place | undefined
  }>
>

/** What a route says of a lane. Without an account it means each; without a model, each that is not named. */
interface Claim {
  readonly route: string
  readonly provider: string
  readonly account: string | undefined
  readonly model: string | undefined
  readonly policies: ModelPolicies | undefined
}

export interface Lanes {
  /** The policies of a lane; without a model, of names that have no lane. */
  readonly of: (provider: string, account: string | undefined, model: string | undefined) => ModelPolicies
  /** Each lane of a provider that routes name. */
  readonly named: (provider: string) => ReadonlyArray<Pick<Claim, "account" | "model">>
  /** The models of an account that routes name. */
  readonly models: (provider: string, account: string) => ReadonlyArray<string>
}

const others = "*"

/** The policies of a model, where they say something, over the usual ones. */
export const over = (
  { models: _, ...usual }: Policies,
  own: ModelPolicies | undefined
): ModelPolicies => ({
  ...usual,
  ...own,
  deadlines: own?.deadlines === undefined || usual.deadlines === false || own.deadlines === false
    ? own?.deadlines ?? usual.deadlines
    : { ...usual.deadlines, ...own.deadlines }
})

/** A model's own policies. */
export const ownOf = ({ models }: Policies, name: string): ModelPolicies | undefined =>
  models !== undefined && Object.hasOwn(models, name) ? models[name] : undefined

/** What of a route's policies is its lanes'; undefined when it says nothing of them. */
const ofLane = (own: ModelPolicies | undefined): ModelPolicies | undefined => {
  if (own === undefined) return undefined
  const { deadlines: given, resume: _, retry: __, retryBudget: ___, ...rest } = own
  const { total: ____, ...deadlines } = given === undefined || given === false ? {} : given
  const said = given === false || Object.values(deadlines).some((deadline) => deadline !== undefined)
  const lane: ModelPolicies = said ? { ...rest, deadlines: given === false ? false : deadlines } : rest
  return Object.values(lane).some((policy) => policy !== undefined) ? lane : undefined
}

const claimsOf = (models: Models, policies: Policies): ReadonlyArray<Claim> =>
  Object.entries(models).flatMap(([route, { failover, mirror, targets }]) => {
    const own = ofLane(ownOf(policies, route))
    return [...targets, ...failover, ...mirror === undefined ? [] : [mirror]].map((target) => ({
      route,
      provider: target.provider,
      account: target.account,
      model: target.model ?? (route === others ? undefined : route),
      policies: own
    }))
  })

const grouped = <K>(claims: ReadonlyArray<Claim>, keyOf: (claim: Claim) => K): ReadonlyMap<K, ReadonlyArray<Claim>> => {
  const groups = new Map<K, Array<Claim>>()
  for (const claim of claims) {
    const group = groups.get(keyOf(claim))
    if (group === undefined) groups.set(keyOf(claim), [claim])
    else group.push(claim)
  }
  return groups
}

const laneKey = (provider: string, model: string | undefined): string => JSON.stringify([provider, model])

const byLane = (claims: ReadonlyArray<Claim>) => grouped(claims, ({ model, provider }) => laneKey(provider, model))

/** Routes that lead to the same lane with different policies for it. */
export const conflicts = (
  models: Models,
  policies: Policies
): ReadonlyArray<{ readonly route: string; readonly message: string }> => {
  const saying = claimsOf(models, policies).filter((claim) => claim.policies !== undefined)
  return Array.from(byLane(saying).values()).flatMap((claims) => {
    // What is said for each account is compared with all; what is said for one account, with the first of it.
    const everywhere = claims.find(({ account }) => account === undefined)
    const first = new Map<string | undefined, Claim>()
    const found = new Map<string, string>()
    for (const claim of claims) {
      const same = first.get(claim.account)
      if (same === undefined) first.set(claim.account, claim)
      const other = [same, everywhere].find((other) => other && !Equal.equals(other.policies, claim.policies))
      if (other !== undefined) {
        const lane = `${claim.model} of ${claim.provider}`
        found.set(
          claim.route,
          `${other.route} leads to ${lane}, too, with another breaker, rate limit, concurrency or deadline; give both the same, or one none`
        )
      }
    }
    return Array.from(found, ([route, message]) => ({ route, message }))
  })
}

export const make = (models: Models, policies: Policies): Lanes => {
  const [conflict] = conflicts(models, policies)
  if (conflict !== undefined) throw new RangeError(`Router: ${conflict.route}: ${conflict.message}`)
  const claims = claimsOf(models, policies)
  const lanes = byLane(claims)
  const providers = grouped(claims, ({ provider }) => provider)
  const usual = over(policies, undefined)
  const claimed = (provider: string, account: string | undefined, model: string | undefined) =>
    lanes.get(laneKey(provider, model))?.filter((claim) => claim.account === undefined || claim.account === account) ??
      []
  return {
    of: (provider, account, model) => {
      const named = claimed(provider, account, model)
      const own = named.length > 0 ? named : claimed(provider, account, undefined)
      return over(usual, own.find((claim) => claim.policies !== undefined)?.policies)
    },
    named: (provider) => providers.get(provider) ?? [],
    models: (provider, name) =>
      (providers.get(provider) ?? []).flatMap(({ account = name, model }) =>
        model === undefined || account !== name ? [] : [model]
      )
  }
}

/** The deadlines of an attempt. One that is left out because it is no shorter than the attempt is as long as that: it can't be taken away. */
export const attemptLimits = ({ deadlines }: ModelPolicies): Deadline.AttemptSettings => {
  const { attempt, firstItem = attempt, idle = attempt } = Lane.resolveDeadlines(
    deadlines === false ? false : { ...deadlines, total: false }
  )
  return { attempt, firstItem, idle }
}

/** What of a lane's policies can not be changed in place. */
const shapeOf = ({ circuitBreaker, concurrency, deadlines, rateLimit }: ModelPolicies) => ({
  deadlines: Object.values(attemptLimits({ deadlines })).map((limit) => limit !== undefined),
  circuitBreaker: circuitBreaker !== false,
  rateLimit: rateLimit !== undefined && rateLimit !== false,
  concurrency: concurrency !== false
})

/** Whether all lanes of a provider can go from these policies to those in place. */
export const isSameShape = (provider: string, before: Lanes, after: Lanes): boolean =>
  [{ account: undefined, model: undefined }, ...before.named(provider), ...after.named(provider)].every(
    ({ account, model }) =>
      Equal.equals(shapeOf(before.of(provider, account, model)), shapeOf(after.of(provider, account, model)))
  )
