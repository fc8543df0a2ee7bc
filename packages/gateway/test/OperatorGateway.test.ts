/** The operator's way to a pod, against the real admin API of a gateway. */
import * as GatewayPods from "@ballast/operator/GatewayPods"
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import { layer as gateway, Running } from "./harness.ts"
import * as StandIn from "./support/standIn.ts"

const { acts, models } = StandIn.make()

const pods = (key: string) =>
  GatewayPods.make(Effect.succeed(Redacted.make(key))).pipe(Effect.provide(FetchHttpClient.layer))

describe("GatewayPods and a gateway", () => {
  layer(
    gateway({
      settings: {
        admin: { keys: { operator: ["admin-key-of-operator"] } },
        clients: { app: { keys: ["key-of-app"] } }
      },
      localModels: models
    }),
    { excludeTestServices: true }
  )((it) => {
    it.effect("agree on what is loaded, and on what is asked", () =>
      Effect.gen(function*() {
        const { url } = yield* Running
        const { load, read, unload, weigh } = yield* pods("admin-key-of-operator")
        const common = { calls: 3, errors: 1, p95: 0.008, reason: undefined }
        assert.deepStrictEqual(yield* read(url, "double"), [
          { ...common, version: "3", state: "failed", weight: 0, reason: "the golden input disagrees" },
          { ...common, version: "2", state: "ready", weight: 25 },
          { ...common, version: "1", state: "ready", weight: 75 }
        ])
        assert.deepStrictEqual(yield* read(url, "unknown"), [])
        const golden = [{ inputs: { x: [1] }, outputs: { y: [2] } }]
        yield* load(url, "double", {
          version: "4",
          source: "/models/double-4",
          sha256: { "model.onnx": "a".repeat(64) },
          golden
        })
        yield* weigh(url, "double", { 1: 60, 4: 40 })
        yield* unload(url, "double", "1")
        assert.deepStrictEqual(acts, [
          {
            load: "4",
            source: {
              folder: "/models/double-4",
              sha256: { "model.onnx": "a".repeat(64) },
              golden: [{ inputs: { x: [1] }, outputs: { y: [2] }, tolerance: 1e-4 }]
            }
          },
          { weights: { 1: 60, 4: 40 } },
          { unload: "1" }
        ])
        const refused = yield* Effect.flip(load(url, "double", { version: "9", source: "/models/double-9" }))
        assert.include(refused.message, "its SHA-256 is another")
        // Its last call may take longer than the operator waits for an answer.
        yield* unload(url, "double", "8")
        const stranger = yield* pods("key-of-app")
        assert.include((yield* Effect.flip(stranger.read(url, "double"))).message, "the admin key is refused")
      }))
  })
})
