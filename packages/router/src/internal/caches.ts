import type { ChatModel } from "@ballast/chat/ChatModel"
import * as Effect from "effect/Effect"
import * as AnswerCache from "../AnswerCache.ts"
import type * as AnswerStore from "../AnswerStore.ts"
import type { Route } from "../RouterSettings.ts"
import * as SemanticCache from "../SemanticCache.ts"

type Settings = NonNullable<Route["cache"]>

interface Options<out E> {
  readonly answers: AnswerStore.AnswerStore | undefined
  /** The embedding of a text by a model of the settings. */
  readonly embed: (model: string, text: string) => Effect.Effect<ReadonlyArray<number>, E>
}

/** How many answers a purge dropped. */
export interface Purged {
  /** In memory, to the very question. */
  readonly exact: number
  /** In memory, to questions that mean the same. */
  readonly semantic: number
  /** In the store; undefined without one. */
  readonly store: number | undefined
}

/** The caches of a router's models. They outlive revisions, as long as their models have one. */
export const make = <E>({ answers, embed }: Options<E>) => {
  /** What is there of all models is removed at once. */
  const store = answers && { ...answers, remove: () => Effect.succeed(0) }
  const exact = new Map<string, AnswerCache.AnswerCache<E>>()
  /** Embeddings of one model say nothing to another's: with another one the cache is a new one. */
  const semantic = new Map<string, { readonly model: string; readonly cache: SemanticCache.SemanticCache }>()

  const exactOf = Effect.fnUntraced(function*(name: string, settings: Settings) {
    const old = exact.get(name)
    if (old !== undefined) return yield* Effect.as(old.update(settings), old)
    const made = yield* AnswerCache.make<E>({ name, ...settings, store })
    exact.set(name, made)
    return made
  })
  const semanticFor = Effect.fnUntraced(function*(name: string, settings: SemanticCache.Settings, model: string) {
    const old = semantic.get(name)
    if (old?.model === model) return yield* Effect.as(old.cache.update(settings), old.cache)
    const cache = yield* SemanticCache.make({ name, ...settings, embed: (text) => embed(model, text) })
    semantic.set(name, { model, cache })
    return cache
  })

  return {
    /** The exact cache comes first: calls that it shares ask for one embedding. */
    around: Effect.fnUntraced(function*(name: string, settings: Settings | undefined, model: ChatModel<E>) {
      if (settings === undefined) return model
      const { semantic: near } = settings
      const inner = near && (yield* semanticFor(name, { ...settings, ...near }, near.model))
      return (yield* exactOf(name, settings)).through(inner === undefined ? model : inner.through(model))
    }),
    /** Drops the caches of models that have none any more. */
    retain: (models: Readonly<Record<string, Route>>): void => {
      for (const name of exact.keys()) if (models[name]?.cache === undefined) exact.delete(name)
      for (const name of semantic.keys()) if (models[name]?.cache?.semantic === undefined) semantic.delete(name)
    },
    /** What a model's caches have for calls, the exact one first. */
    lookups: (name: string): ReadonlyArray<AnswerCache.Lookup> =>
      [exact.get(name)?.lookup, semantic.get(name)?.cache.lookup].filter((lookup) => lookup !== undefined),
    /** The semantic cache of a model. */
    semanticOf: (name: string): SemanticCache.SemanticCache | undefined => semantic.get(name)?.cache,
    /** Names of the models that have one. */
    semanticNames: (): ReadonlyArray<string> => Array.from(semantic.keys()),
    purge: (purge: AnswerCache.Purge): Effect.Effect<Purged, AnswerStore.NotRemoved> =>
      Effect.gen(function*() {
        const dropped = { exact: 0, semantic: 0 }
        for (const { cache } of semantic.values()) dropped.semantic += yield* cache.purge(purge)
        for (const cache of exact.values()) dropped.exact += (yield* cache.purge(purge)).memory
        return { ...dropped, store: answers && (yield* answers.remove(purge)) }
      })
  }
}
