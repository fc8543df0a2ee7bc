import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { describePostgres, postgresAt, schema } from "../../../test/support/postgres.ts"
import * as harness from "./harness.ts"
import { temporaryFolder } from "./support/databases.ts"
import * as FlakyProxy from "./support/flakyProxy.ts"

describePostgres("the ledger while its database is down", () => {
  it.live("costs no call, and loses no row", () =>
    Effect.gen(function*() {
      const proxy = yield* FlakyProxy.make(postgresAt())
      const url = (yield* schema)(`127.0.0.1:${proxy.port}`)
      const gateway = harness.layer({
        database: url,
        settings: { ledger: { spool: yield* temporaryFolder }, clients: { alice: { keys: ["key-of-alice"] } } }
      })
      yield* Effect.gen(function*() {
        const { records, url } = yield* harness.Running
        assert.isDefined(records)
        const send = (id: number) =>
          harness.post(`${url}/v1/chat/completions`, harness.hello, {
            "x-request-id": `call-${id}`,
            authorization: "Bearer key-of-alice"
          })
        const load = (from: number, count: number) =>
          Effect.forEach(Array.from({ length: count }, (_, n) => from + n), send, { concurrency: 8 })
        const before = yield* load(0, 40)
        const [during] = yield* Effect.all([load(40, 120), proxy.down], { concurrency: "unbounded" })
        // What came while it was down waits.
        yield* harness.eventually(Effect.sync(() => records.ledger.waiting().rows >= 40))
        const still = yield* load(160, 40)
        const said = yield* harness.post(
          `${url}/v1/feedback`,
          { request_id: "call-160", name: "helpful", value: true },
          {
            authorization: "Bearer key-of-alice"
          }
        )
        assert.strictEqual(said.status, 200)
        yield* proxy.up
        const after = yield* load(200, 40)
        const statuses = [...before, ...during, ...still, ...after].map(({ status }) => status)
        assert.deepStrictEqual(statuses, Array.from({ length: 240 }, () => 200))
        yield* harness.eventually(Effect.sync(() => records.ledger.waiting().rows === 0))
        const [row] = yield* Effect.orDie(
          records.database.use((sql) =>
            sql`SELECT COUNT(*) AS n, COUNT(DISTINCT request_id) AS ids FROM ballast_calls`.values
          )
        )
        assert.deepStrictEqual(row?.map(Number), [240, 240])
        const sums = yield* Effect.orDie(
          records.database.use((sql) =>
            sql`SELECT CAST(SUM(calls) AS TEXT) FROM ballast_usage WHERE span = 'day'`.values
          )
        )
        assert.deepStrictEqual(sums.flat().map(Number), [240])
        const feedback = yield* Effect.orDie(
          records.database.use((sql) => sql`SELECT client, request_id FROM ballast_feedback`.values)
        )
        assert.deepStrictEqual(feedback, [["alice", "call-160"]])
      }).pipe(Effect.provide(gateway))
    }))

  it.live("starts while it is down, and keeps what comes until it is back", () =>
    Effect.gen(function*() {
      const proxy = yield* FlakyProxy.make(postgresAt())
      const url = (yield* schema)(`127.0.0.1:${proxy.port}`)
      yield* proxy.down
      const gateway = harness.layer({
        database: url,
        settings: { ledger: { spool: yield* temporaryFolder }, clients: { alice: { keys: ["key-of-alice"] } } }
      })
      yield* Effect.gen(function*() {
        const { records, url } = yield* harness.Running
        assert.isDefined(records)
        const chat = (key: string) =>
          harness.post(`${url}/v1/chat/completions`, harness.hello, { authorization: `Bearer ${key}` })
        assert.strictEqual((yield* chat("key-of-alice")).status, 200)
        // It may be a key of the database.
        const unknown = yield* chat("sk-ballast-other")
        assert.deepStrictEqual([unknown.status, unknown.json.error.code], [503, "client_keys_unavailable"])
        yield* proxy.up
        yield* harness.eventually(Effect.sync(() => records.ledger.waiting().rows === 0))
        yield* harness.eventually(Effect.map(chat("sk-ballast-other"), ({ status }) => status === 401))
        const [row] = yield* Effect.orDie(records.database.use((sql) => sql`SELECT COUNT(*) FROM ballast_calls`.values))
        assert.strictEqual(Number(row?.[0]), 1)
      }).pipe(Effect.provide(gateway))
    }))
})
