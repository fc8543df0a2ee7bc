/**
 * Reads the caller's trace from a request, by the W3C Trace Context recommendation.
 *
 * @see {@link https://www.w3.org/TR/trace-context/#traceparent-header}
 * @since 0.1.0
 */
import type * as Headers from "effect/http/Headers"
import * as HttpTraceContext from "effect/http/HttpTraceContext"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"

/** A version after `00` may add fields at the end; `ff` is forbidden. */
const laterVersion = /^(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?$/

/**
 * The span that `traceparent` names, to be the parent of the span that serves the request.
 *
 * **Details**
 *
 * A header of a later version is read as far as version `00` defines it. One that breaks the format (upper case, zero ids, a wrong
 * length) counts as absent: the trace then starts here. The sampled flag is the caller's.
 *
 * @category accessors
 * @since 0.1.0
 */
export const parent = (headers: Headers.Headers): Option.Option<Tracer.ExternalSpan> => {
  const traceparent = headers["traceparent"]
  if (traceparent === undefined) return Option.none()
  const later = laterVersion.exec(traceparent)
  return HttpTraceContext.w3c(later === null ? headers : { ...headers, traceparent: `00-${later[1]}` })
}
