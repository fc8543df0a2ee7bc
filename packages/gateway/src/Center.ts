/**
 * A config center that holds settings of the gateway: Nacos, Apollo, etcd or Redis. Where it is stands in the settings file; what it holds
 * lies over the files, and under environment variables and flags.
 *
 * @since 0.1.0
 */
import * as ApolloSource from "@ballast/settings/ApolloSource"
import * as EtcdSource from "@ballast/settings/EtcdSource"
import * as Field from "@ballast/settings/Field"
import * as NacosSource from "@ballast/settings/NacosSource"
import * as RedisSource from "@ballast/settings/RedisSource"
import type { Source } from "@ballast/settings/Source"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import { Redis } from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { redisUrl } from "./internal/settings/redisUrl.ts"

const address = Schema.NonEmptyString.annotate({ description: "Address of the server, such as http://127.0.0.1:8848." })

const login = {
  username: Schema.optionalKey(Schema.NonEmptyString),
  password: Schema.optionalKey(Field.secret)
}

const kinds = {
  nacos: Schema.optionalKey(Schema.Struct({
    url: address,
    dataId: Schema.NonEmptyString.pipe(Field.withDefault("ballast.yaml")),
    group: Schema.NonEmptyString.pipe(Field.withDefault("DEFAULT_GROUP")),
    namespace: Schema.optionalKey(Schema.NonEmptyString),
    api: Schema.Literals(["v1", "v3"]).pipe(Field.withDefault("v1")).annotate({
      description: "v1 for servers up to 3.1, v3 for servers from 3.0."
    }),
    ...login
  })),
  apollo: Schema.optionalKey(Schema.Struct({
    url: address,
    appId: Schema.NonEmptyString,
    cluster: Schema.NonEmptyString.pipe(Field.withDefault("default")),
    namespace: Schema.NonEmptyString.pipe(Field.withDefault("application")),
    accessKey: Schema.optionalKey(Field.secret).annotate({ description: "Default: requests are not signed." })
  })),
  etcd: Schema.optionalKey(Schema.Struct({
    url: address,
    key: Schema.NonEmptyString.pipe(Field.withDefault("ballast.yaml")),
    ...login
  })),
  redis: Schema.optionalKey(Schema.Struct({
    url: redisUrl.annotate({ description: "Such as redis://127.0.0.1:6379; it may hold a password." }),
    key: Schema.NonEmptyString.pipe(Field.withDefault("ballast.yaml"))
  }))
}

/**
 * Which center, and how to reach it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Center = Schema.Struct({
  ...kinds,
  copies: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description:
      "Folder for a copy of what it holds, from which a start is answered while it is down. Default: no copies."
  })
}).check(Schema.makeFilter(
  (center) => Object.keys(kinds).filter((kind) => Object.hasOwn(center, kind)).length === 1,
  { expected: `one of ${Object.keys(kinds).join(", ")}` }
))

/**
 * @category models
 * @since 0.1.0
 */
export type Center = typeof Center.Type

const redis = ({ key, url }: NonNullable<Center["redis"]>): Source =>
  RedisSource.make<Scope.Scope>({
    key,
    connect: Effect.flatMap(
      Effect.promise(() => import("@effect/platform-node/NodeRedis")),
      (NodeRedis) => Effect.map(Layer.build(NodeRedis.layer({ url: Redacted.value(url) })), Context.get(Redis))
    )
  })

/**
 * The source that a center is; none without one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sources = Effect.fnUntraced(function*(
  center: Center | undefined
): Effect.fn.Return<ReadonlyArray<Source>, never, Scope.Scope> {
  if (center === undefined) return []
  if (center.redis !== undefined) return [redis(center.redis)]
  const { layer } = yield* Effect.promise(() => import("@ballast/deepseek/Undici"))
  const client = Context.get(yield* Layer.build(layer()), HttpClient.HttpClient)
  const over = (source: Source<HttpClient.HttpClient>): Source => ({
    ...source,
    open: (fields) => Effect.provideService(source.open(fields), HttpClient.HttpClient, client)
  })
  return [
    ...(center.nacos === undefined ? [] : [over(NacosSource.make(center.nacos))]),
    ...(center.apollo === undefined ? [] : [over(ApolloSource.make(center.apollo))]),
    ...(center.etcd === undefined ? [] : [over(EtcdSource.make(center.etcd))])
  ]
})
