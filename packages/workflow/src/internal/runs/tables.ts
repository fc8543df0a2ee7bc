/** The tables of the record, whose types are those that SQLite and Postgres share. */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

const runs = `CREATE TABLE ballast_workflow_runs (
  id TEXT NOT NULL PRIMARY KEY,
  workflow TEXT NOT NULL,
  definition TEXT NOT NULL,
  client TEXT NOT NULL,
  idempotency_key TEXT,
  input TEXT NOT NULL,
  input_hash TEXT NOT NULL,
  trace TEXT NOT NULL,
  retry_of TEXT,
  status TEXT NOT NULL,
  waiting BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  ended_at BIGINT,
  output TEXT,
  failed_step TEXT,
  error TEXT,
  usage TEXT NOT NULL,
  events BIGINT NOT NULL,
  UNIQUE (client, workflow, idempotency_key)
)`

const steps = `CREATE TABLE ballast_workflow_steps (
  run TEXT NOT NULL,
  step TEXT NOT NULL,
  service TEXT NOT NULL,
  status TEXT NOT NULL,
  attempts BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  ended_at BIGINT,
  input TEXT,
  output TEXT,
  error TEXT,
  question TEXT,
  who TEXT,
  usage TEXT NOT NULL,
  PRIMARY KEY (run, step)
)`

const events = `CREATE TABLE ballast_workflow_events (
  run TEXT NOT NULL,
  seq BIGINT NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (run, seq)
)`

const cancels = `CREATE TABLE ballast_workflow_cancels (run TEXT NOT NULL PRIMARY KEY)`

/**
 * Makes the tables, which must not be there yet: a step for the migrations of the database. The types are those that SQLite and Postgres share.
 *
 * @category migrations
 * @since 0.1.0
 */
export const migration: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.forEach([
      runs,
      "CREATE INDEX ballast_workflow_runs_workflow ON ballast_workflow_runs (workflow, created_at)",
      "CREATE INDEX ballast_workflow_runs_client ON ballast_workflow_runs (client, created_at)",
      "CREATE INDEX ballast_workflow_runs_status ON ballast_workflow_runs (status, created_at)",
      "CREATE INDEX ballast_workflow_runs_definition ON ballast_workflow_runs (definition)",
      "CREATE TABLE ballast_workflow_definitions (hash TEXT NOT NULL PRIMARY KEY, text TEXT NOT NULL)",
      steps,
      "CREATE INDEX ballast_workflow_steps_status ON ballast_workflow_steps (status)",
      events,
      cancels
    ], (statement) =>
      sql.unsafe(statement), { discard: true })
)
