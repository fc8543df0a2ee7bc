/**
 * The config service of Apollo as its guide for other clients documents it: releases, held notifications, signatures.
 */
import { Clock, Effect } from "effect"
import { createHmac } from "node:crypto"
import { type Answered, type Asked, make as makeExchange } from "./exchange.ts"

interface Release {
  readonly configurations: Record<string, string>
  readonly id: number
}

const nameOf = (namespace: string) => namespace.replace(/\.properties$/, "").toLowerCase()

export const make = (options: { readonly accessKey?: string } = {}) => {
  const releases = new Map<string, Release>()
  let ids = 0

  /** The server allows clocks that differ by a minute. */
  const authorized = ({ headers, target }: Asked) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      if (options.accessKey === undefined) return true
      const signature = createHmac("sha1", options.accessKey).update(`${headers.timestamp}\n${target}`).digest("base64")
      return Math.abs(now - Number(headers.timestamp)) <= 60_000 && headers.authorization === `Apollo app:${signature}`
    })

  const changedSince = (known: ReadonlyArray<{ namespaceName: string; notificationId: number }>) =>
    known.flatMap(({ namespaceName, notificationId }) => {
      const release = releases.get(nameOf(namespaceName))
      return release !== undefined && release.id > notificationId
        ? [{
          namespaceName: namespaceName.replace(/\.properties$/, ""),
          notificationId: release.id,
          messages: { details: { [`app+default+${namespaceName}`]: release.id } }
        }]
        : []
    })

  const notify = ({ url }: Asked): Effect.Effect<Answered | undefined> =>
    Effect.gen(function*() {
      const known = JSON.parse(url.searchParams.get("notifications") ?? "[]")
      if (known.length === 0) return { status: 400 }
      if (changedSince(known).length === 0) {
        const why = yield* server.hold(60_000)
        if (why === "broken") return undefined
      }
      const changed = changedSince(known)
      return changed.length === 0 ? { status: 304 } : { status: 200, body: JSON.stringify(changed) }
    })

  const read = (namespace: string, releaseKey: string | null): Answered => {
    const release = releases.get(nameOf(namespace))
    if (release === undefined) return { status: 404 }
    if (releaseKey === `release-${release.id}`) return { status: 304 }
    return {
      status: 200,
      body: JSON.stringify({
        appId: "app",
        cluster: "default",
        namespaceName: namespace,
        configurations: release.configurations,
        releaseKey: `release-${release.id}`
      })
    }
  }

  const server = makeExchange((asked) =>
    Effect.gen(function*() {
      if (!(yield* authorized(asked))) return { status: 401, body: "Unauthorized" }
      const { pathname, searchParams } = asked.url
      if (pathname === "/notifications/v2") return yield* notify(asked)
      const namespace = /^\/configs\/app\/default\/(.+)$/.exec(pathname)?.[1]
      if (namespace !== undefined) {
        return read(decodeURIComponent(namespace), searchParams.get("releaseKey"))
      }
      const plain = /^\/configfiles\/json\/app\/default\/(.+)$/.exec(pathname)?.[1]
      const release = plain === undefined ? undefined : releases.get(nameOf(decodeURIComponent(plain)))
      return release === undefined ? { status: 404 } : { status: 200, body: JSON.stringify(release.configurations) }
    })
  )
  return {
    ...server,
    release: (namespace: string, configurations: Record<string, string>) =>
      Effect.andThen(Effect.sync(() => releases.set(nameOf(namespace), { configurations, id: ++ids })), server.changed)
  }
}
