/** A cluster in memory: the API server, gateway pods, and replicas of the operator that talk to both through a transport that can fail. */
import { Clock, Duration, Effect, Random, Redacted, Schema } from "effect"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import type { HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import * as BallastModel from "../../src/BallastModel.ts"
import * as Operator from "../../src/Operator.ts"
import { type Answer, ApiServer, type Body } from "./ApiServer.ts"
import { type Behaviour, FakeGateway } from "./FakeGateway.ts"

export const modelsPath = `/apis/${BallastModel.apiVersion}/namespaces/ships/${BallastModel.plural}`
export const podsPath = "/api/v1/namespaces/ships/pods"
export const leasesPath = "/apis/coordination.k8s.io/v1/namespaces/ships/leases"

const bodyOf = (request: HttpClientRequest.HttpClientRequest) =>
  request.body._tag === "Uint8Array" ? JSON.parse(new TextDecoder().decode(request.body.body)) : undefined

const unreachable = (request: HttpClientRequest.HttpClientRequest) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, cause: { code: "ECONNREFUSED" } })
  })

/** Turns an answer into a response; a watch ends with the request's signal. */
const respond = (request: HttpClientRequest.HttpClientRequest, answer: Answer, signal: AbortSignal) => {
  const { watch } = answer
  if (watch === undefined) {
    return HttpClientResponse.fromWeb(request, Response.json(answer.body, { status: answer.status }))
  }
  let stop = () => {}
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => {
      let isOpen = true
      const end = () => {
        if (isOpen) controller.close()
        isOpen = false
      }
      stop = watch((line) => isOpen && controller.enqueue(new TextEncoder().encode(line)), end)
      signal.addEventListener("abort", () => {
        stop()
        end()
      })
    },
    cancel: () => stop()
  })
  return HttpClientResponse.fromWeb(request, new Response(stream, { status: 200 }))
}

/** The right that a request takes. */
const rightOf = (method: string, url: URL): string => {
  const [plural = "", name, subresource] = (/\/namespaces\/[^/]+\/(.+)$/.exec(url.pathname)?.[1] ?? "").split("/")
  const read = url.searchParams.get("watch") === "true" ? "watch" : name === undefined ? "list" : "get"
  const verbs: Readonly<Record<string, string>> = { GET: read, POST: "create", PUT: "update", PATCH: "patch" }
  return `${verbs[method]} ${subresource === undefined ? plural : `${plural}/${subresource}`}`
}

export interface Replica {
  readonly identity: string
  /** `cut`: nothing answers; `refused`: nothing listens; `slow`: requests arrive late. */
  network: "up" | "cut" | "refused" | "slow"
}

export class Cluster {
  readonly server: ApiServer
  readonly gateways = new Map<string, FakeGateway>()
  readonly behaviour = new Map<string, Behaviour>()
  /** Changes that a replica asked of a pod while the lease was another one's. */
  readonly trespasses: Array<string> = []
  /** What the replicas asked of the API server, as the rights that it takes: `patch pods`. */
  readonly rights = new Set<string>()
  readonly addresses = new Map<string, string>()
  readonly restarts = new Map<string, number>()
  now: number

  constructor(now: number) {
    this.now = now
    this.server = new ApiServer(() => this.now)
  }

  addPod(name: string): void {
    const number = this.gateways.size + 1
    this.gateways.set(
      name,
      new FakeGateway(() => this.now, (model, version) => this.behaviour.get(`${model}/${version}`) ?? {})
    )
    this.server.handle("POST", new URL(podsPath, "http://server"), {
      metadata: { name, labels: { app: "gateway" } },
      spec: { containers: [{ name: "gateway", ports: [{ name: "http", containerPort: 8787 }] }] },
      status: {
        podIP: `10.0.0.${number}`,
        conditions: [{ type: "Ready", status: "True" }],
        containerStatuses: [{ restartCount: 0 }]
      }
    })
    this.addresses.set(`10.0.0.${number}`, name)
  }

  patch(path: string, body: Body): Answer {
    return this.server.handle("PATCH", new URL(path, "http://server"), body)
  }

  /** The container of a pod starts anew; for a while it is not ready. */
  restartPod(name: string, isReady: boolean): void {
    this.gateways.get(name)?.restart()
    const restarts = (this.restarts.get(name) ?? 0) + 1
    this.restarts.set(name, restarts)
    this.patch(`${podsPath}/${name}/status`, {
      status: {
        conditions: [{ type: "Ready", status: isReady ? "True" : "False" }],
        containerStatuses: [{ restartCount: restarts }]
      }
    })
  }

  readyPod(name: string): void {
    this.patch(`${podsPath}/${name}/status`, { status: { conditions: [{ type: "Ready", status: "True" }] } })
  }

  apply(name: string, spec: object): void {
    if (this.server.get(modelsPath, name) === undefined) {
      this.server.handle("POST", new URL(modelsPath, "http://server"), {
        apiVersion: BallastModel.apiVersion,
        kind: "BallastModel",
        metadata: { name, namespace: "ships" },
        spec
      })
      return
    }
    const old = this.server.get(modelsPath, name)
    this.server.handle("PUT", new URL(`${modelsPath}/${name}`, "http://server"), { ...old, spec })
  }

  delete(name: string): void {
    this.server.handle("DELETE", new URL(`${modelsPath}/${name}`, "http://server"))
  }

  status(name: string): BallastModel.Status {
    return Schema.decodeUnknownSync(BallastModel.Status)(this.server.get(modelsPath, name)?.status ?? {})
  }

  condition(name: string, type: string): BallastModel.Condition | undefined {
    return this.status(name).conditions?.find((one) => one.type === type)
  }

  get holder(): string {
    const spec = this.server.get(leasesPath, "ballast-operator")?.spec
    return typeof spec === "object" && spec !== null && "holderIdentity" in spec ? String(spec.holderIdentity) : ""
  }

  /** How a replica reaches the others. */
  transport(replica: Replica): HttpClient.HttpClient {
    const answer = (request: HttpClientRequest.HttpClientRequest, url: URL, signal: AbortSignal) => {
      const isApi = url.hostname === "kubernetes"
      const isLease = url.pathname.startsWith(leasesPath)
      if (request.method !== "GET" && !isLease && this.holder !== replica.identity) {
        this.trespasses.push(`${replica.identity}: ${request.method} ${url.href}, held by ${this.holder}`)
      }
      if (isApi) {
        this.rights.add(rightOf(request.method, url))
        return Effect.succeed(respond(request, this.server.handle(request.method, url, bodyOf(request)), signal))
      }
      const gateway = this.gateways.get(this.addresses.get(url.hostname) ?? "")
      if (gateway === undefined) return Effect.fail(unreachable(request))
      const answered = gateway.handle(request.method, url, request.headers["authorization"], bodyOf(request))
      return Effect.succeed(respond(request, answered, signal))
    }
    return HttpClient.make((request, url, signal) =>
      Effect.suspend(() => {
        if (replica.network === "cut") return Effect.never
        if (replica.network === "refused") return Effect.fail(unreachable(request))
        const answered = Effect.suspend(() => answer(request, url, signal))
        return replica.network === "slow"
          ? Effect.flatMap(Random.nextBetween(100, 3000), (millis) => Effect.delay(answered, Duration.millis(millis)))
          : answered
      })
    )
  }

  run(replica: Replica): Effect.Effect<never> {
    return Operator.run({
      url: "http://kubernetes",
      namespace: "ships",
      selector: "app=gateway",
      identity: replica.identity,
      adminKey: Effect.succeed(Redacted.make("admin-key"))
    }).pipe(Effect.provideService(HttpClient.HttpClient, this.transport(replica)))
  }

  /** Time goes on; in each second every pod gets so many calls. */
  advance(seconds: number, calls = 20): Effect.Effect<void> {
    const step = Effect.gen({ self: this }, function*() {
      yield* TestClock.adjust("1 second")
      this.now = yield* Clock.currentTimeMillis
      // Bodies of answers are read by promises.
      for (let i = 0; i < 3; i++) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      for (const gateway of this.gateways.values()) gateway.traffic(calls)
    })
    return Effect.repeat(step, { times: seconds - 1 }).pipe(Effect.asVoid)
  }
}
