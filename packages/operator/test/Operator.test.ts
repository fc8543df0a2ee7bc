import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { Cluster, modelsPath, type Replica } from "./support/cluster.ts"
import { rights } from "./support/rights.ts"

const started = Effect.gen(function*() {
  const cluster = new Cluster(yield* Clock.currentTimeMillis)
  cluster.addPod("gateway-1")
  cluster.addPod("gateway-2")
  const replica: Replica = { identity: "first", network: "up" }
  yield* Effect.forkScoped(cluster.run(replica))
  return { cluster, replica }
})

const served = (cluster: Cluster, model: string) => [...cluster.gateways.values()].map((one) => one.serves(model))

const weights = (cluster: Cluster) => served(cluster, "flow")[0]

describe("Operator", () => {
  it.effect("loads a model on all pods, and unloads it before it goes, with no more rights than it says", () =>
    Effect.gen(function*() {
      const { cluster } = yield* started
      cluster.apply("flow", { source: "/models/flow/1", version: "1" })
      yield* cluster.advance(20)
      assert.deepStrictEqual(served(cluster, "flow"), [{ 1: 100 }, { 1: 100 }])
      assert.strictEqual(cluster.condition("flow", "Ready")?.status, "True")
      cluster.delete("flow")
      yield* cluster.advance(20)
      assert.deepStrictEqual(served(cluster, "flow"), [{}, {}])
      assert.strictEqual(cluster.server.get(modelsPath, "flow"), undefined)
      assert.deepStrictEqual([...cluster.rights].sort(), rights)
    }))

  it.effect("gives a new version calls step by step, over a change of the leader, and brings a new pod to the same", () =>
    Effect.gen(function*() {
      const { cluster, replica } = yield* started
      const canary = { weight: 10, steps: 3, interval: "30s", minCalls: 20 }
      cluster.apply("flow", { source: "/models/flow/1", version: "1" })
      yield* cluster.advance(20)
      cluster.apply("flow", { source: "/models/flow/2", version: "2", canary })
      yield* cluster.advance(15)
      assert.deepStrictEqual(weights(cluster), { 1: 90, 2: 10 })
      const since = cluster.status("flow").canary?.since
      replica.network = "cut"
      yield* Effect.forkScoped(cluster.run({ identity: "second", network: "up" }))
      yield* cluster.advance(20)
      assert.strictEqual(cluster.holder, "second")
      assert.strictEqual(cluster.status("flow").canary?.since, since)
      cluster.restartPod("gateway-2", true)
      yield* cluster.advance(20)
      assert.deepStrictEqual(served(cluster, "flow"), [{ 1: 60, 2: 40 }, { 1: 60, 2: 40 }])
      yield* cluster.advance(90)
      assert.deepStrictEqual(served(cluster, "flow"), [{ 2: 100 }, { 2: 100 }])
      assert.deepStrictEqual(cluster.trespasses, [])
    }))

  it.effect("turns back a version whose calls fail, and says why in the status and in an event", () =>
    Effect.gen(function*() {
      const { cluster } = yield* started
      cluster.behaviour.set("flow/2", { errorRatio: 0.2 })
      cluster.apply("flow", { source: "/models/flow/1", version: "1" })
      yield* cluster.advance(20)
      cluster.apply("flow", { source: "/models/flow/2", version: "2", canary: { maxErrorRatio: 0.05 } })
      yield* cluster.advance(60)
      assert.deepStrictEqual(served(cluster, "flow"), [{ 1: 100 }, { 1: 100 }])
      assert.match(
        cluster.condition("flow", "Degraded")?.message ?? "",
        /^version 2 was turned back at 10 % .* more than 5 %$/
      )
      const events = cluster.server.list("/api/v1/namespaces/ships/events").map((event) => JSON.stringify(event))
      assert.isTrue(events.some((event) => event.includes("\"Warning\"") && event.includes("\"TurnedBack\"")))
    }))

  it.effect("says what is wrong with a spec that an older definition let in", () =>
    Effect.gen(function*() {
      const { cluster } = yield* started
      cluster.apply("flow", { source: "/models/flow/1", version: "../1" })
      yield* cluster.advance(5)
      const { message, reason, status } = cluster.condition("flow", "Ready") ?? {}
      assert.deepStrictEqual([status, reason], ["False", "InvalidSpec"])
      assert.include(message, "version")
      cluster.apply("flow", { source: "/models/flow/1", version: "1" })
      yield* cluster.advance(20)
      assert.deepStrictEqual(served(cluster, "flow"), [{ 1: 100 }, { 1: 100 }])
    }))
})
