/**
 * Every metric that Ballast has, in one table: its name in Prometheus' text, and its name and unit in OTLP.
 *
 * Programs make a metric under its Prometheus name. The exporter writes OpenTelemetry's name and unit where a convention has them, and the
 * attributes under OpenTelemetry's names.
 *
 * @see {@link https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/}
 * @see {@link https://opentelemetry.io/docs/specs/semconv/http/http-metrics/}
 * @since 0.1.0
 */

/**
 * How a metric is exported over OTLP.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  /** In UCUM: `s`, `By`, `1`, `{call}`. */
  readonly unit: string
  /** Attributes by their names in Prometheus' text. */
  readonly attributes?: Readonly<Record<string, string>>
  /** Attributes, by their names in Prometheus' text, of values that have none of their own there. */
  readonly usual?: Readonly<Record<string, string>>
  /** A gauge whose values of several processes of one gateway add up. Others are told apart by process. */
  readonly summed?: true
}

const genAi = {
  provider: "gen_ai.provider.name",
  model: "gen_ai.request.model",
  type: "gen_ai.token.type",
  error_type: "error.type",
  name: "ballast.name",
  operation: "gen_ai.operation.name"
} as const

/** The conventions want an operation for each value. */
const usual = { operation: "chat" } as const

const http = {
  method: "http.request.method",
  route: "http.route",
  status: "http.response.status_code"
} as const

const ballast = (name: string, unit: string): Row => ({ name: `ballast.${name}`, unit })

/**
 * The rows by name in Prometheus' text.
 *
 * @category tables
 * @since 0.1.0
 */
export const table: Readonly<Record<string, Row>> = {
  gen_ai_client_operation_duration_seconds: {
    name: "gen_ai.client.operation.duration",
    unit: "s",
    attributes: genAi,
    usual
  },
  gen_ai_client_token_usage: { name: "gen_ai.client.token.usage", unit: "{token}", attributes: genAi, usual },
  gen_ai_client_time_to_first_token_seconds: {
    name: "gen_ai.client.operation.time_to_first_chunk",
    unit: "s",
    attributes: genAi,
    usual
  },
  // No convention of clients counts by token; a gateway is a server of models.
  gen_ai_client_time_per_output_token_seconds: {
    name: "gen_ai.server.time_per_output_token",
    unit: "s",
    attributes: genAi,
    usual
  },
  http_request_duration_seconds: { name: "http.server.request.duration", unit: "s", attributes: http },
  http_server_active_requests: { name: "http.server.active_requests", unit: "{request}", summed: true },
  nodejs_eventloop_delay_p99_seconds: { name: "nodejs.eventloop.delay.p99", unit: "s" },
  nodejs_eventloop_utilization: { name: "nodejs.eventloop.utilization", unit: "1" },
  v8js_memory_heap_used_bytes: { name: "v8js.memory.heap.used", unit: "By" },
  v8js_memory_heap_limit_bytes: { name: "v8js.memory.heap.limit", unit: "By" },
  v8js_gc_duration_seconds: { name: "v8js.gc.duration", unit: "s", attributes: { type: "v8js.gc.type" } },
  process_resident_memory_bytes: { name: "process.memory.usage", unit: "By" },
  process_open_sockets: { name: "ballast.process.open_sockets", unit: "{socket}" },
  ballast_requests_total: { ...ballast("requests", "{request}"), attributes: http },
  ballast_routed_requests_total: { ...ballast("requests.routed", "{request}"), attributes: http },
  ballast_calls_total: { ...ballast("calls", "{call}"), attributes: genAi },
  ballast_attempts_total: { ...ballast("attempts", "{attempt}"), attributes: genAi },
  // In units of its attribute `currency`.
  ballast_account_balance: ballast("account.balance", "{currency}"),
  ballast_resumptions_total: { ...ballast("resumptions", "{resumption}"), attributes: genAi },
  ballast_account_keys_usable: ballast("account.keys_usable", "{key}"),
  ballast_account_usable: ballast("account.usable", "1"),
  // Processes divide the limit among them.
  ballast_adaptive_limit: { ...ballast("adaptive_limit", "{call}"), summed: true },
  ballast_adaptive_limit_changes_total: ballast("adaptive_limit.changes", "{change}"),
  ballast_cache_evictions_total: ballast("cache.evictions", "{entry}"),
  ballast_cache_refresh_failures_total: ballast("cache.refresh_failures", "{refresh}"),
  ballast_cache_requests_total: ballast("cache.requests", "{call}"),
  ballast_chaos_injections_total: ballast("chaos.injections", "{injection}"),
  ballast_circuit_breaker_shadow: ballast("circuit_breaker.shadow", "1"),
  ballast_circuit_breaker_spared_total: ballast("circuit_breaker.spared", "{call}"),
  ballast_circuit_breaker_state: ballast("circuit_breaker.state", "1"),
  ballast_circuit_breaker_transitions_total: ballast("circuit_breaker.transitions", "{transition}"),
  ballast_budget_used_ratio: ballast("budget.used", "1"),
  // In units of its attribute `currency`.
  ballast_cost_total: ballast("cost", "{currency}"),
  ballast_deadlines_exceeded_total: ballast("deadlines.exceeded", "{call}"),
  ballast_fallback_failures_total: ballast("fallback.failures", "{call}"),
  ballast_fallbacks_total: ballast("fallbacks", "{call}"),
  ballast_hedge_wins_total: ballast("hedge.wins", "{call}"),
  ballast_hedges_denied_total: ballast("hedges.denied", "{attempt}"),
  ballast_hedges_total: ballast("hedges", "{attempt}"),
  ballast_inference_batch_rows: ballast("inference.batch_rows", "{row}"),
  ballast_inference_call_seconds: ballast("inference.call", "s"),
  ballast_inference_calls_total: ballast("inference.calls", "{call}"),
  ballast_inference_loaded_bytes: ballast("inference.loaded", "By"),
  ballast_inference_queued: ballast("inference.queued", "{call}"),
  ballast_ledger_calls_total: ballast("ledger.calls", "{call}"),
  ballast_ledger_spool_bytes: ballast("ledger.spool", "By"),
  ballast_ledger_waiting_calls: ballast("ledger.waiting", "{call}"),
  ballast_ledger_write_failures_total: ballast("ledger.write_failures", "{batch}"),
  ballast_limit_places: ballast("limit.places", "{call}"),
  ballast_limit_queued: ballast("limit.queued", "{call}"),
  ballast_limit_running: ballast("limit.running", "{call}"),
  ballast_overhead_seconds: ballast("overhead", "s"),
  ballast_operator_actions_total: ballast("operator.actions", "{action}"),
  ballast_operator_leader: ballast("operator.leader", "1"),
  ballast_operator_queue_depth: ballast("operator.queue_depth", "{model}"),
  ballast_operator_reconcile_duration_seconds: ballast("operator.reconcile.duration", "s"),
  ballast_operator_reconciles_total: ballast("operator.reconciles", "{reconcile}"),
  ballast_operator_watch_failures_total: ballast("operator.watch_failures", "{failure}"),
  ballast_policy_rejections_total: ballast("policy.rejections", "{call}"),
  ballast_policy_wait_seconds: ballast("policy.wait", "s"),
  ballast_rate_limiter_leased_weight_total: ballast("rate_limiter.leased_weight", "1"),
  ballast_rate_limiter_pauses_total: ballast("rate_limiter.pauses", "{pause}"),
  ballast_rate_limiter_settled_weight_total: ballast("rate_limiter.settled_weight", "1"),
  ballast_retries_denied_total: ballast("retries.denied", "{attempt}"),
  ballast_retries_given_up_total: ballast("retries.given_up", "{call}"),
  ballast_retry_attempts_total: ballast("retry.attempts", "{attempt}"),
  ballast_semantic_lookups_total: ballast("semantic.lookups", "{call}"),
  ballast_settings_changes_total: ballast("settings.changes", "{change}"),
  ballast_settings_refusals_total: ballast("settings.refusals", "{change}"),
  ballast_settings_revision: ballast("settings.revision", "1"),
  ballast_settings_source_up: ballast("settings.source_up", "1"),
  ballast_single_flight_cancelled_total: ballast("single_flight.cancelled", "{call}"),
  ballast_single_flight_joined_total: ballast("single_flight.joined", "{call}"),
  ballast_store_errors_total: ballast("store.errors", "{request}"),
  ballast_uncertain_prices_total: ballast("uncertain_prices", "{call}"),
  ballast_unknown_prices_total: ballast("unknown_prices", "{call}"),
  ballast_workflow_runs_started_total: ballast("workflow.runs_started", "{run}"),
  ballast_workflow_runs_total: ballast("workflow.runs", "{run}"),
  ballast_workflow_run_duration_seconds: ballast("workflow.run.duration", "s"),
  ballast_workflow_step_attempts_total: ballast("workflow.step.attempts", "{attempt}"),
  ballast_workflow_step_duration_seconds: ballast("workflow.step.duration", "s"),
  ballast_workflow_tokens_total: ballast("workflow.tokens", "{token}"),
  // In units of its attribute `currency`.
  ballast_workflow_cost_total: ballast("workflow.cost", "{currency}"),
  ballast_workflow_runs_waiting: ballast("workflow.runs_waiting", "{run}"),
  ballast_telemetry_dropped_total: ballast("telemetry.dropped", "{item}")
}

/**
 * How a metric is exported over OTLP: by its row, and one that is not ours under its own name, with the unit that its name ends with.
 *
 * @category accessors
 * @since 0.1.0
 */
export const rowOf = (name: string): Row => {
  const row = Object.hasOwn(table, name) ? table[name] : undefined
  if (row !== undefined) return row
  return { name, unit: name.endsWith("_seconds") ? "s" : name.endsWith("_bytes") ? "By" : "1" }
}
