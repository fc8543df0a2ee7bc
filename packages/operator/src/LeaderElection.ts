/**
 * One leader among replicas, by a `Lease` of Kubernetes.
 *
 * A replica leads while it renews the lease. Another one may take it when it has seen no change of it for the lease's whole duration, measured by
 * its own clock: times that are written in the lease are for people to read, and clocks that differ do no harm. The leader counts its
 * deadline from the moment before it sent its last successful renewal. The deadline is shorter than the lease, so it has stopped its work
 * before another can lead. All writes carry the resource version, so two that try at once can't both succeed. As client-go does it.
 *
 * What a replica sent before its machine was suspended for longer than the lease may still arrive later. The work has to bear that: the
 * controller's decisions are written with a resource version before they are carried out.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as metrics from "./internal/metrics.ts"
import { type KubernetesClient, KubernetesError } from "./KubernetesClient.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly client: KubernetesClient
  readonly namespace: string
  /** Name of the lease. */
  readonly name: string
  /** Of this replica: another one after each start. */
  readonly identity: string
  /** How long a lease counts without a renewal, whole seconds. Default: 15 seconds. */
  readonly leaseDuration?: Duration.Input | undefined
  /** After which a leader steps down that could not renew. Shorter than the lease. Default: 10 seconds. */
  readonly renewDeadline?: Duration.Input | undefined
  /** Between two tries. Shorter than the deadline. Default: 2 seconds. */
  readonly retryPeriod?: Duration.Input | undefined
}

const Lease = Schema.Struct({
  metadata: Schema.Struct({ resourceVersion: Schema.String }),
  spec: Schema.optional(Schema.Struct({
    holderIdentity: Schema.optional(Schema.NullOr(Schema.String)),
    leaseDurationSeconds: Schema.optional(Schema.NullOr(Schema.Int)),
    acquireTime: Schema.optional(Schema.NullOr(Schema.String)),
    leaseTransitions: Schema.optional(Schema.NullOr(Schema.Int))
  }))
})
type Lease = typeof Lease.Type

/** What the replica saw last, and when, by a clock that only goes forward. */
interface Seen {
  readonly version: string
  readonly at: number
}

const monotonicMillis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))

/** With microseconds, as the type `MicroTime` has them. */
const microTime = Effect.map(
  Clock.currentTimeMillis,
  (millis) => DateTime.formatIso(DateTime.makeUnsafe(millis)).replace("Z", "000Z")
)

/**
 * Runs `work` whenever this replica leads, and interrupts it when it no longer does. When it is interrupted itself, it ends the work and
 * then gives the lease back, so that another one leads at once.
 *
 * Throws a `RangeError` if the times are not in order.
 *
 * @category functions
 * @since 0.1.0
 */
export const run = <E, R>(options: Options, work: Effect.Effect<unknown, E, R>): Effect.Effect<never, E, R> => {
  const { client, identity, name, namespace } = options
  const leaseDuration = Duration.toSeconds(Duration.fromInputUnsafe(options.leaseDuration ?? "15 seconds"))
  const renewDeadline = Duration.toMillis(Duration.fromInputUnsafe(options.renewDeadline ?? "10 seconds"))
  const retryPeriod = Duration.toMillis(Duration.fromInputUnsafe(options.retryPeriod ?? "2 seconds"))
  if (!(Number.isInteger(leaseDuration) && leaseDuration * 1000 > renewDeadline && renewDeadline > retryPeriod)) {
    throw new RangeError(
      "LeaderElection.run: leaseDuration (whole seconds) must be longer than renewDeadline, and that longer than retryPeriod"
    )
  }
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
  let seen: Seen | undefined

  const decode = (body: unknown) =>
    Effect.mapError(
      Schema.decodeUnknownEffect(Lease)(body),
      () => new KubernetesError({ request: path, status: 0, reason: "a lease of another form", detail: "" })
    )

  const write = Effect.fnUntraced(function*(lease: Lease | undefined, holder: string) {
    const sent = yield* monotonicMillis
    const now = yield* microTime
    const isOurs = lease?.spec?.holderIdentity === identity
    const transitions = lease?.spec?.leaseTransitions ?? 0
    const body = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace, ...(lease && { resourceVersion: lease.metadata.resourceVersion }) },
      spec: {
        holderIdentity: holder,
        leaseDurationSeconds: holder === "" ? 1 : leaseDuration,
        acquireTime: isOurs ? lease.spec?.acquireTime ?? now : now,
        renewTime: now,
        leaseTransitions: lease === undefined || isOurs ? transitions : transitions + 1
      }
    }
    const timeout = Duration.millis(renewDeadline / 2)
    const written = yield* decode(
      yield* lease === undefined
        ? client.request("POST", path, { body, timeout })
        : client.request("PUT", `${path}/${name}`, { body, timeout })
    )
    seen = { version: written.metadata.resourceVersion, at: sent }
    return { lease: written, sent }
  })

  const readLease = client.request("GET", `${path}/${name}`, { timeout: Duration.millis(renewDeadline / 2) }).pipe(
    Effect.flatMap(decode),
    Effect.catchTag(
      "KubernetesError",
      (error) => error.status === 404 ? Effect.succeed(undefined) : Effect.fail(error)
    )
  )

  /** Undefined while another one holds the lease. */
  const tryToHold = Effect.gen(function*() {
    const lease = yield* readLease
    const now = yield* monotonicMillis
    if (lease !== undefined && seen?.version !== lease.metadata.resourceVersion) {
      seen = { version: lease.metadata.resourceVersion, at: now }
    }
    const { holderIdentity, leaseDurationSeconds } = lease?.spec ?? {}
    const isFree = !holderIdentity || holderIdentity === identity
    const end = (seen?.at ?? now) + (leaseDurationSeconds ?? leaseDuration) * 1000
    return isFree || now >= end ? yield* write(lease, identity) : undefined
  })

  const wait = Effect.flatMap(
    Random.nextBetween(retryPeriod, retryPeriod * 1.2),
    (millis) => Effect.sleep(Duration.millis(millis))
  )

  const acquire = Effect.gen(function*() {
    while (true) {
      const held = yield* Effect.catchTag(
        tryToHold,
        "KubernetesError",
        (error) => Effect.as(Effect.logDebug("the lease can't be had", { reason: error.message }), undefined)
      )
      if (held !== undefined) return held
      yield* wait
    }
  })

  /** Ends when the lease is lost. */
  const renew = Effect.fnUntraced(function*(held: { lease: Lease; sent: number }) {
    while (true) {
      const left = held.sent + renewDeadline - (yield* monotonicMillis)
      if (left <= 0) return "it could not be renewed in time"
      yield* Effect.sleep(Duration.millis(Math.min(retryPeriod, left)))
      const rest = held.sent + renewDeadline - (yield* monotonicMillis)
      const tried = yield* write(held.lease, identity).pipe(
        Effect.catchTag("KubernetesError", (error) =>
          // Somebody else wrote it. If it is still ours, the next renewal has the right version.
          error.status === 409 || error.status === 404 ? again(held) : Effect.succeed(undefined)),
        Effect.timeoutOrElse({ duration: Duration.millis(Math.max(0, rest)), orElse: () => Effect.succeed(undefined) })
      )
      if (tried === "lost") return "another replica holds it"
      if (tried !== undefined) {
        held.lease = tried.lease
        held.sent = tried.sent
      }
    }
  })

  const again = (held: { lease: Lease; sent: number }) =>
    Effect.matchEffect(readLease, {
      onFailure: () => Effect.succeed(undefined),
      onSuccess: (lease) =>
        Effect.succeed(
          lease?.spec?.holderIdentity === identity ? { lease, sent: held.sent } : "lost" as const
        )
    })

  const release = (held: { lease: Lease }) =>
    write(held.lease, "").pipe(
      Effect.timeout("2 seconds"),
      Effect.catch((error) => Effect.logDebug("the lease was not given back", { reason: error.message }))
    )

  const lead = Effect.gen(function*() {
    const held = yield* acquire
    yield* Effect.logInfo("leads", { identity, lease: name })
    yield* metrics.leads(true)
    const lost = yield* Effect.raceFirst(
      Effect.andThen(work, Effect.never),
      renew(held)
    ).pipe(
      Effect.ensuring(metrics.leads(false)),
      Effect.onInterrupt(() => release(held))
    )
    yield* Effect.logWarning("leads no longer", { identity, lease: name, reason: lost })
    yield* wait
  })

  return Effect.forever(lead)
}
