/**
 * The models that the service offers, from `GET /models`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { nullable } from "./internal/wire.ts"

/**
 * One model. Older answers have `id`, `object` and `owned_by` only; windows and limits are in tokens.
 *
 * @category models
 * @since 0.1.0
 */
export const ModelInfo = Schema.Struct({
  id: Schema.String,
  object: nullable(Schema.String),
  owned_by: nullable(Schema.String),
  name: nullable(Schema.String),
  context_window: nullable(Schema.Finite),
  max_output_tokens: nullable(Schema.Finite),
  input_modalities: nullable(Schema.Array(Schema.String)),
  output_modalities: nullable(Schema.Array(Schema.String)),
  effort: nullable(Schema.Struct({
    supported_levels: nullable(Schema.Array(Schema.String)),
    default_level: nullable(Schema.String)
  }))
})

/**
 * @category models
 * @since 0.1.0
 */
export type ModelInfo = typeof ModelInfo.Type

/**
 * The body of `GET /models`.
 *
 * @category models
 * @since 0.1.0
 */
export const ModelList = Schema.Struct({
  object: nullable(Schema.String),
  data: Schema.Array(ModelInfo)
})

/**
 * @category models
 * @since 0.1.0
 */
export type ModelList = typeof ModelList.Type
