/** The routes of the settings: a model that clients ask for, and what stands between it and its targets. */
import * as ChatError from "@ballast/chat/ChatError"
import * as ChatModel from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Lane from "@ballast/deepseek/Lane"
import * as Policy from "@ballast/resilience/Policy"
import * as Registry from "@ballast/resilience/Registry"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as CallContext from "../CallContext.ts"
import * as Choice from "../Choice.ts"
import * as Failover from "../Failover.ts"
import * as Mirror from "../Mirror.ts"
import type * as Settings from "../RouterSettings.ts"
import { armOf } from "../RouterSettings.ts"
import * as Split from "../Split.ts"
import type * as Steering from "../Steering.ts"
import * as When from "../When.ts"
import type * as caches from "./caches.ts"
import * as lanePolicies from "./lanePolicies.ts"
import * as noted from "./noted.ts"
import * as Placed from "./placed.ts"
import * as places from "./places.ts"
import * as Pools from "./pools.ts"
import * as resumed from "./resumed.ts"

/**
 * The state of one route.
 *
 * @category models
 * @since 0.1.0
 */
export interface RouteState {
  readonly model: string
  readonly targets: ReadonlyArray<Split.ArmState>
  readonly failover: ReadonlyArray<string>
  readonly mirror: { readonly to: string; readonly share: number; readonly inFlight: number } | undefined
  /** What answers in its place, when it is degraded. */
  readonly degraded: Steering.Degradation | undefined
}

export interface Route extends Steering.Route<Lane.CallError> {
  readonly model: ChatModel.ChatModel<Lane.CallError>
  readonly inspect: Effect.Effect<RouteState>
}

export type Routes = ReadonlyMap<string, Route>

export interface Options {
  readonly pools: Pools.Pools
  readonly policies: lanePolicies.Policies
  readonly steering: Steering.Steering<Lane.CallError>
  readonly caches: ReturnType<typeof caches.make<Lane.CallError>>
}

const targetChoice: Record<Settings.Route["choice"], Choice.Choice> = {
  weighted: Choice.weighted,
  "least-loaded": Choice.leastLoaded,
  client: Choice.byKey(Choice.client),
  user: Choice.byKey(Choice.user)
}

const whenOf = ({ when }: Settings.Target): When.When | undefined =>
  when === undefined ? undefined : Result.getOrThrow(When.make(when))

const noTarget = ({ model }: ChatRequest): ChatError.ClientError =>
  new ChatError.ClientError({
    reason: new ChatError.UnknownModel({
      status: 404,
      detail: `No target of ${
        JSON.stringify(String(model).slice(0, 256))
      } takes this request: each is drained, or has a condition that it does not meet.`,
      stated: true,
      supported: []
    })
  })

const noPlace = ({ account, provider }: CallContext.Place, { model }: ChatRequest): ChatError.ClientError =>
  new ChatError.ClientError({
    reason: new ChatError.InvalidRequest({
      status: 400,
      detail: `The request belongs to the account ${account} of ${provider}, and ${
        JSON.stringify(String(model).slice(0, 256))
      } has no target there.`,
      stated: true
    })
  })

const targetModel = (
  pools: Pools.Pools,
  target: Settings.Target,
  among: ReadonlyArray<string> | undefined = target.account === undefined ? undefined : [target.account]
): ChatModel.ChatModel<Lane.CallError> => {
  const pool = Pools.get(pools, target.provider)
  const place = among === undefined ? pool.accounts : pool.accounts.among(among)
  const { model } = target
  const named: ChatModel.ChatModel<Lane.CallError> = model === undefined ? place : {
    complete: (request) => place.complete(request.model === model ? request : { ...request, model }),
    stream: (request) => place.stream(request.model === model ? request : { ...request, model })
  }
  return noted.calls(named, (info, request) =>
    Object.assign(info, {
      provider: target.provider,
      account: target.account,
      model: model ?? request.model,
      arm: target.arm
    }))
}

/** The targets, one of which takes a call. */
const splitOf = Effect.fnUntraced(function*(
  name: string,
  settings: Settings.Route,
  policies: lanePolicies.ModelPolicies,
  retry: Effect.Success<ReturnType<typeof Lane.retryOf>>,
  pools: Pools.Pools
) {
  const resumable = yield* resumed.make({
    name,
    retry,
    resume: policies.resume,
    can: (provider) => Pools.get(pools, provider).goesOn
  })
  return Split.make(
    Object.fromEntries(settings.targets.map((target) => [armOf(target), {
      model: resumable(target, targetModel(pools, target)),
      weight: target.weight,
      when: whenOf(target)
    }])),
    { choice: targetChoice[settings.choice], empty: noTarget }
  )
})

type Arms = Effect.Success<ReturnType<typeof splitOf>>

/** Goes on to other places where the chosen target can't answer. */
const failoverOf = (split: Arms, settings: Settings.Route, pools: Pools.Pools) => {
  if (settings.failover.length === 0) return split
  const placesOf = places.make<Lane.CallError>({
    route: settings,
    accounts: (provider) => Object.keys(Pools.accountsOf(Pools.get(pools, provider).settings)),
    model: (target, accounts) => targetModel(pools, target, accounts),
    when: whenOf
  })
  return Failover.make<Lane.CallError, ChatError.ClientError>(
    (request) => Effect.flatMap(split.order(request), (arms) => placesOf(arms, request)),
    { limit: settings.failover.length + settings.targets.length, empty: noTarget }
  )
}

/** Calls that belong to one account go there. */
const placedOf = (model: ChatModel.ChatModel<Lane.CallError>, settings: Settings.Route, pools: Pools.Pools) => {
  const all = [...settings.targets, ...settings.failover]
  return Placed.make(model, {
    at: ({ account, provider }) => {
      const target = all.find((one) =>
        one.provider === provider && (one.account === undefined || one.account === account)
      )
      return target && targetModel(pools, { ...target, account })
    },
    absent: noPlace
  })
}

const mirrorOf = (
  model: ChatModel.ChatModel<Lane.CallError>,
  { mirror }: Settings.Route,
  pools: Pools.Pools
) =>
  mirror === undefined
    ? Effect.undefined
    : Mirror.make(model, { to: targetModel(pools, mirror), share: mirror.share, when: whenOf(mirror) })

/** The total deadline and the retries, around all places. */
const policyOf = (
  name: string,
  { deadlines }: lanePolicies.ModelPolicies,
  retry: Effect.Success<ReturnType<typeof Lane.retryOf>>
) =>
  Policy.common({
    name: `route/${name}`,
    cooperative: true,
    error: Lane.deadlineError,
    total: deadlines === false ? undefined : Lane.resolveDeadline(deadlines?.total, Lane.defaults.deadlines.total),
    retry
  })

/** Makes a route, which lives as long as the scope. `routes` are those that it may be degraded to. */
export const make = Effect.fnUntraced(function*(
  name: string,
  settings: Settings.Route,
  { caches, policies, pools, steering }: Options,
  routes: Routes
) {
  const own = lanePolicies.over(policies, lanePolicies.ownOf(policies, name))
  const retry = yield* Lane.retryOf(`route/${name}`, own)
  const split = yield* splitOf(name, settings, own, retry, pools)
  const placed = placedOf(failoverOf(split, settings, pools), settings, pools)
  const mirror = yield* mirrorOf(placed, settings, pools)
  const policy = yield* policyOf(name, own, retry)
  const undegraded = ChatModel.withPolicy(mirror ?? placed, policy)
  const weights = Object.fromEntries(settings.targets.map((target) => [armOf(target), target.weight]))
  yield* split.update(steering.weightsOf(name, weights))
  yield* (yield* Registry.Current).register("route", `route/${name}`, policy.parts)
  const route: Route = {
    weights,
    setWeights: split.update,
    undegraded,
    model: steering.degradable(name, yield* caches.around(name, settings.cache, undegraded), routes),
    inspect: Effect.gen(function*() {
      const copies = yield* mirror?.inspect ?? Effect.undefined
      return {
        model: name,
        targets: yield* split.inspect,
        failover: settings.failover.map(armOf),
        mirror: settings.mirror && copies &&
          { to: armOf(settings.mirror), share: copies.share, inFlight: copies.inFlight },
        degraded: steering.degradationOf(name)
      }
    })
  }
  return route
})
