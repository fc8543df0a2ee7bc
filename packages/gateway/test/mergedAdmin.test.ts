import { assert, describe, it } from "@effect/vitest"
import * as mergedAdmin from "../src/internal/mergedAdmin.ts"

const circuit = (state: "closed" | "half-open" | "open" | "isolated" | "disabled") => ({
  name: "near/main/flash",
  state
})
const limit = (limit: number, running: number, queued = 0) => ({ name: "near/main/flash", limit, running, queued })
const outage = { reason: "Unauthorized", status: 401, since: 1, nextProbe: 2 }

describe("mergedAdmin", () => {
  it("adds calls and limits up, and shows each circuit at its worst", () => {
    const route = (inFlight: number, latency: number, state: Parameters<typeof circuit>[0]) => ({
      model: "flash",
      degraded: null,
      targets: [{
        name: "near",
        provider: "near",
        account: null,
        model: null,
        weight: 3,
        inFlight,
        latency,
        circuits: [circuit(state)],
        limits: [limit(4, inFlight, 1)]
      }],
      failover: ["far"],
      mirror: { to: "far", share: 0.1, inFlight: 2 }
    })
    const [merged] = mergedAdmin.routes([[route(1, 100, "closed")], [route(3, 200, "open")], [
      route(0, 0, "half-open")
    ]])
    assert.deepStrictEqual(merged, {
      ...route(4, 150, "open"),
      targets: [{ ...route(4, 150, "open").targets[0]!, limits: [limit(12, 4, 3)] }],
      mirror: { to: "far", share: 0.1, inFlight: 6 }
    })
  })

  it("takes an account or a key for out as soon as one worker does", () => {
    const account = (retired: typeof outage | null, balance: string | null) => ({
      provider: "near",
      account: "main",
      url: "http://near",
      weight: 1,
      inFlight: 1,
      resting: null,
      keys: [{ position: 1, retired }, { position: 2, retired: null }],
      balance: balance === null ? null : [{ currency: "CNY", total: balance }],
      circuits: [],
      limits: []
    })
    assert.deepStrictEqual(mergedAdmin.accounts([[account(null, "1.00")], [account(outage, null)]]), [
      { ...account(outage, "1.00"), inFlight: 2 }
    ])
  })

  it("adds up the answers that the workers dropped", () => {
    const done = (exact: number, store: number | null) => ({
      id: "1",
      order: { do: "purge" as const },
      by: "alice",
      at: 1,
      until: null,
      ended: null,
      dropped: { exact, semantic: 1, store }
    })
    assert.deepStrictEqual(mergedAdmin.done([done(2, 3), done(5, 0)])?.dropped, { exact: 7, semantic: 2, store: 3 })
    assert.deepStrictEqual(mergedAdmin.done([done(2, null)])?.dropped, { exact: 2, semantic: 1, store: null })
  })

  it("lists each act once, in force as long as it is somewhere", () => {
    const act = (id: string, ended: null | { readonly at: number; readonly because: "gone"; readonly by: null }) => ({
      id,
      order: { do: "close" as const, circuit: "c" },
      by: "alice",
      at: 1,
      until: null,
      ended
    })
    const gone = { at: 2, because: "gone", by: null } as const
    assert.deepStrictEqual(mergedAdmin.acts([[act("1", gone), act("2", gone)], [act("1", null), act("2", gone)]]), [
      act("1", null),
      act("2", gone)
    ])
  })
})
