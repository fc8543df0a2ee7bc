/** A gateway's pod as the controller sees it: the admin API's part for models, in memory. */
import type { Answer } from "./ApiServer.ts"

interface Version {
  state: "loading" | "ready" | "failed" | "draining" | "unloaded"
  /** When the state becomes the next one. */
  until: number
  reason?: string
  weight: number
  calls: number
  errors: number
  p95: number
  readonly source: string
}

/** How a version behaves, wherever it is loaded; by `model/version`. */
export interface Behaviour {
  /** Why it can't be loaded. */
  readonly broken?: string
  readonly errorRatio?: number
  readonly latency?: number
}

export class FakeGateway {
  readonly #models = new Map<string, Map<string, Version>>()
  readonly #now: () => number
  readonly #behaviour: (model: string, version: string) => Behaviour
  /** Each change that was asked for: `PUT flow/versions/2`. */
  readonly asked: Array<string> = []
  loadTime = 3000
  drainTime = 2000
  /** Whether a version without weight leaves by itself, or only one that the weights leave out. */
  zeroLeaves = false

  constructor(now: () => number, behaviour: (model: string, version: string) => Behaviour = () => ({})) {
    this.#now = now
    this.#behaviour = behaviour
  }

  /** The process starts anew: nothing is loaded. */
  restart(): void {
    this.#models.clear()
  }

  #settle(model: string): Map<string, Version> {
    const versions = this.#models.get(model) ?? new Map<string, Version>()
    this.#models.set(model, versions)
    for (const [name, version] of versions) {
      if (this.#now() < version.until) continue
      if (version.state === "draining") version.state = "unloaded"
      if (version.state !== "loading") continue
      const { broken } = this.#behaviour(model, name)
      version.state = broken === undefined ? "ready" : "failed"
      // The first version has all calls without being asked.
      if (broken === undefined && [...versions.values()].every(({ weight }) => weight === 0)) version.weight = 100
      if (broken !== undefined) version.reason = broken
    }
    return versions
  }

  #drain(version: Version): void {
    version.state = "draining"
    version.until = this.#now() + this.drainTime
    version.weight = 0
  }

  /** Versions that are held, with their weight. */
  serves(model: string): Record<string, number> {
    const held = [...this.#settle(model)].filter(([, { state }]) => state === "ready")
    return Object.fromEntries(held.map(([name, { weight }]) => [name, weight]))
  }

  /** So many calls arrive and are divided by weight. */
  traffic(calls: number): void {
    for (const [model, versions] of this.#models) {
      const sum = [...versions.values()].reduce((sum, { weight }) => sum + weight, 0)
      for (const [name, version] of versions) {
        if (version.state !== "ready" || sum === 0) continue
        const { errorRatio = 0, latency = 0.01 } = this.#behaviour(model, name)
        const share = calls * version.weight / sum
        version.calls += share
        version.errors += share * errorRatio
        version.p95 = latency
      }
    }
  }

  handle(
    method: string,
    url: URL,
    authorization: string | undefined,
    body?: { readonly source?: string; readonly weights?: Record<string, number> }
  ): Answer {
    if (authorization !== "Bearer admin-key") return { status: 401, body: { error: { message: "wrong key" } } }
    const found = /^\/admin\/v1\/inference\/models\/([^/]+)(?:\/(traffic)|\/versions\/([^/]+))?$/.exec(url.pathname)
    if (found === null) return { status: 404, body: {} }
    const [, model = "", traffic, name] = found
    if (method === "GET") {
      if (!this.#models.has(model)) return { status: 404, body: { error: { message: "unknown model" } } }
      const sum = [...this.#settle(model).values()].reduce((sum, { weight }) => sum + weight, 0)
      const versions = [...this.#settle(model)].map(([version, { calls, errors, p95, reason, state, weight }]) => ({
        version,
        state,
        ...(reason !== undefined && { reason }),
        weight: sum === 0 ? 0 : weight / sum,
        calls,
        errors,
        latencySeconds: { p50: p95 / 2, p95 }
      }))
      return { status: 200, body: { name: model, versions } }
    }
    this.asked.push(`${method} ${model}/${traffic ?? `versions/${name}`}`)
    const versions = this.#settle(model)
    if (traffic !== undefined) {
      const weights: Record<string, number> = body?.weights ?? {}
      for (const version of Object.keys(weights)) {
        if (versions.get(version)?.state !== "ready") {
          return { status: 409, body: { error: { message: `${version} is not ready` } } }
        }
      }
      for (const [name, version] of versions) {
        const weight = weights[name]
        version.weight = weight ?? 0
        const isLeaving = weight === undefined || (this.zeroLeaves && weight === 0)
        if (version.state === "ready" && isLeaving) this.#drain(version)
      }
      return { status: 200, body: {} }
    }
    if (method === "PUT") {
      const old = versions.get(name ?? "")
      if (old !== undefined && old.state !== "unloaded" && old.state !== "failed") return { status: 200, body: {} }
      const source = body?.source ?? ""
      const fresh = {
        state: "loading",
        until: this.#now() + this.loadTime,
        weight: 0,
        calls: 0,
        errors: 0,
        p95: 0
      } as const
      versions.set(name ?? "", { ...fresh, source })
      return { status: 202, body: {} }
    }
    const old = versions.get(name ?? "")
    if (old !== undefined && old.state !== "unloaded") this.#drain(old)
    return { status: 202, body: {} }
  }
}
