import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Scope } from "effect"
import { HttpClient } from "effect/http"
import { KubernetesClient, LeaderElection } from "../src/index.ts"
import { Cluster, leasesPath, type Replica } from "./support/cluster.ts"

const started = Effect.map(Clock.currentTimeMillis, (now) => {
  const cluster = new Cluster(now)
  /** Who works now. */
  const working = new Set<string>()
  const log: Array<string> = []
  const join = Effect.fnUntraced(function*(identity: string, skew = 0) {
    const replica: Replica = { identity, network: "up" }
    const client = yield* KubernetesClient.make({ url: "http://kubernetes" }).pipe(
      Effect.provideService(HttpClient.HttpClient, cluster.transport(replica))
    )
    const work = Effect.acquireUseRelease(
      Effect.sync(() => {
        working.add(identity)
        log.push([...working].join("+"))
      }),
      () => Effect.never,
      () => Effect.sync(() => void working.delete(identity))
    )
    const clock = yield* Clock.Clock
    const skewed: Clock.Clock = {
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + skew,
      currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + skew),
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(skew) * 1_000_000n,
      currentTimeNanos: Effect.map(clock.currentTimeNanos, (nanos) => nanos + BigInt(skew) * 1_000_000n),
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: clock.monotonicTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }
    const scope = yield* Scope.make()
    yield* LeaderElection.run({ client, namespace: "ships", name: "ballast-operator", identity }, work).pipe(
      Effect.provideService(Clock.Clock, skewed),
      Effect.forkIn(scope)
    )
    return { replica, stop: Scope.close(scope, Exit.void) }
  })
  return { cluster, working, log, join }
})

describe("LeaderElection", () => {
  it.effect("has one leader; the next one leads at once when it stops, with the count of transitions", () =>
    Effect.gen(function*() {
      const { cluster, join, log, working } = yield* started
      const first = yield* join("first")
      yield* cluster.advance(1)
      yield* join("second")
      yield* cluster.advance(60)
      assert.deepStrictEqual([...working], ["first"])
      yield* first.stop
      assert.strictEqual(cluster.holder, "")
      yield* cluster.advance(4)
      assert.deepStrictEqual([...working], ["second"])
      assert.deepStrictEqual(log, ["first", "second"])
      const spec = cluster.server.get(leasesPath, "ballast-operator")?.spec
      assert.deepInclude(spec, { holderIdentity: "second", leaseTransitions: 1, leaseDurationSeconds: 15 })
    }))

  for (const skew of [-3_600_000, 3_600_000]) {
    it.effect(`steps down before another can lead, with clocks ${skew / 1000} s apart`, () =>
      Effect.gen(function*() {
        const { cluster, join, log, working } = yield* started
        const { replica } = yield* join("first")
        yield* cluster.advance(1)
        yield* join("second", skew)
        yield* cluster.advance(30)
        assert.deepStrictEqual([...working], ["first"])
        replica.network = "cut"
        yield* cluster.advance(8)
        assert.deepStrictEqual([...working], ["first"])
        yield* cluster.advance(4)
        assert.deepStrictEqual([...working], [], "nobody, between the deadline and the end of the lease")
        yield* cluster.advance(8)
        assert.deepStrictEqual([...working], ["second"])
        assert.deepStrictEqual(log, ["first", "second"])
        replica.network = "up"
        yield* cluster.advance(60)
        assert.deepStrictEqual([...working], ["second"])
      }))
  }

  it.effect("gives up at once when it sees another holder", () =>
    Effect.gen(function*() {
      const { cluster, join, working } = yield* started
      yield* join("first")
      yield* cluster.advance(1)
      cluster.patch(`${leasesPath}/ballast-operator`, { spec: { holderIdentity: "a person" } })
      yield* cluster.advance(3)
      assert.deepStrictEqual([...working], [])
    }))

  it.effect("leads on after somebody else wrote to the lease without taking it", () =>
    Effect.gen(function*() {
      const { cluster, join, log, working } = yield* started
      yield* join("first")
      yield* cluster.advance(1)
      for (let i = 0; i < 20; i++) {
        cluster.patch(`${leasesPath}/ballast-operator`, { metadata: { labels: { touched: String(i) } } })
        yield* cluster.advance(3)
      }
      assert.deepStrictEqual([[...working], log], [["first"], ["first"]])
    }))

  it("refuses times that are out of order", () => {
    const options = { namespace: "ships", name: "lease", identity: "me", client: { request: () => Effect.never } }
    const make = () => LeaderElection.run({ ...options, leaseDuration: "10 seconds" } as never, Effect.void)
    assert.throws(make, /leaseDuration .* must be longer than renewDeadline/)
  })
})
