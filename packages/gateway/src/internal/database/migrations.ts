/** The tables, as steps that are never changed once they are released. The types are those that SQLite and Postgres share. */
import * as Runs from "@ballast/workflow/Runs"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"

const run = (...statements: ReadonlyArray<string>) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
  )

/**
 * Money is kept in whole units of 10^-12 of its currency: integers add up exactly in every database, text does not, and floating point is
 * wrong by the last digit. The largest sum of one group is 9.2 million in SQLite, and has no bound in Postgres.
 */
const calls = `CREATE TABLE ballast_calls (
  id TEXT NOT NULL PRIMARY KEY,
  request_id TEXT NOT NULL,
  trace_id TEXT NOT NULL,
  at BIGINT NOT NULL,
  client TEXT NOT NULL,
  labels TEXT NOT NULL,
  route TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  account TEXT NOT NULL,
  provider_model TEXT NOT NULL,
  arm TEXT NOT NULL,
  stream INTEGER NOT NULL,
  status INTEGER NOT NULL,
  error TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  failovers INTEGER NOT NULL,
  duration_ms BIGINT NOT NULL,
  ttft_ms BIGINT,
  input_tokens BIGINT,
  cached_tokens BIGINT,
  output_tokens BIGINT,
  reasoning_tokens BIGINT,
  currency TEXT NOT NULL,
  price_revision TEXT NOT NULL,
  cost_hit BIGINT,
  cost_miss BIGINT,
  cost_output BIGINT,
  cost_reasoning BIGINT,
  cost_call BIGINT,
  cache TEXT NOT NULL,
  saved BIGINT
)`

const usage = `CREATE TABLE ballast_usage (
  span TEXT NOT NULL,
  start BIGINT NOT NULL,
  client TEXT NOT NULL,
  labels TEXT NOT NULL,
  route TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  account TEXT NOT NULL,
  provider_model TEXT NOT NULL,
  arm TEXT NOT NULL,
  currency TEXT NOT NULL,
  calls BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  cancelled BIGINT NOT NULL,
  cache_hits BIGINT NOT NULL,
  unknown_usage BIGINT NOT NULL,
  unknown_price BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  cached_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  reasoning_tokens BIGINT NOT NULL,
  cost_hit BIGINT NOT NULL,
  cost_miss BIGINT NOT NULL,
  cost_output BIGINT NOT NULL,
  cost_reasoning BIGINT NOT NULL,
  cost_call BIGINT NOT NULL,
  saved BIGINT NOT NULL,
  answered BIGINT NOT NULL,
  duration DOUBLE PRECISION NOT NULL,
  duration_squares DOUBLE PRECISION NOT NULL,
  timed BIGINT NOT NULL,
  ttft DOUBLE PRECISION NOT NULL,
  ttft_squares DOUBLE PRECISION NOT NULL,
  counted BIGINT NOT NULL,
  tokens DOUBLE PRECISION NOT NULL,
  tokens_squares DOUBLE PRECISION NOT NULL,
  priced BIGINT NOT NULL,
  cost DOUBLE PRECISION NOT NULL,
  cost_squares DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (span, start, client, labels, route, model, provider, account, provider_model, arm, currency)
)`

const clients = `CREATE TABLE ballast_clients (
  name TEXT NOT NULL PRIMARY KEY,
  owner TEXT NOT NULL,
  labels TEXT NOT NULL,
  models TEXT NOT NULL,
  addresses TEXT NOT NULL,
  limits TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT
)`

const keys = `CREATE TABLE ballast_client_keys (
  hash TEXT NOT NULL PRIMARY KEY,
  client TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  expires_at BIGINT
)`

const feedback = `CREATE TABLE ballast_feedback (
  request_id TEXT NOT NULL,
  name TEXT NOT NULL,
  client TEXT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  value DOUBLE PRECISION,
  comment TEXT NOT NULL,
  PRIMARY KEY (request_id, name, client)
)`

export const migrations = {
  "1_ledger": run(
    calls,
    "CREATE INDEX ballast_calls_at ON ballast_calls (at)",
    "CREATE INDEX ballast_calls_client ON ballast_calls (client, at)",
    "CREATE INDEX ballast_calls_request ON ballast_calls (request_id)",
    usage
  ),
  "2_clients": run(
    clients,
    keys,
    "CREATE INDEX ballast_client_keys_client ON ballast_client_keys (client)",
    "CREATE TABLE ballast_revisions (name TEXT NOT NULL PRIMARY KEY, revision BIGINT NOT NULL)",
    "INSERT INTO ballast_revisions (name, revision) VALUES ('clients', 0)"
  ),
  "3_feedback": run(feedback, "CREATE INDEX ballast_feedback_at ON ballast_feedback (at)"),
  "4_workflows": Runs.migration,
  "5_purges": run(
    "CREATE TABLE ballast_purges (revision BIGINT NOT NULL PRIMARY KEY, purge TEXT NOT NULL, at BIGINT NOT NULL)",
    "INSERT INTO ballast_revisions (name, revision) VALUES ('purges', 0)"
  )
}
