/**
 * What a call used, in tokens, as the service counts and bills them.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { filled, nullable } from "./internal/wire.ts"

/**
 * `prompt_tokens` is the sum of cache hits and misses; reasoning tokens are part of `completion_tokens`, and
 * `completion_tokens_details` is missing when thinking is off. Another service may leave out any of them: prompt and
 * completion tokens that are not told are 0.
 *
 * @category models
 * @since 0.1.0
 */
export const Usage = Schema.Struct({
  prompt_tokens: filled(Schema.Finite, 0),
  completion_tokens: filled(Schema.Finite, 0),
  total_tokens: nullable(Schema.Finite),
  prompt_tokens_details: nullable(Schema.Struct({ cached_tokens: nullable(Schema.Finite) })),
  completion_tokens_details: nullable(Schema.Struct({ reasoning_tokens: nullable(Schema.Finite) })),
  prompt_cache_hit_tokens: nullable(Schema.Finite),
  prompt_cache_miss_tokens: nullable(Schema.Finite)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Usage = typeof Usage.Type
