/** The tests' own API server, judged by the official client: what its informer and its writes expect, the server does. */
import { assert, describe, it } from "@effect/vitest"
import {
  CoordinationV1Api,
  CustomObjectsApi,
  KubeConfig,
  type KubernetesListObject,
  type KubernetesObject,
  makeInformer,
  Watch
} from "@kubernetes/client-node"
import { afterAll, beforeAll } from "vitest"
import * as BallastModel from "../src/BallastModel.ts"
import { ApiServer } from "./support/ApiServer.ts"

const server = new ApiServer()
let served: Awaited<ReturnType<ApiServer["listen"]>>
let config: KubeConfig
let models: CustomObjectsApi
let leases: CoordinationV1Api

const place = { group: BallastModel.group, version: "v1alpha1", namespace: "ships", plural: BallastModel.plural }
const path = `/apis/${BallastModel.apiVersion}/namespaces/ships/${BallastModel.plural}`
const spec = { source: "/models/flow/1", version: "1" }

interface Model extends KubernetesObject {
  spec?: unknown
  status?: unknown
}

beforeAll(async () => {
  served = await server.listen()
  config = new KubeConfig()
  config.loadFromOptions({
    clusters: [{ name: "fake", server: served.url, skipTLSVerify: true }],
    users: [{ name: "me" }],
    contexts: [{ name: "fake", cluster: "fake", user: "me" }],
    currentContext: "fake"
  })
  models = config.makeApiClient(CustomObjectsApi)
  leases = config.makeApiClient(CoordinationV1Api)
})
afterAll(() => served.close())

const create = (name: string, metadata: object = {}): Promise<Model> =>
  models.createNamespacedCustomObject({
    ...place,
    body: { apiVersion: BallastModel.apiVersion, kind: "BallastModel", metadata: { name, ...metadata }, spec }
  })
const get = (name: string): Promise<Model> => models.getNamespacedCustomObject({ ...place, name })
const replace = (name: string, body: object): Promise<Model> =>
  models.replaceNamespacedCustomObject({ ...place, name, body })
const remove = (name: string) => models.deleteNamespacedCustomObject({ ...place, name })

const codeOf = (attempt: Promise<unknown>): Promise<unknown> =>
  attempt.then(() => "success", (error: { readonly code?: unknown }) => error.code)

/** Waits until something that the other side does has happened. */
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}

describe("ApiServer", () => {
  it("keeps the status apart, counts generations, and refuses an old version", async () => {
    const made = await create("apart")
    assert.strictEqual(made.metadata?.generation, 1)
    const withStatus = await models.replaceNamespacedCustomObjectStatus({
      ...place,
      name: "apart",
      body: { ...made, spec: { version: "9" }, status: { readyPods: 2 } }
    }) as Model
    assert.deepStrictEqual([withStatus.spec, withStatus.status], [spec, { readyPods: 2 }])
    assert.strictEqual(withStatus.metadata?.generation, 1)
    assert.strictEqual(await codeOf(replace("apart", { ...made, spec: { ...spec, version: "2" } })), 409)
    const changed = await replace("apart", { ...withStatus, status: {}, spec: { ...spec, version: "2" } })
    assert.deepStrictEqual([changed.metadata?.generation, changed.status], [2, { readyPods: 2 }])
    assert.strictEqual(await codeOf(create("apart")), 409)
    assert.strictEqual(await codeOf(get("nothing")), 404)
  })

  it("keeps a deleted resource until its last finalizer is taken off", async () => {
    await create("held", { finalizers: [BallastModel.finalizer] })
    await remove("held")
    const going = await get("held")
    assert.isDefined(going.metadata?.deletionTimestamp)
    await replace("held", { ...going, metadata: { ...going.metadata, finalizers: [] } })
    assert.strictEqual(await codeOf(get("held")), 404)
  })

  it("lists in pages", async () => {
    for (const name of ["page-a", "page-b", "page-c"]) await create(name)
    const names: Array<string | undefined> = []
    let token: string | undefined
    do {
      const page: { items: Array<Model>; metadata: { continue?: string } } = await models.listNamespacedCustomObject({
        ...place,
        limit: 2,
        ...(token !== undefined && { _continue: token })
      })
      assert.isAtMost(page.items.length, 2)
      names.push(...page.items.map(({ metadata }) => metadata?.name))
      token = page.metadata.continue
    } while (token !== undefined)
    assert.includeMembers(names, ["page-a", "page-b", "page-c"])
    assert.strictEqual(new Set(names).size, names.length)
  })

  it("serves leases", async () => {
    const place = { namespace: "ships", name: "lead" }
    const body = { metadata: { name: "lead" }, spec: { holderIdentity: "a", leaseDurationSeconds: 15 } }
    const made = await leases.createNamespacedLease({ namespace: "ships", body })
    const taken = await leases.replaceNamespacedLease({ ...place, body: { ...made, spec: { holderIdentity: "b" } } })
    assert.strictEqual(taken.spec?.holderIdentity, "b")
    assert.strictEqual(await codeOf(leases.replaceNamespacedLease({ ...place, body: made })), 409)
  })

  for (const goneAs of ["event", "status"] as const) {
    it(`is followed by the informer over lost watches and a version that is gone (as ${goneAs})`, async () => {
      server.goneAs = goneAs
      const prefix = `follow-${goneAs}`
      const seen: Array<string> = []
      const list = (): Promise<KubernetesListObject<Model>> => models.listNamespacedCustomObject(place)
      const informer = makeInformer<Model>(config, path, list)
      for (const verb of ["add", "update", "delete"] as const) {
        informer.on(
          verb,
          ({ metadata }) => void (metadata?.name?.startsWith(prefix) && seen.push(`${verb} ${metadata.name}`))
        )
      }
      informer.on("error", () => void informer.start())
      await create(`${prefix}-1`)
      await informer.start()
      await until(() => server.watches > 0)
      await create(`${prefix}-2`)
      const one = await get(`${prefix}-1`)
      await replace(`${prefix}-1`, { ...one, spec: { ...spec, version: "2" } })
      await until(() => seen.length >= 3)
      server.bookmark()
      server.endWatches()
      await remove(`${prefix}-2`)
      server.compact()
      await create(`${prefix}-3`)
      await until(() => seen.length >= 5)
      assert.sameMembers(seen, [
        `add ${prefix}-1`,
        `add ${prefix}-2`,
        `update ${prefix}-1`,
        `delete ${prefix}-2`,
        `add ${prefix}-3`
      ])
      await informer.stop()
    })
  }

  it("sends bookmarks only to whom asked for them", async () => {
    const types: Array<string> = []
    const watch = new Watch(config)
    const start = (query: Record<string, string | boolean>) =>
      watch.watch(path, query, (type) => void types.push(type), () => {})
    const resourceVersion = (await create("before-the-bookmark")).metadata?.resourceVersion ?? ""
    const plain = await start({ resourceVersion })
    const asking = await start({ resourceVersion, allowWatchBookmarks: true })
    await until(() => server.watches === 2)
    server.bookmark()
    await create("after-the-bookmark")
    await until(() => types.length >= 3)
    assert.sameMembers(types, ["BOOKMARK", "ADDED", "ADDED"])
    plain.abort()
    asking.abort()
  })
})
