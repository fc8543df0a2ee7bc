/**
 * What a call used, in tokens, as the service counts and bills them.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { nullable } from "./internal/wire.ts"

/**
 * `prompt_tokens` is the sum of cache hits and misses; reasoning tokens are part of `completion_tokens`, and
 * `completion_tokens_details` is missing when thinking is off.
 *
 * @category models
 * @since 0.1.0
 */
export const Usage = Schema.Struct({
  prompt_tokens: Schema.Finite,
  completion_tokens: Schema.Finite,
  total_tokens: Schema.Finite,
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
