/**
 * Where the API server is and how to talk to it, as Kubernetes tells each pod: two environment variables, and the files of the service
 * account. The token's file is replaced while the program runs, so it is read again after a minute.
 * https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/**
 * The program does not run in a pod, or not with a service account.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotInCluster extends Schema.TaggedError<NotInCluster>()("NotInCluster", { detail: Schema.String }) {
  override get message(): string {
    return `${this.detail}. Outside of a pod, say where the API server is.`
  }
}

/**
 * The folder of the service account's files.
 *
 * @category constants
 * @since 0.1.0
 */
export const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

/**
 * A secret in a file, read again when it is older than a minute. The last text counts while the file can't be read.
 *
 * @category constructors
 * @since 0.1.0
 */
export const secretFile = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const read = Effect.map(fs.readFileString(path), (text) => Redacted.make(text.trim()))
  let last = yield* read
  const refresh = read.pipe(
    Effect.map((secret) => last = secret),
    Effect.catch((error) =>
      Effect.as(Effect.logWarning("a secret can't be read", { path, reason: error.message }), last)
    )
  )
  return yield* Effect.cachedWithTTL(refresh, "1 minute")
})

/**
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(folder: string = serviceAccount) {
  const fs = yield* FileSystem.FileSystem
  const host = yield* Config.option(Config.String("KUBERNETES_SERVICE_HOST"))
  const port = yield* Config.withDefault(Config.String("KUBERNETES_SERVICE_PORT"), "443")
  if (host._tag === "None") return yield* new NotInCluster({ detail: "KUBERNETES_SERVICE_HOST is not set" })
  const read = (name: string) =>
    Effect.mapError(
      fs.readFileString(`${folder}/${name}`),
      () => new NotInCluster({ detail: `${folder}/${name} can't be read` })
    )
  return {
    url: `https://${host.value.includes(":") ? `[${host.value}]` : host.value}:${port}`,
    namespace: (yield* read("namespace")).trim(),
    /** Certificates that the API server's is signed by, as PEM. */
    ca: yield* read("ca.crt"),
    token: yield* Effect.mapError(
      secretFile(`${folder}/token`),
      () => new NotInCluster({ detail: `${folder}/token can't be read` })
    )
  }
})
