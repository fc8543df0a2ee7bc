/**
 * Names from the OpenTelemetry semantic conventions for generative AI and HTTP, as Ballast uses them.
 *
 * One place holds every attribute name, so that dashboards, tests and code cannot drift apart.
 *
 * @see {@link https://opentelemetry.io/docs/specs/semconv/gen-ai/}
 * @since 0.1.0
 */

/**
 * Attributes of the span that covers one call, with all its attempts. Its name is `chat <model>`, or
 * that of another operation before the model; its kind is `client`.
 *
 * @category attributes
 * @since 0.1.0
 */
export const Attribute = {
  operationName: "gen_ai.operation.name",
  providerName: "gen_ai.provider.name",
  requestModel: "gen_ai.request.model",
  requestMaxTokens: "gen_ai.request.max_tokens",
  requestTemperature: "gen_ai.request.temperature",
  requestTopP: "gen_ai.request.top_p",
  requestStream: "gen_ai.request.stream",
  responseId: "gen_ai.response.id",
  responseModel: "gen_ai.response.model",
  responseFinishReasons: "gen_ai.response.finish_reasons",
  usageInputTokens: "gen_ai.usage.input_tokens",
  usageOutputTokens: "gen_ai.usage.output_tokens",
  usageCacheReadTokens: "gen_ai.usage.cache_read.input_tokens",
  usageReasoningTokens: "gen_ai.usage.reasoning.output_tokens",
  timeToFirstToken: "gen_ai.response.time_to_first_chunk",
  /** What was asked and answered: only where `Content` says so. */
  inputMessages: "gen_ai.input.messages",
  outputMessages: "gen_ai.output.messages",
  errorType: "error.type",
  serverAddress: "server.address",
  serverPort: "server.port",
  httpMethod: "http.request.method",
  httpStatus: "http.response.status_code",
  httpResendCount: "http.request.resend_count",
  /** Of a call upstream; no base URL has a user or a query. */
  urlFull: "url.full",
  /** Of a request to the gateway. */
  urlPath: "url.path",
  /** The client or target that calls. */
  name: "ballast.name",
  /** The caller's `x-trace-id`. */
  traceId: "ballast.trace_id",
  upstreamTraceId: "ballast.upstream.trace_id"
} as const

/**
 * The version of the conventions that the names are from; what is exported says so.
 *
 * @category attributes
 * @since 0.1.0
 */
export const schemaUrl = "https://opentelemetry.io/schemas/1.45.0"

/**
 * The longest name of a model, in characters, that telemetry shows whole.
 *
 * @category models
 * @since 0.1.0
 */
export const maxModelLength = 256

/**
 * The name of a model as spans and logs show it: names come from callers, so a long one is cut.
 *
 * @category models
 * @since 0.1.0
 */
export const modelName = (name: string): string => {
  // A request that leaves it out gets its error from whoever judges requests.
  const text = String(name)
  return text.length <= maxModelLength ? text : `${text.slice(0, maxModelLength)}…`
}
