/** Which places are left to ask after a route's first one: its failover list, then its other targets, without what was asked already. */
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Effect from "effect/Effect"
import type { Route, Target } from "../RouterSettings.ts"
import { armOf } from "../RouterSettings.ts"
import type { When } from "../When.ts"

export interface Options<E> {
  readonly route: Pick<Route, "failover" | "targets">
  /** The names of a provider's accounts. */
  readonly accounts: (provider: string) => ReadonlyArray<string>
  /** The model of some of a target's accounts. */
  readonly model: (target: Target, accounts: ReadonlyArray<string>) => ChatModel<E>
  readonly when: (target: Target) => When | undefined
}

/** A target that may take the call, in the split. */
interface Arm<E> {
  readonly name: string
  readonly model: ChatModel<E>
}

/** The places of a call in their order: the first of the arms, those of the list, then the other arms. */
export type Places<E> = (
  arms: ReadonlyArray<Arm<E>>,
  request: ChatRequest
) => Effect.Effect<ReadonlyArray<ChatModel<E>>>

/** Arms come in as many orders as there are; what is known of them is not to fill the memory. */
const maxKnown = 1_000

/**
 * Asking a place again that has just failed would only add to its load: within one walk, no account is asked twice for one model.
 * What is left depends on the arms, on the conditions that hold and, where a target takes the name that was asked for, on that name.
 */
export const make = <E>({ accounts, model, route: { failover, targets }, when }: Options<E>): Places<E> => {
  const named = new Set([...targets, ...failover].map((target) => target.model))
  const byArm = new Map(targets.map((target) => [armOf(target), target]))
  const listed = failover.map((target) => ({ target, when: when(target) }))
  const known = new Map<string, ReadonlyArray<ChatModel<E>>>()

  const find = (
    arms: ReadonlyArray<Arm<E>>,
    asked: string,
    taking: typeof listed
  ): ReadonlyArray<ChatModel<E>> => {
    const tried = new Set<string>()
    /** The model of the accounts of a target that were not asked for its model; none when all were. */
    const untried = (target: Target, whole?: ChatModel<E>): ReadonlyArray<ChatModel<E>> => {
      const all = target.account === undefined ? accounts(target.provider) : [target.account]
      const left = all.filter((account) => {
        const place = JSON.stringify([target.provider, account, target.model ?? asked])
        return !tried.has(place) && tried.add(place)
      })
      if (left.length === 0) return []
      return [left.length === all.length && whole !== undefined ? whole : model(target, left)]
    }
    const ofArm = ({ model, name }: Arm<E>) => {
      const target = byArm.get(name)
      return target === undefined ? [] : untried(target, model)
    }
    return [
      ...arms.slice(0, 1).flatMap(ofArm),
      ...taking.flatMap(({ target }) => untried(target)),
      ...arms.slice(1).flatMap(ofArm)
    ]
  }

  const lookUp = (arms: ReadonlyArray<Arm<E>>, asked: string, taking: typeof listed) => {
    // Other names than those of the targets make no difference, so they take no room.
    const name = named.has(asked) ? asked : null
    const conditions = taking === listed ? null : taking.map((one) => listed.indexOf(one))
    const key = JSON.stringify([arms.map(({ name }) => name), name, conditions])
    const before = known.get(key)
    if (before !== undefined) return before
    const found = find(arms, asked, taking)
    if (known.size < maxKnown) known.set(key, found)
    return found
  }

  return listed.every(({ when }) => when === undefined)
    ? (arms, request) => Effect.sync(() => lookUp(arms, request.model, listed))
    : (arms, request) =>
      Effect.map(
        Effect.filter(listed, ({ when }) => when === undefined ? Effect.succeed(true) : when(request)),
        (taking) => lookUp(arms, request.model, taking)
      )
}
