import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { HttpClient } from "effect/http"
import { BallastModel, Informer, KubernetesClient } from "../src/index.ts"
import { Cluster, modelsPath, type Replica } from "./support/cluster.ts"

const started = Effect.gen(function*() {
  const cluster = new Cluster(yield* Clock.currentTimeMillis)
  const replica: Replica = { identity: "first", network: "up" }
  const client = yield* KubernetesClient.make({ url: "http://kubernetes" }).pipe(
    Effect.provideService(HttpClient.HttpClient, cluster.transport(replica))
  )
  const requests: Array<string> = []
  const log: Array<string> = []
  const counted: KubernetesClient.KubernetesClient = {
    request: (method, path, options) => {
      requests.push(options?.query?.["continue"] === undefined ? "list" : "page")
      return client.request(method, path, options)
    },
    watch: (path, query) => {
      requests.push("watch")
      return client.watch(path, query)
    }
  }
  const follow = Informer.make({
    client: counted,
    path: modelsPath,
    schema: BallastModel.BallastModel,
    onChange: (before, after) =>
      log.push(`${before === undefined ? "+" : after === undefined ? "-" : "~"}${(after ?? before)?.metadata.name}`)
  })
  /** What happened since the last time. */
  const taken = (all: Array<string>) => all.splice(0)
  return { cluster, replica, follow, news: () => taken(log), asked: () => taken(requests) }
})

const spec = { source: "/models/1", version: "1" }

describe("Informer", () => {
  it.effect("lists in pages, then tells of each change once", () =>
    Effect.gen(function*() {
      const { asked, cluster, follow, news } = yield* started
      for (let i = 0; i < 501; i++) cluster.apply(`m${i}`, spec)
      const informer = yield* follow
      yield* cluster.advance(2)
      yield* informer.synced
      assert.deepStrictEqual(asked(), ["list", "page", "watch"])
      assert.strictEqual(news().length, 501)
      cluster.apply("m1", { ...spec, version: "2" })
      cluster.delete("m2")
      cluster.apply("new", spec)
      yield* cluster.advance(1)
      assert.deepStrictEqual(news(), ["~m1", "-m2", "+new"])
      assert.strictEqual(informer.items.size, 501)
    }))

  it.effect("goes on from the last event or bookmark when a watch ends", () =>
    Effect.gen(function*() {
      const { asked, cluster, follow, news } = yield* started
      cluster.apply("a", spec)
      yield* follow
      yield* cluster.advance(2)
      cluster.apply("b", spec)
      yield* cluster.advance(1)
      asked()
      news()
      cluster.server.endWatches()
      cluster.apply("c", spec)
      yield* cluster.advance(1)
      assert.deepStrictEqual([asked(), news()], [["watch"], ["+c"]])
      // Only the bookmark's version is still known.
      cluster.server.compact()
      cluster.server.bookmark()
      yield* cluster.advance(1)
      cluster.server.endWatches()
      yield* cluster.advance(1)
      assert.deepStrictEqual(asked(), ["watch"])
    }))

  for (const goneAs of ["event", "status"] as const) {
    it.effect(`lists again when its version is gone (as ${goneAs}), and tells what went meanwhile`, () =>
      Effect.gen(function*() {
        const { asked, cluster, follow, news } = yield* started
        cluster.server.goneAs = goneAs
        for (const name of ["a", "b", "c"]) cluster.apply(name, spec)
        yield* follow
        yield* cluster.advance(2)
        asked()
        news()
        cluster.server.endWatches()
        cluster.delete("b")
        cluster.apply("c", { ...spec, version: "2" })
        cluster.server.compact()
        yield* cluster.advance(5)
        assert.deepStrictEqual(asked(), ["watch", "list", "watch"])
        assert.deepStrictEqual(news(), ["-b", "~c"])
      }))
  }

  it.effect("replaces a watch that is silent", () =>
    Effect.gen(function*() {
      const { cluster, follow, news } = yield* started
      yield* follow
      yield* cluster.advance(2)
      cluster.server.muteWatches()
      cluster.apply("a", spec)
      yield* cluster.advance(310)
      assert.deepStrictEqual(news(), ["+a"])
    }))

  it.effect("tries again with growing delays, up to half a minute", () =>
    Effect.gen(function*() {
      const { asked, cluster, follow, replica } = yield* started
      replica.network = "refused"
      yield* follow
      yield* cluster.advance(60)
      const first = asked().length
      yield* cluster.advance(600)
      const later = asked().length
      assert.isAtLeast(first, 5)
      assert.isAtLeast(later, 18)
      assert.isAtMost(later, 45)
      replica.network = "up"
      yield* cluster.advance(31)
      assert.deepStrictEqual(asked().slice(-2), ["list", "watch"])
    }))
})
