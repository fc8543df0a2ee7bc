/**
 * As much of Kubernetes' API server as a controller uses, in memory: list in pages, watch with resource versions, bookmarks and 410 Gone,
 * conflicts, the status subresource, generations, finalizers and deletion. `Refereed.test.ts` lets `@kubernetes/client-node` judge it.
 */
import * as Http from "node:http"
import type { AddressInfo } from "node:net"

/** An object as the server keeps it. */
export interface Resource {
  readonly kind?: string
  metadata: {
    name: string
    resourceVersion?: string
    uid?: string
    generation?: number
    creationTimestamp?: string
    deletionTimestamp?: string
    finalizers?: ReadonlyArray<string>
    labels?: Readonly<Record<string, string>>
  }
  spec?: unknown
  status?: unknown
}

/** An object, or a part of one, as it is sent. */
export type Body = Omit<Partial<Resource>, "metadata"> & {
  readonly apiVersion?: string
  readonly metadata?: {
    readonly [key: string]: unknown
    readonly resourceVersion?: string
    readonly finalizers?: ReadonlyArray<string>
  }
}

export interface Answer {
  readonly status: number
  readonly body?: unknown
  /** Set for a watch: starts it, and gives what ends it. */
  readonly watch?: (push: (line: string) => void, end: () => void) => () => void
}

interface Change {
  readonly version: number
  readonly collection: string
  readonly before: Resource | undefined
  readonly after: Resource | undefined
}

interface Watcher {
  readonly collection: string
  readonly selector: string | null
  readonly bookmarks: boolean
  readonly push: (line: string) => void
  readonly end: () => void
}

const failure = (code: number, reason: string, message: string): Answer => ({
  status: code,
  body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code }
})

const gone = failure(410, "Expired", "too old resource version")

const matches = (selector: string | null, object: Resource): boolean =>
  selector === null || selector === "" || selector.split(",").every((term) => {
    const [key = "", value] = term.split("=")
    return object.metadata.labels?.[key] === value
  })

const clone = <A>(value: A): A => structuredClone(value)

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const mergePatch = (target: unknown, patch: unknown): unknown => {
  if (!isObject(patch)) return patch
  const made: Record<string, unknown> = isObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete made[key]
    else made[key] = mergePatch(made[key], value)
  }
  return made
}

/** Of an object without what the server writes. */
const content = (object: Resource): string => {
  const { metadata: { generation: _g, resourceVersion: _r, ...metadata }, ...rest } = object
  return JSON.stringify({ metadata, ...rest })
}

const pathPattern = /^(\/api\/v1|\/apis\/[^/]+\/[^/]+)\/namespaces\/([^/]+)\/([^/]+)(?:\/([^/]+))?(?:\/(status))?$/

const kinds: Readonly<Record<string, string>> = {
  ballastmodels: "BallastModel",
  pods: "Pod",
  leases: "Lease",
  events: "Event",
  configmaps: "ConfigMap"
}

export class ApiServer {
  #version = 100
  /** Changes up to this version are no longer known. */
  #compacted = 100
  #history: Array<Change> = []
  #uids = 0
  readonly #collections = new Map<string, Map<string, Resource>>()
  readonly #watchers = new Set<Watcher>()
  readonly #now: () => number
  /** How a watch from a version that is too old is refused: both are seen in the wild. */
  goneAs: "status" | "event" = "event"

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  #objects(collection: string): Map<string, Resource> {
    let found = this.#collections.get(collection)
    if (found === undefined) this.#collections.set(collection, found = new Map())
    return found
  }

  #emit(collection: string, name: string, before: Resource | undefined, after: Resource | undefined): Resource {
    const version = ++this.#version
    const latest = after ?? before
    if (latest === undefined) throw new Error("nothing changed")
    latest.metadata.resourceVersion = String(version)
    if (after === undefined) this.#objects(collection).delete(name)
    else this.#objects(collection).set(name, after)
    const change = { version, collection, before: clone(before), after: clone(after) }
    this.#history.push(change)
    for (const watcher of this.#watchers) this.#tell(watcher, change)
    return clone(latest)
  }

  #tell(watcher: Watcher, { after, before, collection }: Change): void {
    if (watcher.collection !== collection) return
    const was = before !== undefined && matches(watcher.selector, before)
    const is = after !== undefined && matches(watcher.selector, after)
    if (!was && !is) return
    const type = is ? (was ? "MODIFIED" : "ADDED") : "DELETED"
    watcher.push(`${JSON.stringify({ type, object: after ?? before })}\n`)
  }

  /** Forgets the changes so far, as etcd does after some minutes. */
  compact(): void {
    this.#history = []
    this.#compacted = this.#version
  }

  /** Ends all watches. */
  endWatches(): void {
    for (const watcher of this.#watchers) watcher.end()
  }

  /** All watches go silent, and stay open: a connection that is lost without a sign. */
  muteWatches(): void {
    this.#watchers.clear()
  }

  bookmark(): void {
    for (const { bookmarks, collection, push } of this.#watchers) {
      if (!bookmarks) continue
      const kind = kinds[collection.slice(collection.lastIndexOf("/") + 1)]
      const object = { kind, metadata: { resourceVersion: String(this.#version), creationTimestamp: null } }
      push(`${JSON.stringify({ type: "BOOKMARK", object })}\n`)
    }
  }

  get watches(): number {
    return this.#watchers.size
  }

  get(collection: string, name: string): Resource | undefined {
    return clone(this.#objects(collection).get(name))
  }

  list(collection: string): Array<Resource> {
    return [...this.#objects(collection).values()].map(clone)
  }

  #create(collection: string, given: Body): Answer {
    const plural = collection.slice(collection.lastIndexOf("/") + 1)
    const name = String(given.metadata?.["name"] ?? `${given.metadata?.["generateName"]}${this.#uids}`)
    if (this.#objects(collection).has(name)) return failure(409, "AlreadyExists", `${plural} "${name}" already exists`)
    const { status, ...rest } = clone(given)
    const object: Resource = {
      kind: kinds[plural] ?? plural,
      ...rest,
      ...(plural === "pods" && status !== undefined && { status }),
      metadata: {
        ...rest.metadata,
        name,
        uid: `uid-${++this.#uids}`,
        generation: 1,
        creationTimestamp: new Date(this.#now()).toISOString()
      }
    }
    return { status: 201, body: this.#emit(collection, name, undefined, object) }
  }

  #update(collection: string, old: Resource, given: Body, isStatus: boolean): Answer {
    const { name, resourceVersion } = old.metadata
    const sent = given.metadata?.resourceVersion
    if (sent === undefined || sent === "") {
      return failure(422, "Invalid", "metadata.resourceVersion: Invalid value: must be specified for an update")
    }
    if (sent !== resourceVersion) {
      const words = "the object has been modified; please apply your changes to the latest version and try again"
      return failure(409, "Conflict", `Operation cannot be fulfilled on "${name}": ${words}`)
    }
    const fresh: Resource = isStatus
      ? { ...clone(old), status: clone(given.status) }
      : this.#changed(collection, old, given)
    if (fresh.status === undefined) delete fresh.status
    const finalizers = fresh.metadata.finalizers ?? []
    const isGoing = fresh.metadata.deletionTimestamp !== undefined
    if (isGoing && finalizers.some((one) => !old.metadata.finalizers?.includes(one))) {
      const words = "Forbidden: no new finalizers can be added if the object is being deleted"
      return failure(422, "Invalid", `metadata.finalizers: ${words}`)
    }
    if (content(fresh) === content(old)) return { status: 200, body: clone(old) }
    const isOver = isGoing && finalizers.length === 0
    return { status: 200, body: this.#emit(collection, name, isOver ? fresh : old, isOver ? undefined : fresh) }
  }

  /** What the main resource becomes: a status with a subresource, and what the server writes itself, stay. */
  #changed(collection: string, old: Resource, given: Body): Resource {
    const { creationTimestamp, deletionTimestamp, generation = 0, name, uid } = old.metadata
    const { status, ...rest } = clone(given)
    const isChanged = JSON.stringify(given.spec) !== JSON.stringify(old.spec)
    const made: Resource = {
      ...rest,
      status: collection.endsWith("/ballastmodels") ? clone(old.status) : status,
      metadata: {
        ...rest.metadata,
        name,
        ...(uid !== undefined && { uid }),
        ...(creationTimestamp !== undefined && { creationTimestamp }),
        generation: generation + (isChanged ? 1 : 0)
      }
    }
    delete made.metadata.deletionTimestamp
    if (deletionTimestamp !== undefined) made.metadata.deletionTimestamp = deletionTimestamp
    if (made.metadata.finalizers?.length === 0) delete made.metadata.finalizers
    return made
  }

  #delete(collection: string, old: Resource): Answer {
    const { deletionTimestamp, finalizers = [], generation = 0, name } = old.metadata
    if (finalizers.length === 0) return { status: 200, body: this.#emit(collection, name, clone(old), undefined) }
    if (deletionTimestamp !== undefined) return { status: 200, body: clone(old) }
    const fresh = clone(old)
    fresh.metadata.deletionTimestamp = new Date(this.#now()).toISOString()
    fresh.metadata.generation = generation + 1
    return { status: 200, body: this.#emit(collection, name, old, fresh) }
  }

  #list(collection: string, query: URLSearchParams): Answer {
    const token = query.get("continue")
    const from = token === null ? undefined : JSON.parse(Buffer.from(token, "base64").toString())
    if (from !== undefined && from.version < this.#compacted) return gone
    const version = from?.version ?? this.#version
    const all = [...this.#objects(collection).values()].filter((one) => matches(query.get("labelSelector"), one))
      .toSorted((a, b) => a.metadata.name < b.metadata.name ? -1 : 1)
      .filter((one) => from === undefined || one.metadata.name > from.after)
    const limit = Number(query.get("limit") ?? 0) || all.length
    const items = all.slice(0, limit)
    const after = items.at(-1)?.metadata.name
    const next = all.length > limit ? Buffer.from(JSON.stringify({ version, after })).toString("base64") : undefined
    const metadata = { resourceVersion: String(version), ...(next !== undefined && { continue: next }) }
    return { status: 200, body: { kind: "List", apiVersion: "v1", metadata, items: items.map(clone) } }
  }

  #watch(collection: string, query: URLSearchParams): Answer {
    const from = query.get("resourceVersion") ?? ""
    const isFromNow = from === "" || from === "0"
    const isTooOld = !isFromNow && Number(from) < this.#compacted
    if (isTooOld && this.goneAs === "status") return gone
    return {
      status: 200,
      watch: (push, end) => {
        if (isTooOld) {
          push(`${JSON.stringify({ type: "ERROR", object: gone.body })}\n`)
          end()
          return () => {}
        }
        const selector = query.get("labelSelector")
        const watcher: Watcher = {
          collection,
          selector,
          bookmarks: query.get("allowWatchBookmarks") === "true",
          push,
          end: () => {
            this.#watchers.delete(watcher)
            end()
          }
        }
        if (isFromNow) {
          for (const object of this.#objects(collection).values()) {
            this.#tell(watcher, { version: 0, collection, before: undefined, after: object })
          }
        } else {
          for (const change of this.#history) if (change.version > Number(from)) this.#tell(watcher, change)
        }
        this.#watchers.add(watcher)
        return () => void this.#watchers.delete(watcher)
      }
    }
  }

  /** Answers one request. */
  handle(method: string, url: URL, body?: Body): Answer {
    const found = pathPattern.exec(url.pathname)
    if (found === null) return failure(404, "NotFound", "the server could not find the requested resource")
    const [, base, namespace, plural, name, subresource] = found
    const collection = `${base}/namespaces/${namespace}/${plural}`
    if (name === undefined) {
      if (method === "POST") return this.#create(collection, body ?? {})
      return url.searchParams.get("watch") === "true"
        ? this.#watch(collection, url.searchParams)
        : this.#list(collection, url.searchParams)
    }
    const old = this.#objects(collection).get(name)
    if (old === undefined) return failure(404, "NotFound", `${plural} "${name}" not found`)
    switch (method) {
      case "GET":
        return { status: 200, body: clone(old) }
      case "PUT":
        return this.#update(collection, old, body ?? {}, subresource === "status")
      case "PATCH": {
        const patched = mergePatch(old, body)
        return isObject(patched)
          ? this.#update(collection, old, patched, subresource === "status")
          : failure(400, "BadRequest", "")
      }
      case "DELETE":
        return this.#delete(collection, old)
      default:
        return failure(405, "MethodNotAllowed", method)
    }
  }

  /** Serves over HTTP on loopback. */
  async listen(): Promise<{ readonly url: string; readonly close: () => Promise<void> }> {
    const server = Http.createServer((request, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part) => parts.push(part))
      request.on("end", () => {
        const text = Buffer.concat(parts).toString()
        const url = new URL(request.url ?? "/", "http://server")
        const answer = this.handle(request.method ?? "GET", url, text === "" ? undefined : JSON.parse(text))
        response.writeHead(answer.status, { "content-type": "application/json" })
        if (answer.watch === undefined) return void response.end(JSON.stringify(answer.body))
        response.flushHeaders()
        response.on("close", answer.watch((line) => response.write(line), () => response.end()))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const { port } = server.address() as AddressInfo
    return {
      url: `http://127.0.0.1:${port}`,
      close: () =>
        new Promise((resolve) => {
          server.close(() => resolve())
          server.closeAllConnections()
        })
    }
  }
}
