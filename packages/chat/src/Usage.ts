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
