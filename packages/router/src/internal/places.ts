/** Which places are left to ask after a route's first one: those of its failover list, without what was asked already. */
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

/** The places to go on to after the target of an arm; after none, where no target takes the call. */
export type Rest<E> = (arm: string | undefined, request: ChatRequest) => Effect.Effect<ReadonlyArray<ChatModel<E>>>

/**
 * Asking a place again that has just failed would only add to its load: within one walk, no account is asked twice for one model.
 * What is left depends on the arm, on the conditions that hold and, where a target takes the name that was asked for, on that name.
 */
export const make = <E>({ accounts, model, route: { failover, targets }, when }: Options<E>): Rest<E> => {
  const named = new Set([...targets, ...failover].map((target) => target.model))
  const listed = failover.map((target) => ({ target, when: when(target) }))
  const known = new Map<string, ReadonlyArray<ChatModel<E>>>()

  const find = (first: Target | undefined, asked: string, taking: typeof listed): ReadonlyArray<ChatModel<E>> => {
    const tried = new Set<string>()
    /** The accounts of a target that were not asked for its model. */
    const untried = (target: Target): ReadonlyArray<string> => {
      const all = target.account === undefined ? accounts(target.provider) : [target.account]
      return all.filter((account) => {
        const place = JSON.stringify([target.provider, account, target.model ?? asked])
        return !tried.has(place) && tried.add(place)
      })
    }
    if (first !== undefined) untried(first)
    return taking.flatMap(({ target }) => {
      const left = untried(target)
      return left.length === 0 ? [] : [model(target, left)]
    })
  }

  const lookUp = (arm: string | undefined, asked: string, taking: typeof listed) => {
    // Other names than those of the targets make no difference, so they take no room.
    const name = named.has(asked) ? asked : null
    const key = JSON.stringify([arm, name, taking === listed ? null : taking.map((one) => listed.indexOf(one))])
    const found = known.get(key) ?? find(targets.find((target) => armOf(target) === arm), asked, taking)
    known.set(key, found)
    return found
  }

  return listed.every(({ when }) => when === undefined)
    ? (arm, request) => Effect.sync(() => lookUp(arm, request.model, listed))
    : (arm, request) =>
      Effect.map(
        Effect.filter(listed, ({ when }) => when === undefined ? Effect.succeed(true) : when(request)),
        (taking) => lookUp(arm, request.model, taking)
      )
}
