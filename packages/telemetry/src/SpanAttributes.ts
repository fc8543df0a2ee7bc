/**
 * Attributes of spans that are made when someone reads them. Most traces are not exported where a sampler chooses, and their attributes are never read.
 *
 * @since 0.1.0
 */
import type * as Tracer from "effect/Tracer"
import { Span } from "./internal/span.ts"

/**
 * Gives a span attributes. A span of `Exporter` calls the function when it is exported, any other at once, if it is sampled. What is undefined is no attribute.
 *
 * **Gotchas**
 *
 * The function may be called after the span has ended: it must not hold what is large, nor read what changes. An `error.type` that is given at once
 * (`span.attribute`) keeps a trace that the sampler leaves out. One that comes by this function does not, as that of a caller who went away.
 *
 * **Example** (Describing a request)
 *
 * ```ts
 * import { SpanAttributes } from "@ballast/telemetry"
 * import { Effect } from "effect"
 *
 * const answer = (path: string) =>
 *   Effect.useSpan("answer", (span) => {
 *     SpanAttributes.later(span, () => ({ "url.path": path, "url.extension": path.split(".")[1] }))
 *     return Effect.log("answered")
 *   })
 *
 * await Effect.runPromise(answer("/pictures/1.png"))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const later = (span: Tracer.Span, attributes: () => Readonly<Record<string, unknown>>): void => {
  if (span instanceof Span) return span.later(attributes)
  // Nobody reads them: tracing is off, or the sampler left the trace out.
  if (!span.sampled) return
  const given = attributes()
  for (const name in given) if (given[name] !== undefined) span.attribute(name, given[name])
}
