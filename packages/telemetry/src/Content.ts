/**
 * Whether spans hold what was asked and what was answered: `gen_ai.input.messages` and `gen_ai.output.messages`. By default they don't.
 *
 * @see {@link https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/#capturing-instructions-inputs-and-outputs}
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

/**
 * @category models
 * @since 0.1.0
 */
export interface Content {
  /** Takes each text before it is kept, to cut out what must not leave the program. What it throws leaves the text out. */
  readonly redact: (text: string) => string
}

/**
 * How content is kept. Default: not at all.
 *
 * **Example** (Keeping content without numbers)
 *
 * ```ts
 * import { Content } from "@ballast/telemetry"
 * import { Layer } from "effect"
 *
 * const WithContent = Layer.succeed(Content.Current, { redact: (text) => text.replace(/\d/g, "#") })
 * ```
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<Content | undefined> = Context.Reference(
  "@ballast/telemetry/Content/Current",
  { defaultValue: (): Content | undefined => undefined }
)

/** Of a message, at most these characters are kept. */
const maxLength = 16_384

/**
 * A text as it is kept: redacted, then cut to 16,384 characters.
 *
 * @category accessors
 * @since 0.1.0
 */
export const kept = (content: Content, text: string): string => {
  try {
    return content.redact(text).slice(0, maxLength)
  } catch {
    return "<not redacted>"
  }
}

/**
 * Keeps content, unredacted, where `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is `true`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: Layer.Layer<never, Config.ConfigError> = Layer.effect(
  Current,
  Config.Boolean("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT").pipe(
    Config.withDefault(false),
    Config.map((on): Content | undefined => on ? { redact: (text) => text } : undefined)
  )
)
