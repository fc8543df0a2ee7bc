/**
 * Brings gateways to what the `BallastModel`s of a namespace wish, for ever.
 *
 * A change of a model or of a pod, or time, puts the model into a queue. A worker then reads the resource anew, asks all ready pods what they
 * hold, decides ({@link decide}), writes the status, and does what was decided. The status is written first, with the resource's version:
 * who decided on an old state gets a conflict and does nothing but read again. A pod that refuses or does not answer is tried again with
 * growing delays; the others are served meanwhile. A model goes only after it is unloaded.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import {
  apiVersion,
  BallastModel,
  type Condition,
  finalizer,
  group,
  Metadata,
  plural,
  Spec,
  Status
} from "./BallastModel.ts"
import type { GatewayError, GatewayPods } from "./GatewayPods.ts"
import * as Informer from "./Informer.ts"
import * as metrics from "./internal/metrics.ts"
import { type KubernetesClient, KubernetesError } from "./KubernetesClient.ts"
import * as Rollout from "./Rollout.ts"
import * as WorkQueue from "./WorkQueue.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly client: KubernetesClient
  readonly gateways: GatewayPods
  readonly namespace: string
  /** Label selector of the gateway's pods. */
  readonly selector: string
  /** Name of the container's port that the admin API listens on. */
  readonly portName: string
}

/** Models that are looked at at once. */
const workers = 4
/** Pods that are asked at once for one model. */
const fanOut = 16
/** How long a model that is deleted waits for pods that do not answer. */
const patience = Duration.toMillis("5 minutes")

const Pod = Schema.Struct({
  metadata: Metadata,
  spec: Schema.optional(Schema.Struct({
    containers: Schema.optional(Schema.Array(Schema.Struct({
      name: Schema.String,
      ports: Schema.optional(Schema.Array(Schema.Struct({
        name: Schema.optional(Schema.String),
        containerPort: Schema.Int
      })))
    })))
  })),
  status: Schema.optional(Schema.Struct({
    podIP: Schema.optional(Schema.String),
    conditions: Schema.optional(Schema.Array(Schema.Struct({ type: Schema.String, status: Schema.String }))),
    containerStatuses: Schema.optional(Schema.Array(Schema.Struct({ restartCount: Schema.optional(Schema.Int) })))
  }))
})
type Pod = typeof Pod.Type

const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined &&
  status?.conditions?.some(({ status, type }) => type === "Ready" && status === "True") === true

const instanceOf = ({ metadata, status }: Pod): string =>
  `${metadata.uid}/${status?.containerStatuses?.reduce((sum, { restartCount = 0 }) => sum + restartCount, 0) ?? 0}`

const addressOf = ({ spec, status }: Pod, portName: string): string | undefined => {
  const ports = spec?.containers?.flatMap(({ ports = [] }) => ports) ?? []
  const port = ports.find(({ name }) => name === portName)?.containerPort
  const ip = status?.podIP
  return port === undefined || ip === undefined ? undefined : `http://${ip.includes(":") ? `[${ip}]` : ip}:${port}`
}

/** What a pod is asked again for: not each heartbeat of its status. */
const matters = (pod: Pod | undefined): string =>
  pod === undefined || !isReady(pod) ? "" : `${instanceOf(pod)} ${pod.status?.podIP}`

const Raw = Schema.Record(Schema.String, Schema.Unknown)
const decodeRaw = Schema.decodeUnknownEffect(Raw)
const decodeModel = Schema.decodeUnknownEffect(BallastModel)
const decodeSpec = Schema.decodeUnknownEffect(Spec, { errors: "all" })
const decodeStatus = Schema.decodeUnknownEffect(Status)

const readAs = <A, E>(name: string, decoded: Effect.Effect<A, E>) =>
  Effect.mapError(
    decoded,
    () => new KubernetesError({ request: `GET ${name}`, status: 0, reason: "a resource of another form", detail: "" })
  )

/** Whether anything changed that the controller did not write itself. */
const isNews = (before: BallastModel | undefined, after: BallastModel | undefined): boolean =>
  before?.metadata.generation !== after?.metadata.generation ||
  before?.metadata.uid !== after?.metadata.uid ||
  before?.metadata.deletionTimestamp !== after?.metadata.deletionTimestamp ||
  !Equal.equals(before?.metadata.finalizers, after?.metadata.finalizers)

/**
 * Runs until it is interrupted.
 *
 * @category functions
 * @since 0.1.0
 */
export const run = Effect.fnUntraced(function*({ client, gateways, namespace, portName, selector }: Options) {
  const queue = yield* WorkQueue.make
  const modelsPath = `/apis/${apiVersion}/namespaces/${namespace}/${plural}`
  const podsPath = `/api/v1/namespaces/${namespace}/pods`
  const models = yield* Informer.make({
    client,
    path: modelsPath,
    schema: BallastModel,
    onChange: (before, after) => {
      if (isNews(before, after)) queue.addUnsafe((after ?? before)?.metadata.name ?? "")
    }
  })
  const podsOf = { client, path: podsPath, labelSelector: selector, schema: Pod }
  const pods = yield* Informer.make({
    ...podsOf,
    onChange: (before, after) => {
      if (matters(before) === matters(after)) return
      for (const name of models.items.keys()) queue.addUnsafe(name)
    }
  })

  const labelOf = (model: string): string => `${group}/${model}`

  const look = (model: string, pod: Pod): Effect.Effect<Rollout.Pod> => {
    const address = addressOf(pod, portName)
    const seen = {
      name: pod.metadata.name,
      instance: instanceOf(pod),
      labelled: pod.metadata.labels?.[labelOf(model)] !== undefined
    }
    if (address === undefined) {
      return Effect.succeed({ ...seen, holds: { problem: `it has no address or no port named ${portName}` } })
    }
    return Effect.match(gateways.read(address, model), {
      onFailure: ({ detail }) => ({ ...seen, holds: { problem: detail } }),
      onSuccess: (holds) => ({ ...seen, holds })
    })
  }

  const lookAtAll = (model: string, which: ReadonlyArray<Pod>) =>
    Effect.forEach(which, (pod) => look(model, pod), { concurrency: fanOut })

  /** A pod that is not ready loses its label, so that it has no calls of the model when it is ready and holds nothing yet. */
  const unlabel = (model: string, all: ReadonlyArray<Pod>): Rollout.Decision["actions"] =>
    all.filter((pod) => !isReady(pod) && pod.metadata.labels?.[labelOf(model)] !== undefined)
      .map(({ metadata }) => ({ pod: metadata.name, actions: [{ do: "label", serving: false }] }))

  const act = (
    model: string,
    pod: Pod,
    action: Rollout.Action
  ): Effect.Effect<unknown, GatewayError | KubernetesError> => {
    const address = addressOf(pod, portName) ?? ""
    switch (action.do) {
      case "load":
        return gateways.load(address, model, action.target)
      case "weigh":
        return gateways.weigh(address, model, action.weights)
      case "unload":
        return gateways.unload(address, model, action.version)
      case "label":
        return client.request("PATCH", `${podsPath}/${pod.metadata.name}`, {
          body: { metadata: { labels: { [labelOf(model)]: action.serving ? "serving" : null } } }
        })
    }
  }

  /** Does what was decided, pod by pod; true if all of it succeeded. A pod's first failure ends what is done to it this time. */
  const carryOut = Effect.fnUntraced(function*(
    model: string,
    all: ReadonlyArray<Pod>,
    decided: Rollout.Decision["actions"]
  ) {
    const results = yield* Effect.forEach(decided, ({ actions, pod: name }) => {
      const pod = all.find(({ metadata }) => metadata.name === name)
      if (pod === undefined) return Effect.succeed(true)
      const steps = Effect.forEach(
        actions,
        (action) =>
          act(model, pod, action).pipe(
            Effect.tapError(() => metrics.acted(action.do, "error")),
            Effect.andThen(metrics.acted(action.do, "success")),
            Effect.andThen(Effect.logInfo("did to a pod", { model, pod: name, ...action, target: undefined }))
          ),
        { discard: true }
      )
      return Effect.matchEffect(steps, {
        onFailure: (error) =>
          Effect.as(Effect.logWarning("a pod refused", { model, pod: name, reason: error.message }), false),
        onSuccess: () => Effect.succeed(true)
      })
    }, { concurrency: fanOut })
    return results.every((succeeded) => succeeded)
  })

  const tell = Effect.fnUntraced(function*(
    { metadata }: BallastModel,
    before: ReadonlyArray<Condition>,
    after: ReadonlyArray<Condition>
  ) {
    for (const condition of after) {
      const old = before.find(({ type }) => type === condition.type)
      if (old?.reason === condition.reason || (old === undefined && condition.status === "False")) continue
      const now = DateTime.formatIso(DateTime.makeUnsafe(yield* Clock.currentTimeMillis)).replace(/\.\d+Z$/, "Z")
      const { message, reason, status, type } = condition
      yield* Effect.logInfo("condition", { model: metadata.name, type, status, reason, message })
      const body = {
        apiVersion: "v1",
        kind: "Event",
        metadata: { name: `${metadata.name}.${Math.abs(yield* Random.nextInt).toString(16)}`, namespace },
        involvedObject: { apiVersion, kind: "BallastModel", namespace, name: metadata.name, uid: metadata.uid },
        type: type === "Degraded" && status === "True" ? "Warning" : "Normal",
        reason,
        message,
        count: 1,
        firstTimestamp: now,
        lastTimestamp: now,
        source: { component: "ballast-operator" }
      }
      yield* Effect.ignore(client.request("POST", `/api/v1/namespaces/${namespace}/events`, { body }))
    }
  })

  const get = Effect.fnUntraced(function*(name: string) {
    const raw = yield* client.request("GET", `${modelsPath}/${name}`)
    const model = yield* readAs(name, decodeModel(raw))
    return { raw: yield* readAs(name, decodeRaw(raw)), model }
  })
  type Read = Effect.Success<ReturnType<typeof get>>

  const setFinalizers = Effect.fnUntraced(function*({ model, raw }: Read, finalizers: ReadonlyArray<string>) {
    const metadata = yield* readAs(model.metadata.name, decodeRaw(raw["metadata"]))
    yield* client.request("PUT", `${modelsPath}/${model.metadata.name}`, {
      body: { ...raw, metadata: { ...metadata, finalizers } }
    })
  })

  const writeStatus = Effect.fnUntraced(function*({ model, raw }: Read, before: Status, after: Status) {
    if (Equal.equals(before, after)) return
    yield* client.request("PUT", `${modelsPath}/${model.metadata.name}/status`, { body: { ...raw, status: after } })
    yield* tell(model, before.conditions ?? [], after.conditions ?? [])
  })

  /** Unloads a model that is deleted, and then lets it go. */
  const finalize = Effect.fnUntraced(function*(read: Read) {
    const { metadata } = read.model
    const finalizers = metadata.finalizers ?? []
    if (!finalizers.includes(finalizer)) return undefined
    // Not from the copy, which may lag: what is overlooked here stays for ever.
    const all = (yield* Informer.list(podsOf)).items.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    const seen = yield* lookAtAll(metadata.name, all)
    const actions = seen.map((pod) => ({ pod: pod.name, actions: Rollout.clear(pod) })).filter(({ actions }) =>
      actions.length > 0
    )
    const waitsFor = new Set(all.filter(isReady).map(({ metadata }) => metadata.name))
    const isClear = seen.every(({ holds, labelled, name }) =>
      !labelled && ("problem" in holds ? !waitsFor.has(name) : holds.every(({ state }) => state === "unloaded"))
    )
    const since = DateTime.toEpochMillis(DateTime.makeUnsafe(metadata.deletionTimestamp ?? 0))
    const isLate = (yield* Clock.currentTimeMillis) - since > patience
    if (!isClear && !isLate) {
      return (yield* carryOut(metadata.name, all, actions)) ? Duration.seconds(1) : "failed" as const
    }
    if (!isClear) yield* Effect.logWarning("a model goes that is not unloaded everywhere", { model: metadata.name })
    yield* setFinalizers(read, finalizers.filter((name) => name !== finalizer))
    return undefined
  })

  /** When to look again; undefined for not before something changes, "failed" for soon. */
  const reconcile = Effect.fnUntraced(function*(name: string) {
    const read = yield* get(name)
    const { metadata, spec: given, status: told } = read.model
    if (metadata.deletionTimestamp !== undefined) return yield* finalize(read)
    if (!metadata.finalizers?.includes(finalizer)) {
      yield* setFinalizers(read, [...metadata.finalizers ?? [], finalizer])
      return Duration.zero
    }
    const generation = metadata.generation ?? 0
    const now = yield* Clock.currentTimeMillis
    const before = yield* Effect.orElseSucceed(decodeStatus(told ?? {}), (): Status => ({}))
    const spec = yield* Effect.result(decodeSpec(given))
    if (spec._tag === "Failure") {
      const condition = {
        type: "Ready",
        status: "False",
        reason: "InvalidSpec",
        message: String(spec.failure)
      } as const
      const conditions = Rollout.conditions(before.conditions, now, generation, [condition])
      yield* writeStatus(read, before, { ...before, observedGeneration: generation, conditions })
      return undefined
    }
    const situation = { spec: spec.success, generation, status: before, now }
    const all = [...pods.items.values()]
    const decision = Rollout.decide({ ...situation, pods: yield* lookAtAll(name, all.filter(isReady)) })
    yield* writeStatus(read, before, decision.status)
    return (yield* carryOut(name, all, [...unlabel(name, all), ...decision.actions]))
      ? decision.again
      : "failed" as const
  })

  const work = Effect.fnUntraced(function*(name: string) {
    const begun = yield* Clock.currentTimeMillis
    const outcome = yield* reconcile(name).pipe(
      Effect.catch((error) => {
        // It is gone, or somebody else was faster.
        if (error.status === 404) return Effect.succeed(undefined)
        if (error.status === 409) return Effect.succeed("conflict" as const)
        return Effect.as(
          Effect.logWarning("a model could not be looked at", { model: name, reason: error.message }),
          "failed" as const
        )
      })
    )
    yield* Effect.logDebug("reconciled", { model: name, outcome })
    const seconds = ((yield* Clock.currentTimeMillis) - begun) / 1000
    if (outcome === "failed" || outcome === "conflict") {
      yield* metrics.reconciled(outcome === "failed" ? "error" : "conflict", seconds)
      return yield* queue.retry(name)
    }
    queue.forget(name)
    yield* metrics.reconciled(outcome === undefined ? "done" : "again", seconds)
    if (outcome !== undefined) yield* queue.addAfter(name, outcome)
  })

  yield* models.synced
  yield* pods.synced
  return yield* queue.run(workers, work)
}, Effect.scoped)
