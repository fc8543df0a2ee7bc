/**
 * What a call used, in tokens, as the service counts and bills them.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { filled, nullable } from "./internal/wire.ts"

/**
 * Token counts of one call. A field that is `null` is the same as one that is missing.
 *
 * **Details**
 *
 * | field | what it counts |
 * |---|---|
 * | `prompt_tokens` | the prompt, cache hits and misses together; 0 where the service does not say |
 * | `completion_tokens` | the answer, reasoning included; 0 where the service does not say |
 * | `total_tokens` | both |
 * | `prompt_tokens_details.cached_tokens` | the part of the prompt that came from the cache |
 * | `completion_tokens_details.reasoning_tokens` | reasoning; missing when thinking is off |
 * | `prompt_cache_hit_tokens`, `prompt_cache_miss_tokens` | the prompt's parts, as DeepSeek names them |
 *
 * @see {@link https://api-docs.deepseek.com/api/create-chat-completion}
 * @category models
 * @since 0.1.0
 */
export interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens?: number | null
  readonly prompt_tokens_details?: { readonly cached_tokens?: number | null } | null
  readonly completion_tokens_details?: { readonly reasoning_tokens?: number | null } | null
  readonly prompt_cache_hit_tokens?: number | null
  readonly prompt_cache_miss_tokens?: number | null
}

/**
 * The schema of `Usage`. Fields that it does not name are kept.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Usage: Schema.Codec<Usage, object> = Schema.Struct({
  prompt_tokens: filled(Schema.Finite, 0),
  completion_tokens: filled(Schema.Finite, 0),
  total_tokens: nullable(Schema.Finite),
  prompt_tokens_details: nullable(Schema.Struct({ cached_tokens: nullable(Schema.Finite) })),
  completion_tokens_details: nullable(Schema.Struct({ reasoning_tokens: nullable(Schema.Finite) })),
  prompt_cache_hit_tokens: nullable(Schema.Finite),
  prompt_cache_miss_tokens: nullable(Schema.Finite)
})

/**
 * What two calls used together. A count that only one of them states is that one's; fields without a name here are those of the second.
 *
 * @category combinators
 * @since 0.1.0
 */
export const add = (self: Usage, that: Usage): Usage => {
  const prompt = details(self.prompt_tokens_details, that.prompt_tokens_details, "cached_tokens")
  const completion = details(self.completion_tokens_details, that.completion_tokens_details, "reasoning_tokens")
  return {
    ...that,
    prompt_tokens: self.prompt_tokens + that.prompt_tokens,
    completion_tokens: self.completion_tokens + that.completion_tokens,
    ...sum(self, that, "total_tokens"),
    ...(prompt && { prompt_tokens_details: prompt }),
    ...(completion && { completion_tokens_details: completion }),
    ...sum(self, that, "prompt_cache_hit_tokens"),
    ...sum(self, that, "prompt_cache_miss_tokens")
  }
}

type Counts<K extends string> = { readonly [P in K]?: number | null }

const sum = <K extends string>(
  self: Counts<K>,
  that: Counts<K>,
  name: K
): { readonly [P in K]?: number } | undefined => {
  const [a, b] = [self[name], that[name]]
  // One field of a computed name.
  return a == null && b == null ? undefined : { [name]: (a ?? 0) + (b ?? 0) } as { readonly [P in K]?: number }
}

const details = <K extends string>(self: Counts<K> | null | undefined, that: Counts<K> | null | undefined, name: K) =>
  self == null && that == null ? undefined : { ...that, ...sum(self ?? {}, that ?? {}, name) }
